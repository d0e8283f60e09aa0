"""What `enqueue` gives back: the id of a message, and the way to its status and its result."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Generic, Literal, TypeAlias, TypeVar, cast

from taskq.checks import Duration, seconds
from taskq.errors import BrokerError, EventLoopRunning, ResultTimeout
from taskq.loops import in_event_loop, warn_of_blocking
from taskq.message import id_text
from taskq.tasks.async_lists import AsyncListBroker
from taskq.tasks.broker import Found
from taskq.tasks.brokers import Ends
from taskq.tasks.lists import ListBroker
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
        """Where the message is, in one word of the glossary.

        Workers tell of a start with their next heartbeat: what has just been started reads `ready` for up to a second.
        """
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
        Inside a task it blocks a slot, which the other message may need: use `then=` there.
        """
        if in_event_loop():
            raise EventLoopRunning("result() would stop the event loop that runs here: use `await handle.aresult()`")
        limit = None if timeout is None else seconds(timeout, "timeout")
        deadline = None if limit is None else time.monotonic() + limit
        with self._ends.results.watch([(self.queue, self._raw)]) as watch:
            found = watch.get((self.queue, self._raw), deadline)
        if found is None:
            raise self._late(limit, watch.seen, is_paused(self._ends, self.queue, watch.seen))
        return self._value(found)

    async def aresult(self, timeout: Duration | None = None) -> T_co:
        """`result`, awaited."""
        limit = None if timeout is None else seconds(timeout, "timeout")
        deadline = None if limit is None else asyncio.get_running_loop().time() + limit
        async with self._ends.async_results.watch([(self.queue, self._raw)]) as watch:
            found = await watch.get((self.queue, self._raw), deadline)
        if found is None:
            raise self._late(limit, watch.seen, await is_paused_async(self._ends, self.queue, watch.seen))
        return self._value(found)

    def untyped(self) -> Handle[Any]:
        """A handle of the same message whose result stays the plain JSON that is stored."""
        return Handle(self._ends, self.queue, self._raw, self.created, Target(self.task))

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

    def _late(self, limit: float | None, seen: Found | None, paused: bool) -> ResultTimeout:
        return not_in_time(f"message {self.id} of {self.task or 'an unknown task'}", self.queue, limit, seen, paused)

    def _value(self, found: Found) -> T_co:
        value: T_co = value_of(found, self._raw, self.task or "an unknown task", self._target.signature)
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and (self._raw, self.queue) == (other._raw, other.queue)

    def __hash__(self) -> int:
        return hash((self._raw, self.queue))

    def __repr__(self) -> str:
        task = f" {self.task}" if self.task else ""
        return f"Handle({self.id}{task} in {self.queue!r}{'' if self.created else ', not created'})"


def not_in_time(what: str, queue: str, limit: float | None, seen: Found | None, paused: bool) -> ResultTimeout:
    """The error of a wait that took too long, with what was seen last: it often says why."""
    status = None if seen is None else status_of(seen)
    if status == "ready" and paused:
        more = f"; it is ready, and the queue is paused (taskq queue resume {queue})"
    elif status == "ready":  # for up to a heartbeat a message that was started reads so as well
        more = "; it is ready, or just started (does a worker serve that queue?)"
    elif status == "parked":
        more = "; it is parked (no worker there knows this task)"
    else:
        more = "" if status is None else f"; it is {status}"
    return ResultTimeout(f"{what} in queue {queue!r} was not finished within {limit:g} s{more}")


# One look when a wait has ended in vain; without an answer nothing is said of it: this is a courtesy.


def is_paused(ends: Ends, queue: str, seen: Found | None) -> bool:
    """Whether that is why a message which was ready last was not started."""
    broker = ends.broker
    if seen is None or status_of(seen) != "ready" or not isinstance(broker, ListBroker):
        return False
    try:
        return broker.link.execute("HGET", broker.keys(queue).meta, "paused") is not None
    except BrokerError:
        return False


async def is_paused_async(ends: Ends, queue: str, seen: Found | None) -> bool:
    """`is_paused`, awaited."""
    broker = ends.async_broker
    if seen is None or status_of(seen) != "ready" or not isinstance(broker, AsyncListBroker):
        return False
    try:
        return await broker.link.execute("HGET", broker.keys(queue).meta, "paused") is not None
    except BrokerError:
        return False
