"""Shared subscriptions as people use them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from taskq.checks import Duration, function_of
from taskq.errors import InvalidOption, Retry, TaskqError
from taskq.events import shared_admin as admin
from taskq.events.handling import Handler, Loop, Route, Runner, Threads
from taskq.events.patterns import Pattern, is_pattern
from taskq.events.record import Offset, Record
from taskq.events.shared_admin import DeadRecord, GroupLag, RedriveResult
from taskq.events.shared_consumer import SharedConsumer
from taskq.events.shared_feed import Feed
from taskq.events.shared_options import Filter, SharedOptions
from taskq.events.shared_state import Counts
from taskq.events.tracing import Tracers, none
from taskq.names import check_name, shown
from taskq.store.links import Links


@dataclass(frozen=True, slots=True)
class Where:
    """What a subscription is bound to: an app's connections, its namespace, and a topic or a pattern."""

    links: Callable[[], Links]
    namespace: str
    target: str | Pattern
    tracer: Tracers = none

    @classmethod
    def of(cls, links: Callable[[], Links], namespace: str, target: str, tracer: Tracers = none) -> Where:
        """Raises InvalidName."""
        place = Pattern.of(target) if is_pattern(target) else check_name(target, "topic")
        return cls(links, namespace, place, tracer)


class SharedSubscription:
    """One consumer of a shared group. With handlers it runs them by itself; without, it is iterated.

    It begins with `start`, `with`, or the first record that is asked for, and ends with `close`. Each record is settled
    by itself: acked when its handler returns (or the next one is asked for), tried again by the policy when it raises.
    Records of a group may be handled in any order, and more than once when a consumer dies or loses its lease.
    """

    def __init__(
        self, where: Where, options: SharedOptions, routes: Sequence[Route] = (), wanted: Filter | None = None
    ) -> None:
        self._where = where
        self.options = options
        self._routes = tuple(routes)
        self._wanted = wanted
        self._pid = 0
        self._consumer: SharedConsumer | None = None
        self._counts = Counts()
        self._runner: Runner | None = None
        self._feed: Feed | None = None

    # -- life

    def start(self) -> Self:
        """Begin; what is published from now on is delivered. Raises UnknownTopic, ConfigError, NoOffset, BrokerError.

        In a running event loop `async def` handlers run there, else on a loop of their own.
        """
        if self._consumer is None or self._pid != os.getpid():
            self._begin(*self._prepared())
        return self

    def _prepared(self) -> tuple[SharedConsumer, Runner]:
        """A consumer and its runner, which takes the loop that runs here; nothing is sent yet."""
        consumer = SharedConsumer(self._where.links().sync, self._where.namespace, self._where.target, self.options)
        runner: Runner
        routes, tracer = self._routes, self._where.tracer()
        if tracer is not None:
            routes = tuple(
                replace(one, handler=tracer.handler(self.options.group, one.handler, is_async=one.is_async))
                for one in routes
            )
        meter = consumer.ledger.meter
        if meter is not None:
            routes = tuple(replace(one, handler=meter.timed(one.handler)) for one in routes)
        if not routes:
            runner = self._feed = Feed(consumer, self._wanted)
        elif all(route.is_async for route in routes):
            runner = Loop(consumer, routes, self.options.concurrency)
        else:
            runner = Threads(consumer, routes, self.options.concurrency)
        consumer.deliver_to(runner.put)
        return consumer, runner

    def _begin(self, consumer: SharedConsumer, runner: Runner) -> None:
        try:
            consumer.start()
        except BaseException:
            runner.close()
            self._feed = None
            raise
        self._consumer, self._runner, self._pid = consumer, runner, os.getpid()
        self._counts = consumer.counts

    def close(self, timeout: float = 30.0) -> None:
        """End: nothing more begins; what runs may end within `timeout` seconds; the rest is given back."""
        consumer, runner = self._consumer, self._runner
        if consumer is None or runner is None or self._pid != os.getpid():
            return
        consumer.ledger.close()
        if self._feed is not None:
            self._feed.close()
        else:
            runner.give_back()
        consumer.close(timeout)
        self._consumer = None
        runner.close()

    async def aclose(self, timeout: float = 30.0) -> None:
        """`close`, awaited."""
        await asyncio.to_thread(self.close, timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if error is not None and self._feed is not None:
            self._feed.broke(error)
        self.close()

    async def __aenter__(self) -> Self:
        if self._consumer is None or self._pid != os.getpid():
            await asyncio.to_thread(self._begin, *self._prepared())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is not None and self._feed is not None:
            self._feed.broke(error)
        await self.aclose()

    # -- records one by one

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Record:
        record = self._fed().next()
        if record is None:
            raise StopIteration
        return record

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        if self._consumer is None and not self._routes and self._feed is None:
            await self.__aenter__()
        record = await self._fed().anext()
        if record is None:
            raise StopAsyncIteration
        return record

    def ack(self, record: Record) -> bool:
        """Settle a record: it is done. False if it was settled here before."""
        return self._fed().ack(record)

    def nack(self, record: Record, error: BaseException | None = None, *, after: Duration | None = None) -> bool:
        """Settle a record: it failed, and is tried again `after` seconds or when the policy says. `error` is kept."""
        return self._fed().nack(
            record, error if error is not None and after is None else Retry(after, reason=_text(error))
        )

    def release(self, record: Record) -> bool:
        """Give a record back that was not begun: another consumer may have it at once, no attempt is spent."""
        return self._fed().release(record)

    def _fed(self) -> Feed:
        if self._routes:
            raise InvalidOption(
                "this subscription has handlers, which get its records: subscribe without them to iterate"
            )
        if self._feed is None or self._pid != os.getpid():
            self.start()
        if self._feed is None:
            raise InvalidOption("this subscription is closed")
        return self._feed

    # -- looking and steering

    @property
    def is_async(self) -> bool:
        """Whether all its handlers are to run in an event loop."""
        return bool(self._routes) and all(route.is_async for route in self._routes)

    @property
    def failure(self) -> TaskqError | None:
        """Why it has ended by itself: it does not."""
        return None

    def abandon(self) -> None:
        """Let a `close` that runs end now: what still runs is given back when its lease is over."""
        if self._consumer is not None:
            self._consumer.abandon()

    @property
    def name(self) -> str:
        """The group and what it consumes, for people."""
        target = self._where.target
        return f"{target.text if isinstance(target, Pattern) else target} for {self.options.group} (shared)"

    @property
    def counts(self) -> Counts:
        """What this consumer did since its last start."""
        return self._counts

    @property
    def topics(self) -> list[str]:
        """The topics that it consumes now."""
        return self._consumer.topics if self._consumer is not None else []

    def lag(self) -> list[GroupLag]:
        """Where the whole group stands, for each partition."""
        return admin.lag(self._where.links().sync, self._where.namespace, self._where.target, self.options.group)

    def seek(self, to: str | Offset | datetime | float) -> None:
        """Move the whole group: 'earliest', 'latest', an offset (of each partition), or a time.

        Nothing that is in flight anywhere can be settled afterwards; what waits for another try is forgotten.
        """
        admin.seek(self._where.links().sync, self._where.namespace, self._where.target, self.options.group, to)

    def dead(self, limit: int = 100) -> list[DeadRecord]:
        """The dead letters of the group, the oldest of each partition first."""
        return admin.dead(
            self._where.links().sync, self._where.namespace, self._where.target, self.options.group, limit
        )

    def redrive(self, letters: Sequence[DeadRecord] | None = None, *, most: int = 5) -> RedriveResult:
        """Give dead letters (None: all) to this group's handlers again, each record at most `most` times in all."""
        link, space, target, group = (
            self._where.links().sync,
            self._where.namespace,
            self._where.target,
            self.options.group,
        )
        return admin.redrive(link, space, target, group, letters, most)

    def __repr__(self) -> str:
        target = self._where.target
        state = "running" if self._consumer is not None else "not running"
        name = target.text if isinstance(target, Pattern) else target
        return f"<SharedSubscription {self.options.group} of {name}, {state}>"


def subscribed(
    where: Where,
    group: object,
    mode: object,
    said: Mapping[str, Any],
    handler: Handler | Sequence[Route] | None = None,
    wanted: Filter | None = None,
) -> SharedSubscription:
    """A subscription from what was said. Raises InvalidOption, InvalidName."""
    if mode != "shared":
        raise InvalidOption(f"mode={shown(mode)}: give 'shared'")
    options = SharedOptions.of(group, said)
    if wanted is not None:
        function_of(wanted, "filter", "record")
    if callable(handler):
        return SharedSubscription(where, options, [Route(handler, wanted)])
    return SharedSubscription(where, options, handler or (), wanted)


def _text(error: BaseException | None) -> str:
    return "" if error is None else f"{type(error).__name__}: {error}"
