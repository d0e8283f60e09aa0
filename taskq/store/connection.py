"""Links: the two faces, sync and async, through which everything in taskq talks to Redis or Valkey.

A link sends each command once. It never repeats one by itself: whoever calls knows whether a call may be repeated.
Replies come back raw: bytes, int, list or None. Every error of redis-py is translated here and nowhere else.

Threads may share a `SyncLink`. An `AsyncLink` may be used from several event loops; it keeps separate connections
for each. After a fork both start with fresh connections in the child.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from types import ModuleType, TracebackType
from typing import Any

from taskq.errors import BrokerError, BrokerUnavailable, ConfigError, TaskqError
from taskq.store.clients import Limits
from taskq.store.facts import ServerFacts, check_server, server_facts
from taskq.store.pools import UNSENT, AsyncPool, SyncPool, was_sent
from taskq.store.refusals import no_primary, refusal
from taskq.store.routes import AsyncRoutes, SyncRoutes, groups
from taskq.store.subscription import AsyncSubscription, SyncSubscription
from taskq.store.url import SCHEMES, BrokerUrl, parse_url

__all__ = [
    "AsyncLink",
    "Command",
    "Limits",
    "ServerFacts",
    "SyncLink",
    "check_server",
    "server_facts",
    "translate",
]

Command = Sequence[Any]

_WITH_TLS = tuple(f"{name}://" for name, (_, tls) in SCHEMES.items() if tls)
# How much longer the client waits for a blocking call than the server does.
BLOCKING_MARGIN_S = 1.0
# A slot that moves is followed this many times, then the call fails as "not available".
REDIRECT_PAUSES_S = (0.0, 0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Before each try of a call that is sent on. Two nodes may each name the other for a moment after a slot has moved."""


def _redis_errors() -> ModuleType:
    import redis.exceptions

    return redis.exceptions


def translate(error: BaseException, url: str) -> BaseException:
    """Return the taskq error for an error of redis-py or of a socket; any other error comes back as it is.

    `url` is the masked URL: the text of the new error names it, and what can be done.
    """
    if isinstance(error, TaskqError) or not isinstance(error, Exception):
        return error
    errors = _redis_errors()
    if isinstance(error, (errors.TimeoutError, TimeoutError)):
        plain = ", or speak no TLS on that port" if url.startswith(_WITH_TLS) else ""
        return BrokerUnavailable(
            f"the broker at {url} did not answer in time; it may be busy, paused or cut off{plain}"
        )
    if isinstance(error, errors.RedisError):
        code, text = getattr(error, "status_code", None), str(error)
        if code is not None or isinstance(error, errors.ResponseError):
            return refusal(code, text, url)
        if isinstance(error, errors.ConnectionError):
            return _unreachable(text, url)
        return BrokerError(f"the broker at {url}: {text}")
    if isinstance(error, errors.RedisClusterException):
        return BrokerUnavailable(f"the cluster at {url} is not available: {error}")
    if isinstance(error, OSError):
        return _unreachable(str(error), url)
    return error


def _unreachable(text: str, url: str) -> BrokerError:
    if "max number of clients" in text:
        return refusal("ERR", text, url)
    unwatched = no_primary(text, url)
    if unwatched is not None:
        return unwatched
    if "CERTIFICATE_VERIFY_FAILED" in text:
        text += "; name the authority's certificate with ?ssl_ca_certs=/path/ca.pem"
    return BrokerUnavailable(f"cannot reach the broker at {url}: {text} (is it running, and is the URL right?)")


class _Guard:
    """Turns what redis-py raises inside its `with` block into errors of taskq, and lets the link learn from it."""

    __slots__ = ("_learn", "_url")

    def __init__(self, url: str, learn: Callable[[BaseException], None]) -> None:
        self._url = url
        self._learn = learn

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if error is not None:
            better = translate(error, self._url)
            if better is not error:
                self._learn(error)
                if isinstance(better, BrokerUnavailable) and not was_sent(error):
                    better.sent = False
                raise better from error


