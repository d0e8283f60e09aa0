"""What one consumer of a shared group has in hand: its partitions, its records, their outcomes. No I/O in here.

A record is *in flight* from the moment that it is handed out until its outcome is stored. All threads of a consumer
share one `Ledger`; whoever waits in it is woken by each change.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Condition

from taskq.codec import Codec
from taskq.events import metering
from taskq.events.record import Record
from taskq.events.shared_calls import Seat, Settled
from taskq.events.shared_options import SharedOptions
from taskq.store.topic_keys import PartitionKeys

QUICK_S, SLOW_S = 0.1, 0.5  # a record in hand for less or more than this widens or narrows the window


@dataclass(slots=True, eq=False)
class Part:
    """One partition, as this consumer sees it."""

    topic: str
    number: int
    codec: Codec
    keys: PartitionKeys
    where: str  # at which the group begins if it is new here
    seat: Seat | None = None  # None until the group is found there
    items: dict[bytes, Item] = field(default_factory=dict[bytes, "Item"])
    due: float = 0.0  # monotonic time of the next look at it
    busy: bool = False  # records came since the last look
    doubt: bool = False  # an answer was lost: something may be pending for us that we do not know
    reading: bool = False
    lost: int | None = None  # as the group counts it; None before the first look

    @property
    def name(self) -> str:
        return f"{self.topic}/{self.number}"


@dataclass(slots=True, eq=False)
class Item:
    """One record in flight. `until` is when its lease ends; `lost` says that somebody else has it by now."""

    part: Part
    seat: Seat
    id: bytes
    record: Record | None  # None if taskq did not write the entry
    until: float
    attempts: int = 0
    deaths: int = 0
    redriven: int = 0
    size: int = 0
    lost: bool = False
    settled: bool = False  # its outcome is stored, though its handler may still run (at most once)
    begun: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Counts:
    """What happened since the start of this consumer."""

    handled: int = 0
    filtered: int = 0
    failed: int = 0
    dead: int = 0
    refused: int = 0  # outcomes that came too late: the record was somebody else's by then


class Ledger:
    """The books of one consumer, behind one lock."""

    def __init__(self, options: SharedOptions) -> None:
        self.changed = Condition()
        self.parts: dict[str, Part] = {}
        self.counts = Counts()
        self.meter = metering.current()
        self.closing = False
        self.overdue = False  # something is due and there was no room for it: readers wait
        self.solo: Part | None = None  # where a suspect waits for a consumer with nothing else in hand
        self._most = options.max_in_flight
        # Who settles by name may want to hold as many as were said before the first is settled.
        self._least = self._most if options.ack == "manual" else min(2 * options.concurrency, self._most)
        self._window = self._least
        self._reserved = 0
        self._turns: list[object] = []
        self._flying = 0
        self._outcomes: list[tuple[Item, Settled]] = []

    # -- reading

    def admit(self, parts: Sequence[Part], lanes: int, *, calm: bool) -> tuple[int, list[Part]]:
        """Wait for a turn, until there is room; answers for how many records, and which of the parts may be read.

        One of several lanes keeps room while it waits for records: little if it is `calm`. 0 if there is none to read.
        """
        turn = object()
        with self.changed:
            self._turns.append(turn)
            try:
                while not self.closing:
                    ready = [part for part in parts if part.seat is not None and not part.doubt]
                    if not ready:
                        break
                    room = self._window - self._flying - self._reserved
                    if room > 0 and self.solo is None and not self.overdue and self._turns[0] is turn:
                        if calm:  # the rest is for what is due again meanwhile
                            room = max(1, room // 2) if lanes == 1 else 1
                        room = max(1, room // lanes)
                        ready = ready[:room]
                        for part in ready:
                            part.reading = True
                        self._reserved += room
                        return room, ready
                    self.changed.wait()
                return 0, []
            finally:
                self._turns.remove(turn)
                self.changed.notify_all()

    def read(self, room: int, parts: Iterable[Part], items: Sequence[Item]) -> None:
        """What was admitted has come."""
        with self.changed:
            self._reserved -= room
            for part in parts:
                part.reading = False
            self._add(items)
            self.changed.notify_all()

    def add(self, items: Sequence[Item]) -> None:
        """Records that were handed out by a script."""
        with self.changed:
            self._add(items)

    def _add(self, items: Sequence[Item]) -> None:
        for item in items:
            item.part.items[item.id] = item
            item.part.busy = True
        self._flying += len(items)

    @property
    def room(self) -> int:
        """How many records may be taken besides those that a reader waits for."""
        with self.changed:
            return max(0, self._window - self._flying - self._reserved) if self.solo is None else 0

    @property
    def quiet(self) -> bool:
        """Whether nothing is in flight, and nothing can come."""
        with self.changed:
            return not self._flying and not any(part.reading for part in self.parts.values())

    # -- outcomes

    def finish(self, item: Item, outcome: Settled) -> None:
        """A record's handling is over; its outcome is stored soon."""
        with self.changed:
            held = time.monotonic() - item.begun
            if held < QUICK_S:
                self._window = min(self._most, self._window + 1)
            elif held > SLOW_S:
                self._window = max(self._least, self._window - 1)
            if item.settled:
                self._gone(item)
            else:
                self._outcomes.append((item, outcome))
            self.changed.notify_all()

    def outcomes(self, until: float) -> list[tuple[Item, Settled]]:
        """Wait for outcomes, or a change of state, or a moment; takes all that are there."""
        with self.changed:
            if not self._outcomes and not self.closing:
                self.changed.wait(max(0.0, until - time.monotonic()))
            taken, self._outcomes = self._outcomes, []
            return taken

    def again(self, outcomes: Iterable[tuple[Item, Settled]]) -> None:
        """These could not be stored now."""
        with self.changed:
            self._outcomes[:0] = outcomes

    def gone(self, items: Iterable[Item]) -> None:
        """These are over."""
        with self.changed:
            for item in items:
                self._gone(item)
            self.changed.notify_all()

    def _gone(self, item: Item) -> None:
        if item.part.items.get(item.id) is item:
            del item.part.items[item.id]
        self._flying -= 1

    def flying(self) -> list[Item]:
        """All records in flight."""
        with self.changed:
            return [item for part in self.parts.values() for item in part.items.values()]

    # -- the end

    def close(self) -> None:
        """Hand out nothing more."""
        with self.changed:
            self.closing = True
            self.changed.notify_all()

    def usable(self, item: Item) -> bool:
        """Whether its handler may begin now: it is still ours, as far as can be known, and nobody closes."""
        return item.settled or not (item.lost or self.closing or time.monotonic() >= item.until)
