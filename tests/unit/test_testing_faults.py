"""The faults that `taskq.testing` lets happen, and the time that it moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

import taskq
from taskq import (
    Incident,
    RetryPolicy,
    TaskFailed,
    TaskQ,
)
from taskq.errors import InvalidOption, UnknownTask
from taskq.tasks.failure import tried
from taskq.testing import Memory, memory

app = TaskQ("testing-faults")
runs: list[tuple[str, int, int]] = []


@pytest.fixture
def q() -> Iterator[Memory]:
    runs.clear()
    with memory(app) as q:
        yield q


@app.task(aliases=["old.charge"])
def charge(order: int) -> int:
    me = taskq.current()
    runs.append(("charge", order, me.crashes))
    return order * 2


@app.task(queue="async")
async def acharge(order: int) -> int:
    await asyncio.sleep(0)
    runs.append(("acharge", order, taskq.current().crashes))
    return order * 2


@app.task(delivery="at_most_once")
def once(order: int) -> None:
    runs.append(("once", order, taskq.current().crashes))


@app.task(retry=RetryPolicy(max_attempts=2, base=60))
def broken() -> None:
    runs.append(("broken", 0, taskq.current().crashes))
    raise ZeroDivisionError("broken")


# -- a worker that dies before the settle


def test_the_effects_have_happened_and_it_runs_again(q: Memory) -> None:
    handle = charge.enqueue(1)
    with q.crash_before_settle(charge) as fault:
        q.run_until_idle()
    assert runs == [("charge", 1, 0), ("charge", 1, 1)]
    assert fault.fired == 1
    assert handle.result() == 2


async def test_in_an_event_loop(q: Memory) -> None:
    handles = [await acharge.aenqueue(1), await charge.aenqueue(2)]
    with q.crash_before_settle(times=2):
        await q.arun_until_idle()
    assert sorted(runs) == [("acharge", 1, 0), ("acharge", 1, 1), ("acharge", 1, 2), ("charge", 2, 0)]
    assert [await handle.aresult() for handle in handles] == [2, 4]


@pytest.mark.parametrize("name", [charge, charge.name, "old.charge"])
def test_only_the_named_task_dies(q: Memory, name: Any) -> None:
    acharge.enqueue(1)
    app.enqueue("old.charge", 2)
    with q.crash_before_settle(name):
        q.run_until_idle()
    assert runs == [("acharge", 1, 0), ("charge", 2, 0), ("charge", 2, 1)] or runs[-1] == ("acharge", 1, 0)
    assert len(runs) == 3


def test_an_error_that_was_not_stored_spends_no_attempt(q: Memory) -> None:
    heard: list[int] = []

    @app.task(name="failing", retry=RetryPolicy(max_attempts=2, base=60))
    def failing() -> None:
        raise ValueError(taskq.current().attempt)

    @failing.on_failure
    def note(incident: Incident) -> None:
        heard.append(incident.failure.attempt)

    handle = failing.enqueue()
    with q.crash_before_settle(failing):
        q.run_until_idle(raise_errors=False)
    info = handle.info()
    assert heard == [1, 2], "the run that died told no hook"
    assert [line["kind"] for line in info.history] == ["crash", "error", "error"]
    assert (info.status, info.attempts, info.crashes) == ("dead", 2, 0)


def test_a_dead_letter_that_crashed_counts_no_run_that_spent_no_attempt() -> None:
    free, died = {"kind": "error", "attempt": 1}, {"kind": "crash", "attempt": 0}
    assert tried(0, [free, died, died, died, died]) == 0
    assert tried(1, [{"kind": "error", "attempt": 1}, {"kind": "error", "attempt": 2}]) == 2


def test_the_third_death_makes_a_dead_letter(q: Memory) -> None:
    handle, other = charge.enqueue(1), charge.enqueue(2)
    dead: list[Incident] = []
    app.hooks.dead.append(dead.append)
    try:
        with q.crash_before_settle(charge, times=3), pytest.raises(TaskFailed, match="crashed its worker 3 times"):
            q.run_until_idle()
    finally:
        app.hooks.dead.remove(dead.append)
    assert dead == [], "who would call the hook has died"
    info = handle.info()
    assert (info.status, info.crashes, info.attempts) == ("dead", 3, 0)
    assert {line["type"] for line in info.history} == {"WorkerDied"}
    assert len(info.history) == 4
    with pytest.raises(TaskFailed, match="WorkerDied"):
        handle.result()
    assert other.result() == 4


def test_deaths_without_an_error_raised(q: Memory) -> None:
    handle = charge.enqueue(1)
    with q.crash_before_settle(times=3):
        q.run_until_idle(raise_errors=False)
    assert handle.status() == "dead"
    assert runs == [("charge", 1, number) for number in range(3)]


def test_a_run_that_ends_clears_the_count(q: Memory) -> None:
    broken.enqueue()
    with q.crash_before_settle(broken, times=2), suppress(ZeroDivisionError):
        q.run_until_idle()
    assert [crashes for _, _, crashes in runs] == [0, 1, 2, 0]


def test_at_most_once_is_lost_and_says_so(q: Memory) -> None:
    handle = once.enqueue(1)
    with q.crash_before_settle(once), pytest.raises(TaskFailed, match="at_most_once does not run it again"):
        q.run_until_idle()
    assert runs == [("once", 1, 0)]
    assert [line["kind"] for line in handle.info().history] == ["crash", "lost"]
    assert handle.status() == "dead"


def test_a_follow_up_comes_once(q: Memory) -> None:
    charge.options(then=acharge.call(7)).enqueue(1)
    with q.crash_before_settle(charge, times=2):
        q.run_until_idle()
    assert [call.task for call in q.enqueued] == [charge.name, acharge.name]
    assert runs.count(("acharge", 7, 0)) == 1


def test_what_it_enqueued_itself_is_there_twice(q: Memory) -> None:
    @app.task(name="careless")
    def careless() -> None:
        charge.enqueue(1)

    @app.task(name="careful")
    def careful() -> None:
        charge.options(id=f"charge-{taskq.current().id}").enqueue(1)

    for task, messages in ((careless, 2), (careful, 1)):
        task.enqueue()
        with q.crash_before_settle(task):
            q.run_until_idle()
        assert runs.count(("charge", 1, 0)) == messages
        runs.clear()


def test_a_unique_key_is_held_through_a_death(q: Memory) -> None:
    seen: list[bool] = []

    @app.task(name="holder")
    def holder() -> None:
        seen.append(holder.options(unique="k").enqueue().created)

    holder.options(unique="k").enqueue()
    with q.crash_before_settle(holder):
        q.run_until_idle()
    assert seen == [False, False]


def test_a_fence_grows_with_each_run(q: Memory) -> None:
    fences: list[int] = []

    @app.task(name="fenced")
    def fenced() -> None:
        fences.append(taskq.current().fence)

    fenced.enqueue()
    with q.crash_before_settle(fenced, times=2):
        q.run_until_idle()
    assert fences[0] < fences[1] < fences[2]


def test_a_task_that_waits_for_another_that_dies(q: Memory) -> None:
    @app.task(name="waits")
    def waits() -> int:
        return charge.enqueue(4).result() + 1

    handle = waits.enqueue()
    with q.crash_before_settle(charge):
        assert handle.result() == 9


def test_a_fault_that_did_not_fire_fails_the_test(q: Memory) -> None:
    with pytest.raises(AssertionError, match=r"crash_before_settle\(.*charge\) fired 0 of 1 times"):  # noqa: SIM117
        with q.crash_before_settle(charge):
            charge.enqueue(1)
    with pytest.raises(AssertionError, match="fired 3 of 5 times"):  # noqa: SIM117
        with q.crash_before_settle(times=5):
            q.run_until_idle(raise_errors=False)
    charge.enqueue(2)
    q.run_until_idle()
    assert runs[3:] == [("charge", 2, 0)], "after its block a fault is gone"


def test_an_error_of_the_block_is_not_covered_up(q: Memory) -> None:
    for fault in (q.crash_before_settle(), q.lose_reply()):
        with pytest.raises(KeyError), fault:
            raise KeyError("mine")


def test_what_cannot_be_meant_is_refused(q: Memory) -> None:
    with pytest.raises(UnknownTask, match="did you mean"):
        q.crash_before_settle(charge.name + "s")
    with pytest.raises(InvalidOption, match="times=0"):
        q.crash_before_settle(charge, times=0)
    with pytest.raises(InvalidOption, match="times="):
        q.lose_reply(times=True)
