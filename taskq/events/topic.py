"""A topic as people use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Unpack

from taskq.errors import PublishUnconfirmed
from taskq.events.log import Log
from taskq.events.properties import TopicProperties
from taskq.events.publishing import Publishing
from taskq.events.reading import Reading
from taskq.events.record import Event, Published
from taskq.events.sending import Receipts
from taskq.events.subscription import SubscribeOptions, Subscription
from taskq.loops import warn_of_blocking


class Topic:
    """A named log of records in partitions: `orders = app.topic("orders", partitions=8)`.

    Nothing is sent before it is needed. At the first use its properties are stored, or compared with those that are.
    Threads may share a topic; forks and event loops have their own connections and lanes.
    """

    def __init__(self, log: Log) -> None:
        self.log = log
        self._publishing = Publishing(log)

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
        return self._publishing.publish((Event(value, key, headers, time, id, partition),))[0]

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
        return (await self._publishing.apublish((Event(value, key, headers, time, id, partition),)))[0]

    def publish_many(self, events: Iterable[Any]) -> Receipts:
        """Append values, or events like `Event(value, key="customer-7")`, in one round trip per 2,000 of a partition.

        All are encoded before the first is sent. Of one partition they stay in order; each batch of 250 is appended
        whole. A failure midway has the ids of what was appended in its `accepted`. Raises what `publish` raises.
        """
        warn_of_blocking("publish_many", "apublish_many")
        return self._publishing.publish(events)

    async def apublish_many(self, events: Iterable[Any]) -> Receipts:
        """`publish_many`, awaited."""
        return await self._publishing.apublish(events)

    def confirm(self, error: PublishUnconfirmed) -> Receipts:
        """Send again what a publish has left unconfirmed; answers for all records of that publish.

        None of them is appended twice. Raises PublishUnconfirmed again, or ConfigError after half an hour.
        """
        return self._publishing.confirm(error)

    async def aconfirm(self, error: PublishUnconfirmed) -> Receipts:
        """`confirm`, awaited."""
        return await self._publishing.aconfirm(error)

    # -- reading ----------------------------------------------------------------------------------------------------

    def subscribe(self, group: str, **options: Unpack[SubscribeOptions]) -> Reading:
        """Read as a member of a group in a loop: `for record in orders.subscribe("billing")`, or `async for`.

        The partitions are shared with the other members. A record is done when the next one is asked for. With `batch`
        each step of the loop gives a list. Raises InvalidName, InvalidOption.
        """
        return Reading(self.log, Subscription.of(group, options))

    def __repr__(self) -> str:
        return f"<Topic {self.log.namespace}:{self.name}>"
