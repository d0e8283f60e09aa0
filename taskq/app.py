"""The app with all that it can do: tasks, from below, and topics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Unpack

from taskq import bridge
from taskq.events.consumer import Consumer
from taskq.events.hub import Events
from taskq.events.outbox import Routes
from taskq.events.properties import TopicOptions, TopicProperties
from taskq.events.subscribing import F
from taskq.events.subscription import SubscribeOptions
from taskq.events.topic import Topic
from taskq.tasks import app as tasks


class TaskQ(tasks.TaskQ):
    __doc__ = tasks.TaskQ.__doc__

    @cached_property
    def events(self) -> Events:
        """The topics of this app, and what is subscribed to here."""
        events = Events(self.namespace, self._brokers.links, self._brokers.timeout)
        events.subscriptions.enqueue = bridge.entry_of
        events.subscriptions.routes = Routes(lambda name: events.topic(name).log, bridge.carrier(self._brokers.ends))
        return events

    def topic(self, name: str, **options: Unpack[TopicOptions]) -> Topic:
        """A topic: `app.topic("orders", partitions=8, retention=Retention(age=86_400))`.

        What is said is stored at its first use. `partitions` (8 unless it was made otherwise), `codec`, `packed` and
        `index` stay as they are for ever: another word here raises ConfigError then. Of `retention`, `compact`, `dedup`
        and `tombstones` the last word counts. What is not said stays as it is. Raises InvalidName, InvalidOption.
        """
        return self.events.topic(name, **options)

    def subscribe(self, topic: str, group: str, **options: Unpack[SubscribeOptions]) -> Callable[[F], F]:
        """Have a function handle the records of a topic for a group: `@app.subscribe("orders", group="billing")`.

        The partitions are shared among the members of the group; the records of one are handled in order. Plain and
        coroutine functions get a record, with `batch` a list of them, with `delivery="exactly_once"` a transaction too.
        `consuming` runs them. See `Subscription` for the options. Raises InvalidName, InvalidOption.
        """
        return self.events.subscriptions.decorator(self.topic(topic).log, group, options)

    def consuming(self) -> AbstractContextManager[list[Consumer]]:
        """Run all subscriptions of this app, on threads of their own, as long as a `with` block runs."""
        return self.events.subscriptions.consuming()

    def topics(self) -> dict[str, TopicProperties]:
        """All topics of the namespace that were ever used, by name."""
        return self.events.topics()

    async def atopics(self) -> dict[str, TopicProperties]:
        """`topics`, awaited."""
        return await self.events.atopics()
