"""Reading a partition without a group: a range of offsets or times, or all records of one key. No I/O: steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from taskq.checks import when, whole
from taskq.errors import InvalidOption
from taskq.events.calls import key_digest
from taskq.events.entries import records
from taskq.events.log import Log
from taskq.events.outgoing import key_bytes, partition_of
from taskq.events.properties import TopicProperties
from taskq.events.record import Offset, Record
from taskq.names import shown
from taskq.store.links import Steps

Place: TypeAlias = "Offset | datetime | float | Literal['earliest', 'latest']"

MAX_READ: Final = 100_000
PAGE: Final = 100
PAGE_BYTES: Final = 1_048_576
MAX_PAGE: Final = 1_000
_LEAST, _MOST = Offset(0, 0), Offset(2**63, 0)


@dataclass(frozen=True, slots=True)
class KeyRecords:
    """The records of one key, oldest first. `cut` is None if these are all; else `since=cut` goes on from there."""

    records: tuple[Record, ...]
    cut: Offset | None


def offset_at(place: object, name: str, *, last: bool = False) -> Offset:
    """The offset that a place means: of a time the first of its millisecond, with `last` the last of it.

    >>> offset_at(1.5, "since"), offset_at("earliest", "since").entry
    (Offset(ms=1500, seq=0, item=0), '0-0')
    """
    if isinstance(place, Offset):
        return place
    if place == "earliest":
        return _LEAST
    if place == "latest":
        return _MOST
    if isinstance(place, str):
        raise InvalidOption(f"{name}={shown(place)}: give 'earliest', 'latest', an Offset or a time")
    return Offset(when(place, name), 2**63 if last else 0)


def read(
    log: Log, properties: TopicProperties, partition: int, since: object, until: object, limit: int
) -> Steps[list[Record]]:
    """Up to `limit` records from `since` to `until`, both included, as far as they are retained."""
    keys = log.partition(partition, properties)
    begin = offset_at(since, "since")
    end = _MOST if until is None else offset_at(until, "until", last=True)
    whole(limit, "limit", 1, MAX_READ)
    codec, found = log.codec(properties), list[Record]()
    at, page = begin.entry, min(limit, 4 if properties.packed else PAGE)
    while len(found) < limit and begin <= end and begin != _MOST:
        entries = yield ("XRANGE", keys.log, at, end.entry, "COUNT", page)
        some = records(log.name, partition, codec, entries)
        found += [record for record in some if begin <= record.offset <= end]
        if len(entries) < page:
            break
        at = f"({str(entries[-1][0], 'ascii')}"
        page = next_page(entries, limit - len(found))
    return found[:limit]


def next_page(entries: Sequence[Any], left: int) -> int:
    """How many entries to ask for next, by the size of those that came: a megabyte, or one that is larger."""
    size = sum(len(field) for _, fields in entries for field in fields)
    return max(1, min(left, MAX_PAGE, PAGE_BYTES * len(entries) // max(size, 1)))


def of_key(log: Log, properties: TopicProperties, key: str, since: object, limit: int, scan: int) -> Steps[KeyRecords]:
    """The records of a key: by the index if the topic has one, else by looking at up to `scan` entries."""
    name, begin = key_bytes(key), offset_at(since, "since")
    whole(limit, "limit", 1, MAX_READ)
    whole(scan, "scan", 1, 10_000_000)
    partition = partition_of(key, properties.partitions)
    if properties.index:
        return (yield from _indexed(log, properties, partition, name, begin, limit))
    codec, found, looked = log.codec(properties), list[Record](), 0
    keys, at, page = log.keys.partition(partition), begin.entry, 4 if properties.packed else PAGE
    while True:
        entries = yield ("XRANGE", keys.log, at, "+", "COUNT", page)
        some = records(log.name, partition, codec, entries if properties.packed else _with_key(entries, name))
        found += [record for record in some if record.key == key and record.offset >= begin]
        looked += len(entries)
        if len(found) > limit:
            return KeyRecords(tuple(found[:limit]), found[limit].offset)
        if len(entries) < page:
            return KeyRecords(tuple(found), None)
        last = Offset.parse(str(entries[-1][0], "ascii"))
        if looked >= scan:
            return KeyRecords(tuple(found), Offset(last.ms, last.seq + 1))
        at, page = f"({last.entry}", next_page(entries, scan - looked)


def _indexed(
    log: Log, properties: TopicProperties, partition: int, key: bytes, begin: Offset, limit: int
) -> Steps[KeyRecords]:
    keys = log.keys.partition(partition)
    ids = yield ("LRANGE", keys.of_key(key_digest(key)), 0, -1)
    wanted = [one for one in (str(known, "ascii") for known in ids) if Offset.parse(one) >= begin]
    found: list[Record] = []
    codec, text = log.codec(properties), key.decode()
    for start in range(0, len(wanted), PAGE):
        pages = yield [("XRANGE", keys.log, one, one) for one in wanted[start : start + PAGE]]
        entries = [entry for page in pages for entry in page]
        found += [one for one in records(log.name, partition, codec, entries) if one.key == text]
        if len(found) > limit:
            return KeyRecords(tuple(found[:limit]), found[limit].offset)
    return KeyRecords(tuple(found), None)


def _with_key(entries: Sequence[Any], key: bytes) -> list[Any]:
    found: list[Any] = []
    for entry in entries:
        fields = entry[1]
        if any(fields[at] == b"k" and fields[at + 1] == key for at in range(2, len(fields), 2)):
            found.append(entry)
    return found


def ends(log: Log, properties: TopicProperties) -> Steps[dict[int, Offset]]:
    """Behind the last record of each partition: where what is published from now on begins."""
    metas = [log.keys.partition(number).meta for number in range(properties.partitions)]
    told = yield [("HGET", meta, "id") for meta in metas]
    found: dict[int, Offset] = {}
    for number, last in enumerate(told):
        known = _LEAST if last is None else Offset.parse(str(last, "ascii"))
        found[number] = known if last is None else Offset(known.ms, known.seq + 1)
    return found
