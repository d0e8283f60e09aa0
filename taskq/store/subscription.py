"""Listening to channels: notices in, and an honest word whenever some may have been missed.

Pub/sub forgets: what is published while nobody listens is gone. So a subscription never hides a broken connection.
It says `lost` when the connection breaks, reconnects by itself, and says `connected` each time that all its channels
are in force (again): whoever waits for something then looks at the stored state once, and misses nothing.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from taskq.errors import BrokerError

RETRY_FIRST_S = 0.05
RETRY_CAP_S = 1.0


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing heard: a message with its channel and bytes, or a change of the connection."""

    kind: Literal["message", "connected", "lost"]
    channel: str = ""
    data: bytes = b""
    error: BrokerError | None = None


class _Ears:
    """The part without I/O: which channels are wanted, which are in force, and what a reply means.

    Patterns are those of PSUBSCRIBE. They stay the same; channels may be added and removed.
    """

    def __init__(self, channels: Iterable[str], patterns: Iterable[str] = ()) -> None:
        self.wanted = dict.fromkeys(channels)
        self.patterns = tuple(dict.fromkeys(patterns))
        self.unconfirmed = 0
        self.announced = False
        self.wait_s = RETRY_FIRST_S

    def opened(self) -> None:
        self.unconfirmed = len(self.wanted) + len(self.patterns)
        self.announced = False
        self.wait_s = RETRY_FIRST_S

    def next_wait(self) -> float:
        wait, self.wait_s = self.wait_s, min(RETRY_CAP_S, self.wait_s * 2)
        return wait

    def add(self, channels: Iterable[str]) -> list[str]:
        fresh = [channel for channel in dict.fromkeys(channels) if channel not in self.wanted]
        self.wanted.update(dict.fromkeys(fresh))
        return fresh

    def remove(self, channels: Iterable[str]) -> list[str]:
        gone = [channel for channel in dict.fromkeys(channels) if channel in self.wanted]
        for channel in gone:
            del self.wanted[channel]
        return gone

    def heard(self, reply: Any) -> Notice | None:
        kind, *source, data = reply
        channel = source[-1].decode()
        if (kind == b"message" and channel in self.wanted) or kind == b"pmessage":
            return Notice("message", channel, data)
        if kind in (b"subscribe", b"psubscribe"):
            self.unconfirmed -= 1
        return self.due()

    def due(self) -> Notice | None:
        if self.unconfirmed > 0 or self.announced:
            return None
        self.announced = True
        return Notice("connected")

    def sending(self, fresh: list[str]) -> None:
        # New channels are in force only when confirmed, and only then can a missed notice be ruled out.
        self.unconfirmed += len(fresh)
        self.announced = False


class SyncSubscription:
    """A subscription for one listening thread; others may add and remove channels meanwhile."""

    def __init__(
        self,
        connect: Callable[[], Any],
        guard: AbstractContextManager[None],
        channels: Iterable[str],
        patterns: Iterable[str] = (),
    ) -> None:
        self._connect = connect
        self._guard = guard
        self._ears = _Ears(channels, patterns)
        self._connection: Any = None
        self._lock = threading.Lock()

    def add(self, *channels: str) -> None:
        """Listen to more channels; a `connected` follows when they are in force."""
        with self._lock:
            self._tell("SUBSCRIBE", self._ears.add(channels))

    def remove(self, *channels: str) -> None:
        with self._lock:
            self._tell("UNSUBSCRIBE", self._ears.remove(channels))

    def get(self, timeout: float) -> Notice | None:
        """Return the next notice, or None after `timeout` seconds without one. Never raises for a lost connection."""
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                notice = self._step(left)
            except BrokerError as lost:
                if self._drop():
                    return Notice("lost", error=lost)
                wait = min(left, self._ears.next_wait())
                threading.Event().wait(wait)  # nothing can wake us but time: there is no connection
                notice = None
            if notice is not None or left <= 0:
                return notice

    def close(self) -> None:
        self._drop()

    def _step(self, left: float) -> Notice | None:
        with self._guard:
            connection = self._connection or self._open()
            notice = self._ears.due()
            if notice is None and connection.can_read(timeout=left):
                notice = self._ears.heard(connection.read_response())
            return notice

    def _open(self) -> Any:
        connection = self._connect()
        with self._lock:
            self._connection = connection
            self._ears.opened()
            if self._ears.wanted:
                connection.send_command("SUBSCRIBE", *self._ears.wanted)
            if self._ears.patterns:
                connection.send_command("PSUBSCRIBE", *self._ears.patterns)
        return connection

    def _tell(self, verb: str, channels: list[str]) -> None:
        if self._connection is None or not channels:
            return
        if verb == "SUBSCRIBE":
            self._ears.sending(channels)
        try:
            with self._guard:
                self._connection.send_command(verb, *channels)
        except BrokerError:
            return  # the listening thread sees the same loss, says so, and subscribes anew

    def _drop(self) -> bool:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
        return connection is not None


class AsyncSubscription:
    """A subscription for the tasks of one event loop; one of them listens."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        guard: AbstractContextManager[None],
        channels: Iterable[str],
        patterns: Iterable[str] = (),
    ) -> None:
        self._connect = connect
        self._guard = guard
        self._ears = _Ears(channels, patterns)
        self._connection: Any = None

    async def add(self, *channels: str) -> None:
        await self._tell("SUBSCRIBE", self._ears.add(channels))

    async def remove(self, *channels: str) -> None:
        await self._tell("UNSUBSCRIBE", self._ears.remove(channels))

    async def get(self, timeout: float) -> Notice | None:
        """Return the next notice, or None after `timeout` seconds without one. Never raises for a lost connection."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            left = max(0.0, deadline - loop.time())
            try:
                notice = await self._step(left)
            except BrokerError as lost:
                if await self._drop():
                    return Notice("lost", error=lost)
                await asyncio.sleep(min(left, self._ears.next_wait()))
                notice = None
            if notice is not None or left <= 0:
                return notice

    async def aclose(self) -> None:
        await self._drop()

    async def _step(self, left: float) -> Notice | None:
        with self._guard:
            if self._connection is None:
                await self._open()
            return self._ears.due() or await self._hear(left)

    async def _hear(self, left: float) -> Notice | None:
        connection = self._connection
        try:
            async with asyncio.timeout(left):
                # A read that is broken off here loses nothing: what has arrived stays in the stream's buffer.
                reply = await connection.read_response(disconnect_on_error=False)
        except TimeoutError:
            return None
        return self._ears.heard(reply)

    async def _open(self) -> None:
        self._connection = await self._connect()
        self._ears.opened()
        if self._ears.wanted:
            await self._connection.send_command("SUBSCRIBE", *self._ears.wanted)
        if self._ears.patterns:
            await self._connection.send_command("PSUBSCRIBE", *self._ears.patterns)

    async def _tell(self, verb: str, channels: list[str]) -> None:
        if self._connection is None or not channels:
            return
        if verb == "SUBSCRIBE":
            self._ears.sending(channels)
        try:
            with self._guard:
                await self._connection.send_command(verb, *channels)
        except BrokerError:
            return  # the listener sees the same loss, says so, and subscribes anew

    async def _drop(self) -> bool:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
        return connection is not None
