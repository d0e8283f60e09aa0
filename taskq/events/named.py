"""Publishers with a name: one incarnation at a time may publish, and its numbers outlive it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable
from typing import Any

from taskq.errors import InvalidOption, PublishUnconfirmed, TaskqError
from taskq.events.calls import Seat
from taskq.events.lanes import Lane
from taskq.events.log import Log, check_partition
from taskq.events.outgoing import BATCH_RECORDS, Batch
from taskq.events.properties import TopicProperties
from taskq.events.publishing import Publishing
from taskq.events.record import Event
from taskq.events.sending import Receipts, Run, Sending
from taskq.names import check_name
from taskq.store.links import Steps, drive, drive_async
from taskq.store.scripts import Call, load
from taskq.store.topic_keys import PartitionKeys


def enlist(keys: PartitionKeys, name: str, nonce: bytes) -> Call[tuple[str, int]]:
    """Make an incarnation known at one partition; answers its epoch there, and the last number of the name."""
    return Call(load("events/enlist"), [keys.producer(name)], [nonce], _read)


def _read(reply: Any) -> tuple[str, int]:
    epoch, number = reply
    return str(epoch, "ascii"), int(number)


class NamedSending(Sending):
    """A publish of a named publisher: counted on its own lanes, with the epoch of its incarnation."""

    def __init__(self, named: NamedPublishing, properties: TopicProperties, batches: list[Batch], number: int) -> None:
        self._named, self._number = named, number
        super().__init__(named.log, named.lanes, properties, batches)

    def run(self, partition: int, batches: list[Batch]) -> Run:
        lane = self._named.seats[partition][1]
        return Run(partition, Lane(number=self._number - 1) if self._number else lane, batches, self._named.name)

    def seat(self, run: Run) -> Seat:
        name = self._named.name
        return Seat(self._log.keys.partition(run.partition).producer(name), self._named.seats[run.partition][0], name)

    def done(self) -> Receipts:
        for run in self.runs:
            lane = self._named.seats[run.partition][1]
            lane.number = max(lane.number, run.lane.number)
        return Receipts(self.runs)

    def stale(self) -> bool:
        return False  # what is known of a named publisher never expires


class NamedPublishing(Publishing):
    """Publishes under a name, one call after the other. Use it from threads or from one event loop, not from both."""

    def __init__(self, log: Log, name: str) -> None:
        super().__init__(log)
        self.name = check_name(name, "publisher")
        self.seats: dict[int, tuple[str, Lane]] = {}  # partition -> epoch there, and the last number
        self._pending: list[Sending] = []  # what may or may not be there: it is sent again before anything else
        self._lock = threading.RLock()
        self._alock = asyncio.Lock()
        self._begin()

    def _begin(self) -> None:
        self._pid, self._nonce = os.getpid(), os.urandom(12)
        self.seats.clear()
        self._pending.clear()

    def _enlist(self, properties: TopicProperties) -> Steps[None]:
        if self._pid != os.getpid():
            self._lock, self._alock = threading.RLock(), asyncio.Lock()
            self._begin()  # the child of a fork is another incarnation: it fences its parent
        if not self.seats:
            every = range(properties.partitions)
            told = yield [enlist(self.log.keys.partition(number), self.name, self._nonce) for number in every]
            for number, (epoch, last) in enumerate(told):
                self.seats[number] = epoch, Lane(number=last)

    def numbers(self) -> dict[int, int]:
        """The last number in each partition."""
        with self._lock:
            drive(self.log.links().sync, self._enlist(self.log.properties()))
            return {number: lane.number for number, (_, lane) in self.seats.items()}

    async def anumbers(self) -> dict[int, int]:
        """`numbers`, awaited."""
        async with self._alock:
            await drive_async(self.log.links().asynchronous, self._enlist(await self.log.aproperties()))
            return {number: lane.number for number, (_, lane) in self.seats.items()}

    def publish(self, items: Iterable[Any], partition: int | None = None, number: int = 0) -> Receipts:
        with self._lock:
            properties = self.log.properties()
            with self.traced(items) as events:
                found = self._batches(properties, events, partition, number)
                drive(self.log.links().sync, self._enlist(properties))
                return self.send(NamedSending(self, properties, found, number))

    async def apublish(self, items: Iterable[Any], partition: int | None = None, number: int = 0) -> Receipts:
        async with self._alock:
            properties = await self.log.aproperties()
            with self.traced(items) as events:
                found = self._batches(properties, events, partition, number)
                await drive_async(self.log.links().asynchronous, self._enlist(properties))
                return await self._asend(NamedSending(self, properties, found, number))

    def send(self, sending: Sending) -> Receipts:
        with self._lock:
            if sending not in self._pending:
                self._pending.append(sending)
            while sending in self._pending:
                first = self._pending[0]
                try:
                    super().send(first)
                except PublishUnconfirmed:
                    raise
                except TaskqError:
                    self._pending.clear()
                    raise
                self._pending.pop(0)
            return sending.done()

    async def asend(self, sending: Sending) -> Receipts:
        async with self._alock:
            return await self._asend(sending)

    async def _asend(self, sending: Sending) -> Receipts:
        if sending not in self._pending:
            self._pending.append(sending)
        while sending in self._pending:
            first = self._pending[0]
            try:
                await super().asend(first)
            except PublishUnconfirmed:
                raise
            except TaskqError:
                self._pending.clear()
                raise
            self._pending.pop(0)
        return sending.done()

    def _batches(
        self, properties: TopicProperties, items: Iterable[Any], partition: int | None, number: int
    ) -> list[Batch]:
        if partition is not None:
            check_partition(self.log.name, partition, properties.partitions)
            events = (item if type(item) is Event else Event(item) for item in items)
            items = [event._replace(partition=partition) for event in events]
        found = self.encode(properties, items)
        if number and (len(found) != 1 or partition is None):
            raise InvalidOption(
                f"number={number}: a number is for one batch of one partition: give partition=, and 1 to"
                f" {BATCH_RECORDS} events of 256 KiB"
            )
        return found
