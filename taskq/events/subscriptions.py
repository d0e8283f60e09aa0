"""What is subscribed to in an app by decorators, and running all of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from taskq.checks import function_of
from taskq.errors import ConfigError
from taskq.events.broadcast import Broadcast
from taskq.events.handling import Route
from taskq.events.listening import BroadcastSubscription, OnGap
from taskq.events.shared import SharedSubscription, Where
from taskq.events.shared_options import Filter, SharedOptions
from taskq.events.tracing import Tracers, none
from taskq.store.links import Links

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Registered:
    """One group of one topic or pattern, with all its handlers."""

    target: str
    options: SharedOptions
    routes: list[Route] = field(default_factory=list[Route])


class Subscriptions:
    """The handlers of one app."""

    def __init__(
        self, links: Callable[[], Links], namespace: str, channel: Callable[[str], Broadcast], tracer: Tracers = none
    ) -> None:
        self._links = links
        self._tracer = tracer
        self._namespace = namespace
        self._channel = channel
        self._shared: dict[tuple[str, str], Registered] = {}
        self._broadcasts: list[tuple[str, Callable[..., Any], OnGap | None]] = []

    def shared(self, target: str, group: str, said: Mapping[str, Any], filter: Filter | None) -> Callable[[F], F]:
        """A decorator: the function handles records of a group. Raises InvalidOption, InvalidName, ConfigError.

        Several functions may share a group: the first whose filter lets a record through gets it.
        """
        Where.of(self._links, self._namespace, target)  # raises for a name that cannot be
        options = SharedOptions.of(group, said)
        if filter is not None:
            function_of(filter, "filter", "record")

        def register(function: F) -> F:
            route = Route(function, filter)
            known = self._shared.setdefault((target, group), Registered(target, options))
            if known.options != options:
                raise ConfigError(
                    f"group {group!r} of {target!r} is subscribed to with two sets of options: give the same"
                )
            if known.routes and known.routes[-1].filter is None:
                raise ConfigError(
                    f"group {group!r} of {target!r} has a handler without filter= already, so another never gets a"
                    " record: give the first one a filter, or this one another group"
                )
            known.routes.append(route)
            return function

        return register

    def broadcast(self, target: str, on_gap: OnGap | None) -> Callable[[F], F]:
        """A decorator: the function hears what is broadcast. Raises InvalidName, InvalidOption, ConfigError."""
        self._channel(target)
        if on_gap is not None:
            function_of(on_gap, "on_gap", "gap")

        def register(function: F) -> F:
            function_of(function, "handler", "message")
            self._broadcasts.append((target, function, on_gap))
            return function

        return register

    def made(self) -> list[SharedSubscription | BroadcastSubscription]:
        """All of them, not started."""
        found: list[SharedSubscription | BroadcastSubscription] = [
            SharedSubscription(
                Where.of(self._links, self._namespace, one.target, self._tracer), one.options, one.routes
            )
            for one in self._shared.values()
        ]
        return found + [self._channel(name).subscribe(handler, on_gap=gap) for name, handler, gap in self._broadcasts]


class Runnable(Protocol):
    """A subscription that can be run here."""

    def start(self) -> Any: ...
    def close(self) -> None: ...
    async def __aenter__(self) -> Any: ...
    async def aclose(self) -> None: ...


class Consumption:
    """All handlers of an app, running in this process: `with app.consume(): ...`, or `app.consume().wait()`."""

    def __init__(self, subscriptions: Sequence[Runnable]) -> None:
        self.subscriptions = subscriptions
        self._ended = threading.Event()

    def start(self) -> Self:
        """Begin with each; if one cannot, those that run are closed and its error is raised."""
        for number, one in enumerate(self.subscriptions):
            try:
                one.start()
            except BaseException:
                _close(self.subscriptions[:number])
                raise
        return self

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until somebody closes it; False if that took longer than `timeout` seconds."""
        return self._ended.wait(timeout)

    def close(self) -> None:
        """End all of them, at the same time."""
        _close(self.subscriptions)
        self._ended.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        """`async def` handlers of records run in the loop that runs here."""
        done: list[Runnable] = []
        try:
            for one in self.subscriptions:
                await one.__aenter__()
                done.append(one)
        except BaseException:
            await asyncio.gather(*(one.aclose() for one in done))
            raise
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await asyncio.gather(*(one.aclose() for one in self.subscriptions))
        self._ended.set()


def _close(subscriptions: Sequence[Runnable]) -> None:
    threads = [threading.Thread(target=one.close, name="taskq-close") for one in subscriptions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
