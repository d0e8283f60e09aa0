"""What a child says of its work: a line for each failure and retry, successes summed when they are many."""

from __future__ import annotations

import logging
import time
from typing import Any

from taskq.message import id_text
from taskq.tasks.failure import Failure
from taskq.tasks.log_context import facts
from taskq_workers.attempt import Attempt
from taskq_workers.log import TRACE

log = logging.getLogger("taskq.worker")
LINES_PER_SECOND = 100
"""A log line costs more than a short task, so above this rate successes are only counted."""


class Report:
    """Counters and log lines of one child. Counts may be off by a few under threads; they are for people."""

    def __init__(self, worker: str, verbose: bool = False) -> None:
        self.worker = worker
        self._verbose = verbose
        self.done_count = self.retried_count = self.dead_count = self.gone_count = self.lost_count = 0
        self._budget = LINES_PER_SECOND
        self._unsaid = 0
        self._since = time.monotonic()

    def done(self, attempt: Attempt) -> None:
        self.done_count += 1
        if self._budget > 0 or self._verbose:
            self._budget -= 1
            took = (time.monotonic() - attempt.started) * 1000
            log.info(
                "done %s %s in %.1f ms", attempt.plan.name, id_text(attempt.delivery.id), took, extra=facts(attempt)
            )
        else:
            self._unsaid += 1

    def retried(self, attempt: Attempt, what: Failure, delay_ms: int) -> None:
        self.retried_count += 1
        log.warning(
            "retry %s %s attempt %d/%d in %.1f s: %s: %s",
            attempt.plan.name,
            id_text(attempt.delivery.id),
            what.attempt,
            attempt.plan.retry.max_attempts,
            delay_ms / 1000,
            what.type,
            first_line(what.message),
            extra=self._told(attempt, what),
        )

    def dead(self, attempt: Attempt, what: Failure) -> None:
        self.dead_count += 1
        log.error(
            "dead %s %s after attempt %d (%s): %s: %s",
            attempt.plan.name,
            id_text(attempt.delivery.id),
            what.attempt,
            what.kind,
            what.type,
            first_line(what.message),
            extra=self._told(attempt, what),
        )

    def _told(self, attempt: Attempt, what: Failure) -> dict[str, Any]:
        return facts(attempt) | ({TRACE: what.traceback.rstrip()} if self._verbose and what.traceback else {})

    def gone(self, attempt: Attempt, kind: str) -> None:
        self.gone_count += 1
        word = "cancelled" if kind == "c" else "expired"
        log.info("%s %s %s", word, attempt.plan.name, id_text(attempt.delivery.id), extra=facts(attempt))

    def lost(self, queue: str, count: int) -> None:
        self.lost_count += count

    def trouble(self, text: str, attempt: Attempt, error: BaseException) -> None:
        who = f"{attempt.plan.name} {id_text(attempt.delivery.id)}"
        log.warning(text, who, first_line(str(error)), extra=facts(attempt))

    def each_second(self) -> None:
        """Say what was not said one by one; called by the ticker, and when the child ends."""
        now = time.monotonic()
        unsaid, self._unsaid = self._unsaid, 0
        if unsaid:
            log.info("done %d more in %.1f s", unsaid, now - self._since)
        self._budget = LINES_PER_SECOND
        self._since = now


def first_line(text: str) -> str:
    """The first line of an error text, at most 200 characters: a log line is one line."""
    line = text.split("\n", 1)[0]
    return line if len(line) <= 200 else line[:200] + "..."
