"""Where handles wait while their messages run in this process: nothing comes by itself, so whoever waits runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from taskq.errors import ResultTimeout
from taskq.message import id_text
from taskq.tasks.broker import Found
from taskq.tasks.memory import MemoryBroker
from taskq.tasks.outcomes import is_over, status_of
from taskq.tasks.waiting import Key


class Run(Protocol):
    """Runs all that is ready."""

    def __call__(self, *, raise_errors: bool) -> None: ...


class AsyncRun(Protocol):
    """The same, awaited."""

    async def __call__(self, *, raise_errors: bool) -> None: ...


class Waiting:
    """Whoever waits lets everything run first, and does not wait for what then is not over.

    It stands for `taskq.tasks.results.Results` and `taskq.tasks.async_results.AsyncResults`.
    """

    def __init__(self, broker: MemoryBroker, run: Run, arun: AsyncRun, unknown: Callable[[bytes], str]) -> None:
        self._look = Look(broker, unknown)
        self._run = run
        self._arun = arun

    def watch(self, keys: Iterable[Key]) -> Watch:
        return Watch(self._look, self._run, self._arun)

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


class Watch:
    """Stands for the watches of both."""

    def __init__(self, look: Look, run: Run, arun: AsyncRun) -> None:
        self._look = look
        self._run = run
        self._arun = arun

    def __enter__(self) -> Look:
        self._run(raise_errors=False)
        return self._look

    def __exit__(self, *_: object) -> None: ...

    async def __aenter__(self) -> AsyncLook:
        await self._arun(raise_errors=False)
        return AsyncLook(self._look)

    async def __aexit__(self, *_: object) -> None: ...


class Look:
    """One look at each message. `unknown` says of the id of a parked one what is not registered."""

    seen: Found | None = None

    def __init__(self, broker: MemoryBroker, unknown: Callable[[bytes], str]) -> None:
        self._broker = broker
        self._unknown = unknown

    def get(self, key: Key, deadline: float | None) -> Found:
        queue, raw = key
        found = self._broker.lookup(queue, [raw])[0]
        if is_over(found):
            return found
        if status_of(found) == "parked":
            raise ResultTimeout(f"message {id_text(raw)} in queue {queue!r} is parked: {self._unknown(raw)}")
        raise ResultTimeout(
            f"message {id_text(raw)} in queue {queue!r} is {status_of(found)}: in memory nothing comes of waiting; "
            "let its time come with q.clock.advance(seconds)"
        )


class AsyncLook:
    """The same, awaited."""

    seen: Found | None = None

    def __init__(self, look: Look) -> None:
        self._look = look

    async def get(self, key: Key, deadline: float | None) -> Found:
        return self._look.get(key, deadline)
