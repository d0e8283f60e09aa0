"""Slots for coroutines: one event loop in a thread of its own, with as many long-lived workers on it as slots.

A worker awaits one task after the other, so a coroutine that never waits costs no new asyncio task. They step aside
often enough for timers and sockets. What a task sets in its context is seen by the next one in the same slot.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from taskq.errors import TaskCancelled, TaskTimeout
from taskq.tasks.context import running
from taskq_workers.attempt import Attempt
from taskq_workers.executor import Executor
from taskq_workers.slots import SlotPool, ThreadSlots
from taskq_workers.table import Table

log = logging.getLogger("taskq.worker")

_SLICE_S = 0.005  # after this much work without a pause a worker lets the loop turn once


class LoopSlots:
    """Life: start; feed from the fetcher; `cut_off` cancels what still runs."""

    def __init__(self, pool: SlotPool, executor: Executor, table: Table, hungry: Callable[[], None]) -> None:
        self._pool = pool
        self._executor = executor
        self._table = table
        self._hungry = hungry
        self.work: deque[Attempt] = deque()
        self.low = 0
        self.completed = 0
        self.running: dict[int, Attempt] = {}
        self.ticked = 0.0
        self.busy = 0  # slots in use, from before a message is taken until its outcome is in the settle buffer
        self._idle: list[asyncio.Future[None]] = []
        self._workers: list[asyncio.Task[None]] = []
        self._others: ThreadSlots | None = None
        self._stopping = False
        self.given_back = 0  # by `cut_off`
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name="taskq-loop", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def share_with(self, others: ThreadSlots) -> None:
        """The threads that take their slots from the same pool."""
        self._others = others

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._beat)
        while not self._loop.is_closed():
            try:
                self._loop.run_forever()
            except BaseException:  # sys.exit() in an asyncio task that a task of ours has made comes out here
                log.exception("the event loop was left, and goes on")

    def _beat(self) -> None:
        self.ticked = time.monotonic()
        self._loop.call_later(0.25, self._beat)

    def feed(self, attempts: list[Attempt]) -> None:
        self.work.extend(attempts)
        self.wake()

    def wake(self) -> None:
        self._loop.call_soon_threadsafe(self._pump)

    def call(self, work: Coroutine[Any, Any, Any], timeout: float | None = None) -> Any:
        """Run a coroutine on the loop and wait for it; for hooks. Raises TimeoutError after `timeout` seconds."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def post(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine on the loop without waiting for it."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def cut_off(self, timeout: float) -> None:
        """Cancel what still runs and give it back; the loop goes on for shut-down hooks, until the process ends."""
        self._stopping = True
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result(timeout)

    async def _cancel_all(self) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def interrupt(self, attempt: Attempt) -> None:
        """Cancel one attempt, if it still runs; the reason stands in the attempt."""
        self._loop.call_soon_threadsafe(self._cancel, attempt)

    def _cancel(self, attempt: Attempt) -> None:
        worker = attempt.task_of_loop
        if worker is not None and self.running.get(attempt.slot) is attempt:
            worker.cancel()

    # -- on the loop ------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Wake a sleeping worker for each waiting message and free slot, or make one."""
        wanted = min(len(self.work), len(self._pool.free))
        while wanted > 0 and self._idle:
            future = self._idle.pop()
            if not future.done():
                future.set_result(None)
                wanted -= 1
        while wanted > 0 and len(self._workers) < self._pool.count:
            self._workers.append(self._loop.create_task(self._worker()))
            wanted -= 1

    async def _worker(self) -> None:
        while True:
            slot = self._pool.take() if self.work else None
            if slot is not None:
                self.busy += 1
                try:
                    await self._slice(slot)
                finally:
                    self.busy -= 1
                    self._pool.give(slot)
                if self._others is not None and self._others.work:
                    self._others.wake()
            self._hungry()
            if self.work and self._pool.free:
                await asyncio.sleep(0)
                continue
            future = self._loop.create_future()
            self._idle.append(future)
            await future

    async def _slice(self, slot: int) -> None:
        work, others = self.work, self._others
        began = time.monotonic()
        while work:
            attempt = work.popleft()
            if len(work) <= self.low:
                self._hungry()
            await self._run(attempt, slot)
            self.completed += 1
            if others is not None and others.work and not self._pool.free:
                return
            now = time.monotonic()
            if now - began > _SLICE_S:
                await asyncio.sleep(0)
                began = now

    async def _run(self, attempt: Attempt, slot: int) -> None:
        executor, plan, message = self._executor, attempt.plan, attempt.message
        if not executor.begin(attempt, slot):
            return
        worker = asyncio.current_task()
        attempt.task_of_loop = worker
        self.running[slot] = attempt
        running.set(attempt)
        timer = None
        if plan.timeout is not None:
            timer = self._loop.call_later(plan.timeout, self._time_out, attempt)
        try:
            args, kwargs = plan.decode(message.args, message.kwargs)
            if plan.call is None:
                value = await plan.task.function(*args, **kwargs)
            else:
                value = await plan.call(attempt, args, kwargs)
        except asyncio.CancelledError as error:
            self._ended(attempt, slot, timer, worker)
            self._cut_off(attempt, error)
        except BaseException as error:  # noqa: BLE001 - a task may raise anything, and none of it may end the worker
            self._ended(attempt, slot, timer, worker)
            executor.fail(attempt, error)
        else:
            self._ended(attempt, slot, timer, worker)
            executor.succeed(attempt, value)

    def _ended(
        self, attempt: Attempt, slot: int, timer: asyncio.TimerHandle | None, worker: asyncio.Task[None] | None
    ) -> None:
        if timer is not None:
            timer.cancel()
        attempt.task_of_loop = None
        self.running.pop(slot, None)
        self._table.clear(slot)
        # What was asked of this attempt, and perhaps swallowed by it, is no business of the next in this slot.
        while worker is not None and not self._stopping and worker.cancelling():
            worker.uncancel()

    def _time_out(self, attempt: Attempt) -> None:
        attempt.timed_out = True
        self._cancel(attempt)

    def _cut_off(self, attempt: Attempt, error: BaseException) -> None:
        """A cancellation arrived: ours for a reason, ours because the child stops, or the task's own doing."""
        if attempt.timed_out:
            reason: BaseException = TaskTimeout(f"ran longer than its timeout of {attempt.plan.timeout} s")
        elif attempt.cancel_requested:
            reason = TaskCancelled("cancelled while it ran")
        elif self._stopping:
            if attempt.plan.once:
                self._executor.lose(attempt)
            else:
                self._executor.release(attempt)
                self.given_back += 1
            raise error
        else:
            self._executor.fail(attempt, error)
            return
        reason.__cause__ = error
        self._executor.fail(attempt, reason)
