"""The slots of a child by themselves: no interruption, error or shut-down loses an outcome or a slot."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, cast

import pytest

from taskq.errors import TaskCancelled, TaskTimeout
from taskq.message import Message
from taskq.tasks.broker import Delivery
from taskq_workers.attempt import Attempt, Plan
from taskq_workers.executor import Executor
from taskq_workers.slots import SlotPool, ThreadSlots
from taskq_workers.table import Table

PATIENCE_S = 30

pytestmark = pytest.mark.usefixtures("without_collector")


class FakePlan:
    """What the slots ask of a plan: a function, called as it is."""

    call = None
    pace = 1.0

    def __init__(self, function: Callable[[], Any]) -> None:
        self.task = self
        self.function = function

    def decode(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        return args, kwargs


class FakeExecutor:
    """Notes each outcome."""

    def __init__(self) -> None:
        self.outcomes: SimpleQueue[tuple[Attempt, Any]] = SimpleQueue()

    def begin(self, attempt: Attempt, slot: int) -> bool:
        attempt.slot = slot
        return True

    def succeed(self, attempt: Attempt, value: Any) -> None:
        self.outcomes.put((attempt, value))

    def fail(self, attempt: Attempt, error: BaseException) -> None:
        self.outcomes.put((attempt, error))

    def next(self) -> tuple[Attempt, Any]:
        return self.outcomes.get(timeout=PATIENCE_S)


def an_attempt(function: Callable[[], Any]) -> Attempt:
    delivery = Delivery("q", os.urandom(16), b"", bytes(20), 1)
    message = Message(delivery.id, "t", [], {}, 0)
    return Attempt(delivery, message, cast("Plan", FakePlan(function)), 0.0, 0)


class Bench:
    """Thread slots on a table of their own, with an executor that notes."""

    def __init__(self, count: int) -> None:
        self.table = Table.create(count)
        self.executor = FakeExecutor()
        self.pool = SlotPool(count)
        self.slots = ThreadSlots(self.pool, cast("Executor", self.executor), self.table, lambda: None)

    def feed(self, *functions: Callable[[], Any]) -> list[Attempt]:
        attempts = [an_attempt(function) for function in functions]
        self.slots.feed(attempts)
        return attempts


@pytest.fixture
def one_slot() -> Iterator[Bench]:
    bench = Bench(1)
    yield bench
    bench.slots.stop()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        return ours, server.accept()[0]


def reset(connection: socket.socket) -> None:
    """Close it so that the other end gets an error."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_an_interruption_that_meets_the_error_of_a_call_into_c_ends_neither_thread_nor_outcome(one_slot: Bench) -> None:
    ours, theirs = tcp_pair()
    waiting = threading.Event()

    def receives() -> None:
        waiting.set()
        ours.recv(1)

    (attempt,) = one_slot.feed(receives)
    assert waiting.wait(PATIENCE_S)
    ((thread, current),) = one_slot.slots.current()
    assert current is attempt
    # It cannot arrive before the call into C returns, and that returns with an error of its own.
    one_slot.slots.interrupt(thread, attempt, TaskTimeout)
    reset(theirs)
    ended, outcome = one_slot.executor.next()
    assert ended is attempt
    assert isinstance(outcome, ConnectionResetError)
    one_slot.feed(lambda: "next")
    assert one_slot.executor.next()[1] == "next"
    ours.close()


def test_interruptions_at_any_moment_leave_one_outcome_for_each_attempt() -> None:
    bench = Bench(4)
    attempts = bench.feed(*[lambda: sum(range(500))] * 3000)
    ended: list[Attempt] = []
    told = threading.Event()

    def interrupt() -> None:
        while not told.is_set():
            for thread, attempt in bench.slots.current():
                bench.slots.interrupt(thread, attempt, random.choice((TaskTimeout, TaskCancelled)))

    ticker = threading.Thread(target=interrupt)
    ticker.start()
    try:
        ended += [bench.executor.next()[0] for _ in attempts]
    finally:
        told.set()
        ticker.join()
    assert len(set(map(id, ended))) == len(attempts)
    assert bench.executor.outcomes.empty()
    bench.feed(*[lambda: "alive"] * 8)
    assert [bench.executor.next()[1] for _ in range(8)] == ["alive"] * 8
    assert bench.table.running() == []
    bench.slots.stop()


def test_a_slot_is_busy_until_the_outcome_of_its_attempt_is_told(
    one_slot: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    telling, told = threading.Event(), threading.Event()
    succeed = one_slot.executor.succeed

    def slowly(attempt: Attempt, value: Any) -> None:
        telling.set()
        assert told.wait(PATIENCE_S)
        succeed(attempt, value)

    monkeypatch.setattr(one_slot.executor, "succeed", slowly)
    one_slot.feed(lambda: None)
    assert telling.wait(PATIENCE_S)
    assert one_slot.slots.busy == 1, "a child that stops now would leave without this outcome"
    told.set()
    one_slot.executor.next()
