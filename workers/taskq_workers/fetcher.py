"""The fetcher: leases as many messages as the child can use soon, and waits for a bell when there are none.

How many: about a tenth of a second of work at the measured pace, never less than the free slots, never above a cap. So
no-op tasks come by the thousand, slow ones by the slot, and nobody hoards.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from taskq.backoff import pauses
from taskq.errors import BrokerError, BrokerUnavailable, TaskqError
from taskq.store.scripts import run, run_many
from taskq.tasks import calls
from taskq.tasks.broker import LEASE_MESSAGES, Delivery, Leased, Seat, Ticket
from taskq.tasks.lists import ListBroker
from taskq.tasks.stream_calls import unread
from taskq_workers.tokens import TokenBook

log = logging.getLogger("taskq.worker")

CAP = 4_000
AHEAD_S = 0.1
IDLE_WAIT_S = 5.0
PIPELINE = 8  # lease calls of one fetch
PART = 4  # lease calls of one round trip
PARKED_EVERY_S = 5.0
REST_S = 2.0
"""A queue that refuses lease calls is asked no more often: waiting does not cure it, and the others go on."""
DEAF_S = 0.2  # between looks while the bells cannot be waited for

_WINDOW_S = 0.02


@dataclass(frozen=True, slots=True)
class Source:
    """Where messages come from: queue names with weights, in strict order or by weight; `alone` takes suspects only.

    `known` are the names under which this child takes parked messages: its tasks, and the layouts that it reads.
    """

    queues: tuple[tuple[str, int], ...]
    strict: bool = False
    alone: bool = False
    burst: bool = False
    known: frozenset[str] = frozenset()


class Demand:
    """How many messages are wanted now; reads the slots, decides nothing else."""

    def __init__(
        self, slots: int, busy: Callable[[], int], waiting: Callable[[], int], done: Callable[[], int]
    ) -> None:
        self._slots = slots
        self._busy = busy
        self._waiting = waiting
        self._done = done
        self._count = 0
        self._at = time.monotonic()
        self.rate = 0.0
        self.ahead = 0  # messages of the next tenth of a second, at the pace of the last window

    def wanted(self) -> int:
        """Messages to lease now; 0 if what waits is enough."""
        now = time.monotonic()
        if now - self._at >= _WINDOW_S:
            count = self._done()
            self.rate = (count - self._count) / (now - self._at)
            self._count, self._at = count, now
        waiting = self._waiting()
        free = self._slots - self._busy()
        self.ahead = min(CAP, int(self.rate * AHEAD_S))
        target = max(free, self.ahead)
        if waiting > target // 2 and waiting > 0:
            return 0
        return max(target - waiting, 0)


class Fetcher:
    """Life: start; `hungry` from the slots when little is left; stop, after which nothing more is leased."""

    def __init__(
        self,
        broker: ListBroker,
        seat: Seat,
        source: Source,
        tokens: TokenBook,
        demand: Demand,
        deliver: Callable[[list[Delivery], int, float], None],
        recall_number: Callable[[], int],
    ) -> None:
        self._broker = broker
        self._seat = seat
        self._source = source
        self._names = [name for name, _ in source.queues]
        self._tokens = tokens
        self._demand = demand
        self._deliver = deliver
        self._recall_number = recall_number
        self._signal = threading.Event()
        self._stopping = False
        self._fetching = threading.Lock()
        self._due: dict[str, float] = {}
        self._paused: set[str] = set()
        self._rests: dict[str, float] = {}
        """Queues that have refused a lease call, and until when they are left alone."""
        self._rang: str | None = None
        self._deaf_told = 0.0
        self._parked_at = 0.0
        self._told_since = 0.0
        self.refused = False
        self.failed: BaseException | None = None
        """Why the thread has ended by itself: what it had leased and not delivered stays held until the child ends."""
        self.exhausted = threading.Event()  # burst: nothing was left to lease, and nothing was leased since
        self.unseen: dict[str, str] = {}
        """Queues whose last lease call was refused, and why: nobody knows whether they are empty."""
        self._beside = ThreadPoolExecutor(1, "taskq-lease")  # its thread begins with the first long fetch
        self._thread = threading.Thread(target=self._main, name="taskq-fetch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hungry(self) -> None:
        """Little is left to do; cheap enough to be called often."""
        if not self._signal.is_set():
            self._signal.set()

    def stop(self) -> None:
        """Lease nothing more; returns when no lease call is under way. A wait for a bell goes on and leads to
        nothing.
        """
        self._stopping = True
        self._signal.set()
        with self._fetching:
            pass

    def finished(self) -> bool:
        """Burst: nothing is left, and nothing is on its way; then nothing more is leased."""
        if not self.exhausted.is_set() or not self._fetching.acquire(blocking=False):
            return False
        try:
            if self.exhausted.is_set() and not self._tokens.outstanding:
                self._stopping = True
                return True
            return False
        finally:
            self._fetching.release()

    def _main(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            log.exception("an error of its own keeps this child from fetching")
            self.failed = error

    def _loop(self) -> None:
        while not self._stopping:
            self._signal.clear()
            wanted = self._demand.wanted()
            if wanted <= 0:
                self._signal.wait(0.25)
                continue
            with self._fetching:
                got = 0 if self._stopping else self._fetch(wanted)
            if got or self._stopping:
                continue
            # The order matters: what is settled before the look is seen by it, if it came back.
            if self._source.burst and not self._tokens.outstanding:
                left = self._left()
                if left:
                    continue
                if left is False:
                    self.exhausted.set()
            self._wait()

    # -- leasing ----------------------------------------------------------------------------------------------------

    def _fetch(self, wanted: int) -> int:
        got = 0
        # First, since a queue that never runs dry would have them wait for ever; and not often, since few are there.
        if time.monotonic() >= self._parked_at and not self._source.alone:
            self._parked_at = time.monotonic() + PARKED_EVERY_S
            got = sum(self._take_parked(queue, wanted) for queue in self._awake())
        awake = self._awake()
        for queue in self._order():
            if got >= wanted or self._stopping:
                break
            if queue in awake:
                got += self._lease(queue, wanted - got)
        return got

    def _awake(self) -> list[str]:
        """The queues that may be asked now."""
        now = time.monotonic()
        self._rests = {queue: until for queue, until in self._rests.items() if until > now}
        return [name for name in self._names if name not in self._rests]

    def _left(self) -> bool | None:
        """Whether there is something to lease at once, though a lease call has just found nothing; None: who knows.

        Such a call may have met only marks of cancelled messages, or have made delayed ones ready.
        """
        now = time.monotonic()
        names = [name for name in self._names if name not in self._paused and name not in self.unseen]
        if any(name in self._rests for name in names):
            return None  # some calls of a pipeline were refused, others were not
        if not self._source.alone and any(self._due.get(name, now + 1.0) <= now for name in names):
            return True
        keys = [self._broker.keys(name) for name in names]
        lists = [key for one in keys for key in ((one.alone,) if self._source.alone else one.ready)]
        looks: list[tuple[str, ...]] = [("LLEN", key) for key in lists]
        tallies = [one.tally for one in keys if one.streamed and not self._source.alone]
        looks += [("HMGET", tally, "appended", "read", "repair") for tally in tallies]
        answers = self._broker.link.pipeline(looks) if looks else []
        if any(isinstance(answer, TaskqError) for answer in answers):
            return None
        # What is to be repaired is left, too, and not yet there to be leased.
        return any(unread(answer[:2]) or answer[2] if isinstance(answer, list) else answer for answer in answers)

    def _take_parked(self, queue: str, wanted: int) -> int:
        """Lease what others set aside and this child can run.

        It goes straight from there into these hands: put back to ready, those who do not know it would take it again.
        """
        keys = self._broker.keys(queue)
        got = 0
        try:
            names = {str(name, "utf-8", "replace") for name in self._broker.link.execute("ZRANGE", keys.parked, 0, -1)}
            for name in sorted(names & self._source.known):
                took = self._lease(queue, max(wanted - got, 1), parked=name)
                got += took
                if took:
                    self._parked_at = 0.0  # there may be more
                    log.info("took %d parked messages of %s in queue %s", took, name, queue)
                else:
                    run(self._broker.link, calls.unpark(keys, name, 0))
        except TaskqError as error:
            log.debug("parked messages of %s: %s", queue, error)
        return got

    def _order(self) -> Sequence[str]:
        """The queues in the order in which they are asked: as given, or drawn by weight behind the one that rang."""
        if self._source.strict or len(self._names) == 1:
            return self._names
        # Efraimidis and Spirakis (2006): the largest u ** (1 / weight) first is a weighted draw without replacement.
        keyed = [(random.random() ** (1.0 / weight), name) for name, weight in self._source.queues]  # noqa: S311
        rang, self._rang = self._rang, None
        # Its bell has been taken, and with it the duty to look there: nobody else is told.
        return [name for _, name in sorted(keyed, key=lambda one: (one[1] == rang, one), reverse=True)]

    def _lease(self, queue: str, wanted: int, parked: str | None = None) -> int:
        # Leased while a recall is going on, a message is not to start: the recall may have seen its slot idle already.
        recall = self._recall_number() & ~1
        index = self._names.index(queue)
        tickets: list[tuple[Ticket, int]] = []
        while wanted > 0 and len(tickets) < PIPELINE:
            ticket = self._seat.ticket(queue)
            if not self._tokens.announce(index, ticket.token):
                break
            tickets.append((ticket, min(wanted, LEASE_MESSAGES)))
            wanted -= LEASE_MESSAGES
        if not tickets:
            self._signal.wait(0.05)  # the table is full of lease calls; settling makes room
            return 0
        got = 0
        fresh_until = time.monotonic() + self._broker.limits.lease / 1000
        for (ticket, _), answer in self._answers(queue, tickets, parked):
            if isinstance(answer, BrokerUnavailable):
                continue  # it may hold messages, so it stays announced
            if isinstance(answer, TaskqError):
                self._tokens.leased(ticket.token, 0)  # refused before anything was written
                self.unseen[queue] = str(answer)
                continue
            self.unseen.pop(queue, None)
            (self._paused.add if answer.paused else self._paused.discard)(queue)
            if answer.deliveries:
                self.exhausted.clear()  # before they are counted: whoever asks whether this burst has finished sees one
            self._tokens.leased(ticket.token, len(answer.deliveries))
            if answer.refused:
                self._refuse()
            self._note_due(queue, answer)
            if answer.deliveries:
                got += len(answer.deliveries)
                self._deliver(answer.deliveries, recall, fresh_until)
        return got

    def _answers(
        self, queue: str, tickets: list[tuple[Ticket, int]], parked: str | None
    ) -> Generator[tuple[tuple[Ticket, int], Leased | TaskqError]]:
        """The answers to lease calls. While those of one part are dealt with, the next part is under way: to read and
        sort messages takes as long as to run short ones, and meanwhile the broker would have nothing to do, nor after
        that the slots.
        """
        parts = [tickets[at : at + PART] for at in range(0, len(tickets), PART)]
        ahead: Future[Sequence[Leased | TaskqError]] | None = None
        for at, part in enumerate(parts, 1):
            answers = self._send(queue, part, parked) if ahead is None else ahead.result()
            ahead = self._beside.submit(self._send, queue, parts[at], parked) if at < len(parts) else None
            yield from zip(part, answers, strict=True)

    def _send(self, queue: str, tickets: list[tuple[Ticket, int]], parked: str | None) -> Sequence[Leased | TaskqError]:
        """Send lease calls until each is answered: one whose answer got lost may hold messages."""
        limits, alone = self._broker.limits, self._source.alone
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
            self._outage()
            if self._stopping:
                return answers  # what these calls may hold is given back by the supervisor, which knows their tokens
            time.sleep(next(tries))
        self._recovered()
        for answer in answers:
            if isinstance(answer, BrokerError) and not isinstance(answer, BrokerUnavailable):
                self._complain(queue, answer, parked)
                break
        return answers

    def _note_due(self, queue: str, leased: Leased) -> None:
        if leased.due is None:
            self._due.pop(queue, None)
            return
        self._due[queue] = time.monotonic() + (leased.due - leased.now) / 1000
        if leased.due <= leased.now:
            try:
                self._broker.promote(queue)
            except TaskqError as error:
                self._due[queue] = time.monotonic() + 1.0  # what is overdue would not let it wait
                log.debug("promote of %s: %s", queue, error)

    def _refuse(self) -> None:
        if not self.refused:
            log.error("the broker refuses this child: its supervisor has given it up; it ends")
        self.refused = True
        self._stopping = True

    # -- waiting ----------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Until a bell rings, the next delayed message is due, or a while has passed."""
        names, now = self._awake(), time.monotonic()
        due = [at for name, at in self._due.items() if name in names]
        seconds = min([IDLE_WAIT_S, *(at - now for at in [*due, *self._rests.values()])])
        if self._source.burst or self._source.alone:
            seconds = min(seconds, 0.2)
        if seconds <= 0.002:
            return
        if self._source.alone or not names:
            self._signal.wait(seconds)  # the bells are for those who run what they ring for
            return
        try:
            self._rang = self._broker.wait(names, seconds)
        except BrokerUnavailable:
            self._outage()
            time.sleep(0.2)
        except TaskqError as error:
            # One bell of another type is enough; which queues can be leased from, the lease calls will tell.
            if now >= self._deaf_told:
                self._deaf_told = now + REST_S
                log.error("cannot wait for bells of %s: %s", ", ".join(names), error)
            self._signal.wait(min(seconds, DEAF_S))

    def _outage(self) -> None:
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
