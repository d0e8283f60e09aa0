"""An interruption of a plain function waits while it would leave a lock of the standard library held."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from taskq.errors import TaskTimeout
from tests.runtime.test_review_slots import PATIENCE_S, Bench
from tests.runtime.world import World, world
from tests.servers import RealServer

pytestmark = pytest.mark.usefixtures("without_collector")


@pytest.fixture
def one_slot() -> Iterator[Bench]:
    bench = Bench(1)
    yield bench
    bench.slots.stop()


class Slow(logging.Handler):
    """Holds its lock until told."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.go_on = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.inside.set()
        assert self.go_on.wait(PATIENCE_S)


def spins() -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        time.sleep(0.001)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.001)


def inside_logging(thread: int) -> bool:
    """Whether a thread has come to where `logging` takes the lock of a handler."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_code.co_filename == logging.__file__ and frame.f_code.co_name in ("acquire", "handle"):
            return True
        frame = frame.f_back
    return False


def until_interrupted(bench: Bench) -> object:
    """Ask, as the ticker does, until it was done; answers the outcome."""
    ((thread, attempt),) = bench.slots.current()
    while not bench.slots.interrupt(thread, attempt, TaskTimeout):
        time.sleep(0.001)  # what the ticker does as well
    return bench.executor.next()[1]


def logger_with(handler: logging.Handler) -> logging.Logger:
    logger = logging.getLogger(f"{__name__}.{id(handler)}")
    logger.propagate = False
    logger.addHandler(handler)
    return logger


def test_a_task_that_waits_for_the_lock_of_a_handler_does_not_keep_it(one_slot: Bench) -> None:
    handler, there = Slow(), threading.Event()
    handler.go_on.set()
    logger = logger_with(handler)

    def logs() -> None:
        there.set()
        logger.warning("one")
        spins()

    assert handler.lock is not None
    with handler.lock:
        one_slot.feed(logs)
        assert there.wait(PATIENCE_S)
        ((thread, attempt),) = one_slot.slots.current()
        wait_until(lambda: inside_logging(thread.ident))  # before that it may be interrupted
        assert not one_slot.slots.interrupt(thread, attempt, TaskTimeout)
    assert isinstance(until_interrupted(one_slot), TaskTimeout)
    assert handler.inside.is_set()
    assert handler.lock.acquire(timeout=PATIENCE_S), "the lock was left behind, and whoever logs hangs"
    handler.lock.release()


def test_a_task_inside_a_handler_is_left_alone_until_it_is_through(one_slot: Bench) -> None:
    handler = Slow()
    logger = logger_with(handler)

    def logs() -> None:
        logger.warning("one")
        spins()

    one_slot.feed(logs)
    assert handler.inside.wait(PATIENCE_S)
    ((thread, attempt),) = one_slot.slots.current()
    assert not one_slot.slots.interrupt(thread, attempt, TaskTimeout)
    handler.go_on.set()
    assert isinstance(until_interrupted(one_slot), TaskTimeout)


def waits_for_events() -> None:
    event = threading.Event()
    while not event.wait(0.005):
        pass


def joins() -> None:
    other = threading.Thread(target=time.sleep, args=(0.3,))
    other.start()
    other.join()
    spins()


@pytest.mark.parametrize("function", [spins, waits_for_events, joins])
def test_what_only_waits_is_interrupted(one_slot: Bench, function: Callable[[], None]) -> None:
    one_slot.feed(function)
    while not one_slot.slots.current():
        time.sleep(0.001)
    assert isinstance(until_interrupted(one_slot), TaskTimeout)


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace) as one:
        yield one


def test_tasks_that_log_all_the_time_are_stopped_and_their_child_goes_on(here: World) -> None:
    worker = here.worker("-c", "4")
    messages = [here.enqueue("logs_all_the_time", f"l{number}") for number in range(12)]
    for message in messages:
        assert b"TaskTimeout" in here.until_state(message, "x").result
    assert here.until_state(here.enqueue("quick", "after"), "o").result[:1] == b"d"
    assert {one.pid for one in here.heard} == set(worker.children), "no child was ended for it"
