"""Event sourcing: the state of a key is its records, folded; appends say which version they are based on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from taskq.checks import when, whole
from taskq.errors import DecodeError, InvalidOption
from taskq.events import reading
from taskq.events.outgoing import BATCH_RECORDS, Batch, key_bytes, partition_of
from taskq.events.properties import TopicProperties
from taskq.events.record import Event, Offset, Published, Record
from taskq.events.topic import Topic
from taskq.loops import warn_of_blocking
from taskq.store.links import Steps, drive, drive_async

S = TypeVar("S")

_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Appended:
    """The version of the key behind an append, and where its records are."""

    version: int
    records: tuple[Published, ...]


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """The state of a key, its version, and the offset of the last record in it (None if it has none)."""

    state: S
    version: int
    offset: Offset | None


class Aggregates(Generic[S]):
    """The aggregates of a topic, one per key: `Aggregates(orders, Order, apply)`.

    `apply(state, record)` gives the state behind a record, `initial()` the one before the first. The version of a key
    counts its records; all of them are to come through `append`. `name` keeps the snapshots of one such fold apart from
    those of another (a state that changed its form needs another name). A topic with an index loads fastest.
    """

    def __init__(
        self, topic: Topic, initial: Callable[[], S], apply: Callable[[S, Record], S], name: str = "state"
    ) -> None:
        self.topic = topic
        self._initial = initial
        self._apply = apply
        self._name = name

    def append(self, key: str, events: Iterable[Any], expected: int | None = None) -> Appended:
        """Append events to a key, all or none, if it has the `expected` version; None appends to any.

        At most 250 events and 256 KiB. Raises VersionConflict, and what `Topic.publish` raises.
        """
        warn_of_blocking("append", "aappend")
        publishing, properties = self.topic.publishing, self.topic.properties()
        with publishing.traced(events) as traced:
            sending = publishing.sending(properties, [self._batch(properties, key, traced, expected)])
            receipts = publishing.send(sending)
        return Appended(_version(sending.runs[0].answers[0]), tuple(receipts))

    async def aappend(self, key: str, events: Iterable[Any], expected: int | None = None) -> Appended:
        """`append`, awaited."""
        publishing, properties = self.topic.publishing, await self.topic.aproperties()
        with publishing.traced(events) as traced:
            sending = publishing.sending(properties, [self._batch(properties, key, traced, expected)])
            receipts = await publishing.asend(sending)
        return Appended(_version(sending.runs[0].answers[0]), tuple(receipts))

    def load(self, key: str) -> Loaded[S]:
        """The state of a key: its snapshot, if there is one, and the records behind it."""
        return drive(self.topic.log.links().sync, self._load(self.topic.properties(), key))

    async def aload(self, key: str) -> Loaded[S]:
        """`load`, awaited."""
        return await drive_async(self.topic.log.links().asynchronous, self._load(await self.topic.aproperties(), key))

    def as_of(self, key: str, time: datetime | float) -> Loaded[S]:
        """The state as its records up to a time give it, by their event time, that one included."""
        return drive(self.topic.log.links().sync, self._as_of(self.topic.properties(), key, when(time, "time")))

    async def aas_of(self, key: str, time: datetime | float) -> Loaded[S]:
        """`as_of`, awaited."""
        return await drive_async(
            self.topic.log.links().asynchronous, self._as_of(await self.topic.aproperties(), key, when(time, "time"))
        )

    def snapshot(self, key: str) -> Loaded[S]:
        """Load a key and keep its state, so that the next load begins there. The topic's codec stores it."""
        return drive(self.topic.log.links().sync, self._snapshot(self.topic.properties(), key))

    async def asnapshot(self, key: str) -> Loaded[S]:
        """`snapshot`, awaited."""
        return await drive_async(
            self.topic.log.links().asynchronous, self._snapshot(await self.topic.aproperties(), key)
        )

    def _batch(self, properties: TopicProperties, key: str, events: Iterable[Any], expected: int | None) -> Batch:
        if properties.packed:
            raise InvalidOption(f"topic {self.topic.name!r} is packed: its keys have no versions")
        if expected is not None:
            whole(expected, "expected", 0, 2**53)
        plain = (event if type(event) is Event else Event(event) for event in events)
        found = self.topic.publishing.encode(properties, (one._replace(key=key, partition=None) for one in plain))
        if len(found) != 1 or found[0].given:
            raise InvalidOption(
                f"append to {key!r}: give 1 to {BATCH_RECORDS} events, 256 KiB in all, without ids: they go together"
            )
        found[0].version = key_bytes(key), expected
        return found[0]

    def _load(self, properties: TopicProperties, key: str) -> Steps[Loaded[S]]:
        snapshots = self.topic.log.keys.partition(partition_of(key, properties.partitions)).snapshots
        stored = yield ("HGET", snapshots, self._field(key))
        state, version, offset = self._initial(), 0, None
        if stored is not None:
            state, version, offset = self._read(properties, stored)
        found = self._records(properties, key, Offset(0) if offset is None else offset.after)
        for record in (yield from found):
            state, version, offset = self._apply(state, record), version + 1, record.offset
        return Loaded(state, version, offset)

    def _as_of(self, properties: TopicProperties, key: str, time: int) -> Steps[Loaded[S]]:
        loaded: Loaded[S] = Loaded(self._initial(), 0, None)
        for record in (yield from self._records(properties, key, Offset(0))):
            if record.time <= time:
                loaded = Loaded(self._apply(loaded.state, record), loaded.version + 1, record.offset)
        return loaded

    def _snapshot(self, properties: TopicProperties, key: str) -> Steps[Loaded[S]]:
        loaded = yield from self._load(properties, key)
        if loaded.offset is not None:
            snapshots = self.topic.log.keys.partition(partition_of(key, properties.partitions)).snapshots
            data = b"%d %s " % (loaded.version, str(loaded.offset).encode())
            data += self.topic.log.codec(properties).dumps(loaded.state)
            yield ("HSET", snapshots, self._field(key), data)
        return loaded

    def _read(self, properties: TopicProperties, stored: bytes) -> tuple[S, int, Offset | None]:
        try:
            version, offset, data = stored.split(b" ", 2)
            state: S = self.topic.log.codec(properties).loads(data)
            return state, int(version), Offset.parse(offset.decode())
        except Exception as error:
            raise DecodeError(
                f"a snapshot in topic {self.topic.name!r} cannot be read: {error}; another name= leaves it aside"
            ) from error

    def _records(self, properties: TopicProperties, key: str, since: Offset) -> Generator[Any, Any, list[Record]]:
        found: list[Record] = []
        cut: Offset | None = since
        while cut is not None:
            page = yield from reading.of_key(self.topic.log, properties, key, cut, _PAGE, 10_000_000)
            found += page.records
            cut = page.cut
        return found

    def _field(self, key: str) -> str:
        return f"{self._name}:{key}"


def _version(answer: str) -> int:
    return int(answer.rpartition(" ")[2])
