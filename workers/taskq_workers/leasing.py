"""The lease calls of a child: sent until each is answered, and told of when the broker refuses or cannot be reached."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from taskq.backoff import pauses
from taskq.errors import BrokerError, BrokerUnavailable, TaskqError
from taskq.store.scripts import run_behind, run_many
from taskq.tasks import calls
from taskq.tasks.broker import Leased, Ticket
from taskq.tasks.lists import ListBroker

log = logging.getLogger("taskq.worker")

PART = 4  # lease calls of one round trip
AHEAD = 2  # round trips of which nobody has looked at the answers: one under way, one waiting for the same connection
REST_S = 2.0
"""A queue that refuses lease calls is asked no more often: waiting does not cure it, and the others go on."""


class LeaseCalls:
    """Sends them for one child, from one thread and the one that it has beside it."""

    def __init__(self, broker: ListBroker, stopping: Callable[[], bool], *, alone: bool) -> None:
        self._broker = broker
        self._stopping = stopping
        self._alone = alone
        self._rests: dict[str, float] = {}
        """Queues that have refused a lease call, and until when they are left alone."""
        self._told_since = 0.0
        self._beside = ThreadPoolExecutor(1, "taskq-lease")  # its thread begins with the first long fetch

    def rests(self) -> dict[str, float]:
        """The queues that are not to be asked now, and until when."""
        now = time.monotonic()
        self._rests = {queue: until for queue, until in self._rests.items() if until > now}
        return self._rests

    def answers(
        self, queue: str, tickets: list[tuple[Ticket, int]], parked: str | None
    ) -> Generator[tuple[tuple[Ticket, int], Leased | TaskqError | None]]:
        """The answers to lease calls, in their order. While those of one part are dealt with, the next part is at the
        broker and one more behind it: to read and sort messages takes as long as to run short ones, and meanwhile the
        broker would have nothing to do, nor after that the slots. Once a call has found nothing or was refused, or this
        child is stopped, no more are sent: None stands for each that was not.
        """
        parts = [tickets[at : at + PART] for at in range(0, len(tickets), PART)]
        if len(parts) == 1:
            yield from zip(tickets, self.send(queue, tickets, parked), strict=True)
            return
        unsent, ahead = deque(parts), deque[Future[Sequence[Leased | TaskqError]]]()

        def fill() -> None:
            while unsent and len(ahead) < AHEAD and not self._stopping():
                ahead.append(self._beside.submit(self.send, queue, unsent.popleft(), parked))

        for part in parts:
            fill()
            if not ahead:
                yield from ((ticket, None) for ticket in part)
                continue
            answers = ahead.popleft().result()
            if any(map(_ends, answers)):
                unsent.clear()
            fill()
            yield from zip(part, answers, strict=True)

    def send(
        self, queue: str, tickets: list[tuple[Ticket, int]], parked: str | None, *, patient: bool = False
    ) -> Sequence[Leased | TaskqError]:
        """Send lease calls until each is answered: one whose answer got lost may hold messages.

        Only as long as this child is not stopped, unless `patient`.
        """
        limits, alone = self._broker.limits, self._alone
        tries = pauses(float("inf"))
        while True:
            keys = self._broker.keys(queue)
            wires = [calls.lease(keys, ticket, limit, limits, alone=alone, parked=parked) for ticket, limit in tickets]
            answers: Sequence[Leased | TaskqError]
            try:
                replies = run_many(self._broker.link, wires)
                if self._broker.relearn(queue, replies):
                    continue
                answers = replies
            except BrokerUnavailable as error:
                answers = [error] * len(wires)
            except TaskqError as error:
                self._complain(queue, error, parked)
                return [error] * len(wires)
            if not any(isinstance(answer, BrokerUnavailable) for answer in answers):
                break
            self.outage()
            if self._stopping() and not patient:
                return answers  # what these calls may hold is given back by the supervisor, which knows their tokens
            time.sleep(next(tries))
        self._recovered()
        for answer in answers:
            if isinstance(answer, BrokerError) and not isinstance(answer, BrokerUnavailable):
                self._complain(queue, answer, parked)
                break
        return answers

    def behind_bell(
        self, queue: str, ticket: Ticket, limit: int, seconds: float
    ) -> tuple[object | TaskqError, Leased | TaskqError]:
        """Wait for the bell of a queue with a lease call right behind it, so that what rings is leased without another
        round trip. Answers whether it rang within so many seconds, and what the lease call met, as `send` does.
        """
        keys, limits = self._broker.keys(queue), self._broker.limits
        bell = ("BLPOP", keys.wake, max(seconds, 0.01))
        wire = calls.lease(keys, ticket, limit, limits)
        rung, (answer,) = run_behind(self._broker.link, seconds, bell, wire)
        try:
            if isinstance(answer, BrokerUnavailable) or self._broker.relearn(queue, [answer]):
                # the same call, so it answers with the same messages; nobody waits for this thread to stop
                (answer,) = self.send(queue, [(ticket, limit)], None, patient=True)
                return rung, answer
        except TaskqError as error:
            answer = error
        if isinstance(answer, TaskqError):
            self._complain(queue, answer, None)
        else:
            self._recovered()
        return rung, answer

    def outage(self) -> None:
        if not self._told_since:
            self._told_since = time.monotonic()
            log.warning("broker unreachable; this child goes on trying")

    def _recovered(self) -> None:
        if self._told_since:
            log.warning("broker is back after %.1f s", time.monotonic() - self._told_since)
            self._told_since = 0.0

    def _complain(self, queue: str, error: TaskqError, parked: str | None) -> None:
        """Refused for a reason that waiting does not cure: say it, and do not hammer the server."""
        log.error("cannot lease from %s: %s", queue, error)
        if parked is None:  # those who are parked are asked for seldom anyway, and say nothing of what is ready
            self._rests[queue] = time.monotonic() + REST_S


def _ends(answer: Leased | TaskqError) -> bool:
    """Whether calls behind this one would be for nothing."""
    return not answer.deliveries if isinstance(answer, Leased) else not isinstance(answer, BrokerUnavailable)
