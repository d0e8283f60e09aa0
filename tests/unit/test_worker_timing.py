"""Decisions of the supervisor that are pure: restarts, jumps of the clock, what an outage says."""

from __future__ import annotations

import logging

import pytest

from taskq.errors import BrokerRefused, BrokerUnavailable
from taskq_workers.judging import Restarts, late
from taskq_workers.outage import Outage
from taskq_workers.sightings import Running
from taskq_workers.sweeper import ClockGuard


def a_run(number: int, hard: float) -> Running:
    return Running(number, 1, False, 0, 0, bytes([number]) * 16, bytes(20), 1.0, hard)


def test_only_tasks_past_their_hard_limit_are_late() -> None:
    runs = [a_run(1, 0.0), a_run(2, 10.0), a_run(3, 20.0)]
    assert late(runs, 10.0) == {b"\x02" * 16}


def test_a_child_that_lived_is_replaced_at_once_each_time() -> None:
    restarts = Restarts()
    assert [restarts.pause(age, served=True) for age in (1.0, 60.0, 1.5)] == [0.0, 0.0, 0.0]


def test_children_that_keep_dying_young_start_less_and_less_often() -> None:
    restarts = Restarts()
    pauses = [restarts.pause(0.1, served=True) for _ in range(12)]
    assert pauses[:5] == [0.0, 0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == 10.0
    assert restarts.pause(5.0, served=True) == 0.0
    assert restarts.quick == 0


def test_a_child_that_never_served_counts_as_young_however_slow_its_start() -> None:
    restarts = Restarts()
    assert [restarts.pause(30.0, served=False) for _ in range(3)] == [0.0, 0.1, 0.2]


def test_a_steady_clock_never_jumps_however_slow_the_answers() -> None:
    guard = ClockGuard(5.0)
    readings = [(1_000_000.0, 0.0, 0.0), (1_001_000.0, 1.0, 1.1), (1_002_000.0, 2.0, 20.0), (1_021_000.0, 21.0, 21.1)]
    assert [guard.jumped(*reading) for reading in readings] == [False] * 4


@pytest.mark.parametrize("jump", [-3_600_000.0, -6_000.0, 6_000.0, 3_600_000.0])
def test_a_jump_is_seen_once_in_either_direction(jump: float) -> None:
    guard = ClockGuard(5.0)
    assert not guard.jumped(1_000_000.0, 0.0, 0.0)
    assert guard.jumped(1_001_000.0 + jump, 1.0, 1.0)
    assert not guard.jumped(1_002_000.0 + jump, 2.0, 2.0)
    assert guard.server_ms(3.0) == 1_003_000.0 + jump


def test_an_outage_is_told_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    with caplog.at_level(logging.INFO, "taskq.worker"):
        pauses = [outage.began(BrokerUnavailable("gone")) for _ in range(6)]
        assert outage.lasts
        outage.ended()
        outage.ended()
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith("broker unreachable since ")
    assert second.startswith("broker is back after ")


def test_a_refusal_is_not_said_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    for _ in range(3):
        outage.complain("cannot sweep queue a", BrokerRefused("no right"))
        outage.complain("cannot sweep queue b", BrokerRefused("no right"))
    assert [record.getMessage() for record in caplog.records] == [
        "cannot sweep queue a: no right",
        "cannot sweep queue b: no right",
    ]
