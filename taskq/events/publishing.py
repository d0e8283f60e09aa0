"""Publishing, for threads and for event loops: encode, send, send again what has no answer until the time is up."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

from taskq.backoff import pauses
from taskq.errors import ConfigError, InvalidOption, PublishUnconfirmed
from taskq.events.lanes import LanePool
from taskq.events.log import Log
from taskq.events.outgoing import Batch, batches
from taskq.events.packed import packed_batches
from taskq.events.properties import TopicProperties
from taskq.events.record import Event
from taskq.events.retention import trim
from taskq.events.sending import Receipts, Sending
from taskq.events.tracing import traced
from taskq.events.upkeep import Upkeep, whatever_happens
from taskq.loops import warn_of_blocking
from taskq.names import shown
from taskq.store.links import drive, drive_async
from taskq.store.scripts import run_many, run_many_async

ONE: Final = (str, bytes, bytearray, memoryview, Mapping, Event)  # never many, though they can be walked through


class Publishing:
    """Publishes to one topic."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.lanes = LanePool()
        self.upkeep = Upkeep()
        self.spread = itertools.count(random.randrange(1 << 16)).__next__  # noqa: S311 - spreads load, guards nothing

    def publish(self, items: Iterable[Any]) -> Receipts:
        """Append events or values. Raises PublishUnconfirmed, BrokerFull and what `batches` raises."""
        properties = self.log.properties()
        with self.traced(items) as events:
            return self.send(self.sending(properties, self.encode(properties, events)))

    async def apublish(self, items: Iterable[Any]) -> Receipts:
        """`publish`, awaited."""
        properties = await self.log.aproperties()
        with self.traced(items) as events:
            return await self.asend(self.sending(properties, self.encode(properties, events)))

    def traced(self, items: Iterable[Any]) -> AbstractContextManager[Iterable[Any]]:
        """Publish these inside of a span, if the app is instrumented. Raises InvalidOption for what is not many."""
        check_many(items)
        return traced(self.log.tracer(), self.log.name, items)

    def encode(self, properties: TopicProperties, items: Iterable[Any]) -> list[Batch]:
        """Events or values as batches."""
        build = packed_batches if properties.packed else batches
        return build(self.log.name, properties, self.log.codec(properties), items, self.spread)

    def sending(self, properties: TopicProperties, found: list[Batch]) -> Sending:
        """Batches on their way."""
        return Sending(self.log, self.lanes, properties, found)

    def send(self, sending: Sending) -> Receipts:
        """Send until all is answered."""
        limit, link = self.log.timeout, self.log.links().sync
        tries = pauses(time.monotonic() + limit)
        while calls := sending.calls():
            answers = run_many(link, calls)
            lost = sending.take(answers)
            if lost is not None:
                pause = None if sending.stale() else next(tries, None)
                if pause is None:
                    raise sending.unconfirmed(limit, lost) from lost
                time.sleep(pause)
        receipts = sending.done()
        if due := self.upkeep.due(sending.properties, receipts):
            with whatever_happens(self.log.name):
                drive(link, trim(self.log, sending.properties, due))
        return receipts

    async def asend(self, sending: Sending) -> Receipts:
        """`send`, awaited."""
        limit, link = self.log.timeout, self.log.links().asynchronous
        tries = pauses(time.monotonic() + limit)
        while calls := sending.calls():
            answers = await run_many_async(link, calls)
            lost = sending.take(answers)
            if lost is not None:
                pause = None if sending.stale() else next(tries, None)
                if pause is None:
                    raise sending.unconfirmed(limit, lost) from lost
                await asyncio.sleep(pause)
        receipts = sending.done()
        if due := self.upkeep.due(sending.properties, receipts):
            with whatever_happens(self.log.name):
                await drive_async(link, trim(self.log, sending.properties, due))
        return receipts

    def confirm(self, error: PublishUnconfirmed) -> Receipts:
        """Send again what an error has left unconfirmed."""
        warn_of_blocking("confirm", "aconfirm")
        return self.send(_rest(error))

    async def aconfirm(self, error: PublishUnconfirmed) -> Receipts:
        """`confirm`, awaited."""
        return await self.asend(_rest(error))


def check_many(items: object) -> None:
    """Raises InvalidOption for what is not many: also for what could be taken apart, but is one value."""
    if not isinstance(items, Iterable) or isinstance(items, ONE):
        raise InvalidOption(f"events={shown(items)}: give a list of events or values; one alone is for `publish`")


def _rest(error: object) -> Sending:
    rest = getattr(error, "rest", None)
    if not isinstance(rest, Sending):
        raise ConfigError(f"{shown(error)} is not what an unconfirmed publish has raised")
    if rest.stale():
        raise ConfigError(
            "it is more than half an hour since these records were sent, so that the broker may have forgotten which of"
            " them it has: read the topic to see, and publish what is not there"
        )
    return rest
