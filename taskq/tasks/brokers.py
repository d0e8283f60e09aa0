"""The broker of an app, made when it is first needed: an end for threads, one for event loops, and who waits there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from taskq.errors import BrokerError, BrokerUnavailable, ConfigError
from taskq.message import task_in
from taskq.settings import BrokerChoice
from taskq.store.connection import AsyncLink, SyncLink
from taskq.store.links import Links
from taskq.store.subscription import Notice
from taskq.store.url import parse_url
from taskq.tasks.async_lists import AsyncListBroker
from taskq.tasks.async_results import AsyncResults, AsyncSubscriptionLike
from taskq.tasks.broker import Accepted, Found, Outgoing
from taskq.tasks.calls import Limits
from taskq.tasks.lists import ListBroker
from taskq.tasks.memory import MemoryBroker
from taskq.tasks.queues import Queues
from taskq.tasks.results import Results, Subscription

T = TypeVar("T")

SILENT_POLL_S = 0.01


class ProducerBroker(Protocol):
    """What a producer needs of a broker."""

    def enqueue(self, queue: str, messages: Sequence[Outgoing], timeout: float | None = None) -> list[Accepted]: ...
    def cancel(self, queue: str, id: bytes, *, kill: bool = False) -> str: ...
    def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]: ...
    def close(self) -> None: ...


class AsyncProducerBroker(Protocol):
    """The same for event loops."""

    async def enqueue(
        self, queue: str, messages: Sequence[Outgoing], timeout: float | None = None
    ) -> list[Accepted]: ...
    async def cancel(self, queue: str, id: bytes, *, kill: bool = False) -> str: ...
    async def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]: ...
    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of one broker."""

    broker: ProducerBroker
    results: Results
    async_broker: AsyncProducerBroker
    async_results: AsyncResults

    # These may be repeated, and are, once: the connection may be left over from before the server was restarted.

    def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]:
        return _again(lambda: self.broker.lookup(queue, ids))

    async def alookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]:
        return await _async_again(lambda: self.async_broker.lookup(queue, ids))

    def task_of(self, queue: str, id: bytes) -> str:
        """The task of a message that is not over; '' if it is, or if nobody can say now: this is a courtesy."""
        if not isinstance(self.broker, ListBroker):
            return ""
        try:
            return task_in(self.broker.link.execute("HGET", self.broker.keys(queue).body, id))
        except BrokerError:
            return ""

    async def atask_of(self, queue: str, id: bytes) -> str:
        """`task_of`, awaited."""
        if not isinstance(self.async_broker, AsyncListBroker):
            return ""
        try:
            return task_in(await self.async_broker.link.execute("HGET", self.async_broker.keys(queue).body, id))
        except BrokerError:
            return ""

    def cancel(self, queue: str, id: bytes, kill: bool) -> str:
        return _again(lambda: self.broker.cancel(queue, id, kill=kill))

    async def acancel(self, queue: str, id: bytes, kill: bool) -> str:
        return await _async_again(lambda: self.async_broker.cancel(queue, id, kill=kill))


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """What a connection of an app is made with; seconds."""

    namespace: str
    limits: Limits
    enqueue_timeout: float = 2.0
    timeout: float = 1.0
    connect_timeout: float = 1.0
    max_connections: int = 64
    queues: Queues = field(default_factory=Queues)


class Brokers:
    """The broker of one app. Links and lanes look after forks and event loops by themselves."""

    def __init__(self, choose: Callable[[], BrokerChoice], options: ConnectOptions) -> None:
        self._choose = choose
        self._options = options
        self._ends: dict[str, Ends] = {}  # one entry, under ""; `setdefault` makes two first calls agree on one

    @property
    def queues(self) -> Queues:
        """What the app has declared or learned of its queues."""
        return self._options.queues

    def ends(self) -> Ends:
        """The ends in use; raises ConfigError if no broker is set."""
        return self._ends.get("") or self._ends.setdefault("", connect(self._choose().url, self._options))

    def links(self) -> Links:
        """The way to the server itself, for what is no queue. Raises ConfigError if the broker is in memory."""
        ends = self.ends()
        if not isinstance(ends.broker, ListBroker) or not isinstance(ends.async_broker, AsyncListBroker):
            raise ConfigError("topics are kept by a server, and this app's broker is in memory: give it a redis:// URL")
        return Links(ends.broker.link, ends.async_broker.link)

    @property
    def timeout(self) -> float:
        """How long an enqueue or a publish may take in all, in seconds."""
        return self._options.enqueue_timeout

    def replace(self, choice: BrokerChoice) -> Ends:
        """Use another server from now on."""
        self._ends[""] = ends = connect(choice.url, self._options)
        return ends

    @contextmanager
    def swapped(self, ends: Ends) -> Generator[None]:
        """Use other ends for a while; those from before come back afterwards."""
        before = self._ends.pop("", None)
        self._ends[""] = ends
        try:
            yield
        finally:
            del self._ends[""]
            if before is not None:
                self._ends[""] = before

    def close(self) -> None:
        """Close what threads use."""
        ends = self._ends.get("")
        if ends is not None:
            ends.results.close()
            ends.broker.close()

    async def aclose(self) -> None:
        """Close what the running event loop uses, and what threads use."""
        ends = self._ends.get("")
        if ends is not None:
            await ends.async_results.aclose()
            await ends.async_broker.aclose()
            self.close()


