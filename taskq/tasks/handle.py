"""What `enqueue` gives back: the id of a message, and the way to its status and its result."""

from __future__ import annotations

import asyncio
import time
from typing import Generic, Literal, TypeAlias, TypeVar, cast

from taskq.checks import Duration, seconds
from taskq.errors import EventLoopRunning, ResultTimeout
from taskq.message import id_text
from taskq.tasks.broker import Found
from taskq.tasks.brokers import Ends
from taskq.tasks.loops import in_event_loop, warn_of_blocking
from taskq.tasks.outcomes import Info, Status, info_of, status_of, value_of
from taskq.tasks.outgoing import Target

T_co = TypeVar("T_co", covariant=True)

Cancelled: TypeAlias = Literal["cancelled", "requested", "too_late"]


class Handle(Generic[T_co]):
    """One message, seen from outside. Any process that knows its id and queue can make one: `app.handle(id, queue)`.

    `created` is False if the id or the unique key was taken: then this is the message that was there before. An
    explicit id may be that of another task's message. While that one is not over, the handle of `enqueue` tells its
    task and gives its result as plain JSON; afterwards, and in a batch, `task` is the one that was called.
    """

    __slots__ = ("_ends", "_raw", "_target", "created", "queue")

    def __init__(self, ends: Ends, queue: str, raw: bytes, created: bool, target: Target) -> None:
        self._ends = ends
        self._raw = raw
        self._target = target
        self.queue = queue
        self.created = created

    @property
    def id(self) -> str:
        """The message's id, a UUID as text."""
        return id_text(self._raw)

    @property
    def task(self) -> str:
        """The name of the task; empty if the handle was made from an id alone."""
        return self._target.name

    def status(self) -> Status:
        """Where the message is, in one word of the glossary."""
        return status_of(self._look("status"))

    async def astatus(self) -> Status:
        """`status`, awaited."""
        return status_of(await self._alook())

    def info(self) -> Info:
        """Status, counters and the history of failed attempts."""
        return info_of(self._look("info"), self._raw, self.queue, self.task)

    async def ainfo(self) -> Info:
        """`info`, awaited."""
        return info_of(await self._alook(), self._raw, self.queue, self.task)

    def result(self, timeout: Duration | None = None) -> T_co:
        """Wait for what the task returns; at most `timeout` seconds, None for as long as it takes, 0 for one look.

        Raises TaskFailed, TaskCancelled or TaskExpired for another outcome, ResultTimeout, and at once
        ResultUnavailable if the message is not known and nothing of it is kept. Inside an event loop: EventLoopRunning.
        """
        if in_event_loop():
            raise EventLoopRunning("result() would stop the event loop that runs here: use `await handle.aresult()`")
        limit = None if timeout is None else seconds(timeout, "timeout")
        deadline = None if limit is None else time.monotonic() + limit
        with self._ends.results.watch([(self.queue, self._raw)]) as watch:
            found = watch.get((self.queue, self._raw), deadline)
            return self._value(found, watch.seen, limit)

    async def aresult(self, timeout: Duration | None = None) -> T_co:
        """`result`, awaited."""
        limit = None if timeout is None else seconds(timeout, "timeout")
        deadline = None if limit is None else asyncio.get_running_loop().time() + limit
        async with self._ends.async_results.watch([(self.queue, self._raw)]) as watch:
            found = await watch.get((self.queue, self._raw), deadline)
            return self._value(found, watch.seen, limit)

    def cancel(self, kill: bool = False) -> Cancelled:
        """Cancel the message: "cancelled" if it waited, "requested" if it runs, "too_late" if it is over or unknown.

        A running `async def` task is cancelled, a plain one is asked (`taskq.current().cancelled`) and gets
        TaskCancelled where Python allows; with `kill` its process may be ended as the last resort.
        """
        warn_of_blocking("cancel", "acancel")
        return cast("Cancelled", self._ends.cancel(self.queue, self._raw, kill))

    async def acancel(self, kill: bool = False) -> Cancelled:
        """`cancel`, awaited."""
        return cast("Cancelled", await self._ends.acancel(self.queue, self._raw, kill))

    def _look(self, name: str) -> Found:
        warn_of_blocking(name, f"a{name}")
        return self._ends.lookup(self.queue, [self._raw])[0]

    async def _alook(self) -> Found:
        return (await self._ends.alookup(self.queue, [self._raw]))[0]

    def _value(self, found: Found | None, seen: Found | None, limit: float | None) -> T_co:
        if found is None:
            raise not_in_time(f"message {self.id} of {self.task or 'an unknown task'}", self.queue, limit, seen)
        value: T_co = value_of(found, self._raw, self.task or "an unknown task", self._target.signature)
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and (self._raw, self.queue) == (other._raw, other.queue)

    def __hash__(self) -> int:
        return hash((self._raw, self.queue))

    def __repr__(self) -> str:
        task = f" {self.task}" if self.task else ""
        return f"Handle({self.id}{task} in {self.queue!r}{'' if self.created else ', not created'})"


def not_in_time(what: str, queue: str, limit: float | None, seen: Found | None) -> ResultTimeout:
    """The error of a wait that took too long, with what was seen last: it often says why."""
    status = "" if seen is None else f"; it is {status_of(seen)}"
    hint = {"ready": " (does a worker serve that queue?)", "parked": " (no worker there knows this task)"}
    more = "" if seen is None else hint.get(status_of(seen), "")
    return ResultTimeout(f"{what} in queue {queue!r} was not finished within {limit:g} s{status}{more}")
