"""The fetcher: leases as many messages as the child can use soon, and waits for a bell when there are none."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence

from taskq.backoff import pauses
from taskq.errors import BrokerUnavailable, TaskqError
from taskq.store.scripts import run
from taskq.tasks import calls
from taskq.tasks.broker import LEASE_MESSAGES, Delivery, Held, Leased, Seat, Ticket
from taskq.tasks.lists import ListBroker
from taskq.tasks.stream_calls import unread
from taskq_workers.demand import CAP, Demand, Source
from taskq_workers.leasing import REST_S, LeaseCalls
from taskq_workers.tokens import TokenBook

log = logging.getLogger("taskq.worker")

IDLE_WAIT_S = 5.0
PIPELINE = CAP // LEASE_MESSAGES  # lease calls of one fetch
PARKED_EVERY_S = 5.0
DEAF_S = 0.2  # between looks while the bells cannot be waited for
YIELD_S = 2e-5
"""The slot that was woken has the interpreter meanwhile: it starts at once, not when the next call has been built."""


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
        self._rang: str | None = None
        self._waiting: tuple[str, Ticket] | None = None  # the lease call behind a bell
        self._deaf_told = 0.0
        self._parked_at = 0.0
        self.refused = False
        self.failed: BaseException | None = None
        """Why the thread has ended by itself: what it had leased and not delivered stays held until the child ends."""
        self.exhausted = threading.Event()  # burst: nothing was left to lease, and nothing was leased since
        self.unseen: dict[str, str] = {}
        """Queues whose last lease call was refused, and why: nobody knows whether they are empty."""
        self._calls = LeaseCalls(broker, lambda: self._stopping, alone=source.alone)
        self._thread = threading.Thread(target=self._main, name="taskq-fetch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hungry(self) -> None:
        """Little is left to do; cheap enough to be called often."""
        if not self._signal.is_set():
            self._signal.set()

    def stop(self) -> None:
        """Lease nothing more; returns when no lease call is under way, but for one that waits for a bell: it goes on
        and gets nothing, or what it got already is given back.
        """
        self._stopping = True
        self._signal.set()
        waiting = self._waiting  # read once: the fetching thread ends its wait when it likes
        if waiting is not None:
            self._call_off(*waiting)
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
            # With less than was wanted the queues are empty, or their bells ring: a lease call sees to that.
            if self._stopping or got >= wanted or (got and self._source.burst):
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
        rests = self._calls.rests()
        return [name for name in self._names if name not in rests]

    def _left(self) -> bool | None:
        """Whether there is something to lease at once, though a lease call has just found nothing; None: who knows.

        Such a call may have met only marks of cancelled messages, or have made delayed ones ready.
        """
        now = time.monotonic()
        names = [name for name in self._names if name not in self._paused and name not in self.unseen]
        if any(name in self._calls.rests() for name in names):
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
        fresh_until = self._fresh_until()
        answers = self._calls.answers(queue, tickets, parked)
        return sum(self._took(queue, ticket, answer, recall, fresh_until) for (ticket, _), answer in answers)

    def _fresh_until(self) -> float:
        """Until when what is leased from now on is surely ours, unless a heartbeat says more."""
        return time.monotonic() + self._broker.limits.lease / 1000

    def _took(
        self, queue: str, ticket: Ticket, answer: Leased | TaskqError | None, recall: int, fresh_until: float
    ) -> int:
        """Deliver what a lease call has got; how many messages. None: the call was not sent, and tells nothing."""
        if answer is None:
            self._tokens.leased(ticket.token, 0)
            return 0
        if isinstance(answer, BrokerUnavailable):
            return 0  # it may hold messages, so it stays announced
        if isinstance(answer, TaskqError):
            self._tokens.leased(ticket.token, 0)  # refused before anything was written
            self.unseen[queue] = str(answer)
            return 0
        self.unseen.pop(queue, None)
        (self._paused.add if answer.paused else self._paused.discard)(queue)
        if answer.deliveries:
            self.exhausted.clear()  # before they are counted: whoever asks whether this burst has finished sees one
        self._tokens.leased(ticket.token, len(answer.deliveries))
        if answer.refused:
            self._refuse()
        self._note_due(queue, answer)
        if answer.deliveries:
            self._deliver(answer.deliveries, recall, fresh_until)
        return len(answer.deliveries)

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
        seconds = min([IDLE_WAIT_S, *(at - now for at in [*due, *self._calls.rests().values()])])
        if self._source.burst or self._source.alone:
            seconds = min(seconds, 0.2)
        if seconds <= 0.002:
            return
        if self._source.alone or not names:
            self._signal.wait(seconds)  # the bells are for those who run what they ring for
            return
        if len(self._names) == 1 and not self._source.burst:
            self._pick_up(names[0], seconds)
            return
        try:
            self._rang = self._broker.wait(names, seconds)
        except BrokerUnavailable:
            self._calls.outage()
            time.sleep(0.2)
        except TaskqError as error:
            self._deaf(names, error, seconds)

    def _pick_up(self, queue: str, seconds: float) -> None:
        """Wait for the bell of the only queue with a lease call behind it, as long as that gets less than is wanted.

        No longer than a quarter of a lease: that is counted from before the wait. A wait goes on when this fetcher is
        stopped, and what it then still gets is given back unseen.
        """
        until = min(time.monotonic() + seconds, self._parked_at)
        while not self._stopping:
            left = min(until, self._due.get(queue, until)) - time.monotonic()
            wanted = min(self._demand.free(), LEASE_MESSAGES)
            if wanted <= 0 or left <= 0.002:
                return
            recall, ticket = self._recall_number() & ~1, self._seat.ticket(queue)
            if not self._tokens.announce(0, ticket.token):
                return
            fresh_until = self._fresh_until()
            left = min(left, self._broker.limits.lease / 4000)
            self._waiting = queue, ticket
            if self._stopping:  # looked at behind that, as `stop` sets this first
                self._tokens.leased(ticket.token, 0)
                return
            rung, answer = self._calls.behind_bell(queue, ticket, wanted, left)
            self._waiting = None
            with self._fetching:
                late = self._stopping
                got = 0 if late else self._took(queue, ticket, answer, recall, fresh_until)
            if late:
                self._give_back(queue, ticket, answer)
                return
            if got:
                time.sleep(YIELD_S)
            if isinstance(rung, TaskqError) and not isinstance(rung, BrokerUnavailable):
                self._deaf([queue], rung, seconds)
                return
            if got >= wanted or isinstance(answer, TaskqError):
                return

    def _call_off(self, queue: str, ticket: Ticket) -> None:
        """See that a call which waits for a bell gets nothing when that rings."""
        try:
            self._broker.reclaim(queue, ticket.token, b"", mode="recall")
        except TaskqError as error:
            log.debug("a lease call of queue %s could not be called off: %s", queue, error)

    def _give_back(self, queue: str, ticket: Ticket, answer: Leased | TaskqError) -> None:
        """What came when nothing was wanted any more. A quiet child may live on for long, so it tries again."""
        late = [] if isinstance(answer, TaskqError) else [Held(one.id, one.token) for one in answer.deliveries]
        tries = pauses(float("inf"))
        while late:
            try:
                self._broker.release(queue, late)
                break
            except BrokerUnavailable:
                time.sleep(next(tries))
            except TaskqError as error:
                log.error("what came late from queue %s stays leased until this child ends: %s", queue, error)
                return
        self._tokens.leased(ticket.token, 0)

    def _deaf(self, names: Sequence[str], error: TaskqError, seconds: float) -> None:
        # One bell of another type is enough; which queues can be leased from, the lease calls will tell.
        now = time.monotonic()
        if now >= self._deaf_told:
            self._deaf_told = now + REST_S
            log.error("cannot wait for bells of %s: %s", ", ".join(names), error)
        self._signal.wait(min(seconds, DEAF_S))
