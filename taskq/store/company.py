"""Calls of one event loop that go out together: what is awaited side by side costs one write and one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

from taskq.errors import TaskqError
from taskq.store.scripts import AsyncLinkLike, Call, run_async, run_many_async

T = TypeVar("T")

MOST_CALLS: Final = 50
MOST_BYTES: Final = 65_536
"""Of one round trip: what is behind them on the connection waits until they are answered."""


@dataclass(slots=True)
class _Loop(Generic[T]):
    """What one event loop has under way, and what waits for the end of its turn."""

    under_way: int = 0
    waiting: list[tuple[Call[T], int, asyncio.Future[T | TaskqError]]] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class Company(Generic[T]):
    """Runs calls on one link. One alone goes at once; those that follow while it is under way go together, all that
    were made in one turn of the loop in one round trip. Each call is answered by itself.
    """

    def __init__(self, link: AsyncLinkLike) -> None:
        self._link = link
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop[T]] = WeakKeyDictionary()

    async def run(self, call: Call[T], size: int) -> T | TaskqError:
        """The value of a call of so many bytes, or the error that it met. Who is cancelled here may have been heard."""
        loop = asyncio.get_running_loop()
        state = self._loops.get(loop)
        if state is None:
            state = self._loops.setdefault(loop, _Loop())
        if not state.under_way or size > MOST_BYTES:
            state.under_way += 1
            try:
                return await run_async(self._link, call)
            except TaskqError as error:
                return error
            finally:
                state.under_way -= 1
        future: asyncio.Future[T | TaskqError] = loop.create_future()
        state.waiting.append((call, size, future))
        if len(state.waiting) == 1:
            loop.call_soon(self._go, loop, state)
        return await future

    def _go(self, loop: asyncio.AbstractEventLoop, state: _Loop[T]) -> None:
        waiting, state.waiting = state.waiting, []
        for some in _cut([one for one in waiting if not one[2].done()]):  # who was cancelled wants nothing sent
            task = loop.create_task(self._send(state, some))
            state.tasks.add(task)
            task.add_done_callback(state.tasks.discard)

    async def _send(self, state: _Loop[T], some: Sequence[tuple[Call[T], int, asyncio.Future[Any]]]) -> None:
        state.under_way += 1
        try:
            answers = await run_many_async(self._link, [call for call, _, _ in some])
            for (_, _, future), answer in zip(some, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        except Exception as error:  # noqa: BLE001 - raised where the call is awaited
            for _, _, future in some:
                if not future.done():
                    future.set_exception(error)
        finally:
            state.under_way -= 1
            for _, _, future in some:
                future.cancel()  # only if this task was: whoever waits must not wait for ever


def _cut(waiting: Sequence[tuple[Call[T], int, Any]]) -> Iterator[Sequence[tuple[Call[T], int, Any]]]:
    """Runs of what one round trip may carry."""
    begin = total = 0
    for at, (_, size, _) in enumerate(waiting):
        if at > begin and (at - begin >= MOST_CALLS or total + size > MOST_BYTES):
            yield waiting[begin:at]
            begin, total = at, 0
        total += size
    if waiting:
        yield waiting[begin:]
