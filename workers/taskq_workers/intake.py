"""From deliveries to attempts: decode each message by itself, find its task, and set aside what cannot run here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from taskq.errors import NewerLayout
from taskq.message import decode, id_text, layout_name
from taskq.tasks.broker import Buried, Delivery, Held
from taskq.tasks.failure import Failure
from taskq.tasks.log_context import named
from taskq_workers.attempt import Attempt, Plans

log = logging.getLogger("taskq.worker")

_TELL_EVERY_S = 60.0


class Intake:
    """One bad record decides for itself only; the others of its batch go on."""

    def __init__(self, plans: Plans, put: Callable[[tuple[str, Any]], None], worker: str, alone: bool = False) -> None:
        self._plans = plans
        self._put = put
        self._worker = worker
        self._alone = alone
        self._told: dict[str, float] = {}

    def sort(
        self, deliveries: Sequence[Delivery], recall: int, fresh_until: float
    ) -> tuple[list[Attempt], list[Attempt]]:
        """The attempts for threads and those for the event loop."""
        threads: list[Attempt] = []
        loop: list[Attempt] = []
        now = time.monotonic()
        for delivery in deliveries:
            if delivery.crashes > 1 and not self._alone:
                # A suspect that waited as parked; given back, it goes where it can run alone.
                self._put((delivery.queue, Held(delivery.id, delivery.token)))
                continue
            try:
                message = decode(delivery.id, delivery.body)
                plan = self._plans.of(message)
            except NewerLayout as error:
                self._park(delivery, layout_name(delivery.body[0]), str(error))
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the others of its batch go on
                self._quarantine(delivery, error)
            else:
                if plan is None:
                    self._park(delivery, message.task, "no worker here knows this task")
                else:
                    attempt = Attempt(delivery, message, plan, now, recall, fresh_until)
                    (loop if plan.is_async else threads).append(attempt)
        return threads, loop

    def _park(self, delivery: Delivery, task: str, why: str) -> None:
        # The name comes from stored bytes and becomes part of a key; its length is bounded here.
        task = task[:255]
        self._put((delivery.queue, (Held(delivery.id, delivery.token), task)))
        now = time.monotonic()
        if now - self._told.get(task, -_TELL_EVERY_S) >= _TELL_EVERY_S:
            self._told = {old: at for old, at in self._told.items() if now - at < _TELL_EVERY_S} | {task: now}
            log.warning("parked messages of task %r in queue %s: %s", task, delivery.queue, why)

    def _quarantine(self, delivery: Delivery, error: Exception) -> None:
        what = Failure("undecodable", type(error).__name__, str(error), worker=self._worker)
        item = Buried(delivery.id, delivery.token, what.line(), what.result(), 3_600_000, quarantine=True)
        self._put((delivery.queue, item))
        about = named(delivery.id, "", delivery.queue)
        log.error("quarantined %s of queue %s: %s", id_text(delivery.id), delivery.queue, error, extra=about)