class _Link:
    """What both faces share: the address, the limits, and what an error teaches about the way to the server."""

    def __init__(
        self, url: str | BrokerUrl, *, timeout: float = 1.0, connect_timeout: float = 1.0, max_connections: int = 64
    ) -> None:
        self.url = parse_url(url) if isinstance(url, str) else url
        if self.url.kind in ("embedded", "memory"):
            raise ConfigError(f"{self.url.masked} is not the address of a server: there is none to talk to")
        self.limits = Limits(timeout, connect_timeout, max_connections)
        self._guard = _Guard(self.url.masked, self._learn)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url.masked}>"

    def _known_routes(self) -> SyncRoutes | AsyncRoutes:
        raise NotImplementedError

    def _learn(self, error: BaseException) -> None:
        errors = _redis_errors()
        if isinstance(error, errors.ReadOnlyError):  # a demoted primary: every connection leads to the wrong server
            self._known_routes().drop_all()
        if not isinstance(error, errors.ResponseError) or isinstance(error, (errors.AskError, errors.ClusterError)):
            self._known_routes().forget()

    def _lost_way(self, command: Command) -> BrokerUnavailable:
        return BrokerUnavailable(f"the cluster at {self.url.masked} keeps moving the slot of this {command[0]}")

    def _is_redirect(self, value: Any) -> bool:
        return isinstance(value, _redis_errors().AskError)

    def _own_error(self, value: Any) -> Any:
        if isinstance(value, Exception) and not isinstance(value, TaskqError):
            self._learn(value)
            return translate(value, self.url.masked)
        return value


def _is_reply(error: BaseException) -> bool:
    return isinstance(error, _redis_errors().ResponseError)


def _ask_address(error: Any) -> tuple[str, int] | None:
    """Return where an ASK sends this one call; None for a MOVED, which the new map of slots takes care of."""
    return (error.host, error.port) if error.status_code == "ASK" else None


class SyncLink(_Link):
    """A link for threads; every call raises an error of the `BrokerError` family or returns a raw reply."""

    _routes: SyncRoutes | None = None
    _pid = 0

    def _known_routes(self) -> SyncRoutes:
        # A forked child shares the sockets of its parent: it must neither use them nor shut them down.
        if self._routes is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._routes = SyncRoutes(self.url, self.limits, _is_reply)
        return self._routes

    @property
    def made(self) -> int:
        """How many connections were opened so far: with each of them another server may have begun to answer."""
        return self._known_routes().made

    def execute(self, *args: Any, timeout: float | None = None) -> Any:
        """Send one command and return its raw reply; `timeout` in seconds, None takes the link's own."""
        return self._run(args, timeout)

    def blocking(self, block_s: float, *args: Any) -> Any:
        """Send a command that waits up to `block_s` seconds on the server, on a connection of its own.

        The wait also stands in `args` (BLPOP and its kin); the client gives up one second after the server should.
        """
        return self._run(args, block_s + BLOCKING_MARGIN_S, blocking=True)

    def everywhere(self, *args: Any) -> list[Any]:
        """Send one command to every primary, for what each server keeps for itself (SCRIPT LOAD)."""
        with self._guard:
            return [pool.exchange(args, self.limits.timeout) for pool in self._known_routes().primaries()]

    def pipeline(self, commands: Sequence[Command], *, timeout: float | None = None) -> list[Any]:
        """Send commands in one go, not as a transaction; return one reply or one `TaskqError` for each, in order.

        Nothing is raised for a lost connection: the commands without an answer, which may have run, hold the error.
        """
        return self._lined(commands, timeout)

    def behind(self, block_s: float, commands: Sequence[Command]) -> list[Any]:
        """`pipeline` of a command that waits up to `block_s` seconds on the server, and of others behind it."""
        return self._lined(commands, block_s + BLOCKING_MARGIN_S, blocking=True)

    def _lined(self, commands: Sequence[Command], timeout: float | None, *, blocking: bool = False) -> list[Any]:
        try:
            with self._guard, UNSENT:
                pools = [self._known_routes().pool(command, blocking=blocking) for command in commands]
        except BrokerError as lost:
            return [lost] * len(commands)
        values: list[Any] = [None] * len(commands)
        for pool, indexes in groups(pools):
            burst = self._burst(pool, [commands[index] for index in indexes], timeout)
            for index, value in zip(indexes, burst, strict=True):
                values[index] = value
        return [self._settled(command, value, timeout) for command, value in zip(commands, values, strict=True)]

    def subscribe(self, *channels: str, patterns: Sequence[str] = ()) -> SyncSubscription:
        """Listen to channels on a connection of its own; see `SyncSubscription`."""
        return SyncSubscription(lambda: self._known_routes().pool(("PING",)).new(), self._guard, channels, patterns)

    def close(self) -> None:
        if self._routes is not None and self._pid == os.getpid():
            self._routes.close()
        self._routes = None

    def _run(self, args: Command, timeout: float | None, *, blocking: bool = False) -> Any:
        ask: tuple[str, int] | None = None
        with self._guard:
            for pause in REDIRECT_PAUSES_S:
                if pause:
                    time.sleep(pause)
                with UNSENT:
                    pool = self._known_routes().pool(args, blocking=blocking, ask=ask)
                try:
                    return pool.exchange(args, timeout or self.limits.timeout, asking=ask is not None)
                except Exception as error:
                    if not self._is_redirect(error):
                        raise
                    self._learn(error)
                    ask = _ask_address(error)
        raise self._lost_way(args)

    def _burst(self, pool: SyncPool, commands: Sequence[Command], timeout: float | None) -> list[Any]:
        values: list[Any] = []
        try:
            with self._guard:
                pool.burst(commands, timeout or self.limits.timeout, values)
        except BrokerError as lost:
            values += [lost] * (len(commands) - len(values))
        return values

    def _settled(self, command: Command, value: Any, timeout: float | None) -> Any:
        if not self._is_redirect(value):
            return self._own_error(value)
        try:
            return self.execute(*command, timeout=timeout)
        except BrokerError as error:
            return error


