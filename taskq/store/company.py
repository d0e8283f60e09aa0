"""Calls of one event loop that go out together: what is awaited side by side costs one write and one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from taskq.errors import BrokerUnavailable, TaskqError
from taskq.store.scripts import AsyncLinkLike, Call, run_async, run_many_async

T = TypeVar("T")

MOST_CALLS: Final = 50
MOST_BYTES: Final = 65_536
"""Of one round trip: what is behind them on the connection waits until they are answered."""


_Waiting: TypeAlias = "tuple[Call[T], int, asyncio.Future[T | TaskqError]]"


@dataclass(slots=True)
class _Loop(Generic[T]):
    """What one event loop has under way, and what waits for the end of its turn."""

    under_way: int = 0
    waiting: dict[str, list[_Waiting[T]]] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class Company(Generic[T]):
    """Runs calls on one link. One alone goes at once; those that follow while it is under way go together, all that
    were made in one turn of the loop in one round trip. Each call is answered by itself.
    """

    def __init__(self, link: AsyncLinkLike) -> None:
        self._link = link
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop[T]] = WeakKeyDictionary()

    async def run(self, call: Call[T], size: int, apart: str = "") -> T | TaskqError:
        """The value of a call of so many bytes, or the error that it met. Who is cancelled here may have been heard.

        Only calls with the same `apart` go together: those of one node of a cluster, where another may not answer.
        """
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
        waiting = state.waiting.setdefault(apart, [])
        waiting.append((call, size, future))
        if len(waiting) == 1:
            loop.call_soon(self._go, loop, state, apart)
        return await future

    def _go(self, loop: asyncio.AbstractEventLoop, state: _Loop[T], apart: str) -> None:
        waiting = state.waiting.pop(apart)
        for some in _cut([one for one in waiting if not one[2].done()]):  # who was cancelled wants nothing sent
            task = loop.create_task(self._send(state, some))
            state.tasks.add(task)
            task.add_done_callback(partial(self._sent, state, some))

    def _sent(self, state: _Loop[T], some: Sequence[_Waiting[T]], task: asyncio.Task[None]) -> None:
        """Whoever still waits was not answered, since somebody has cancelled our task: it must not wait for ever."""
        state.tasks.discard(task)
        for _, _, future in some:
            if not future.done():
                future.set_result(BrokerUnavailable("the task that sent this call was cancelled by others"))

    async def _send(self, state: _Loop[T], some: Sequence[_Waiting[T]]) -> None:
        state.under_way += 1
        try:
            answers = await run_many_async(self._link, [call for call, _, _ in some])
            for (_, _, future), answer in zip(some, answers, strict=True):
                if not future.done():
                    # a lost connection is one error for all, and each caller says something else of it
                    future.set_result(copy(answer) if isinstance(answer, TaskqError) else answer)
        except Exception as error:  # noqa: BLE001 - raised where the call is awaited
            for _, _, future in some:
                if not future.done():
                    future.set_exception(error)
        finally:
            state.under_way -= 1


def _cut(waiting: Sequence[_Waiting[T]]) -> Iterator[Sequence[_Waiting[T]]]:
    """Runs of what one round trip may carry."""
    begin = total = 0
    for at, (_, size, _) in enumerate(waiting):
        if at > begin and (at - begin >= MOST_CALLS or total + size > MOST_BYTES):
            yield waiting[begin:at]
            begin, total = at, 0
        total += size
    if waiting:
        yield waiting[begin:]
