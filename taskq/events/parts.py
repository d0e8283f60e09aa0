"""What runs handlers of records, whatever the kind of its group: begun and ended in the same way."""

from __future__ import annotations

import asyncio
from inspect import iscoroutinefunction
from typing import Any, Protocol, Self

from taskq.errors import TaskqError
from taskq.events.consumer import Consumer


class Part(Protocol):
    """One subscription with its handlers.

    `start` runs them on threads, `__aenter__` in the running event loop if `is_async`; either is ended by its own kind
    of close, within `timeout` seconds, or at once by `abandon` from another thread. `failure` is why it cannot go on.
    """

    @property
    def name(self) -> str: ...
    @property
    def is_async(self) -> bool: ...
    @property
    def failure(self) -> TaskqError | None: ...
    def abandon(self) -> None: ...
    def start(self) -> Any: ...
    def close(self, timeout: float = ...) -> None: ...
    async def __aenter__(self) -> Any: ...
    async def aclose(self, timeout: float = ...) -> None: ...


class OrderedPart:
    """A consumer of an ordered group."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self._started = False

    @property
    def name(self) -> str:
        """The group, what it consumes and how, for people."""
        options = self.consumer.options
        return f"{self.consumer.topic.name} for {options.group} ({options.mode})"

    @property
    def is_async(self) -> bool:
        """Whether its handler is to run in an event loop."""
        return iscoroutinefunction(self.consumer.handler)

    @property
    def failure(self) -> TaskqError | None:
        """Why it has ended by itself."""
        return self.consumer.desk.failure if self._started else None

    @property
    def stuck(self) -> bool:
        """Whether a handler runs for longer than `max_poll`, so that this member has left its group."""
        return self._started and self.consumer.stuck

    def abandon(self) -> None:
        """Let a `close` that runs end now: what is not committed stays undone."""
        if self._started:
            self.consumer.desk.abandoned.set()
            self.consumer.desk.member_wanted.set()

    def start(self) -> Self:
        """Begin; what is published from now on is not missed. Raises NoOffset, ConfigError, BrokerError."""
        return self._start(None)

    def _start(self, loop: asyncio.AbstractEventLoop | None) -> Self:
        if not self._started:
            self.consumer.start(loop)
            self._started = True
            self.consumer.wait_begun(0.0)  # raises what it failed with
        return self

    def close(self, timeout: float = 30.0) -> None:
        """End: what runs may take `timeout` seconds; what is not committed then comes again elsewhere."""
        if self._started:
            self.consumer.stop(timeout)
            self._started = False

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self._start, asyncio.get_running_loop())

    async def aclose(self, timeout: float = 30.0) -> None:
        """`close`, awaited."""
        await asyncio.to_thread(self.close, timeout)
