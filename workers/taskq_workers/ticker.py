"""The ticker: twenty times a second it says that the child lives, and looks after what slots cannot see of themselves.

Soft time limits of plain functions, cancel requests, lost leases, tasks that turned out slow, and messages that have
waited here too long, which go back so that others can run them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from taskq.errors import LeaseLost, TaskCancelled, TaskTimeout
from taskq.message import id_text
from taskq_workers import streams
from taskq_workers.attempt import Attempt
from taskq_workers.executor import Executor
from taskq_workers.loop import LoopSlots
from taskq_workers.report import Report
from taskq_workers.slots import ThreadSlots
from taskq_workers.table import Table
from taskq_workers.tokens import TokenBook

log = logging.getLogger("taskq.worker")

PERIOD_S = 0.05
WAIT_LIMIT_S = 1.0
"""A message that has waited unstarted this long behind busy slots is given back."""

CANCEL_KEPT_S = 5.0
"""A cancel request is posted with each heartbeat until it is settled; one that is posted no more is meant no more."""

_LOOP_BLOCKED_S = 1.0
_TRIES = 5  # to interrupt in one tick
_TRY_S = 0.002


class Ticker:
    """One thread; `each_second` is called once a second with the number of attempts completed so far."""

    def __init__(
        self,
        table: Table,
        executor: Executor,
        threads: ThreadSlots,
        loop: LoopSlots | None,
        tokens: TokenBook,
        report: Report,
        each_second: Callable[[int], None],
    ) -> None:
        self._table = table
        self._executor = executor
        self._threads = threads
        self._loop = loop
        self._tokens = tokens
        self._report = report
        self._each_second = each_second
        self._completed = -1
        self._second = time.monotonic()
        self._recall = table.recall_number()
        self._blocked_told = False
        self._owed: list[tuple[Any, Attempt, type[BaseException]]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="taskq-tick", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(1.0)

    def _main(self) -> None:
        while not self._stop.wait(PERIOD_S):
            try:
                self._tick(time.monotonic())
            except Exception:
                log.exception("the ticker met an error and goes on")

    def _tick(self, now: float) -> None:
        self._table.tick(now)
        self._cancels(now)
        self._losses()
        self._time_limits(now)
        self._interrupt()
        self._slow()
        self._give_back(now)
        if now - self._second >= 1.0:
            self._second = now
            report = self._report
            self._table.set_counters(
                report.done_count, report.retried_count + report.dead_count, report.retried_count, report.dead_count,
                report.lost_count,
            )  # fmt: skip
            report.each_second()
            streams.tell()
            if self._executor.lost_tokens:
                self._executor.lost_tokens &= set(self._tokens.entries().values())
            self._watch_loop(now)
            self._each_second(self._threads.completed + (self._loop.completed if self._loop else 0))

    def _running(self) -> list[Attempt]:
        running = [attempt for _, attempt in self._threads.current()]
        return running + list(self._loop.running.values()) if self._loop else running

    # -- requests from outside --------------------------------------------------------------------------------------

    def _cancels(self, now: float) -> None:
        cancelled = self._executor.cancelled
        for message, _ in self._table.new_cancels():
            for thread, attempt in self._threads.current():
                if attempt.id == message and not attempt.cancel_requested:
                    attempt.cancel_requested = True
                    self._owed.append((thread, attempt, TaskCancelled))
                    log.info("cancelling %s %s", attempt.plan.name, id_text(message))
                    break
            else:
                if not self._cancel_on_loop(message):
                    cancelled[message] = now + CANCEL_KEPT_S
        for message in [message for message, until in list(cancelled.items()) if until <= now]:
            cancelled.pop(message, None)

    def _cancel_on_loop(self, message: bytes) -> bool:
        for attempt in list(self._loop.running.values()) if self._loop else []:
            if attempt.id == message:
                if not attempt.cancel_requested and self._loop is not None:
                    attempt.cancel_requested = True
                    self._loop.interrupt(attempt)
                    log.info("cancelling %s %s", attempt.plan.name, id_text(message))
                return True
        return False

    def _losses(self) -> None:
        lost = self._table.new_lost()
        if not lost:
            return
        entries = self._tokens.entries()
        tokens = {entries[entry] for entry in lost if entry in entries}
        self._executor.lost_tokens = (self._executor.lost_tokens | tokens) & set(entries.values())
        for attempt in self._running():
            if attempt.delivery.token in tokens and not attempt.lease_lost:
                attempt.lease_lost = True
                error = LeaseLost("the broker says that the lease has ended")
                self._report.trouble("lease lost while it runs; its outcome will not be stored: %s: %s", attempt, error)

    # -- time -------------------------------------------------------------------------------------------------------

    def _time_limits(self, now: float) -> None:
        for thread, attempt in self._threads.current():
            if attempt.deadline is not None and now >= attempt.deadline and not attempt.timed_out:
                attempt.timed_out = True
                self._owed.append((thread, attempt, TaskTimeout))

    def _interrupt(self) -> None:
        """Raise what is owed to threads. One that logs is left alone until it is through, which the hard limit ends."""
        for go in range(_TRIES):
            self._owed = [owed for owed in self._owed if not self._threads.interrupt(*owed)]
            if not self._owed:
                return
            if go < _TRIES - 1:
                time.sleep(_TRY_S)

    def _slow(self) -> None:
        """Work waits and nothing has ended since the last tick: what runs is slow, so the next needs a slot of its
        own.
        """
        completed = self._threads.completed
        if self._threads.work and completed == self._completed:
            self._threads.wake()
        self._completed = completed

    def _give_back(self, now: float) -> None:
        recall = self._table.recall_number()
        recalled = recall != self._recall and not recall & 1
        for work in self._decks():
            while work:
                try:
                    attempt = work[0]
                    waited = now - attempt.fetched > WAIT_LIMIT_S
                    if not waited and not (recalled and attempt.recall != recall):
                        break
                    attempt = work.popleft()
                except IndexError:
                    break
                self._executor.release(attempt)
        if recalled:
            self._recall = recall

    def _decks(self) -> list[deque[Attempt]]:
        return [self._threads.work] + ([self._loop.work] if self._loop else [])

    def _watch_loop(self, now: float) -> None:
        if self._loop is None or not self._loop.ticked:
            return
        behind = now - self._loop.ticked
        if behind > _LOOP_BLOCKED_S and not self._blocked_told:
            names = ", ".join(sorted({attempt.plan.name for attempt in self._loop.running.values()}))
            log.warning("the event loop has been blocked for %.1f s; running: %s", behind, names)
        self._blocked_told = behind > _LOOP_BLOCKED_S
