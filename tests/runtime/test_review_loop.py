"""The event loop of a child by itself: what one task does to it is not felt by the next, nor costs it an outcome."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from queue import SimpleQueue
from typing import Any, cast

import pytest

from taskq.errors import TaskTimeout
from taskq.message import Message
from taskq.tasks.broker import Delivery
from taskq_workers.attempt import Attempt, Plan
from taskq_workers.executor import Executor
from taskq_workers.loop import LoopSlots
from taskq_workers.slots import SlotPool
from taskq_workers.table import Table

PATIENCE_S = 30

Work = Callable[[], Coroutine[Any, Any, Any]]


class FakePlan:
    """What the loop asks of a plan: a coroutine function, called as it is."""

    call = None
    name = "t"

    def __init__(self, function: Work, timeout: float | None, once: bool) -> None:
        self.task = self
        self.function = function
        self.timeout = timeout
        self.once = once

    def decode(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        return args, kwargs


class FakeExecutor:
    """Notes each outcome and how it came."""

    def __init__(self) -> None:
        self.outcomes: SimpleQueue[tuple[str, Any]] = SimpleQueue()

    def begin(self, attempt: Attempt, slot: int) -> bool:
        attempt.slot = slot
        return True

    def succeed(self, attempt: Attempt, value: Any) -> None:
        self.outcomes.put(("done", value))

    def fail(self, attempt: Attempt, error: BaseException) -> None:
        self.outcomes.put(("failed", error))

    def release(self, attempt: Attempt) -> None:
        self.outcomes.put(("released", None))

    def lose(self, attempt: Attempt) -> None:
        self.outcomes.put(("lost", None))

    def next(self) -> tuple[str, Any]:
        return self.outcomes.get(timeout=PATIENCE_S)


class Bench:
    """A loop with one slot, and an executor that notes."""

    def __init__(self) -> None:
        self.executor = FakeExecutor()
        self.slots = LoopSlots(SlotPool(1), cast("Executor", self.executor), Table.create(1), lambda: None)
        self.slots.start()

    def run(self, function: Work, timeout: float | None = None, once: bool = False) -> None:
        delivery = Delivery("q", os.urandom(16), b"", bytes(20), 1)
        plan = cast("Plan", FakePlan(function, timeout, once))
        self.slots.feed([Attempt(delivery, Message(delivery.id, "t", [], {}, 0), plan, 0.0, 0)])


@pytest.fixture
def bench() -> Iterator[Bench]:
    one = Bench()
    yield one
    one.slots.cut_off(PATIENCE_S)


async def nothing() -> str:
    return "next"


def test_sys_exit_in_an_asyncio_task_that_a_task_has_made_fails_that_task_and_no_more(bench: Bench) -> None:
    async def leaves() -> None:
        sys.exit("enough")

    async def gathers() -> None:
        await asyncio.gather(leaves(), asyncio.sleep(0))

    bench.run(gathers)
    kind, error = bench.executor.next()
    assert (kind, type(error)) == ("failed", SystemExit)
    bench.run(nothing)
    assert bench.executor.next() == ("done", "next")


def test_a_cancellation_that_a_task_swallowed_is_not_felt_by_the_next_in_its_slot(bench: Bench) -> None:
    async def swallows() -> str:
        try:
            await asyncio.sleep(PATIENCE_S)
        except asyncio.CancelledError:
            return "all the same"
        return "never cancelled"

    async def fails() -> None:
        raise ValueError("mine")

    async def groups() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await asyncio.sleep(PATIENCE_S)

    bench.run(swallows, timeout=0.01)
    assert bench.executor.next() == ("done", "all the same")
    bench.run(groups)
    kind, error = bench.executor.next()
    assert kind == "failed"
    assert isinstance(error, ExceptionGroup), error


def test_a_time_out_is_told_and_leaves_no_cancellation_behind(bench: Bench) -> None:
    async def waits() -> None:
        await asyncio.sleep(PATIENCE_S)

    async def asks() -> int:
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    bench.run(waits, timeout=0.01)
    kind, error = bench.executor.next()
    assert (kind, type(error)) == ("failed", TaskTimeout)
    bench.run(asks)
    assert bench.executor.next() == ("done", 0)


@pytest.mark.parametrize(("once", "outcome"), [(False, "released"), (True, "lost")])
def test_what_is_cut_off_is_given_back_unless_it_may_not_run_twice(bench: Bench, once: bool, outcome: str) -> None:
    runs = threading.Event()

    async def waits() -> None:
        runs.set()
        await asyncio.sleep(PATIENCE_S)

    bench.run(waits, once=once)
    assert runs.wait(PATIENCE_S)
    assert bench.slots.busy == 1
    bench.slots.cut_off(PATIENCE_S)
    assert bench.executor.next() == (outcome, None)
    assert bench.slots.busy == 0
