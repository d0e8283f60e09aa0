"""One attempt, step by step: begin, perform, decide, settle, report.

`begin` announces the attempt in the shared table before anything of the task runs; `perform` is the slot's part, in a
thread or on the event loop; what follows from its outcome is the same for both and is decided by
`taskq.tasks.policy`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from taskq.carried import carry_on
from taskq.codec import encode_result
from taskq.errors import BrokerError, TaskTimeout
from taskq.store.scripts import run
from taskq.tasks import calls, failure
from taskq.tasks.broker import Buried, Finished, Flags, Held, Mark, Retried
from taskq.tasks.lists import ListBroker
from taskq.tasks.outbox import pack_follow, pack_record
from taskq.tasks.policy import decide
from taskq.tasks.statistics import counted
from taskq_workers.attempt import Attempt
from taskq_workers.counting import as_done, as_ended
from taskq_workers.report import Report
from taskq_workers.table import Table

# What keeps a message from running, by its own record. An int: an IntFlag takes a microsecond to compare.
_STOPPING = int(Flags.CANCEL | Flags.EXPIRED)

Put = Callable[[tuple[str, Any]], None]
Hook = Callable[[str, Attempt, failure.Failure, BaseException | None], None]


class Executor:
    """The steps around a task; shared by all slots of a child, holds no state of an attempt."""

    def __init__(
        self,
        broker: ListBroker,
        table: Table,
        put: Put,
        report: Report,
        hook: Hook,
        queues: dict[str, int],
        held_until: Callable[[bytes], float],
    ) -> None:
        self._broker = broker
        self._table = table
        self._put = put
        self._report = report
        self._hook = hook
        self._queues = queues
        self._held_until = held_until
        self.cancelled: dict[bytes, float] = {}
        """Ids that are to be cancelled before they start, and until when that was meant; the ticker adds, `begin` takes
        out."""
        self.lost_tokens: set[bytes] = set()

    def begin(self, attempt: Attempt, slot: int) -> bool:
        """Announce the attempt; False if it must not run, and then it has been dealt with."""
        plan, delivery, table = attempt.plan, attempt.delivery, self._table
        now = time.monotonic()
        attempt.slot, attempt.started = slot, now
        if plan.timeout is not None:
            attempt.deadline = now + plan.timeout
        table.start(
            slot,
            self._queues[delivery.queue],
            plan.index,
            delivery.id,
            delivery.token,
            now,
            now + plan.hard if plan.hard else 0.0,
            plan.once,
        )
        # The order matters: announced first, asked second. Whoever takes back what waits reads the table after that.
        if (
            table.recall_number() == attempt.recall
            and now < attempt.fresh_until
            and not (plan.once or delivery.flags & _STOPPING or self.cancelled or self.lost_tokens)
        ):
            return True
        if self._may_run(attempt):
            return True
        table.clear(slot)
        return False

    def _may_run(self, attempt: Attempt) -> bool:
        delivery = attempt.delivery
        if self._table.recall_number() != attempt.recall:
            self._table.clear(attempt.slot)
            while self._table.recalled():
                time.sleep(0.005)
            self.release(attempt)
            return False
        if delivery.token in self.lost_tokens or not self._surely_ours(attempt):
            # This process stood still, and others may have taken over. If so the broker refuses what is given back.
            self.release(attempt)
            return False
        if attempt.started < self.cancelled.pop(delivery.id, 0.0) or delivery.flags & Flags.CANCEL:
            self.settle_gone(attempt, "c")
            return False
        if delivery.flags & Flags.EXPIRED:
            self.settle_gone(attempt, "e")
            return False
        return not attempt.plan.once or self._mark_once(attempt)

    def _surely_ours(self, attempt: Attempt) -> bool:
        """Whether the lease is known to last: on a slow line it is extended before its call is answered."""
        started = attempt.started
        return started < attempt.fresh_until or started < self._held_until(attempt.delivery.token)

    def _mark_once(self, attempt: Attempt) -> bool:
        """Have it stored that the message was started, before it is: from then on nobody runs it again."""
        delivery = attempt.delivery
        mark = Mark(delivery.id, delivery.token, once=True)
        try:
            wire = calls.extend(self._broker.keys(delivery.queue), [], [mark], self._broker.limits)
            marked = not run(self._broker.link, wire).refused
        except BrokerError as error:
            # If the mark was stored all the same, the release below takes it off: the task has not started.
            self._report.trouble("cannot mark %s as started, it is given back: %s", attempt, error)
            marked = False
        if not marked:
            self.release(attempt)
        return marked

    # -- outcomes ---------------------------------------------------------------------------------------------------

    def succeed(self, attempt: Attempt, value: Any) -> None:
        """The task returned: its result, if one is kept, its follow-up and its record go with the acknowledgement."""
        plan, delivery, options = attempt.plan, attempt.delivery, attempt.message.options
        then = options.get("then") if options else None
        delivery.stats = as_done(attempt)
        if plan.ttl_ms == 0 and then is None and plan.publishes is None:
            self._put((delivery.queue, delivery))
        else:
            try:
                result = encoded = b""
                if plan.ttl_ms or plan.publishes is not None:
                    encoded = encode_result(plan.encode_result(value), limit=plan.max_result)
                if plan.ttl_ms:
                    result = b"d" + encoded
                then = None if then is None else carry_on(then, attempt.message.headers)
                follow = b"" if then is None else pack_follow(then, delivery.id)
                if plan.publishes is not None:
                    record = plan.publishes.wire(plan.name, delivery.id, value, encoded or b"null")
                    record = carry_on(record, attempt.message.headers)
                    follow = pack_record(record, then, delivery.id)
            except Exception as error:  # noqa: BLE001 - what a task returned may do anything when it is looked at
                self._bury(attempt, error, "result")
                return
            item = Finished(
                *(delivery.id, delivery.token, "d", result, plan.ttl_ms, follow, len(delivery.body), delivery.stats)
            )
            self._put((delivery.queue, item))
        self._report.done(attempt)

    def fail(self, attempt: Attempt, error: BaseException) -> None:
        """The task raised: run again later, dead, or cancelled, as the policy says."""
        delivery, plan = attempt.delivery, attempt.plan
        if (
            isinstance(error, TaskTimeout) and not error.args
        ):  # raised into a thread, which takes a class without a text
            error.args = (f"ran longer than its timeout of {plan.timeout} s",)
        if attempt.lease_lost:
            self._report.trouble("lease lost while it ran, its outcome is dropped: %s: %s", attempt, error)
            self.release(attempt)
            return
        decision = decide(error, delivery.attempts, plan.retry, attempt.cancel_requested, random.random())  # noqa: S311 - jitter
        if decision.verb == "cancelled":
            self.settle_gone(attempt, "c", as_ended(attempt, "c"))
        elif decision.verb == "dead":
            self._bury(attempt, error, decision.kind)
        else:
            what = failure.of(error, decision.kind, delivery.attempts + 1, self._report.worker, plan.name)
            stats = as_ended(attempt, "fr" if decision.counts else "r")
            item = Retried(
                *(delivery.id, delivery.token, decision.delay, decision.counts, what.line(), stats, len(delivery.body))
            )
            self._put((delivery.queue, item))
            self._report.retried(attempt, what, decision.delay)
            self._hook("failure", attempt, what, error)

    def _bury(self, attempt: Attempt, error: BaseException, kind: failure.Kind) -> None:
        delivery, plan = attempt.delivery, attempt.plan
        what = failure.of(error, kind, delivery.attempts + 1, self._report.worker, plan.name)
        stats = as_ended(attempt, "fx")
        grave = Buried(delivery.id, delivery.token, what.line(), what.result(), plan.ttl_ms, stats=stats)
        self._put((delivery.queue, grave))
        self._report.dead(attempt, what)
        self._hook("failure", attempt, what, error)
        self._hook("dead", attempt, what, error)

    def lose(self, attempt: Attempt) -> None:
        """Stopped by us, and it may not run a second time: a dead letter says so."""
        delivery, plan = attempt.delivery, attempt.plan
        text = "its worker was stopped while it ran, and at_most_once does not run it again"
        number, worker = delivery.attempts + 1, self._report.worker
        what = failure.Failure("lost", "MessageLost", text, attempt=number, worker=worker, task=plan.name)
        stats = as_ended(attempt, "x")
        grave = Buried(delivery.id, delivery.token, what.line(), what.result(), plan.ttl_ms, failed=False, stats=stats)
        self._put((delivery.queue, grave))
        self._report.dead(attempt, what)
        self._hook("failure", attempt, what, None)
        self._hook("dead", attempt, what, None)

    def settle_gone(self, attempt: Attempt, kind: str, stats: str = "") -> None:
        """Cancelled ('c') or expired ('e'): gone, with that outcome for whoever waits. Without `stats` it never ran."""
        delivery = attempt.delivery
        stats = stats or counted(attempt.plan.name, kind)
        result = kind.encode() if attempt.plan.ttl_ms else b""
        ttl, size = attempt.plan.ttl_ms, len(delivery.body)
        self._put((delivery.queue, Finished(delivery.id, delivery.token, kind, result, ttl, freed=size, stats=stats)))
        self._report.gone(attempt, kind)

    def release(self, attempt: Attempt) -> None:
        """Give back unstarted, or stopped by us: no attempt is spent."""
        self._put((attempt.delivery.queue, Held(attempt.delivery.id, attempt.delivery.token)))
