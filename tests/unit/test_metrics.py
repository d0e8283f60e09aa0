"""Metrics of a namespace that was made up: each number arrives, read back by the parsers that Prometheus gives out."""

from __future__ import annotations

import builtins
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from taskq import metric_names as names
from taskq.buckets import Histogram, bounds, bucket
from taskq.errors import ConfigError
from taskq.exposition import BOUNDS, OPENMETRICS, Page, cumulative, estimated_sum
from taskq.metrics import describe
from tests.unit.scenery import HOSTILE, snapshot

Parse = Callable[[str], Iterable[Any]]
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def page() -> Page:
    one = Page()
    describe(snapshot(), one)
    return one


def series(text: str, parse: Parse) -> Series:
    """Every sample by its name and labels; none may come twice."""
    found: Series = {}
    for family in parse(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def at(found: Series, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


@pytest.fixture(params=["plain", "openmetrics"])
def found(request: pytest.FixtureRequest) -> Series:
    plain = request.param == "plain"
    body, kind = page().text("text/plain" if plain else f"{OPENMETRICS};version=1.0.0,*/*;q=0.1")
    assert kind.startswith("text/plain; version=0.0.4" if plain else OPENMETRICS)
    return series(body.decode(), parse_plain if plain else parse_openmetrics)


def test_what_happened_to_messages_is_counted(found: Series) -> None:
    assert at(found, "taskq_messages_enqueued_total", queue="mail") == 1000
    ended = {outcome: at(found, "taskq_messages_ended_total", queue="mail", outcome=outcome) for outcome in OUTCOMES}
    assert ended == {"done": 850, "dead": 11, "cancelled": 13, "expired": 17}
    other = ("messages_reclaimed", "attempts_crashed", "dead_letters_dropped")
    assert [at(found, f"taskq_{name}_total", queue="mail") for name in other] == [19, 23, 29]
    where = {"queue": "mail", "task": "shop.send"}
    attempts = {
        outcome: at(found, "taskq_attempts_total", **where, outcome=outcome) for outcome in (*OUTCOMES, "retried")
    }
    assert attempts == {"done": 850, "retried": 50, "dead": 11, "cancelled": 13, "expired": 17}
    assert at(found, "taskq_attempts_failed_total", **where) == 61
    assert at(found, "taskq_messages_enqueued_total", queue="log") == 0, "a queue without counters has them at nought"


OUTCOMES = ("done", "dead", "cancelled", "expired")


def test_each_message_is_in_one_state(found: Series) -> None:
    states = {
        dict(labels)["state"]: value
        for (name, labels), value in found.items()
        if name == "taskq_queue_messages" and ("queue", "mail") in labels
    }
    # Of nine leased ones two were fetched and not started: they are still ready to a reader.
    assert states == {
        "ready": 102,
        "running": 7,
        "delayed": 15,
        "retrying": 5,
        "parked": 4,
        "dead": 3,
        "quarantined": 2,
    }
    assert at(found, "taskq_queue_oldest_age_seconds", queue="mail") == 12.5
    assert at(found, "taskq_queue_oldest_age_seconds", queue="log") == 0
    assert [at(found, "taskq_queue_paused", queue=queue) for queue in ("mail", "log")] == [1, 0]
    assert [at(found, "taskq_queue_truncated", queue=queue) for queue in ("mail", "log")] == [0, 1]


def test_entries_of_streams_are_told_of_stream_queues_only(found: Series) -> None:
    entries = {labels: value for (name, labels), value in found.items() if name == "taskq_stream_entries"}
    assert entries == {
        frozenset({"queue": "log", "state": state}.items()): value
        for state, value in {"unread": 4, "pending": 6, "history": 40}.items()
    }


def test_workers_slots_schedules_and_the_broker(found: Series) -> None:
    workers = {
        state: at(found, "taskq_workers", state=state)
        for state in ("starting", "running", "quiet", "draining", "silent")
    }
    assert workers == {"starting": 0, "running": 1, "quiet": 0, "draining": 1, "silent": 1}
    # One child of eight slots with three at work, and one with a single slot; who is silent counts nowhere.
    assert (at(found, "taskq_slots", state="busy"), at(found, "taskq_slots", state="free")) == (4, 5)
    assert (at(found, "taskq_schedules", state="active"), at(found, "taskq_schedules", state="paused")) == (1, 1)
    assert at(found, "taskq_schedule_delay_seconds") == 2.5
    broker = [at(found, f"taskq_broker_{name}") for name in ("memory_bytes", "memory_limit_bytes", "clients")]
    assert broker == [1_000_000, 2_000_000, 42]
    assert at(found, "taskq_exporter_missing_parts") == 1


def test_s103_topics_and_their_groups_are_told(found: Series) -> None:
    topics = {
        name: [at(found, f"taskq_topic_{name}", topic=topic) for topic in ("orders", "bare")]
        for name in ("records_total", "bytes_total", "retained_records", "retained_bytes")
    }
    assert topics == {
        "records_total": [123, 23],
        "bytes_total": [1_345, 345],
        "retained_records": [64, 4],
        "retained_bytes": [656, 56],
    }
    groups = {
        name.removeprefix("taskq_group_"): value
        for (name, labels), value in found.items()
        if name.startswith("taskq_group_") and labels == frozenset({"topic": "orders", "group": "billing"}.items())
    }
    assert groups == {
        "lag_records": 37,
        "lag_bytes": 370,
        "lag_seconds": 12.5,
        "records_total": 441,
        "retries_total": 543,
        "records_dead_total": 647,
        "records_lost_total": 9,
        "dead_letters": 5,
        "waiting": 7,
        "members": 2,
        "rebalances_total": 31,
    }
    assert not [labels for name, labels in found if name.startswith("taskq_group_") and ("topic", "bare") in labels]


def test_histograms_are_cumulative_and_exact_at_their_bounds(found: Series) -> None:
    where = {"queue": "mail", "task": "shop.send"}
    rows = {
        dict(labels)["le"]: value
        for (name, labels), value in found.items()
        if name == "taskq_message_run_seconds_bucket" and where.items() <= dict(labels).items()
    }
    assert len(rows) == len(BOUNDS) + 1
    assert [rows[bound] for bound in ("0.000256", "0.001024", "0.004096", "0.262144", "0.524288", "+Inf")] == [
        *(2, 4, 5, 5, 6),
        7,
    ]
    assert at(found, "taskq_message_run_seconds_count", **where) == 7
    assert at(found, "taskq_message_wait_seconds_count", **where) == 3


def test_a_name_from_outside_is_escaped(found: Series) -> None:
    assert at(found, "taskq_attempts_total", queue="mail", task=HOSTILE, outcome="done") == 1


def test_pages_say_only_what_the_file_of_names_knows(found: Series) -> None:
    known = {metric.name: metric for metric in names.ALL}
    told = set()
    for name, labels in found:
        own = name if name in known else re.sub("_(bucket|count|sum)$", "", name)
        assert set(dict(labels)) - {"le"} == set(known[own].labels), name
        told.add(own)
    assert told == {metric.name for metric in names.NAMESPACE} | {names.EXPORTER_MISSING.name}


def test_names_keep_the_rules_of_prometheus() -> None:
    assert len({metric.name for metric in names.ALL}) == len(names.ALL)
    for metric in names.ALL:
        assert re.fullmatch("taskq_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert metric.help.endswith("."), metric.name
        assert not {"id", "message", "worker", "instance", "job"} & set(metric.labels), metric.name
        assert not re.search("_(ms|millis|micros|minutes|kb|mb|mib)(_|$)", metric.name)


# -- the bounds


def test_each_bound_is_the_upper_end_of_a_bucket() -> None:
    ends = {bounds(number)[1] for number in range(2, 76)}
    assert len(BOUNDS) == 16
    assert {seconds for _, seconds in BOUNDS} <= ends
    assert sorted(BOUNDS) == list(BOUNDS)


@pytest.mark.parametrize("shift", [-1, 0])
def test_what_is_shorter_than_a_bound_is_below_it_and_nothing_else(shift: int) -> None:
    for length, _ in BOUNDS:
        rows = cumulative(Histogram({bucket(2**length + shift): 1}))
        below = [float(bound) for bound, count in rows if count]
        assert (2**length / 1e6 in below) == (shift < 0)


def test_the_sum_is_near_what_it_is() -> None:
    given = [micros for length in range(1, 36) for micros in (2**length, 2**length + 2 ** (length - 1) + 1)]
    counts: dict[int, int] = {}
    for one in given:
        counts[bucket(one)] = counts.get(bucket(one), 0) + 1
    assert estimated_sum(Histogram(counts)) == pytest.approx(sum(given) / 1e6, rel=0.26)


# -- what is not there


def test_without_the_library_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("prometheus_client"):
            raise ImportError(name)
        return real(name, *rest)

    real = builtins.__import__
    for name in [name for name in sys.modules if name.startswith("prometheus_client")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"-redis\[metrics\]"):
        Page().text()


def test_odd_records_of_workers_spoil_no_page() -> None:
    from dataclasses import replace

    from taskq.snapshot import WorkerInfo

    records: list[dict[str, Any]] = [
        {"children": None},
        {"children": [None, 3, {"running": "x"}], "concurrency": "y", "state": ["z"]},
        {"state": HOSTILE},
    ]
    workers = tuple(WorkerInfo("w", 1.0, True, record) for record in records)
    one = Page()
    describe(replace(snapshot(), workers=workers), one)
    found = series(one.text()[0].decode(), parse_plain)
    assert at(found, "taskq_slots", state="free") == 0
    assert at(found, "taskq_workers", state="running") == 3


def test_a_worker_that_cannot_write_metrics_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from taskq_workers.commands.serving import served
    from taskq_workers.config import WorkerConfig

    for name in [name for name in sys.modules if name.startswith("prometheus_client")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"-redis\[metrics\]"), served(WorkerConfig("a:b", metrics_port=0), Any):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        raise AssertionError("it serves")
    with served(WorkerConfig("a:b", health_port=0), Any):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        pass  # probes need no library
