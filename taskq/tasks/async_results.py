"""Waiting for outcomes in event loops: per loop one listener and one reader, whatever the number of those who wait."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Protocol, Self
from weakref import WeakKeyDictionary

from taskq.errors import BrokerError, TaskqError
from taskq.store.subscription import Notice
from taskq.tasks.broker import Found
from taskq.tasks.waiting import LINGER_S, POLL_S, Key, Table, Waiter

_DRAIN = 1_000


class AsyncSubscriptionLike(Protocol):
    """What the listener needs of `taskq.store.subscription.AsyncSubscription`."""

    async def add(self, *channels: str) -> None: ...
    async def remove(self, *channels: str) -> None: ...
    async def get(self, timeout: float) -> Notice | None: ...
    async def aclose(self) -> None: ...


class AsyncSource(Protocol):
    """Where outcomes are read and heard of."""

    async def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]: ...
    def subscribe(self) -> AsyncSubscriptionLike: ...
    def channel(self, queue: str) -> str: ...


class AsyncResults:
    """Everybody who waits for outcomes of one app, by event loop."""

    def __init__(self, source: AsyncSource) -> None:
        self._source = source
        self._pid = os.getpid()
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = WeakKeyDictionary()

    def watch(self, keys: Iterable[Key]) -> AsyncWatch:
        """Wait for messages: `async with results.watch(keys) as watch: await watch.get(key, deadline)`."""
        if self._pid != os.getpid():
            self._pid, self._loops = os.getpid(), WeakKeyDictionary()
        loop = asyncio.get_running_loop()
        ours = self._loops.get(loop)
        if ours is None:
            ours = self._loops[loop] = _Loop(self._source)
        return AsyncWatch(ours, keys)

    async def aclose(self) -> None:
        """End the listener of the running loop; who still waits there is told."""
        ours = self._loops.pop(asyncio.get_running_loop(), None)
        if ours is not None:
            await ours.aclose()


class _Loop:
    """The waiters of one event loop."""

    def __init__(self, source: AsyncSource) -> None:
        self._source = source
        self._table = Table()
        self._reader: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._subscription: AsyncSubscriptionLike | None = None
        self._channels: dict[str, str] = {}
        self._used: dict[str, float] = {}  # by queue: when somebody last waited

    def enter(self, waiter: Waiter) -> None:
        """Begin to wait: a look soon, together with whatever enters until then."""
        self._table.add(waiter)
        self._look()

    def leave(self, waiter: Waiter) -> None:
        self._table.drop(waiter)

    async def listen(self, waiter: Waiter) -> None:
        """See that outcomes of what the waiter still lacks will be heard of."""
        fresh = {queue for queue, _ in waiter.keys if queue not in self._used}
        if fresh:
            names = {self._source.channel(queue): queue for queue in fresh}
            self._channels.update(names)
            self._used.update(dict.fromkeys(fresh, asyncio.get_running_loop().time()))
            if self._subscription is None:
                self._subscription = self._source.subscribe()
                self._listener = self._start(self._hear(self._subscription))
            await self._subscription.add(*names)

    async def aclose(self) -> None:
        self._table.fail(BrokerError("the app was closed while a result was waited for"))
        tasks = [task for task in (self._reader, self._listener) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _look(self) -> None:
        if self._reader is None:
            self._reader = self._start(self._read())

    async def _read(self) -> None:
        try:
            while parts := list(self._table.take()):
                for queue, ids in parts:
                    try:
                        self._table.tell(queue, ids, await self._source.lookup(queue, ids))
                    except TaskqError as error:
                        self._table.fail(error, queue, ids)
        finally:
            self._reader = None

    async def _hear(self, subscription: AsyncSubscriptionLike) -> None:
        loop = asyncio.get_running_loop()
        poll = loop.time() + POLL_S
        try:
            while True:
                notice = await subscription.get(max(0.0, poll - loop.time()))
                for _ in range(_DRAIN):
                    if notice is None:
                        break
                    self._note(notice)
                    notice = await subscription.get(0.0)
                if loop.time() >= poll:
                    poll = loop.time() + POLL_S
                    if await self._tidy(subscription, loop.time()):
                        return
                self._look()
        finally:
            self._listener = self._subscription = None
            self._channels, self._used = {}, {}
            await subscription.aclose()

    def _note(self, notice: Notice) -> None:
        if notice.kind == "message":
            self._table.hear(self._channels.get(notice.channel, ""), notice.data)
        elif notice.kind == "connected":
            self._table.doubt()

    async def _tidy(self, subscription: AsyncSubscriptionLike, now: float) -> bool:
        """The chores of a second; True ends an idle listener."""
        self._table.doubt()
        self._used.update(dict.fromkeys(self._table.queues() & self._used.keys(), now))
        old = [channel for channel, queue in self._channels.items() if now - self._used[queue] > LINGER_S]
        if len(old) == len(self._channels):
            return True
        for channel in old:
            del self._used[self._channels.pop(channel)]
        if old:
            await subscription.remove(*old)
        return False

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Nobody may wait for ever for a task that died of a mistake."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._table.fail(BrokerError(f"waiting for results ended: {type(error).__name__}: {error}"))


class _Bell:
    """What wakes the one coroutine that waits on it: a bare future, since thousands wait at once."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[bool] | None = None

    def set(self) -> None:
        self._end(True)

    async def rings(self, deadline: float | None) -> bool:
        """Wait for the next ring; False if `deadline` (loop time) comes first. A ring before this call is not kept."""
        loop = asyncio.get_running_loop()
        self._future = loop.create_future()
        timer = None if deadline is None else loop.call_at(deadline, self._end, False)
        try:
            return await self._future
        finally:
            self._future = None
            if timer is not None:
                timer.cancel()

    def _end(self, rung: bool) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(rung)


class AsyncWatch:
    """One caller's wait, from `async with` to its end."""

    __slots__ = ("_bell", "_listening", "_loop", "_waiter")

    def __init__(self, loop: _Loop, keys: Iterable[Key]) -> None:
        self._bell = _Bell()
        self._loop = loop
        self._waiter = Waiter(keys, self._bell)
        self._listening = False

    async def __aenter__(self) -> Self:
        self._loop.enter(self._waiter)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._loop.leave(self._waiter)

    @property
    def seen(self) -> Found | None:
        """What the last look saw of a message that is not over."""
        return self._waiter.seen

    async def get(self, key: Key, deadline: float | None) -> Found | None:
        """The outcome of one message, or None if it has none at `deadline` (loop time, None: no limit)."""
        waiter = self._waiter
        while (found := waiter.found.get(key)) is None:
            if waiter.error is not None:
                raise waiter.error
            if not waiter.fresh and not self._listening:
                self._listening = True
                await self._loop.listen(waiter)
            # The first look has only the deadline of the connection: a timeout of 0 still is one look.
            elif not await self._bell.rings(None if waiter.fresh else deadline):
                return waiter.found.get(key)
        return found
