"""Running the records of a shared group: by threads, on an event loop, or one by one for who iterates."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from inspect import iscoroutinefunction
from typing import Any, Protocol

from taskq.checks import function_of
from taskq.errors import DecodeError
from taskq.events.performing import cancelled
from taskq.events.record import Record, Undecodable
from taskq.events.shared_consumer import SharedConsumer
from taskq.events.shared_options import Filter
from taskq.events.shared_state import Item

Handler = Callable[[Record], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """A handler, and the filter that says which records are for it (None: all)."""

    handler: Handler
    filter: Filter | None = None

    def __post_init__(self) -> None:
        function_of(self.handler, "handler", "record")
        if self.filter is not None:
            function_of(self.filter, "filter", "record")

    @property
    def is_async(self) -> bool:
        """Whether it is awaited."""
        return iscoroutinefunction(self.handler) or iscoroutinefunction(getattr(self.handler, "__call__", None))  # noqa: B004


class Runner(Protocol):
    """What gets the records of a consumer."""

    def put(self, items: list[Item]) -> None: ...
    def give_back(self) -> None: ...
    def close(self) -> None: ...


class Chosen:
    """From a record to the one handler that gets it; the steps that all runners share."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)

    def pick(self, consumer: SharedConsumer, item: Item) -> tuple[Record, Route] | None:
        """The record and its route; None if nothing is left to do. Whatever raises here is a failure of the record."""
        if not consumer.begin(item):
            return None
        if item.record is None:
            consumer.refuse(item, "this entry was not written by taskq")
            return None
        try:
            record = replace(item.record, attempt=item.attempts + item.deaths + 1)
            if isinstance(record.value, Undecodable):
                raise DecodeError(f"the value cannot be read: {record.value.reason}")
            for route in self._routes:
                if route.filter is None or route.filter(record):
                    return record, route
        except BaseException as error:  # noqa: BLE001 - a filter may raise anything; the error policy has the word
            consumer.failed(item, error)
            return None
        consumer.done(item, filtered=True)
        return None


class Threads:
    """Runs handlers in threads; an `async def` among them runs on a loop of its own while its thread waits."""

    def __init__(self, consumer: SharedConsumer, routes: Sequence[Route], concurrency: int) -> None:
        self._consumer = consumer
        self._chosen = Chosen(routes)
        self._ready: deque[Item] = deque()
        self._ended = False
        self._some = threading.Semaphore(0)
        self._concurrency = concurrency
        self._loop = _Loop() if any(route.is_async for route in routes) else None
        self._threads = [
            threading.Thread(target=self._run, name=f"taskq-handle-{number}", daemon=True)
            for number in range(concurrency)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, items: list[Item]) -> None:
        self._ready.extend(items)
        if items:
            self._some.release(len(items))

    def give_back(self) -> None:
        """Give back what has not begun."""
        _give_back(self._consumer, self._ready)

    def close(self) -> None:
        """Let the threads end, each after what it runs."""
        self._ended = True
        self._some.release(self._concurrency)
        if self._loop is not None:
            self._loop.stop()

    def _run(self) -> None:
        consumer = self._consumer
        while True:
            self._some.acquire()
            try:
                item = self._ready.popleft()
            except IndexError:  # it was given back, or this is the end
                if self._ended:
                    return
                continue
            found = self._chosen.pick(consumer, item)
            if found is None:
                continue
            record, route = found
            try:
                made = route.handler(record)
                if asyncio.iscoroutine(made):
                    self._wait(made)
            except BaseException as error:  # noqa: BLE001 - SystemExit and its kin end a record, not the consumer
                consumer.failed(item, error)
            else:
                consumer.done(item)

    def _wait(self, made: Coroutine[Any, Any, Any]) -> None:
        if self._loop is None:
            self._loop = _Loop()
        error = asyncio.run_coroutine_threadsafe(_caught(made), self._loop.loop).result()
        if error is not None:
            raise error


async def _caught(made: Coroutine[Any, Any, Any]) -> BaseException | None:
    """What a coroutine raises: a SystemExit that came out of a task would end the loop, and with it all others."""
    try:
        await made
    except BaseException as error:
        if cancelled(error):
            raise
        return error
    return None


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="taskq-handle-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.loop.run_forever()
        self.loop.close()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(1.0)


class Loop:
    """Runs `async def` handlers as tasks of an event loop: that which runs where it is made, else one of its own."""

    def __init__(self, consumer: SharedConsumer, routes: Sequence[Route], concurrency: int) -> None:
        self._consumer = consumer
        self._chosen = Chosen(routes)
        self._ready: deque[Item] = deque()
        self._room = concurrency
        self._tasks: set[asyncio.Task[None]] = set()
        self._own: _Loop | None = None
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._own = _Loop()
            self._loop = self._own.loop

    def put(self, items: list[Item]) -> None:
        self._ready.extend(items)
        try:
            self._loop.call_soon_threadsafe(self._fill)
        except RuntimeError:  # the loop was closed before the subscription was
            self.give_back()

    def give_back(self) -> None:
        """Give back what has not begun."""
        _give_back(self._consumer, self._ready)

    def close(self) -> None:
        if self._own is not None:
            self._own.stop()

    def _fill(self) -> None:
        while self._ready and self._room > 0:
            self._room -= 1
            task = self._loop.create_task(self._run())
            self._tasks.add(task)  # the loop itself keeps only a weak reference
            task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        consumer = self._consumer
        try:
            while self._ready:
                item = self._ready.popleft()
                found = self._chosen.pick(consumer, item)
                if found is not None:
                    await self._handle(consumer, item, *found)
        finally:
            self._room += 1

    @staticmethod
    async def _handle(consumer: SharedConsumer, item: Item, record: Record, route: Route) -> None:
        try:
            await route.handler(record)
        except BaseException as error:  # SystemExit and its kin end a record, not the consumer
            if cancelled(error):
                consumer.give_back(item)
                raise
            consumer.failed(item, error)
        else:
            consumer.done(item)


def _give_back(consumer: SharedConsumer, ready: deque[Item]) -> None:
    while ready:
        try:
            item = ready.popleft()
        except IndexError:  # another thread was quicker
            return
        consumer.give_back(item)
