"""A partition in the hands of this member: where it stands, what was fetched, and which records are in trouble."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

from taskq.events.group_calls import Claimed, Mark, Position, Step
from taskq.events.record import Offset, Record
from taskq.events.transaction import State
from taskq.store.topic_keys import PartitionKeys

FETCH: Final = 1_000  # records of one fetch
AHEAD: Final = 2_000  # records of a partition that are fetched and not yet done, at most so many and one fetch more
_TOP: Final = 2**64 - 1
Reader = Callable[[Sequence[Any]], list[Record]]


class Holding:
    """One claim of one partition. The fetcher puts entries in, one turn at a time takes records out.

    `lost` means that another owner or a seek has shut this one out; `revoking` that it is to be given up in order.
    `valid_until` is when, by `time.monotonic()`, the member's session may have ended: no handler begins after that.
    """

    def __init__(
        self, keys: PartitionKeys, number: int, owner: tuple[int, str], claimed: Claimed, read: Reader, *, packed: bool
    ) -> None:
        self.keys = keys
        self.number = number
        self.owner = owner
        self.grant = owner[0]
        self.place = claimed.place
        self.careful = claimed.careful
        self.marks: dict[Offset, Mark] = dict(claimed.marks or {})
        self.version = claimed.version
        self.op = 0  # the number of the last commit
        self.queued = self.busy = self.lost = self.revoking = self.released = self.paused = self.gap = False
        self.valid_until = 0.0
        self.finish_by = 0.0  # until then what must be done before it is given up may be done
        self.told = False  # that it is given up
        self.resume_at = 0.0  # a record that failed waits until then
        self.singly = 0  # up to this number a batch that failed is handled record by record
        self.began = 0.0  # when the handler that runs now began; 0 if none does
        self.extra: deque[Sequence[Step]] = deque()  # to go with the next commit; lanes add to it from any thread
        self.state: State | None = None
        self.parked_keys: dict[str, float] = {}  # digest -> when it is due, by `time.monotonic()`
        self.parked_void = claimed.void  # some of them come again from the log: they are forgotten first
        self.parked_unknown = claimed.parked > 0
        self.outbox = False  # whether there may be something in it
        self.outbox_page = 10  # how many of its entries are carried at once: so many at first, then by their size
        self.targets: dict[str, str] = {}  # of the outbox -> the epoch under which this owner publishes there
        self.later = 0.0  # when it comes back by itself
        self.frontier = 0  # ms: all records with smaller ids have been fetched
        self.lanes_run: Callable[[], bool] = _none  # whether a handler runs for a part of it, beside turns of its own
        start = claimed.place.offset
        self.cursor = before(start) if packed and start > Offset(0) else start.entry
        self.last = claimed.place  # the last record that was fetched
        self._read = read
        self._fetched: deque[Sequence[Any]] = deque()
        self._entries: list[Any] = []
        self._front: list[Record] = []
        self._at = 0

    # -- the fetcher's side -----------------------------------------------------------------------------------------

    @property
    def ahead(self) -> int:
        """How many records are fetched and not committed."""
        return self.last.number - self.place.number

    def room(self, max_bytes: int) -> int:
        """How many entries to fetch now; 0 if enough are here."""
        waiting, size = self.ahead, self.last.bytes - self.place.bytes
        if waiting >= AHEAD or self.paused or self.lost or self.revoking or self.gap or (size >= max_bytes and waiting):
            return 0
        average = size / waiting if waiting else self.last.bytes / max(self.last.number, 1)
        return max(1, min(FETCH, int((max_bytes - size) / average) if average else FETCH))

    def put(self, entries: Sequence[Any], last: Position) -> None:
        """Add fetched entries, of which the last is at `last`."""
        self._fetched.append(entries)
        self.cursor, self.last = last.offset.entry, last

    # -- the turn's side --------------------------------------------------------------------------------------------

    @property
    def wants_turn(self) -> bool:
        """Whether a turn would find something to do now."""
        if self.lost or self.released:
            return False
        if self.revoking:
            return not self.lanes_run()
        if self.paused:
            return False
        return self._at < len(self._front) or bool(self._fetched) or self.gap or self.has_chores

    @property
    def has_chores(self) -> bool:
        """Whether something is to be done beside the next records."""
        if self.parked_void or self.parked_unknown or self.outbox:
            return True
        return bool(self.parked_keys) and self.next_due() <= time.monotonic()

    def next_due(self) -> float:
        """When the first parked key is due."""
        return min(self.parked_keys.values())

    def may_run(self) -> bool:
        """Whether a handler may begin."""
        return not (self.lost or self.revoking or self.paused) and time.monotonic() < self.valid_until

    def may_finish(self) -> bool:
        """Whether a handler may begin with what has to be done before the partition is given up."""
        return not (self.lost or self.released or self.paused) and time.monotonic() < min(
            self.valid_until, self.finish_by
        )

    def peek(self, count: int, max_bytes: int = 0) -> list[Record]:
        """The next records, at most so many and so large, but one at least if there is any."""
        if self._at >= len(self._front):
            self._refill()
        found = self._front[self._at : self._at + count]
        if max_bytes and len(found) > 1 and self._bytes_at(self._at + len(found) - 1) - self.place.bytes > max_bytes:
            sizes = [self._bytes_at(self._at + place) for place in range(len(found))]
            found = found[: max(1, bisect_left(sizes, self.place.bytes + max_bytes + 1))]
        return found

    def entry_of(self, record: Record) -> Any:
        """The entry that one of the records in front was read from."""
        return self._entries[bisect_left(self._entries, record.number, key=_number_of)]

    def read_again(self, entry: Any, record: Record) -> Record:
        """The record decoded anew from its entry: a handler that failed may have changed its value."""
        return next((one for one in self._read([entry]) if one.offset == record.offset), record)

    def again(self, records: Sequence[Record]) -> list[Record]:
        """These of the records in front, decoded anew; they are what `peek` finds from now on."""
        if not records:
            return []
        begin = bisect_left(self._entries, records[0].number, key=_number_of)
        end = bisect_left(self._entries, records[-1].number, key=_number_of) + 1
        found = {one.offset: one for one in self._read(self._entries[begin:end])}
        fresh = [found.get(one.offset, one) for one in records]
        at = bisect_left(self._front, records[0].number, key=attrgetter("number"))
        self._front[at : at + len(fresh)] = fresh
        return fresh

    def place_after(self, count: int) -> Position:
        """Where the group stands once `count` more records are done."""
        if not count:
            return self.place
        index = self._at + count - 1
        record = self._front[index]
        return Position(record.offset, record.number, self._bytes_at(index))

    def advance(self, count: int) -> None:
        """So many records have been taken over by a turn."""
        self._at += count

    def _refill(self) -> None:
        entries: list[Any] = []
        while self._fetched and len(entries) < FETCH:
            entries += [entry for entry in self._fetched.popleft() if entry[1] and entry[1][0] == b"n"]
        records, done = self._read(entries), self.place.offset
        self._entries, self._front, self._at = entries, records, 0
        while self._at < len(records) and records[self._at].offset <= done:
            self._at += 1

    def _bytes_at(self, index: int) -> int:
        if len(self._entries) == len(self._front):
            return int(self._entries[index][1][1].partition(b",")[2])
        number = self._front[index].number
        counts = [entry[1][1].split(b",") for entry in self._entries]
        place = bisect_left(counts, number, key=lambda pair: int(pair[0]))
        if int(counts[place][0]) == number:
            return int(counts[place][1])
        return int(counts[place - 1][1]) if place else self.place.bytes  # inside an entry: what is whole counts

    def __repr__(self) -> str:
        words = [word for word in ("busy", "lost", "revoking", "released", "paused", "gap") if getattr(self, word)]
        return (
            f"<Holding {self.number} epoch={self.owner[0]} at={self.place.offset} ahead={self.ahead} {' '.join(words)}>"
        )


def _none() -> bool:
    return False


def _number_of(entry: Any) -> int:
    return int(entry[1][1].partition(b",")[0])


def before(offset: Offset) -> str:
    """The largest id that is smaller than that of the offset's entry.

    >>> before(Offset(5, 0)), before(Offset(5, 3))
    ('4-18446744073709551615', '5-2')
    """
    return f"{offset.ms}-{offset.seq - 1}" if offset.seq else f"{offset.ms - 1}-{_TOP}"


def end_of(entries: Sequence[Any]) -> Position | None:
    """Where the last of some entries is; None if none is ours."""
    for entry, fields in reversed(entries):
        if fields and fields[0] == b"n":
            number, _, size = fields[1].partition(b",")
            ms, _, seq = entry.partition(b"-")
            return Position(Offset(int(ms), int(seq)), int(number), int(size))
    return None


def begin_of(entries: Sequence[Any]) -> int:
    """The number before the first record of some entries; -1 if none is ours."""
    for _, fields in entries:
        if fields and fields[0] == b"n":
            count = int(fields[3]) if fields[2:3] == [b"c"] else 1
            return int(fields[1].partition(b",")[0]) - count
    return -1