def connect(url: str, options: ConnectOptions) -> Ends:
    """Ends for a server, not yet connected, or for memory."""
    address = parse_url(url)
    if address.kind == "memory":
        # taskq.testing.memory(app) runs what comes into it
        return in_process(MemoryBroker(options.limits, queues=options.queues))
    tuning: Any = {
        "timeout": options.timeout,
        "connect_timeout": options.connect_timeout,
        "max_connections": options.max_connections,
    }
    rest = (options.namespace, options.limits, options.enqueue_timeout, options.queues)
    broker = ListBroker(SyncLink(address, **tuning), *rest)
    async_broker = AsyncListBroker(AsyncLink(address, **tuning), *rest)
    return Ends(broker, Results(_Heard(broker)), async_broker, AsyncResults(_AsyncHeard(async_broker)))


def in_process(broker: ProducerBroker) -> Ends:
    """Ends for a broker in this process: its calls never wait, so an event loop may make them as they are."""
    in_loop = _InLoop(broker)
    return Ends(broker, Results(_Looked(broker)), in_loop, AsyncResults(in_loop))


def _again(call: Callable[[], T]) -> T:
    try:
        return call()
    except BrokerUnavailable:
        return call()


async def _async_again(call: Callable[[], Awaitable[T]]) -> T:
    try:
        return await call()
    except BrokerUnavailable:
        return await call()


class _Heard:
    """Outcomes of a list broker: looked up by it, heard of on the channel of each queue."""

    def __init__(self, broker: ListBroker) -> None:
        self._broker = broker

    def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]:
        return _again(lambda: self._broker.lookup(queue, ids))

    def channel(self, queue: str) -> str:
        return self._broker.keys(queue).channel

    def subscribe(self) -> Subscription:
        return self._broker.link.subscribe()


class _AsyncHeard:
    """The same in event loops."""

    def __init__(self, broker: AsyncListBroker) -> None:
        self._broker = broker

    async def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]:
        return await _async_again(lambda: self._broker.lookup(queue, ids))

    def channel(self, queue: str) -> str:
        return self._broker.keys(queue).channel

    def subscribe(self) -> AsyncSubscriptionLike:
        return self._broker.link.subscribe()


class _Looked:
    """Outcomes of a broker that tells nobody: it is looked at again and again, which is cheap inside a process."""

    def __init__(self, broker: ProducerBroker) -> None:
        self.lookup = broker.lookup

    def channel(self, queue: str) -> str:
        return queue

    def subscribe(self) -> Subscription:
        return _Silence()


class _Silence:
    """A subscription that hears nothing, and so never rules out that something was missed."""

    def add(self, *channels: str) -> None: ...

    def remove(self, *channels: str) -> None: ...

    def get(self, timeout: float) -> Notice | None:
        if timeout <= 0:
            return None
        threading.Event().wait(min(timeout, SILENT_POLL_S))
        return Notice("connected")

    def close(self) -> None: ...


class _InLoop:
    """A broker of this process, and its outcomes, as event loops use them."""

    def __init__(self, broker: ProducerBroker) -> None:
        self._broker = broker

    async def enqueue(self, queue: str, messages: Sequence[Outgoing], timeout: float | None = None) -> list[Accepted]:
        return self._broker.enqueue(queue, messages, timeout)

    async def cancel(self, queue: str, id: bytes, *, kill: bool = False) -> str:
        return self._broker.cancel(queue, id, kill=kill)

    async def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]:
        return self._broker.lookup(queue, ids)

    async def aclose(self) -> None: ...

    def channel(self, queue: str) -> str:
        return queue

    def subscribe(self) -> AsyncSubscriptionLike:
        return _AsyncSilence()


class _AsyncSilence:
    """`_Silence` in event loops."""

    async def add(self, *channels: str) -> None: ...

    async def remove(self, *channels: str) -> None: ...

    async def get(self, timeout: float) -> Notice | None:
        if timeout <= 0:
            return None
        await asyncio.sleep(min(timeout, SILENT_POLL_S))
        return Notice("connected")

    async def aclose(self) -> None: ...
