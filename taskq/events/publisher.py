"""A publisher of a topic with a name, or one that gathers what is published at about the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Self

from taskq.checks import Duration, seconds, whole
from taskq.errors import EventLoopRunning, InvalidOption, PublishUnconfirmed, SerializationError
from taskq.events.log import Log
from taskq.events.named import NamedPublishing
from taskq.events.publishing import Publishing, check_many
from taskq.events.record import Event, Published
from taskq.events.sending import Receipts
from taskq.loops import warn_of_blocking

MAX_LINGER_S = 60.0


class Publisher:
    """Publishes to one topic, as the topic does itself; made by `topic.publisher(...)`.

    With a name its numbers outlive it: `publish_many(events, partition=3, number=17)` appends once however often it is
    sent, by whichever incarnation, as long as it is one of the last eight of that partition. A newer publisher of the
    same name fences the older one: PublisherFenced. It publishes one call after the other, from threads or from one
    event loop.

    With `linger` what event loops publish waits up to so many seconds for company, up to `batch` records; order is
    kept, and awaiting one gives its offset. `aclose` sends what still waits.
    """

    def __init__(self, log: Log, id: str | None, linger: Duration, batch: int) -> None:
        self._publishing: Publishing = Publishing(log) if id is None else NamedPublishing(log, id)
        self._gathering: Gathering | None = None
        self.id = id
        delay = seconds(linger, "linger")
        if delay > MAX_LINGER_S:
            raise InvalidOption(f"linger={delay:g}: give at most {MAX_LINGER_S:g} seconds")
        if delay:
            self._gathering = Gathering(self._publishing, delay, whole(batch, "batch", 1, 100_000))

    def publish(
        self,
        value: Any,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        time: datetime | float | None = None,
        id: str | None = None,
        partition: int | None = None,
    ) -> Published:
        """Append one record; see `Topic.publish`. It never lingers."""
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
        """Append one record, with others if this publisher lingers."""
        event = Event(value, key, headers, time, id, partition)
        if self._gathering is not None:
            return await self._gathering.add(event)
        return (await self._publishing.apublish((event,)))[0]

    def publish_many(self, events: Iterable[Any], partition: int | None = None, number: int = 0) -> Receipts:
        """Append values or events, all to one `partition` if that is given; `number` is for publishers with a name.

        Raises OutOfOrder for a number that is neither the next one nor one of the last eight.
        """
        warn_of_blocking("publish_many", "apublish_many")
        if isinstance(self._publishing, NamedPublishing):
            return self._publishing.publish(events, partition, number)
        return self._publishing.publish(self._plain(events, partition, number))

    async def apublish_many(self, events: Iterable[Any], partition: int | None = None, number: int = 0) -> Receipts:
        """`publish_many`, awaited; it never lingers, but what lingers already goes first."""
        if self._gathering is not None:
            await self._gathering.flush()
        if isinstance(self._publishing, NamedPublishing):
            return await self._publishing.apublish(events, partition, number)
        return await self._publishing.apublish(self._plain(events, partition, number))

    def numbers(self) -> dict[int, int]:
        """The last number of this name in each partition. Raises InvalidOption without a name."""
        return self._named().numbers()

    async def anumbers(self) -> dict[int, int]:
        """`numbers`, awaited."""
        return await self._named().anumbers()

    def confirm(self, error: PublishUnconfirmed) -> Receipts:
        """Send again what a publish has left unconfirmed; see `Topic.confirm`."""
        return self._publishing.confirm(error)

    async def aconfirm(self, error: PublishUnconfirmed) -> Receipts:
        """`confirm`, awaited."""
        return await self._publishing.aconfirm(error)

    async def aclose(self) -> None:
        """Send what lingers, and wait until it is answered."""
        if self._gathering is not None:
            await self._gathering.flush()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _named(self) -> NamedPublishing:
        if isinstance(self._publishing, NamedPublishing):
            return self._publishing
        raise InvalidOption("numbers are kept for publishers with a name: topic.publisher(id=...)")

    def _plain(self, events: Iterable[Any], partition: int | None, number: int) -> Iterable[Any]:
        if number:
            self._named()
        if partition is None:
            return events
        check_many(events)
        ready = (item if type(item) is Event else Event(item) for item in events)
        return [event._replace(partition=partition) for event in ready]


class Gathering:
    """Events that wait for company in one event loop, and the batches that are under way, one after the other."""

    def __init__(self, publishing: Publishing, linger: float, batch: int) -> None:
        self._publishing = publishing
        self._linger = linger
        self._batch = batch
        self._waiting: list[tuple[Event, asyncio.Future[Published]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._last: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def add(self, event: Event) -> Published:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed() and self._waiting:
                raise EventLoopRunning("this publisher gathers in another event loop: make one for each")
            self._loop, self._waiting, self._timer, self._last = loop, [], None, None
        future: asyncio.Future[Published] = loop.create_future()
        self._waiting.append((event, future))
        if len(self._waiting) >= self._batch:
            self._send()
        elif self._timer is None:
            self._timer = loop.call_later(self._linger, self._send)
        return await future

    async def flush(self) -> None:
        """Send what waits now; returns when all of it is answered."""
        self._send()
        if self._last is not None:
            await asyncio.wait([self._last])

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and self._loop is not None:
            some, self._waiting = self._waiting, []
            self._last = self._loop.create_task(self._publish(some, self._last))

    async def _publish(self, some: list[tuple[Event, asyncio.Future[Published]]], before: Any) -> None:
        if before is not None:
            await asyncio.wait([before])
        some = [(event, future) for event, future in some if not future.done()]  # whoever gave up wants nothing sent
        try:
            receipts = await self._publishing.apublish([event for event, _ in some])
        except (SerializationError, InvalidOption) as error:
            if len(some) == 1:
                _fail(some, error)
                return
            for one in some:  # one of them cannot be stored; the others do not suffer for it
                await self._publish([one], None)
        except BaseException as error:
            _fail(some, error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), receipt in zip(some, receipts, strict=True):
                if not future.done():
                    future.set_result(receipt)


def _fail(some: list[tuple[Event, asyncio.Future[Published]]], error: BaseException) -> None:
    for _, future in some:
        if not future.done():
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
