"""Whatever is given as an option, a name or a setting: it is taken, or refused by the error that is documented."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskq import ConfigError, RetryPolicy, TaskQ
from taskq.backoff import delay
from taskq.checks import seconds, when
from taskq.errors import InvalidOption
from taskq.inspector import Filter
from taskq.options import OPTIONS, TaskOptions, retry_policy
from taskq.settings import URL_VARIABLE, Settings, broker_url
from taskq.store.url import parse_url
from taskq.tasks.letters import Place
from taskq.values import MAX_SECONDS
from taskq_workers.config import ChildSettings, WorkerConfig, parse_queues
from tests.properties.profile import few, seeded

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(),
    st.characters(categories=["Cs"]),
    st.binary(),
    st.timedeltas(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.uuids(),
    st.decimals(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(), st.text() | st.integers(), max_size=2),
    st.builds(object),
)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
app = TaskQ("options")


@app.task(name="nothing")
def nothing() -> None: ...


# -- options of tasks and calls


@pytest.mark.parametrize("name", [*OPTIONS, "nonsense"])
@seeded
@few(60)
@given(value=ANYTHING)
def test_an_option_is_taken_or_refused(name: str, value: Any) -> None:
    options: Any = {name: value}
    refused = ""
    try:
        repr(nothing.options(**options))
    except ConfigError as error:
        refused = str(error)
    if refused:
        assert name in refused
        return
    sent = TaskOptions().merge(**options)
    assert TaskOptions().from_wire(sent.wire()).wire() == sent.wire()


@seeded
@few(60)
@given(value=st.floats(0, MAX_SECONDS))
def test_a_duration_is_the_same_in_both_forms(value: float) -> None:
    assert seconds(value, "x") == value
    span = timedelta(seconds=value)
    assert seconds(span, "x") == span.total_seconds()


@seeded
@few(60)
@given(at=st.datetimes(datetime(1970, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_moment_is_the_same_in_both_forms(at: datetime) -> None:
    assert abs(when(at) - when(at.timestamp())) <= 1  # a float has not every microsecond
    assert abs(when(at) - at.timestamp() * 1_000) <= 1


@seeded
@few(100)
@given(ANYTHING, ANYTHING, ANYTHING)
def test_a_retry_policy_is_made_or_refused(attempts: Any, base: Any, cap: Any) -> None:
    try:
        policy = RetryPolicy(attempts, base, cap)
    except InvalidOption:
        return
    assert retry_policy(policy) is policy
    assert retry_policy(policy.max_attempts) == RetryPolicy(policy.max_attempts)


@seeded
@few(100)
@given(
    st.integers(1, 10_000),
    st.floats(0, MAX_SECONDS),
    st.floats(0, MAX_SECONDS),
    st.integers(0, 10_000),
    st.floats(0, 1),
)
def test_a_delay_is_within_its_bounds(attempts: int, base: float, cap: float, attempt: int, chance: float) -> None:
    policy = RetryPolicy(attempts, base, cap)
    assert 0 <= delay(attempt, policy, chance) <= cap
    assert delay(attempt, policy, 0.0) <= delay(attempt, policy, 1.0) <= delay(attempt + 1, policy, 1.0)


# -- names, queues, cursors


@seeded
@few(100)
@given(st.text() | st.from_regex(r"[a-z.:_-]{0,10}", fullmatch=True))
def test_a_name_is_taken_everywhere_or_refused_everywhere(name: str) -> None:
    try:
        mine = TaskQ(name)
        options: Any = {"queue": name}
        nothing.options(**options)
    except ConfigError:
        with pytest.raises(ConfigError):
            app.handle("x", name)
        with pytest.raises(ConfigError):
            parse_queues([name])
    else:
        assert (mine.namespace, parse_queues(name)) == (name, ((name, 1),))


@seeded
@few(100)
@given(st.text() | st.lists(st.text() | ANYTHING, max_size=3) | st.from_regex(r"[a-z]{1,3}(:[0-9]*)?(,.*)?"))
@example("high:" + "1" * 5_000)
@example("high:²")
def test_queues_are_read_or_refused(given: Any) -> None:
    try:
        queues = parse_queues(given)
    except ConfigError:
        return
    assert parse_queues([f"{name}:{weight}" for name, weight in queues]) == queues


@seeded
@few(60)
@given(st.dictionaries(NAMES, st.integers(1, 1_000), min_size=1, max_size=4), st.booleans())
def test_queues_come_back(queues: dict[str, int], spaced: bool) -> None:
    parts = [name if weight == 1 else f"{name}:{weight}" for name, weight in queues.items()]
    assert parse_queues((" , " if spaced else ",").join(parts)) == parse_queues(parts) == tuple(queues.items())


@seeded
@few(60)
@given(st.integers(0, 2**53), st.binary(min_size=16, max_size=16), st.text())
def test_a_cursor_comes_back_and_another_is_refused(at: int, raw: bytes, text: str) -> None:
    assert Place.of(Place(at, raw).text()) == Place(at, raw)
    try:
        Place.of(text)
    except InvalidOption:
        return
    assert text.count("-") >= 1


@example("1" * 5_000 + "-" + "00" * 16)
@given(st.text())
@few(30)
def test_an_odd_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption):
        Place.of(text)


@seeded
@few(60)
@given(st.text())
def test_any_pattern_is_a_filter(text: str) -> None:
    assert not Filter(task=text).is_all
    assert Filter(task=text).reads


# -- settings


@seeded
@few(100)
@given(st.text(min_size=1), st.sampled_from(["", "redis://", "rediss://h/", "redis+cluster://", "unix://"]))
def test_a_url_of_the_environment_is_read_or_refused(text: str, scheme: str) -> None:
    choice = broker_url(None, {URL_VARIABLE: scheme + text}, None, Settings(Path()))
    assert choice.source == URL_VARIABLE
    try:
        address = parse_url(choice.url)
    except ConfigError:
        return
    assert parse_url(address.text) == address


@pytest.mark.parametrize(
    "name", ["processes", "concurrency", "max_tasks_per_child", "max_memory_mb", "verbosity", "drain_timeout"]
)
@seeded
@few(40)
@given(value=ANYTHING)
def test_a_setting_of_a_worker_is_taken_or_refused(name: str, value: Any) -> None:
    options: Any = {name: value}
    try:
        config = WorkerConfig("shop:app", **options)
    except ConfigError:
        return
    if not isinstance(value, timedelta):
        child = config.child("w1", 0)
        assert ChildSettings.from_json(child.to_json()) == child
