from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.checks import seconds, when
from taskq.errors import InvalidOption
from taskq.options import UNSET, RetryPolicy, TaskOptions, retry_policy

NAIVE = datetime(1971, 1, 1)  # noqa: DTZ001 -- naive is the point
NOT_DURATIONS: list[Any] = [
    -1,
    -0.001,
    math.nan,
    math.inf,
    -math.inf,
    1e18,
    10**400,
    True,
    False,
    "5",
    b"5",
    None,
    [1],
    timedelta(-1),
]


@given(st.floats(0, 10**8) | st.integers(0, 10**8))
def test_a_number_is_a_duration_in_seconds(value: float) -> None:
    result = seconds(value, "delay")
    assert result == value
    assert type(result) is float


@given(st.timedeltas(timedelta(0), timedelta(days=3650)))
def test_a_timedelta_is_a_duration(value: timedelta) -> None:
    assert timedelta(seconds=seconds(value, "delay")) == value


@pytest.mark.parametrize("value", NOT_DURATIONS)
def test_what_cannot_be_a_duration_is_named(value: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^delay="):
        seconds(value, "delay")


@given(st.datetimes(NAIVE, NAIVE.replace(year=2099), timezones=st.timezones()))
def test_an_aware_datetime_is_its_moment(at: datetime) -> None:
    exact = (at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1)
    assert abs(when(at) - exact) <= 0.5 + 1e-3


@pytest.mark.parametrize(
    "at",
    [
        NAIVE,
        date(2026, 1, 1),
        True,
        "2026-01-01",
        math.nan,
        math.inf,
        1e18,
        -1,
        1_767_225_600_000,
        10**400,
        None,
        datetime(9999, 1, 1, tzinfo=UTC),
        datetime(1960, 1, 1, tzinfo=UTC),
    ],
)
def test_what_names_no_moment_is_refused(at: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^at="):
        when(at)


def test_a_naive_datetime_is_told_the_way_out() -> None:
    with pytest.raises(InvalidOption, match=r"\.astimezone\(\)"):
        when(NAIVE)


def test_options_are_kept_in_one_form() -> None:
    options = TaskOptions.of(
        delay=timedelta(minutes=1),
        expires=datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        retry=2,
        timeout=5,
    )
    assert options.delay == 60.0
    assert options.expires == 1_767_222_000_000
    assert options.retry == RetryPolicy(max_attempts=2)
    assert options.timeout == 5.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("queue", "a}b"),
        ("priority", 3),
        ("priority", True),
        ("priority", 1.0),
        ("delay", -1),
        ("delay", "5"),
        ("at", NAIVE),
        ("expires", -1),
        ("expires", 0),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", True),
        ("hard_timeout", 0),
        ("retry", 0),
        ("retry", -1),
        ("retry", 10**9),
        ("retry", "5"),
        ("retry", 5.0),
        ("result_ttl", None),
        ("result_ttl", -1),
        ("max_result", 0),
        ("max_result", True),
        ("id", ""),
        ("id", 5),
        ("unique", ""),
        ("unique", "x" * 513),
        ("unique", "\ud800"),
        ("unique", 5),
        ("delivery", "exactly_once"),
        ("delivery", None),
        ("headers", {"a": 1}),
        ("headers", {1: "a"}),
        ("headers", {"": "a"}),
        ("headers", {"a": "\ud800"}),
        ("headers", {"a": "x" * 9_000}),
        ("headers", "a"),
        ("prioriti", 1),
        ("max_retries", 1),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_for_tasks_and_for_calls(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        TaskOptions.of(**{name: value})
    with pytest.raises(ValueError, match=name):
        TaskOptions.of().merge(**{name: value})


def test_an_unknown_option_gets_a_hint() -> None:
    with pytest.raises(InvalidOption, match=r"there is no option 'prioritty' \(did you mean 'priority'\?\)"):
        TaskOptions.of().merge(prioritty=1)


def test_delay_and_at_exclude_each_other() -> None:
    with pytest.raises(InvalidOption, match="delay= and at="):
        TaskOptions.of(delay=1, at=1.0)
    assert TaskOptions.of(delay=5).merge(at=10.0).due_ms(0) == 10_000
    assert TaskOptions.of(at=10.0).merge(delay=5).due_ms(1_000) == 6_000


def test_a_moment_in_the_past_means_now() -> None:
    assert TaskOptions.of(at=10.0).due_ms(20_000) is None
    assert TaskOptions.of(delay=0).due_ms(20_000) is None
    assert TaskOptions.of().due_ms(20_000) is None


def test_expiry_counts_from_enqueueing_or_is_a_moment() -> None:
    assert TaskOptions.of(expires=2).expires_ms(1_000) == 3_000
    assert TaskOptions.of(expires=datetime(1970, 1, 1, 0, 1, tzinfo=UTC)).expires_ms(1_000) == 60_000
    assert TaskOptions.of().expires_ms(1_000) is None


def test_what_could_never_start_is_refused() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for early, late in (
        ({"expires": 5}, {"delay": 5.001}),
        ({"expires": moment}, {"at": moment + timedelta(seconds=1)}),
    ):
        for first, second in ((early, late), (late, early)):
            with pytest.raises(InvalidOption, match=r"comes after expires=.*could never start"):
                TaskOptions.of(**first).merge(**second)
        with pytest.raises(InvalidOption, match="could never start"):
            TaskOptions.of(**early, **late)
    assert TaskOptions.of(delay=5, expires=5).delay == 5
    assert TaskOptions.of(at=moment, expires=moment).at == 1_767_225_600_000
    assert TaskOptions.of(expires=5).merge(delay=9, expires=None).delay == 9


def test_the_hard_limit_follows_the_soft_one_unless_given() -> None:
    assert TaskOptions.of().hard_limit == 3_600
    assert TaskOptions.of(timeout=5).hard_limit == 15
    assert TaskOptions.of(timeout=5, hard_timeout=6).hard_limit == 6
    assert TaskOptions.of(timeout=5, hard_timeout=None).hard_limit is None
    assert TaskOptions.of(hard_timeout=None).merge(hard_timeout=UNSET, timeout=1).hard_limit == 11
    with pytest.raises(InvalidOption, match="hard_timeout=5 comes before timeout=6"):
        TaskOptions.of(timeout=6, hard_timeout=5)


def test_an_id_is_a_uuid_or_a_text() -> None:
    given_id = uuid4()
    assert TaskOptions.of(id=given_id).id == str(given_id)
    assert TaskOptions.of(id="order-42").id == "order-42"


def test_a_call_adds_headers_to_those_of_the_task() -> None:
    task = TaskOptions.of(headers={"a": "1", "b": "1"})
    assert task.merge(headers={"b": "2", "c": "2"}).headers == {"a": "1", "b": "2", "c": "2"}
    assert task.headers == {"a": "1", "b": "1"}


def test_the_retry_of_a_call_keeps_what_the_task_says_otherwise() -> None:
    task = TaskOptions.of(retry=RetryPolicy(base=1, on=OSError, never=FileNotFoundError))
    assert task.merge(retry=9).retry == RetryPolicy(9, 1, on=OSError, never=FileNotFoundError)
    assert task.merge(retry=False).retry.max_attempts == 1
    assert task.merge(retry=RetryPolicy(2, 3)).retry == RetryPolicy(2, 3, on=OSError, never=FileNotFoundError)


def test_exception_classes_of_a_call_are_refused() -> None:
    with pytest.raises(InvalidOption, match="cannot travel"):
        TaskOptions.of().merge(retry=RetryPolicy(on=OSError))


def test_the_forms_of_retry() -> None:
    assert retry_policy(None) == retry_policy(True) == RetryPolicy()
    assert retry_policy(5).max_attempts == 5
    assert retry_policy(False).max_attempts == 1
    assert retry_policy(policy := RetryPolicy(3)) is policy


@pytest.mark.parametrize(
    "options", [{"max_attempts": 0}, {"max_attempts": None}, {"base": -1}, {"cap": "1"}, {"on": "x"}, {"never": (1,)}]
)
def test_a_policy_is_checked_when_made(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=next(iter(options))):
        RetryPolicy(**options)


def test_never_wins_over_on() -> None:
    policy = RetryPolicy(on=(OSError, KeyError), never=FileNotFoundError)
    assert policy.retries(ConnectionError())
    assert policy.retries(KeyError())
    assert not policy.retries(FileNotFoundError())
    assert not policy.retries(ValueError())
    assert not RetryPolicy().retries(KeyboardInterrupt())


def test_a_call_without_options_carries_nothing() -> None:
    assert TaskOptions.of(timeout=5, retry=9).wire() == {}
    assert TaskOptions.of().merge(delay=5, priority=2, queue="mail", unique="a", expires=9).wire() == {}


def test_an_override_travels_even_if_it_equals_the_default_of_the_producer() -> None:
    sent = TaskOptions.of().merge(result_ttl=3_600).wire()
    assert TaskOptions.of(result_ttl=0).from_wire(sent).result_ttl == 3_600


_CALLS = st.fixed_dictionaries(
    {},
    optional={
        "timeout": st.none() | st.floats(0.1, 10**6),
        "hard_timeout": st.none() | st.floats(10**6, 10**7),
        "retry": st.integers(1, 100) | st.booleans() | st.builds(RetryPolicy, st.integers(1, 100), st.floats(0, 100)),
        "result_ttl": st.floats(0, 10**6),
        "max_result": st.integers(1, 10**8),
        "delivery": st.sampled_from(["at_least_once", "at_most_once"]),
    },
)


@given(_CALLS)
def test_what_a_call_says_arrives_at_the_worker(call: dict[str, Any]) -> None:
    task = TaskOptions.of(queue="mail", timeout=7, retry=RetryPolicy(3, on=OSError))
    merged = task.merge(**call)
    arrived = task.from_wire(orjson.loads(orjson.dumps(merged.wire())))
    assert arrived == merged


def test_a_longer_time_of_a_call_outweighs_a_hard_limit_that_the_producer_did_not_know() -> None:
    sent = TaskOptions.of().merge(timeout=100).wire()
    assert TaskOptions.of(hard_timeout=60).from_wire(sent).hard_limit == 110


@pytest.mark.parametrize(
    "data", [{"t": "x"}, {"t": -1}, {"r": 5}, {"r": [1, 2]}, {"r": ["a", 1, 1]}, {"d": "x"}, {"m": None}]
)
def test_a_message_with_impossible_options_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        TaskOptions.of().from_wire(data)


def test_options_of_a_newer_release_are_passed_over() -> None:
    assert TaskOptions.of().from_wire({"zz": 1}) == TaskOptions.of()


def test_ids_may_be_uuids_of_any_version() -> None:
    assert TaskOptions.of().merge(id=UUID(int=1)).id == "00000000-0000-0000-0000-000000000001"
