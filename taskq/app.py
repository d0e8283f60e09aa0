"""The app with all that it can do: tasks, from below, and topics."""

from __future__ import annotations

from functools import cached_property
from typing import Unpack

from taskq.events.hub import Events
from taskq.events.properties import TopicOptions, TopicProperties
from taskq.events.topic import Topic
from taskq.tasks import app as tasks


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

    def topics(self) -> dict[str, TopicProperties]:
        """All topics of the namespace that were ever used, by name."""
        return self.events.topics()

    async def atopics(self) -> dict[str, TopicProperties]:
        """`topics`, awaited."""
        return await self.events.atopics()
