"""A record and its place in a partition, as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from taskq.errors import InvalidOption
from taskq.names import shown
from taskq.quick import maker

_OFFSET = re.compile(r"(\d{1,15})-(\d{1,19})(?::(\d{1,9}))?")


class Offset(NamedTuple):
    """The place of a record: milliseconds and sequence of its entry's id, and the item in it if it is packed.

    Offsets of a partition only grow, and order as tuples do.

    >>> Offset.parse("1700000000000-3:7"), str(Offset(1700000000000, 3))
    (Offset(ms=1700000000000, seq=3, item=7), '1700000000000-3')
    """

    ms: int
    seq: int = 0
    item: int = 0

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}:{self.item}" if self.item else f"{self.ms}-{self.seq}"

    @property
    def entry(self) -> str:
        """The id of the entry."""
        return f"{self.ms}-{self.seq}"

    @property
    def after(self) -> Offset:
        """The least offset behind this one."""
        return Offset(self.ms, self.seq, self.item + 1)

    @classmethod
    def parse(cls, text: str) -> Offset:
        """The offset that a text says; raises InvalidOption."""
        found = _OFFSET.fullmatch(text)
        if found is None:
            raise InvalidOption(f"{shown(text)} is no offset: write it as it is shown, like 1700000000000-0")
        return cls(int(found[1]), int(found[2]), int(found[3] or 0))


class Event(NamedTuple):
    """A record on its way in: a value and what goes with it.

    Records with one key stay in order, in one partition. `time` is the event time (aware datetime, or seconds since
    1970). What has an `id` that the topic still remembers is not appended again. `value` None is a tombstone.
    """

    value: Any
    key: str | None = None
    headers: Mapping[str, str] | None = None
    time: datetime | float | None = None
    id: str | None = None
    partition: int | None = None


class Published(NamedTuple):
    """Where a record is. `created` is False if it was there before, under the id that was given."""

    partition: int
    offset: Offset
    created: bool = True


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Stands in a record for a value that the topic's codec cannot read: the bytes, and why."""

    data: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """One event of a partition. It never changes, and its offset stays the same through compaction.

    `number` counts the records of the partition from 1, whatever was removed since. `time` is the event time in
    milliseconds since 1970: what its publisher said, else when it was appended. `attempt` counts its deliveries to the
    handler of one group, from 1. `value` is None for a tombstone, and an `Undecodable` if it cannot be read.
    """

    topic: str
    partition: int
    offset: Offset
    number: int
    key: str | None
    value: Any
    headers: Mapping[str, str]
    time: int
    attempt: int = 1

    @property
    def id(self) -> str:
        """The same for each delivery of this record: a key for handlers that must not do a thing twice."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def at(self) -> datetime:
        """The event time."""
        return datetime.fromtimestamp(self.time / 1000, UTC)


made = maker(Record)
"""`Record(...)`, quickly."""
