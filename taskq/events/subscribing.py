"""The ordered subscriptions of one app: which functions handle which topics for which groups, and running them here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from taskq.checks import takes
from taskq.errors import ConfigError, InvalidOption
from taskq.events.consumer import Consumer
from taskq.events.log import Log
from taskq.events.outbox import Routes
from taskq.events.performing import Handler
from taskq.events.subscription import Subscription
from taskq.events.transaction import Enqueue
from taskq.names import shown

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Registered:
    """One function that handles one topic for one group."""

    topic: Log
    options: Subscription
    handler: Handler


class OrderedSubscriptions:
    """What is subscribed to in one app."""

    def __init__(self) -> None:
        self._registered: dict[tuple[str, str], Registered] = {}
        self.enqueue: Enqueue | None = None  # how a transaction turns a call of a task into an outbox entry
        self.routes: Routes | None = None  # where what is in an outbox goes

    @property
    def registered(self) -> list[Registered]:
        """All of them, in the order in which they were registered."""
        return list(self._registered.values())

    def decorator(self, topic: Log, group: str, said: Mapping[str, Any]) -> Callable[[F], F]:
        """A decorator that registers a function. Raises InvalidOption, InvalidName; ConfigError for a second one."""
        options = Subscription.of(group, said)

        def register(function: F) -> F:
            if not callable(function):
                raise InvalidOption(f"subscribe(...)({shown(function)}): put it above a function")
            more = ("transaction",) if options.delivery == "exactly_once" else ()
            takes(function, "handler", "records" if options.batch else "record", *more)
            place = (topic.name, options.group)
            if place in self._registered:
                raise ConfigError(
                    f"topic {topic.name!r} has a function for group {group!r} already: give the other its own group"
                )
            self._registered[place] = Registered(topic, options, function)
            return function

        return register

    def consumers(self) -> list[Consumer]:
        """A consumer for each of them, not yet started."""
        return [Consumer(one.topic, one.options, one.handler, self.routes, self.enqueue) for one in self.registered]
