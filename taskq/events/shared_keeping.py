"""The thread of a consumer that keeps the books at the broker: outcomes, leases, what is due, what the dead left."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from taskq.errors import BrokerUnavailable, TaskqError
from taskq.events import shared_calls as calls
from taskq.events.failing import told
from taskq.events.outage import Outage
from taskq.events.shared_calls import Seat, Settled, Taken
from taskq.events.shared_options import SharedOptions
from taskq.events.shared_reading import made
from taskq.events.shared_state import Item, Ledger, Part
from taskq.store.connection import SyncLink
from taskq.store.scripts import Call, T, run_many

log = logging.getLogger("taskq.events")

IDLE_RATE = 0.75  # looks per second, over all partitions, while nothing happens: with reading, 2 commands at most
LEAST_GAP_S = 0.05


class Keeper:
    """Its steps are called one after the other by one thread; each leaves for later what the broker did not answer."""

    def __init__(
        self,
        link: SyncLink,
        ledger: Ledger,
        options: SharedOptions,
        consumer: str,
        outage: Outage,
        arrived: Callable[[list[Item]], None],
    ) -> None:
        self._link = link
        self._ledger = ledger
        self._options = options
        self._consumer = consumer
        self._outage = outage
        self._arrived = arrived
        self._resent: set[int] = set()  # outcomes whose answer was lost once: they may be stored
        self._extend_at = 0.0
        self._late = 0.0
        self._short = False

    # -- outcomes

    def settle(self, outcomes: Sequence[tuple[Item, Settled]]) -> None:
        """Store outcomes; what is not answered comes again, and of that nothing is stored twice."""
        batches = list(_batches(outcomes))
        sent = [calls.settle(seat, [outcome for _, outcome in batch]) for seat, batch in batches]
        began = time.monotonic()
        answers = self._ask(sent)
        if sent and self._ledger.meter is not None:
            self._ledger.meter.committed(time.monotonic() - began)
        for (_, batch), answer in zip(batches, answers, strict=True):
            if isinstance(answer, TaskqError):
                if isinstance(answer, BrokerUnavailable):
                    self._resent.update(id(item) for item, _ in batch if answer.sent)
                self._ledger.again(batch)
                continue
            there, lost = answer
            for item, outcome in batch:
                self._stored(item, outcome, stored=there and item.id not in lost)
            self._ledger.gone(item for item, _ in batch)

    def _stored(self, item: Item, outcome: Settled, *, stored: bool) -> None:
        counts = self._ledger.counts
        known = id(item) in self._resent
        self._resent.discard(id(item))
        if not stored and not known:
            if outcome.verb != "g":
                counts.refused += 1
                if self._ledger.meter is not None:
                    self._ledger.meter.refused()
                log.warning(
                    "the outcome of record %s/%s is not stored: group %s was moved, or has given it to another",
                    item.part.name,
                    item.id.decode(),
                    self._options.group,
                )
            return
        if outcome.verb == "a":
            counts.handled += 1
        elif outcome.verb == "f":
            counts.filtered += 1
        elif outcome.verb == "d":
            counts.dead += 1
        if outcome.verb in "rng":
            item.part.due = min(item.part.due, time.monotonic() + outcome.delay / 1000 + 0.002)

    def claim(self, items: list[Item]) -> list[Item]:
        """At most once: store that they are done before they are begun; answers those that may be."""
        sure: list[Item] = []
        batches = list(_batches([(item, Settled(item.id)) for item in items]))
        sent = [calls.settle(seat, [outcome for _, outcome in batch]) for seat, batch in batches]
        answers = self._ask(sent)
        for (_, batch), answer in zip(batches, answers, strict=True):
            for item, _ in batch:
                if isinstance(answer, TaskqError):
                    item.part.doubt, item.part.due = True, 0.0
                elif answer[0] and item.id not in answer[1]:
                    item.settled = True
                    sure.append(item)
        self._ledger.gone(item for item in items if not item.settled)
        return sure

    # -- leases

    def extend(self) -> None:
        """Begin the leases anew of all that is in flight, three times in each."""
        now = time.monotonic()
        if now < self._extend_at:
            return
        self._extend_at = now + self._options.lease / 3
        groups: dict[Seat, list[Item]] = {}
        for item in self._ledger.flying():
            if not item.settled and not item.lost:
                groups.setdefault(item.seat, []).append(item)
        batches = [
            (seat, items[at : at + calls.MOST_RECORDS])
            for seat, items in groups.items()
            for at in range(0, len(items), calls.MOST_RECORDS)
        ]
        answers = self._ask([calls.extend(seat, [item.id for item in items]) for seat, items in batches])
        for (_, items), answer in zip(batches, answers, strict=True):
            if isinstance(answer, TaskqError):
                self._extend_at = now  # with the next round
                continue
            there, lost = answer
            for item in items:
                if there and item.id not in lost:
                    item.until = now + self._options.lease
                else:
                    item.lost = True

    # -- what is due

    def tend(self) -> None:
        """Look after the partitions whose time has come: find the group, take what is due, clear doubts."""
        now = time.monotonic()
        due = [part for part in self._parts() if part.due <= now]
        self._find([part for part in due if part.seat is None])
        self._clear([part for part in due if part.doubt and part.seat is not None])
        ready = [(part, part.seat) for part in due if part.seat is not None and not part.doubt]
        solo, room = self._ledger.solo, self._ledger.room
        line = told("died", "its consumer died or was cut off", self._consumer)
        lease = round(self._options.lease * 1000)
        sent: list[tuple[Part, Seat, int, Call[Taken]]] = []
        for part, seat in ready:
            alone = part is solo and self._ledger.quiet
            share = 1 if alone else max(1, room // len(ready)) if room >= len(ready) else int(room > 0)
            room -= 0 if alone else share
            sent.append((part, seat, share, calls.take(seat, lease, share, line, alone=alone)))
        answers = self._ask([call for *_, call in sent])
        self._short = False
        for (part, seat, share, _), answer in zip(sent, answers, strict=True):
            self._took(part, seat, share, answer, now)
        if sent:
            with self._ledger.changed:
                self._ledger.overdue = self._short
                self._ledger.changed.notify_all()

    def _took(self, part: Part, seat: Seat, room: int, answer: Taken | TaskqError, now: float) -> None:
        if isinstance(answer, TaskqError):
            part.doubt = part.doubt or (isinstance(answer, BrokerUnavailable) and answer.sent)
            part.due = time.monotonic() + LEAST_GAP_S
            return
        if not answer.there:
            self._forget(part)
            return
        if part.lost is not None and answer.lost > part.lost:
            log.warning(
                "group %s: retention removed %d records of %s before they were handled, the last of them before %s",
                *(self._options.group, answer.lost - part.lost, part.name, self._first(part)),
            )
        part.lost = answer.lost
        items = [made(part, seat, row.id, row.fields, now + self._options.lease) for row in answer.rows]
        for item, row in zip(items, answer.rows, strict=True):
            item.attempts, item.deaths, item.redriven = row.attempts, row.deaths, row.redriven
        self._ledger.add(items)
        self._arrived(items)
        self._short = self._short or (room == 0 and answer.next == 0)
        with self._ledger.changed:
            if answer.alone and self._ledger.solo is None:
                self._ledger.solo = part
            elif self._ledger.solo is part and not answer.alone and not items:
                self._ledger.solo = None
            self._ledger.changed.notify_all()
        part.due = now + self._gap(part, answer)
        part.busy = False

    def _gap(self, part: Part, answer: Taken) -> float:
        """Seconds until the next look: often while something happens, seldom while nothing does."""
        if self._ledger.solo is part:
            return LEAST_GAP_S if self._ledger.quiet else min(1.0, self._options.lease / 4)
        calm = len(self._ledger.parts) / IDLE_RATE
        gap = self._options.lease / 2 if part.busy or answer.rows else max(self._options.lease / 2, calm)
        return gap if answer.next is None else min(gap, max(LEAST_GAP_S, answer.next / 1000))

    def _first(self, part: Part) -> str:
        try:
            found = self._link.execute("XRANGE", part.keys.log, "-", "+", "COUNT", 1)
        except TaskqError:
            return "?"
        return found[0][0].decode() if found else "?"

    def _find(self, parts: Sequence[Part]) -> None:
        answers = self._ask([calls.found(part.keys, self._options.group, part.where) for part in parts])
        for part, answer in zip(parts, answers, strict=True):
            if isinstance(answer, TaskqError):
                part.due = time.monotonic() + LEAST_GAP_S
                continue
            part.seat = Seat(part.keys, self._options.group, answer.epoch, self._consumer)
            if answer.healed:
                log.warning("group %s was removed from %s; it goes on from its position", part.seat.group, part.name)
            if answer.cut:
                log.warning(
                    "%s ends before the position of group %s, which goes on at its end", part.name, part.seat.group
                )

    def _forget(self, part: Part) -> None:
        for item in list(part.items.values()):
            item.lost = True
        part.seat, part.due = None, 0.0

    def _clear(self, parts: Sequence[Part]) -> None:
        for part in parts:
            seat = part.seat
            if part.reading or seat is None:
                continue
            (answer,) = self._ask([calls.disown(seat, [*part.items])])
            if isinstance(answer, TaskqError):
                part.due = time.monotonic() + LEAST_GAP_S
            elif not answer[1]:
                part.doubt = False
                with self._ledger.changed:
                    self._ledger.changed.notify_all()

    def leave(self) -> None:
        """Give back everything and take this consumer's name away; one try each, since leases lapse by themselves."""
        left = [part.seat for part in self._ledger.parts.values() if part.seat is not None]
        while left:
            answers = self._ask([calls.disown(seat, leave=True) for seat in left])
            left = [
                s for s, answer in zip(left, answers, strict=True) if not isinstance(answer, TaskqError) and answer[1]
            ]

    @property
    def pause(self) -> float:
        """Seconds for which the broker is left alone after it did not answer."""
        return max(0.0, self._late - time.monotonic())

    @property
    def next(self) -> float:
        """The monotonic time of the next thing to do."""
        return min([self._extend_at if self._ledger.flying() else float("inf"), *(part.due for part in self._parts())])

    def _parts(self) -> list[Part]:
        return list(self._ledger.parts.values())

    def _ask(self, sent: Sequence[Call[T]]) -> list[T | TaskqError]:
        answers: list[T | TaskqError] = run_many(self._link, sent) if sent else []
        failed = [answer for answer in answers if isinstance(answer, TaskqError)]
        if not sent:
            return answers
        if failed:
            self._late = time.monotonic() + self._outage.met(failed[0])
        else:
            self._outage.over()
        return answers


def _batches(outcomes: Iterable[tuple[Item, Settled]]) -> Iterable[tuple[Seat, list[tuple[Item, Settled]]]]:
    """By partition and epoch; a dead letter copies its record, so scripts with them are held to a size."""
    open_: dict[Seat, tuple[list[tuple[Item, Settled]], int]] = {}
    for item, outcome in outcomes:
        batch, size = open_.get(item.seat, ([], 0))
        more = item.size if outcome.verb == "d" else 0
        if batch and (len(batch) >= calls.MOST_RECORDS or size + more > calls.MOST_BYTES):
            yield item.seat, batch
            batch, size = [], 0
        batch.append((item, outcome))
        open_[item.seat] = (batch, size + more)
    for seat, (batch, _) in open_.items():
        yield seat, batch
