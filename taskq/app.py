"""The app with all that it can do: tasks, from below, and topics."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal, TypeVar, Unpack, overload

from taskq.errors import InvalidOption
from taskq.events.broadcast import Broadcast
from taskq.events.hub import Events
from taskq.events.listening import OnGap
from taskq.events.properties import TopicOptions, TopicProperties
from taskq.events.shared_options import Filter, SharedSaid
from taskq.events.subscriptions import Consumption
from taskq.events.topic import Topic
from taskq.names import shown
from taskq.tasks import app as tasks

F = TypeVar("F", bound=Callable[..., Any])


class TaskQ(tasks.TaskQ):
    __doc__ = tasks.TaskQ.__doc__

    @cached_property
    def events(self) -> Events:
        """The topics of this app, and what is subscribed to here."""
        return Events(self.namespace, self._brokers.links, self._brokers.timeout)

    def topic(self, name: str, **options: Unpack[TopicOptions]) -> Topic:
        """A topic: `app.topic("orders", partitions=8, retention=Retention(age=86_400))`.

        What is said is stored at its first use. `partitions` (8 unless it was made otherwise), `codec`, `packed` and
        `index` stay as they are for ever: another word here raises ConfigError then. Of `retention`, `compact`, `dedup`
        and `tombstones` the last word counts. What is not said stays as it is. Raises InvalidName, InvalidOption.
        """
        return self.events.topic(name, **options)

    @overload
    def subscribe(
        self,
        target: str,
        *,
        group: str,
        mode: Literal["shared"],
        filter: Filter | None = None,
        **options: Unpack[SharedSaid],
    ) -> Callable[[F], F]: ...
    @overload
    def subscribe(
        self, target: str, *, mode: Literal["broadcast"], on_gap: OnGap | None = None
    ) -> Callable[[F], F]: ...
    def subscribe(self, target: str, *, mode: str, **said: Any) -> Callable[[F], F]:
        """Register a function as a handler: `@app.subscribe("orders.*", group="mail", mode="shared")`; see `consume`.

        `target` is a topic or a pattern: `*` is one level, `>` at the end all that follow. With `mode="shared"` each
        record goes to one consumer of the group, in no promised order, and is settled by itself. With
        `mode="broadcast"` the function hears what is said on a channel, at most once. Raises InvalidOption,
        InvalidName, ConfigError.
        """
        subscriptions = self.events.subscriptions
        if mode == "broadcast":
            on_gap = said.pop("on_gap", None)
            if said:
                raise InvalidOption(f"{next(iter(said))}= is no option of a broadcast: only on_gap= is")
            return subscriptions.broadcast(target, on_gap)
        if mode != "shared":
            raise InvalidOption(f"mode={shown(mode)}: give 'shared' or 'broadcast'")
        return subscriptions.shared(target, said.pop("group", None), said, said.pop("filter", None))

    def consume(self) -> Consumption:
        """Everything that functions were subscribed to here, to be run in this process: `with app.consume(): ...`."""
        return Consumption(self.events.subscriptions.made())

    def broadcast(self, name: str, codec: str = "json") -> Broadcast:
        """A channel on which whoever listens now hears, at most once: `app.broadcast("cache.flush").publish(7)`.

        A pattern of channels can be listened to. Raises InvalidName.
        """
        return self.events.broadcast(name, codec)

    def topics(self) -> dict[str, TopicProperties]:
        """All topics of the namespace that were ever used, by name."""
        return self.events.topics()

    async def atopics(self) -> dict[str, TopicProperties]:
        """`topics`, awaited."""
        return await self.events.atopics()
