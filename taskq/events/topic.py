"""A topic as people use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar, Unpack, cast, overload

from taskq.checks import Duration
from taskq.errors import InvalidOption, PublishUnconfirmed
from taskq.events import reading
from taskq.events.compaction import Compacted, compact
from taskq.events.handling import Handler, Route
from taskq.events.iterating import Reading
from taskq.events.log import Log
from taskq.events.ordered_group import OrderedGroup
from taskq.events.properties import TopicProperties
from taskq.events.publisher import Publisher
from taskq.events.publishing import Publishing
from taskq.events.reading import KeyRecords, Place
from taskq.events.record import Event, Offset, Published, Record
from taskq.events.retention import Trimmed, trim
from taskq.events.sending import Receipts
from taskq.events.shared import SharedSubscription, Where, subscribed
from taskq.events.shared_options import Filter, SharedSaid
from taskq.events.subscription import SubscribeOptions, Subscription
from taskq.loops import warn_of_blocking
from taskq.names import check_name
from taskq.store.links import Steps, drive, drive_async

T = TypeVar("T")


class Topic:
    """A named log of records in partitions: `orders = app.topic("orders", partitions=8)`.

    Nothing is sent before it is needed. At the first use its properties are stored, or compared with those that are.
    Threads may share a topic; forks and event loops have their own connections and lanes.
    """

    def __init__(self, log: Log) -> None:
        self.log = log
        self.publishing = Publishing(log)

    @property
    def name(self) -> str:
        return self.log.name

    def properties(self) -> TopicProperties:
        """What the topic is at the broker. Raises ConfigError if it was made otherwise than it is declared here."""
        return self.log.properties()

    async def aproperties(self) -> TopicProperties:
        """`properties`, awaited."""
        return await self.log.aproperties()

    # -- publishing -------------------------------------------------------------------------------------------------

    def publish(
        self,
        value: Any,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        time: datetime | float | None = None,
        id: str | None = None,
        partition: int | None = None,
    ) -> Published:
        """Append one record and say where it is.

        Records with one key stay in order, in one partition; those without are spread. `time` is the event time. What
        has an `id` that the topic remembers is not appended again. `value` None with a key is a tombstone. Raises
        PublishUnconfirmed (`confirm` sends again), BrokerFull, SerializationError, PayloadTooLarge, InvalidOption.
        """
        warn_of_blocking("publish", "apublish")
        return self.publishing.publish((Event(value, key, headers, time, id, partition),))[0]

    async def apublish(
        self,
        value: Any,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        time: datetime | float | None = None,
        id: str | None = None,
        partition: int | None = None,
    ) -> Published:
        """`publish`, awaited."""
        return (await self.publishing.apublish((Event(value, key, headers, time, id, partition),)))[0]

    def publish_many(self, events: Iterable[Any]) -> Receipts:
        """Append values, or events like `Event(value, key="customer-7")`, in one round trip per 2,000 of a partition.

        All are encoded before the first is sent. Of one partition they stay in order; each batch of 250 is appended
        whole. A failure midway has the ids of what was appended in its `accepted`. Raises what `publish` raises.
        """
        warn_of_blocking("publish_many", "apublish_many")
        return self.publishing.publish(events)

    async def apublish_many(self, events: Iterable[Any]) -> Receipts:
        """`publish_many`, awaited."""
        return await self.publishing.apublish(events)

    def publisher(self, id: str | None = None, *, linger: Duration = 0, batch: int = 1_000) -> Publisher:
        """A publisher with a name, or that gathers (`linger` in seconds, up to `batch` records); see `Publisher`."""
        return Publisher(self.log, id, linger, batch)

    # -- reading without a group ------------------------------------------------------------------------------------

    def read(
        self, partition: int, since: Place = "earliest", until: Place | None = None, limit: int = 1_000
    ) -> list[Record]:
        """Up to `limit` records of a partition from `since` to `until`, both included, the oldest first.

        A place is an offset, a time (by when it was appended), "earliest" or "latest". What retention has removed is
        not there. Go on with `since=records[-1].offset.after`.
        """
        return self._drive(reading.read(self.log, self.properties(), partition, since, until, limit))

    async def aread(
        self, partition: int, since: Place = "earliest", until: Place | None = None, limit: int = 1_000
    ) -> list[Record]:
        """`read`, awaited."""
        return await self._adrive(reading.read(self.log, await self.aproperties(), partition, since, until, limit))

    def of_key(self, key: str, since: Place = "earliest", limit: int = 1_000, scan: int = 100_000) -> KeyRecords:
        """The records of one key, the oldest first.

        A topic with an index knows them; else up to `scan` entries of the key's partition are looked at. `cut` says
        where to go on if there may be more.
        """
        return self._drive(reading.of_key(self.log, self.properties(), key, since, limit, scan))

    async def aof_key(self, key: str, since: Place = "earliest", limit: int = 1_000, scan: int = 100_000) -> KeyRecords:
        """`of_key`, awaited."""
        return await self._adrive(reading.of_key(self.log, await self.aproperties(), key, since, limit, scan))

    def ends(self) -> dict[int, Offset]:
        """Behind the last record of each partition: `since=` this reads what is published from now on."""
        return self._drive(reading.ends(self.log, self.properties()))

    async def aends(self) -> dict[int, Offset]:
        """`ends`, awaited."""
        return await self._adrive(reading.ends(self.log, await self.aproperties()))

    # -- retention --------------------------------------------------------------------------------------------------

    def trim(self) -> list[Trimmed]:
        """Remove now what retention does not keep; answers what went from each partition, and who holds it back.

        Publishers do it as they go, about every 5,000 records or 30 seconds.
        """
        return self._drive(trim(self.log, self.properties()))

    async def atrim(self) -> list[Trimmed]:
        """`trim`, awaited."""
        return await self._adrive(trim(self.log, await self.aproperties()))

    def compact(self) -> list[Compacted]:
        """Remove now, in a topic with `compact=True`, all records of each key but the newest, and old tombstones.

        Offsets and numbers of what stays do not change, and readers notice nothing. A pass may be killed at any time.
        Raises ConfigError if the topic is not compacted or has shared groups.
        """
        return self._drive(compact(self.log, self.properties()))

    async def acompact(self) -> list[Compacted]:
        """`compact`, awaited."""
        return await self._adrive(compact(self.log, await self.aproperties()))

    def _drive(self, steps: Steps[T]) -> T:
        return drive(self.log.links().sync, steps)

    async def _adrive(self, steps: Steps[T]) -> T:
        return await drive_async(self.log.links().asynchronous, steps)

    # -- what was not confirmed -------------------------------------------------------------------------------------

    def confirm(self, error: PublishUnconfirmed) -> Receipts:
        """Send again what a publish has left unconfirmed; answers for all records of that publish.

        None of them is appended twice. Raises PublishUnconfirmed again, or ConfigError after half an hour.
        """
        return self.publishing.confirm(error)

    async def aconfirm(self, error: PublishUnconfirmed) -> Receipts:
        """`confirm`, awaited."""
        return await self.publishing.aconfirm(error)

    # -- subscribing ------------------------------------------------------------------------------------------------

    @overload
    def subscribe(
        self,
        handler: Handler | Sequence[Route] | None = None,
        *,
        group: str,
        mode: Literal["shared"],
        filter: Filter | None = None,
        **options: Unpack[SharedSaid],
    ) -> SharedSubscription: ...
    @overload
    def subscribe(self, handler: None = None, *, group: str, **options: Unpack[SubscribeOptions]) -> Reading: ...
    def subscribe(
        self,
        handler: Any = None,
        *,
        group: str,
        mode: Any = "partition",
        filter: Filter | None = None,
        **options: Any,
    ) -> SharedSubscription | Reading:
        """Read this topic as one of a group: `with orders.subscribe(group="mail") as records: ...`, or `async with`.

        The members of the group share the partitions, and a record is done when the next one is asked for; with `batch`
        each step of the loop gives a list. With `mode="shared"` they share the records, in no promised order: then with
        a handler, begin with `start()`, without one, iterate. Only records for which `filter` is true get to it; the
        others are settled. Several handlers with filters of their own are given as `Route`s: the first that fits gets
        the record. Raises InvalidOption, InvalidName.
        """
        if mode == "shared":
            where = Where.of(self.log.links, self.log.namespace, self.name, self.log.tracer)
            return subscribed(where, group, mode, cast("SharedSaid", options), handler, filter)
        if handler is not None or filter is not None:
            raise InvalidOption("an ordered group has its function by @app.subscribe, and no filter: loop without them")
        return Reading(self.log, Subscription.of(group, {"mode": mode, **options}))

    def group(self, name: str) -> OrderedGroup:
        """An ordered group from outside: its lag, members and dead letters, and putting it elsewhere."""
        return OrderedGroup(self.log, check_name(name, "group"))

    def __repr__(self) -> str:
        return f"<Topic {self.log.namespace}:{self.name}>"
