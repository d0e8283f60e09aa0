"""Schedules in memory: the clock of a test brings their slots."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import taskq.testing
from taskq import TaskQ
from taskq.tasks import registry

START = datetime(2031, 3, 29, 12, tzinfo=UTC)


def app_with(**options: Any) -> tuple[TaskQ, list[str]]:
    app, ran = TaskQ("shop", url="memory://"), list[str]()

    def report(word: str) -> None:
        ran.append(word)

    registry.allow_local = True
    try:
        cron = options.pop("cron", None)
        app.periodic(cron, args=("x",), name="report", **options)(app.task(name="report")(report))
    finally:
        registry.allow_local = False
    return app, ran


def test_a_slot_comes_with_the_clock() -> None:
    app, ran = app_with(cron="30 2 * * *", tz="Europe/Berlin")
    with taskq.testing.memory(app) as q:
        q.run_until_idle()
        assert ran == [], "what lies before the beginning is not missed"
        q.clock.set(START)
        q.run_until_idle()
        assert ran == ["x"], "of many missed nights the last"
        q.clock.set(datetime(2031, 3, 30, 0, 59, 59, tzinfo=UTC))
        q.run_until_idle()
        assert ran == ["x"]
        q.clock.advance(1)  # half past two is not there that night: it comes at three
        for _ in range(2):
            q.run_until_idle()
            assert ran == ["x", "x"]
        assert q.enqueued[-1].args == ("x",)


@pytest.mark.parametrize(("missed", "runs"), [("latest", 1), ("all", 3), ("skip", 0)])
def test_missed_slots(missed: str, runs: int) -> None:
    app, ran = app_with(every=3_600, missed=missed)
    with taskq.testing.memory(app) as q:
        q.clock.set(datetime(2031, 3, 1, 12, 10, tzinfo=UTC))  # not shortly before a slot
        q.run_until_idle()
        ran.clear()
        q.clock.advance(3 * 3_600 + 120)
        q.run_until_idle()
    assert len(ran) == runs


async def test_in_an_event_loop() -> None:
    app, ran = app_with(every=60)
    with taskq.testing.memory(app) as q:
        q.clock.advance(60)
        await q.arun_until_idle()
    assert ran == ["x"]


@pytest.mark.parametrize(("overlap", "runs"), [("skip", 1), ("allow", 2), ("cancel_previous", 1)])
def test_overlap(overlap: str, runs: int) -> None:
    app, ran = app_with(every=60, jitter=0, overlap=overlap, missed="all")
    with taskq.testing.memory(app) as q:
        q.clock.advance(120)
        q.run_until_idle()
        assert len(q.enqueued) == (1 if overlap == "skip" else 2)
    assert len(ran) == runs
