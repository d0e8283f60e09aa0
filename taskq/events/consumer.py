"""A consumer: one member of one ordered group, with its threads, in the user's own process."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from inspect import iscoroutinefunction
from types import TracebackType
from typing import Literal, Self

from taskq.errors import ConfigError, MemberFenced
from taskq.events.desk import Desk
from taskq.events.fetcher import Fetcher
from taskq.events.group_calls import Seat, place
from taskq.events.groups import target
from taskq.events.log import Log
from taskq.events.member import Member
from taskq.events.outbox import Routes
from taskq.events.performing import Handler
from taskq.events.record import Offset
from taskq.events.runners import Loop, Threads
from taskq.events.subscription import Subscription
from taskq.events.transaction import Enqueue
from taskq.events.turns import Plan
from taskq.store.scripts import run

GRACE_S = 10.0
LAST_S = 2.0
LOOK_S = 0.05
BEGIN_LOOKS = 200  # ten seconds; it goes on trying after that


class Consumer:
    """Handles the records of a topic for a group, from `start` to `stop`; its own threads do all the work.

    1. `start` learns what the topic is, and starts the member, the fetcher and the runners.
    2. The member joins the group and claims what it is granted; the fetcher fills it; the runners handle and commit.
    3. `stop` begins no more records (by key: but those that stand before records which are done), waits for those that
       run, commits, gives the partitions up, and leaves.

    Without a handler nothing runs by itself: an iterator walks through the turns.
    """

    def __init__(
        self,
        topic: Log,
        options: Subscription,
        handler: Handler | None,
        routes: Routes | None = None,
        enqueue: Enqueue | None = None,
    ) -> None:
        self.topic = topic
        self.options = options
        self.handler = handler
        self._routes = routes or Routes(self._log)
        self._enqueue = enqueue
        self._desk: Desk | None = None
        self._parts: list[Member | Fetcher | Threads | Loop] = []
        self._member: Member | None = None

    def _log(self, name: str) -> Log:
        topic = self.topic
        return topic if name == topic.name else Log(topic.namespace, name, {}, topic.links, topic.timeout, topic.tracer)

    @property
    def desk(self) -> Desk:
        """What its threads share; only once it is started."""
        assert self._desk is not None, "start it first"
        return self._desk

    def start(self, loop: asyncio.AbstractEventLoop | None = None) -> Self:
        """Begin; a coroutine function runs in `loop`, or in one of its own. Once it has started, outages are survived.

        Raises ConfigError, BrokerUnavailable.
        """
        options, properties = self.options, self.topic.properties()
        seat = Seat(
            options.member or uuid.uuid4().hex[:16], uuid.uuid4().hex[:16], f"{socket.gethostname()}:{os.getpid()}"
        )
        name = f"group {options.group!r} of {self.topic.name!r}"
        links, codec = self.topic.links(), self.topic.codec(properties)
        plan = Plan(options, codec, self.topic.name, name, links, self._routes, self._enqueue)
        desk = self._desk = Desk(self.topic, properties, plan, seat)
        self._member = Member(desk)
        self._parts = [self._member, Fetcher(desk)]
        if self.handler is not None:
            handler, is_async, tracer = self.handler, iscoroutinefunction(self.handler), self.topic.tracer()
            if tracer is not None:
                handler = tracer.handler(options.group, handler, is_async=is_async)
            if desk.meter is not None:
                handler = desk.meter.timed(handler, batch=bool(options.batch))
            self._parts.append(Loop(desk, handler, loop) if is_async else Threads(desk, handler))
        for part in self._parts:
            part.start()
        for _ in range(BEGIN_LOOKS):
            if self._member.begun.wait(LOOK_S) or desk.failure is not None:
                break
        return self

    @property
    def stuck(self) -> bool:
        """Whether a handler has run for more than `max_poll` seconds and still does."""
        return self._member is not None and self._member.stuck

    def wait_begun(self, timeout: float) -> bool:
        """Wait until the group has its positions, so that nothing published later is missed; raises what failed."""
        deadline = time.monotonic() + timeout
        while self.desk.failure is None and time.monotonic() < deadline:
            if self._member is not None and self._member.begun.wait(0.05):
                return True
        if self.desk.failure is not None:
            raise self.desk.failure
        return False

    def wait_joined(self, timeout: float) -> bool:
        """Wait until it has joined the group; False if it has not within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self.desk.stopping.is_set() and time.monotonic() < deadline:
            if self._member is not None and self._member.joined.wait(0.05):
                return True
        return False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is stopped or cannot go on; raises what it failed with."""
        ended = self.desk.stopping.wait(timeout)
        if self.desk.failure is not None:
            raise self.desk.failure
        return ended

    def stop(self, grace: float = GRACE_S) -> None:
        """End in order: what runs may take `grace` seconds. Then what is not committed stays undone."""
        desk = self.desk
        desk.finish_s = min(desk.finish_s, grace / 2)
        desk.stopping.set()
        for holding in list(desk.holdings.values()):
            desk.revoke(holding)
        member, *others = self._parts
        member.end(grace)
        desk.abandoned.set()
        member.end(LAST_S)
        desk.ready.close()
        for part in others:
            part.end(LAST_S)

    def close(self) -> None:
        """`stop`."""
        self.stop()

    async def aclose(self) -> None:
        """`stop`, awaited."""
        await asyncio.to_thread(self.stop)

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    def stop_reading(self, drain: Callable[[], None]) -> None:
        """`stop` for a loop of the user's: `drain` walks through the turns that give partitions up."""
        desk, deadline = self.desk, time.monotonic() + GRACE_S
        desk.stopping.set()
        while desk.holdings and time.monotonic() < deadline:
            for holding in list(desk.holdings.values()):
                desk.revoke(holding)
            drain()
        self.stop(LAST_S)

    # -- steering ---------------------------------------------------------------------------------------------------

    def pause(self, *partitions: int) -> None:
        """Begin no records of these partitions, or of all, until `resume`; they stay in hand."""
        self._set_paused(partitions, paused=True)

    def resume(self, *partitions: int) -> None:
        """Go on with these partitions, or with all."""
        self._set_paused(partitions, paused=False)

    def _set_paused(self, partitions: tuple[int, ...], *, paused: bool) -> None:
        for number, holding in list(self.desk.holdings.items()):
            if not partitions or number in partitions:
                holding.paused = paused
                self.desk.offer(holding)
        self.desk.fetch_wanted.set()

    def seek(self, partition: int, where: Offset | datetime | float | Literal["earliest", "latest"]) -> None:
        """Go on from a record, a moment, the first or the end; what is in hand of the partition cannot commit any more.

        Raises ConfigError if the partition is not in hand, MemberFenced if it was taken away.
        """
        holding = self.desk.holdings.get(partition)
        if holding is None:
            raise ConfigError(f"partition={partition} is not in hand here: {self.partitions} are")
        word = uuid.uuid4().hex
        call = place(holding.keys, self.options.group, "owner", target(where), word, owner=holding.owner)
        put = run(self.desk.links.sync, call)
        self.desk.lose(holding, put.epoch, "was put elsewhere" if put.code == 0 else "was taken away")
        if put.code:
            raise MemberFenced(f"partition {partition} was taken away before it could be put elsewhere")

    @property
    def partitions(self) -> list[int]:
        """The partitions in hand."""
        return sorted(self.desk.holdings)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.stop()
