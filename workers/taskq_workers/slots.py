"""Slots for plain functions: threads that share one deque.

A thread takes the next message when it has ended the one before, so a batch of short tasks costs no thread switch
each. A thread that is about to start a task known to be slow wakes another one first; a task that turns out slow is
seen by the ticker, which does the same. So a long task never holds up the next, and ten short ones do not wake ten
threads.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Protocol

from taskq.errors import TaskCancelled, TaskTimeout
from taskq.tasks.context import running
from taskq_workers.attempt import SLOW_S, Attempt
from taskq_workers.executor import Executor
from taskq_workers.moments import still
from taskq_workers.table import Table

log = logging.getLogger("taskq.worker")
_raise_in = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.py_object)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)
_take_back = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)


class SlotUser(Protocol):
    """What the two kinds of slots need of each other."""

    work: deque[Attempt]

    def wake(self) -> None:
        """Use a slot that has become free."""
        ...


class SlotPool:
    """The numbers of a child's slots, shared by its threads and its event loop: as many attempts run at once."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.free = deque(range(count))

    def take(self) -> int | None:
        try:
            return self.free.popleft()
        except IndexError:
            return None

    def give(self, slot: int) -> None:
        self.free.append(slot)


class _Thread:
    """One thread. `gate` is held while it sleeps, `attempt` is what may be interrupted, and `busy` lasts from before a
    message is taken until its outcome is in the settle buffer.
    """

    __slots__ = ("attempt", "busy", "fired", "gate", "ident", "thread")

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.attempt: Attempt | None = None
        self.busy = False
        self.fired: Attempt | None = None
        self.ident = 0
        self.thread: threading.Thread | None = None


class ThreadSlots:
    """Life: feed from the fetcher, `hungry` is called when little is left, `stop` ends the threads when they are
    done.
    """

    def __init__(self, pool: SlotPool, executor: Executor, table: Table, hungry: Callable[[], None]) -> None:
        self._pool = pool
        self._executor = executor
        self._table = table
        self._hungry = hungry
        self.work: deque[Attempt] = deque()
        self.low = 0  # the fetcher is told when no more than this is left
        self.completed = 0
        self._idle: list[_Thread] = []
        self._threads: list[_Thread] = []
        self._firing = threading.Lock()
        self._stopping = False
        self._others: SlotUser | None = None

    def share_with(self, others: SlotUser) -> None:
        """The event loop that takes its slots from the same pool."""
        self._others = others

    def feed(self, attempts: list[Attempt]) -> None:
        self.work.extend(attempts)
        self.wake()

    def wake(self) -> None:
        """Wake one sleeping thread, or start one while there are fewer than slots."""
        try:
            self._idle.pop().gate.release()
        except IndexError:
            if len(self._threads) < self._pool.count and not self._stopping:
                self._start_thread()

    def _start_thread(self) -> None:
        mine = _Thread()
        self._threads.append(mine)
        name = f"taskq-slot-{len(self._threads)}"
        mine.thread = threading.Thread(target=self._loop, args=(mine,), name=name, daemon=True)
        mine.thread.start()

    def current(self) -> list[tuple[_Thread, Attempt]]:
        """What runs now."""
        return [(thread, attempt) for thread in list(self._threads) if (attempt := thread.attempt) is not None]

    @property
    def busy(self) -> int:
        return sum(thread.busy for thread in list(self._threads))

    def stop(self) -> None:
        """Let every thread end once it has nothing to do."""
        self._stopping = True
        for _ in range(len(self._threads)):
            self.wake()

    # -- one thread -------------------------------------------------------------------------------------------------

    def _loop(self, mine: _Thread) -> None:
        mine.ident = threading.get_ident()
        work = self.work
        while True:
            slot = self._pool.take() if work else None
            if slot is not None:
                mine.busy = True
                try:
                    self._slice(mine, slot)
                finally:
                    mine.busy = False
                    self._pool.give(slot)
                if self._others is not None and self._others.work:
                    self._others.wake()
            self._hungry()
            if self._stopping and not work:
                return
            self._idle.append(mine)
            if work and self._pool.free:
                # Fed between the last look and going to sleep: whoever fed may have seen nobody asleep.
                try:
                    self._idle.remove(mine)
                    continue
                except ValueError:
                    pass  # someone is waking this thread already
            mine.gate.acquire()

    def _slice(self, mine: _Thread, slot: int) -> None:
        """Run messages until there is none, or the event loop waits for a slot."""
        work, others = self.work, self._others
        while True:
            try:
                attempt = work.popleft()
            except IndexError:
                return
            if work:
                if len(work) <= self.low:
                    self._hungry()
                if attempt.plan.pace >= SLOW_S and self._pool.free:
                    self.wake()
            self._run(mine, attempt, slot)
            self.completed += 1
            if others is not None and others.work and not self._pool.free:
                return

    def _run(self, mine: _Thread, attempt: Attempt, slot: int) -> None:
        executor = self._executor
        value: object = None
        raised: BaseException | None = None
        try:
            if not executor.begin(attempt, slot):
                return
            # Only now: an interruption is for the task, not for the steps around it.
            mine.attempt = attempt
            value = copy_context().run(_perform, attempt)
            mine.attempt = None
        except BaseException as error:  # noqa: BLE001 - a task may raise anything, and none of it may end the worker
            mine.attempt = None
            raised = error
        if mine.fired is attempt:
            # Whatever is on its way arrives with the first call that is made, even before that does anything.
            try:  # noqa: SIM105 - to make a `suppress` would be such a call
                self._absorb(mine)
            except (TaskTimeout, TaskCancelled):
                pass  # here it does no harm
        self._table.clear(slot)
        if raised is None:
            executor.succeed(attempt, value)
        else:
            executor.fail(attempt, raised)
            raised = None  # it holds this frame, and this frame would hold it
        plan = attempt.plan
        plan.pace += (time.monotonic() - attempt.started - plan.pace) * 0.2

    # -- what the ticker does ---------------------------------------------------------------------------------------

    def interrupt(self, thread: _Thread, attempt: Attempt, error: type[BaseException]) -> bool:
        """Raise in a thread, if it still runs that attempt; False if it is at no place for that now: ask again.

        A call into C code returns first; Python cannot help it.
        """
        with self._firing:
            # Told before it is asked: a thread that ends its attempt in between sees that something is on its way.
            thread.fired = attempt
            if thread.attempt is attempt:
                if not still(thread.ident, _perform.__code__):
                    return False
                _raise_in(thread.ident, error)
        return True

    def _absorb(self, mine: _Thread) -> None:
        """Take an interruption back that was meant for the attempt that has just ended."""
        with self._firing:
            mine.fired = None
            _take_back(mine.ident, None)


def _perform(attempt: Attempt) -> object:
    """The task itself, in a copy of the thread's context, so that nothing it sets is seen by the next."""
    running.set(attempt)
    plan, message = attempt.plan, attempt.message
    args, kwargs = plan.decode(message.args, message.kwargs)
    if plan.call is None:
        return plan.task.function(*args, **kwargs)
    return plan.call(attempt, args, kwargs)