class AsyncLink(_Link):
    """A link for event loops; the calls of `SyncLink`, awaited. Cancelling a call closes its connection.

    Each event loop gets connections of its own; `aclose` closes those of the running one.
    """

    _pid = 0

    def _known_routes(self) -> AsyncRoutes:
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._by_loop: dict[asyncio.AbstractEventLoop, AsyncRoutes] = {}
        routes = self._by_loop.get(loop)
        if routes is None:
            for old in [old for old in self._by_loop if old.is_closed()]:
                del self._by_loop[old]
            routes = self._by_loop.setdefault(loop, AsyncRoutes(self.url, self.limits, _is_reply))
        return routes

    async def execute(self, *args: Any, timeout: float | None = None) -> Any:
        return await self._run(args, timeout)

    async def blocking(self, block_s: float, *args: Any) -> Any:
        return await self._run(args, block_s + BLOCKING_MARGIN_S, blocking=True)

    async def everywhere(self, *args: Any) -> list[Any]:
        with self._guard:
            return [await pool.exchange(args, self.limits.timeout) for pool in await self._known_routes().primaries()]

    async def pipeline(self, commands: Sequence[Command], *, timeout: float | None = None) -> list[Any]:
        try:
            with self._guard, UNSENT:
                pools = [await self._known_routes().pool(command) for command in commands]
        except BrokerError as lost:
            return [lost] * len(commands)
        values: list[Any] = [None] * len(commands)
        for pool, indexes in groups(pools):
            burst = await self._burst(pool, [commands[index] for index in indexes], timeout)
            for index, value in zip(indexes, burst, strict=True):
                values[index] = value
        return [await self._settled(command, value, timeout) for command, value in zip(commands, values, strict=True)]

    def subscribe(self, *channels: str, patterns: Sequence[str] = ()) -> AsyncSubscription:
        return AsyncSubscription(self._new_connection, self._guard, channels, patterns)

    async def aclose(self) -> None:
        if self._pid == os.getpid():
            routes = self._by_loop.pop(asyncio.get_running_loop(), None)
            if routes is not None:
                await routes.close()

    async def _new_connection(self) -> Any:
        return await (await self._known_routes().pool(("PING",))).new()

    async def _run(self, args: Command, timeout: float | None, *, blocking: bool = False) -> Any:
        ask: tuple[str, int] | None = None
        with self._guard:
            for pause in REDIRECT_PAUSES_S:
                if pause:
                    await asyncio.sleep(pause)
                with UNSENT:
                    pool = await self._known_routes().pool(args, blocking=blocking, ask=ask)
                try:
                    return await pool.exchange(args, timeout or self.limits.timeout, asking=ask is not None)
                except Exception as error:
                    if not self._is_redirect(error):
                        raise
                    self._learn(error)
                    ask = _ask_address(error)
        raise self._lost_way(args)

    async def _burst(self, pool: AsyncPool, commands: Sequence[Command], timeout: float | None) -> list[Any]:
        values: list[Any] = []
        try:
            with self._guard:
                await pool.burst(commands, timeout or self.limits.timeout, values)
        except BrokerError as lost:
            values += [lost] * (len(commands) - len(values))
        return values

    async def _settled(self, command: Command, value: Any, timeout: float | None) -> Any:
        if not self._is_redirect(value):
            return self._own_error(value)
        try:
            return await self.execute(*command, timeout=timeout)
        except BrokerError as error:
            return error
