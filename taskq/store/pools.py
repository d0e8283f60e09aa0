"""Bounded pools of connections, one for threads and one for an event loop, with the same four steps.

A pool takes from the free ones, or makes one; connects and checks it; lends it to exactly one call; takes it back
whole or throws it away. A connection whose reply was not read to its end is always thrown away, so no call ever gets
the reply of another. Giving back never waits, so that no cancellation can lose a place in the pool.

`is_reply` tells an error reply, which was read to its end and leaves the connection good, from a lost connection.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from taskq.errors import BrokerUnavailable

try:
    from hiredis import pack_command
except ImportError:  # an extra
    pack_command = None  # type: ignore[assignment]


_CHUNK = 65_536  # bytes, each of which may take as long as one time-out


def _packed(connection: Any, args: Sequence[Any]) -> list[bytes]:
    """One command as bytes. Scripts have many arguments, and all of them are of types that need no look."""
    if pack_command is not None and args[0] == "EVALSHA":
        return [pack_command(tuple(args))]
    packed: list[bytes] = connection.pack_command(*args)
    return packed


def _joined(parts: list[bytes]) -> list[bytes]:
    """The same bytes in few parts: each is a system call, after which a thread waits for the interpreter again."""
    if len(parts) == 1 or sum(map(len, parts)) <= _CHUNK:
        return [b"".join(parts)]
    found: list[bytes] = []
    begin = size = 0
    for at, part in enumerate(parts):
        if size + len(part) > _CHUNK and at > begin:
            found.append(b"".join(parts[begin:at]))
            begin, size = at, 0
        size += len(part)
    found.append(b"".join(parts[begin:]))
    return found


def _read(connection: Any, timeout: float) -> Any:
    """One reply. A limit that is not the connection's own is set and reset by two system calls around each read, behind
    each of which a thread waits for the interpreter.
    """
    return (
        connection.read_response()
        if timeout == connection.socket_timeout
        else connection.read_response(timeout=timeout)
    )


def _busy(limit: int, seconds: float) -> BrokerUnavailable:
    error = BrokerUnavailable(f"all {limit} connections to the broker were busy for {seconds:g} s")
    error.sent = False
    return error


class Unsent:
    """A `with` block in which nothing is sent yet: it marks what is raised there, for `was_sent`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if error is not None:
            error.__dict__["taskq_unsent"] = True


UNSENT = Unsent()


def was_sent(error: BaseException) -> bool:
    """Whether the call that met this error may have reached the server."""
    return "taskq_unsent" not in error.__dict__


class SyncPool:
    """At most `limit` connections, shared by threads."""

    def __init__(
        self, make: Callable[[], Any], is_reply: Callable[[BaseException], bool], limit: int, wait_s: float
    ) -> None:
        self._make = make
        self._is_reply = is_reply
        self._limit = limit
        self._wait_s = wait_s
        self._slots = threading.BoundedSemaphore(limit)
        self._free: list[Any] = []
        self._lent: set[Any] = set()
        self.made = 0

    def exchange(self, args: Sequence[Any], timeout: float, *, asking: bool = False) -> Any:
        """Send one command and return its reply; an error reply is raised."""
        connection = self.take()
        whole = False
        try:
            if asking:
                connection.send_command("ASKING")
                _read(connection, timeout)
            connection.send_packed_command(_joined(_packed(connection, args)))
            reply = _read(connection, timeout)
            whole = True
            return reply
        except Exception as error:
            whole = self._is_reply(error)
            raise
        finally:
            self.give(connection, whole=whole)

    def burst(self, commands: Sequence[Sequence[Any]], timeout: float, values: list[Any]) -> None:
        """Send commands at once and append to `values` each reply or error reply; `timeout` is for each reply."""
        connection = self.take()
        try:
            connection.send_packed_command(_joined([part for args in commands for part in _packed(connection, args)]))
            while len(values) < len(commands):
                try:
                    values.append(_read(connection, timeout))
                except Exception as error:
                    if not self._is_reply(error):
                        raise
                    values.append(error)
        finally:
            self.give(connection, whole=len(values) == len(commands))

    def take(self) -> Any:
        if not self._slots.acquire(timeout=self._wait_s):
            raise _busy(self._limit, self._wait_s)
        try:
            with UNSENT:
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
        self.made += 1
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

    def __init__(
        self,
        make: Callable[[], Any],
        is_reply: Callable[[BaseException], bool],
        limit: int,
        wait_s: float,
        connect_s: float,
    ) -> None:
        self._make = make
        self._is_reply = is_reply
        self._limit = limit
        self._wait_s = wait_s
        self._connect_s = connect_s
        self._slots = asyncio.Semaphore(limit)
        self._free: list[Any] = []
        self._lent: set[Any] = set()

    async def exchange(self, args: Sequence[Any], timeout: float, *, asking: bool = False) -> Any:
        connection = await self.take()
        whole = False
        try:
            async with asyncio.timeout(timeout):
                if asking:
                    await connection.send_command("ASKING")
                    await connection.read_response()
                await connection.send_packed_command(_packed(connection, args))
                reply = await connection.read_response()
            whole = True
            return reply
        except Exception as error:
            whole = self._is_reply(error)
            raise
        finally:
            await self.give(connection, whole=whole)

    async def burst(self, commands: Sequence[Sequence[Any]], timeout: float, values: list[Any]) -> None:
        now = asyncio.get_running_loop().time
        connection = await self.take()
        try:
            async with asyncio.timeout(timeout) as limit:
                await connection.send_packed_command([part for args in commands for part in _packed(connection, args)])
                while len(values) < len(commands):
                    try:
                        values.append(await connection.read_response())
                    except Exception as error:
                        if not self._is_reply(error):
                            raise
                        values.append(error)
                    limit.reschedule(now() + timeout)
        finally:
            await self.give(connection, whole=len(values) == len(commands))

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
            with UNSENT:
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
