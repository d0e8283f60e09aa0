"""Ephemeral broadcast: everybody who listens now hears it, at most once, and nothing is stored.

It goes over plain PUBLISH, not over sharded channels: only plain channels have patterns, any node of a cluster serves
them, and so does a Sentinel. In a cluster each message reaches every node, so this is for notices (a cache to drop, a
configuration to read anew), not for a flow of data; that is what topics are for.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from taskq.checks import function_of
from taskq.codec import Codec
from taskq.errors import BrokerUnavailable, InvalidName
from taskq.events.hearing import Heard, packed
from taskq.events.listening import BroadcastSubscription, OnGap
from taskq.events.patterns import Pattern, is_pattern
from taskq.loops import warn_of_blocking
from taskq.names import check_name
from taskq.store.links import Links
from taskq.store.topic_keys import broadcast as channel_of


class _Voice:
    """Who speaks on one channel: a nonce and a counter, for the threads of a process or for one event loop."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.nonce = os.urandom(8)
        self.number = 0
        self.lock = threading.Lock()
        self.turn = asyncio.Lock()

    def command(self, channel: str, body: bytes) -> tuple[Any, ...]:
        """The next message."""
        self.number += 1
        return ("PUBLISH", channel, packed(self.nonce, self.number, body))

    def failed(self, error: BrokerUnavailable) -> None:
        """What was certainly not sent leaves no gap."""
        self.number -= 0 if error.sent else 1


class Broadcast:
    """A channel, or a pattern of channels to listen to: `app.broadcast("cache.flush").publish({"key": 1})`."""

    def __init__(self, links: Callable[[], Links], namespace: str, name: str, codec: Codec) -> None:
        self.name = name
        self._pattern = Pattern.of(name) if is_pattern(name) else None
        if self._pattern is None:
            check_name(name, "broadcast")
        self._links = links
        self._namespace = namespace
        self._codec = codec
        self._voice = _Voice()
        self._voices: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Voice] = weakref.WeakKeyDictionary()

    def publish(self, value: Any) -> int:
        """Say it to all who listen now; answers how many those are (in a cluster: on the node that was asked).

        Raises SerializationError, InvalidName for a pattern, BrokerUnavailable: then it may have been heard or not.
        """
        warn_of_blocking("publish", "apublish")
        channel, body = self._channel(), self._codec.dumps(value)
        if self._voice.pid != os.getpid():
            self._voice = _Voice()
        voice = self._voice
        with voice.lock:
            try:
                return int(self._links().sync.execute(*voice.command(channel, body)))
            except BrokerUnavailable as error:
                voice.failed(error)
                raise

    async def apublish(self, value: Any) -> int:
        """`publish`, awaited."""
        channel, body = self._channel(), self._codec.dumps(value)
        loop = asyncio.get_running_loop()
        voice = self._voices.get(loop)
        if voice is None or voice.pid != os.getpid():
            voice = self._voices[loop] = _Voice()
        async with voice.turn:
            try:
                return int(await self._links().asynchronous.execute(*voice.command(channel, body)))
            except BrokerUnavailable as error:
                voice.failed(error)
                raise

    def subscribe(
        self, handler: Callable[[Heard], Any] | None = None, *, on_gap: OnGap | None = None
    ) -> BroadcastSubscription:
        """Listen: with a handler after `start()`, else by iterating. `on_gap` is called for what was missed."""
        if handler is not None:
            function_of(handler, "handler", "message")
        if on_gap is not None:
            function_of(on_gap, "on_gap", "gap")
        return BroadcastSubscription(
            self._links, self._namespace, self._pattern or self.name, self._codec, handler, on_gap
        )

    def _channel(self) -> str:
        if self._pattern is not None:
            raise InvalidName(f"broadcast {self.name!r} is a pattern: it can be listened to, but not published to")
        return channel_of(self._namespace, self.name)

    def __repr__(self) -> str:
        return f"<Broadcast {self._namespace}:{self.name}>"
