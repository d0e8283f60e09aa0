"""Bounded pools of connections, one for threads and one for an event loop, with the same four steps.

A pool takes from the free ones, or makes one; connects and checks it; lends it to exactly one call; takes it back
whole or throws it away. A connection whose reply was not read to its end is always thrown away, so no call ever gets
the reply of another. Giving back never waits, so that no cancellation can lose a place in the pool.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from taskq.errors import BrokerUnavailable


def _busy(limit: int, seconds: float) -> BrokerUnavailable:
    return BrokerUnavailable(f"all {limit} connections to the broker were busy for {seconds:g} s")


class SyncPool:
    """At most `limit` connections, shared by threads."""

    def __init__(self, make: Callable[[], Any], limit: int, wait_s: float) -> None:
        self._make = make
        self._limit = limit
        self._wait_s = wait_s
        self._slots = threading.BoundedSemaphore(limit)
        self._free: list[Any] = []
        self._lent: set[Any] = set()

    def take(self) -> Any:
        if not self._slots.acquire(timeout=self._wait_s):
            raise _busy(self._limit, self._wait_s)
        try:
            connection = self._fresh_or_new()
            self._lent.add(connection)
            return connection
        except BaseException:
            self._slots.release()
            raise

    def _fresh_or_new(self) -> Any:
        while self._free:
            try:
                connection = self._free.pop()
            except IndexError:  # another thread was quicker
                break
            if not _has_news(connection):
                return connection
            connection.disconnect()
        return self.new()

    def new(self) -> Any:
        """Return a connected connection that is not the pool's: the caller closes it."""
        connection = self._make()
        connection.connect()
        return connection

    def give(self, connection: Any, *, whole: bool) -> None:
        self._lent.discard(connection)
        if whole and not connection.should_reconnect():
            self._free.append(connection)
        else:
            connection.disconnect()
        self._slots.release()

    def drop_all(self) -> None:
        """See that no connection of now is used for another call; those that are lent are closed when they return."""
        for connection in list(self._lent):
            connection.mark_for_reconnect()
        while self._free:
            self._free.pop().disconnect()


def _has_news(connection: Any) -> bool:
    # Anything readable on an idle connection is the end of it, or a reply that nobody waits for.
    try:
        return bool(connection.can_read())
    except Exception:  # noqa: BLE001 - whatever it is, this connection must not be used
        return True


class AsyncPool:
    """At most `limit` connections, shared by the tasks of one event loop."""

    def __init__(self, make: Callable[[], Any], limit: int, wait_s: float, connect_s: float) -> None:
        self._make = make
        self._limit = limit
        self._wait_s = wait_s
        self._connect_s = connect_s
        self._slots = asyncio.Semaphore(limit)
        self._free: list[Any] = []
        self._lent: set[Any] = set()

    async def take(self) -> Any:
        if self._slots.locked():
            try:
                async with asyncio.timeout(self._wait_s):
                    await self._slots.acquire()
            except TimeoutError:
                raise _busy(self._limit, self._wait_s) from None
        else:
            await self._slots.acquire()
        try:
            connection = await self._fresh_or_new()
            self._lent.add(connection)
            return connection
        except BaseException:
            self._slots.release()
            raise

    async def _fresh_or_new(self) -> Any:
        while self._free:
            connection = self._free.pop()
            if not connection.should_reconnect() and not await _has_news_async(connection):
                return connection
            await connection.disconnect(nowait=True)
        return await self.new()

    async def new(self) -> Any:
        """Return a connected connection that is not the pool's: the caller closes it."""
        connection = self._make()
        try:
            async with asyncio.timeout(self._connect_s):
                await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def give(self, connection: Any, *, whole: bool) -> None:
        # Not one real suspension in here (disconnect(nowait=True) has none), so a cancelled task gets to the end.
        self._lent.discard(connection)
        if whole and not connection.should_reconnect():
            self._free.append(connection)
            self._slots.release()
            return
        self._slots.release()
        await connection.disconnect(nowait=True)

    def drop_all(self) -> None:
        """See that no connection of now is used for another call."""
        for connection in [*self._lent, *self._free]:
            connection.mark_for_reconnect()

    async def close(self) -> None:
        self.drop_all()
        while self._free:
            await self._free.pop().disconnect()


async def _has_news_async(connection: Any) -> bool:
    try:
        return bool(await connection.can_read())
    except Exception:  # noqa: BLE001 - whatever it is, this connection must not be used
        return True
