"""The messages of one bulk call, together: counted, awaited, read in order."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

from taskq.checks import Duration, seconds
from taskq.errors import EventLoopRunning, ResultTimeout, TaskqError
from taskq.loops import in_event_loop, warn_of_blocking
from taskq.message import id_text
from taskq.tasks.broker import Accepted, Found
from taskq.tasks.brokers import Ends
from taskq.tasks.handle import Handle, is_paused, is_paused_async, not_in_time
from taskq.tasks.outcomes import Status, status_of, value_of
from taskq.tasks.outgoing import Stamp
from taskq.tasks.waiting import Key
from taskq.values import count_of

T_co = TypeVar("T_co", covariant=True)


class Batch(Generic[T_co]):
    """The handles of messages that were enqueued by one call, in the order in which they were given."""

    __slots__ = ("_accepted", "_ends", "_stamps")

    def __init__(self, ends: Ends, accepted: Sequence[Accepted], stamps: Sequence[Stamp]) -> None:
        self._ends = ends
        self._accepted = accepted
        self._stamps = stamps

    @property
    def ids(self) -> list[str]:
        """The ids, as text."""
        return [id_text(item.id) for item in self._accepted]

    @property
    def created(self) -> int:
        """How many were created by the call; the others were there before, under their id or unique key."""
        return sum(item.created for item in self._accepted)

    @property
    def handles(self) -> list[Handle[T_co]]:
        return list(self)

    def __len__(self) -> int:
        return len(self._accepted)

    def __iter__(self) -> Iterator[Handle[T_co]]:
        return (self[place] for place in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Handle[T_co]: ...
    @overload
    def __getitem__(self, index: slice) -> Batch[T_co]: ...
    def __getitem__(self, index: int | slice) -> Handle[T_co] | Batch[T_co]:
        if isinstance(index, slice):
            return Batch(self._ends, self._accepted[index], self._stamps[index])
        item, stamp = self._accepted[index], self._stamps[index]
        return Handle(self._ends, stamp.queue, item.id, item.created, stamp.target)

    def counts(self) -> dict[Status, int]:
        """How many messages are in which status; a status without a message is left out."""
        warn_of_blocking("counts", "acounts")
        tally: Counter[Status] = Counter()
        for queue, ids in self._by_queue().items():
            tally.update(status_of(found) for found in self._ends.lookup(queue, ids))
        return dict(tally)

    async def acounts(self) -> dict[Status, int]:
        """`counts`, awaited."""
        tally: Counter[Status] = Counter()
        for queue, ids in self._by_queue().items():
            tally.update(status_of(found) for found in await self._ends.alookup(queue, ids))
        return dict(tally)

    def wait(self, timeout: Duration | None = None) -> dict[Status, int]:
        """Wait until every message is over, however it ended, and count the outcomes.

        Raises ResultTimeout after `timeout` seconds. Messages that keep no result end as `unknown`.
        """
        tally: Counter[Status] = Counter()
        for _, _, found in self._founds(timeout, "wait", "await batch.await_all()"):
            tally[status_of(found)] += 1
        return dict(tally)

    async def await_all(self, timeout: Duration | None = None) -> dict[Status, int]:
        """`wait` in an event loop; `await batch` is the same without a time limit."""
        tally: Counter[Status] = Counter()
        async for _, _, found in self._afounds(timeout):
            tally[status_of(found)] += 1
        return dict(tally)

    def __await__(self) -> Generator[Any, Any, dict[Status, int]]:
        return self.await_all().__await__()

    def results(self, timeout: Duration | None = None, *, return_exceptions: bool = False) -> Iterator[Any]:
        """The return values in order, each as soon as it and those before it are there.

        The first failure is raised where it stands in the order; with `return_exceptions` it is yielded instead, and
        the values go on. `timeout` is for all of them together.
        """
        founds = self._founds(timeout, "results", "async for ... in batch.aresults()")
        return (_value(stamp, key, found, return_exceptions) for stamp, key, found in founds)

    async def aresults(
        self, timeout: Duration | None = None, *, return_exceptions: bool = False
    ) -> AsyncIterator[Any]:  # fmt: skip
        """`results` in an event loop: `async for value in batch.aresults()`."""
        async for stamp, key, found in self._afounds(timeout):
            yield _value(stamp, key, found, return_exceptions)

    def _founds(self, timeout: Duration | None, name: str, twin: str) -> Iterator[tuple[Stamp, Key, Found]]:
        if in_event_loop():
            raise EventLoopRunning(f"{name}() would stop the event loop that runs here: use `{twin}`")
        return self._watched(None if timeout is None else seconds(timeout, "timeout"))

    def _watched(self, limit: float | None) -> Iterator[tuple[Stamp, Key, Found]]:
        deadline = None if limit is None else time.monotonic() + limit
        keys = self._keys()
        with self._ends.results.watch(keys) as watch:
            for stamp, key in zip(self._stamps, keys, strict=True):
                found = watch.get(key, deadline)
                if found is None:
                    raise self._late(stamp, key, limit, watch.seen, is_paused(self._ends, key[0], watch.seen))
                yield stamp, key, found

    async def _afounds(self, timeout: Duration | None) -> AsyncIterator[tuple[Stamp, Key, Found]]:
        limit = None if timeout is None else seconds(timeout, "timeout")
        deadline = None if limit is None else asyncio.get_running_loop().time() + limit
        keys = self._keys()
        async with self._ends.async_results.watch(keys) as watch:
            for stamp, key in zip(self._stamps, keys, strict=True):
                found = await watch.get(key, deadline)
                if found is None:
                    paused = await is_paused_async(self._ends, key[0], watch.seen)
                    raise self._late(stamp, key, limit, watch.seen, paused)
                yield stamp, key, found

    def _keys(self) -> list[Key]:
        return [(stamp.queue, item.id) for stamp, item in zip(self._stamps, self._accepted, strict=True)]

    def _late(self, stamp: Stamp, key: Key, limit: float | None, seen: Found | None, paused: bool) -> ResultTimeout:
        what = f"message {id_text(key[1])} of {stamp.target.name}, one of {len(self)},"
        return not_in_time(what, key[0], limit, seen, paused)

    def _by_queue(self) -> dict[str, list[bytes]]:
        queues: dict[str, list[bytes]] = {}
        for queue, raw in self._keys():
            queues.setdefault(queue, []).append(raw)
        return queues

    def __repr__(self) -> str:
        queues = sorted({stamp.queue for stamp in self._stamps})
        return f"Batch({count_of(len(self), 'message')} in {', '.join(queues) or 'no queue'})"


def _value(stamp: Stamp, key: Key, found: Found, return_exceptions: bool) -> Any:
    try:
        return value_of(found, key[1], stamp.target.name, stamp.target.signature)
    except TaskqError as error:
        if return_exceptions:
            return error
        raise
