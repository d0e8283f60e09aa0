"""The events of one app: its topics, and what is known of those of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from taskq import codec as codecs
from taskq.errors import ConfigError
from taskq.events.broadcast import Broadcast
from taskq.events.log import Log
from taskq.events.parts import OrderedPart, Part
from taskq.events.properties import TopicOptions, TopicProperties, checked, decode
from taskq.events.retention import Trimmed, trim
from taskq.events.subscribing import OrderedSubscriptions
from taskq.events.subscriptions import Subscriptions
from taskq.events.topic import Topic
from taskq.events.tracing import Tracers, none
from taskq.names import check_name
from taskq.store.links import Links, drive, drive_async
from taskq.store.topic_keys import topics as topics_key


class Events:
    """The topics of one app by name. `links` answers the connections in use; `timeout` is a publish's, in seconds."""

    def __init__(self, namespace: str, links: Callable[[], Links], timeout: float, tracer: Tracers = none) -> None:
        self.namespace = namespace
        self.links = links
        self._timeout = timeout
        self._tracer = tracer
        self._topics: dict[str, Topic] = {}
        self._channels: dict[tuple[str, str], Broadcast] = {}
        self.subscriptions = Subscriptions(links, namespace, self.broadcast, tracer)
        self.ordered = OrderedSubscriptions()

    def topic(self, name: str, **options: Unpack[TopicOptions]) -> Topic:
        """A topic as it is said to be; one per name. Raises InvalidName, InvalidOption, ConfigError."""
        said: dict[str, Any] = checked(check_name(name, "topic"), options)
        known = self._topics.get(name)
        if known is None:
            new = Topic(Log(self.namespace, name, said, self.links, self._timeout, tracer=self._tracer))
            known = self._topics.setdefault(name, new)  # two threads may both make one; one of them is used
        if said and known.log.said != said:
            if known.log.said:
                raise ConfigError(f"topic {name!r} is declared twice: {known.log.said} and {said}; keep one of them")
            known.log.declare(said)
        return known

    def broadcast(self, name: str, codec: str = "json") -> Broadcast:
        """A channel of ephemeral messages, or a pattern of channels; the same name and codec is the same channel."""
        known = self._channels.get((name, codec))
        return known or self._channels.setdefault(
            (name, codec), Broadcast(self.links, self.namespace, name, codecs.get(codec))
        )

    @property
    def declared(self) -> dict[str, Topic]:
        """The topics that were named here."""
        return dict(self._topics)

    def parts(self) -> list[Part]:
        """What functions were subscribed to here, each to be started by itself: ordered, shared and broadcast."""
        return [*map(OrderedPart, self.ordered.consumers()), *self.subscriptions.made()]

    def topics(self) -> dict[str, TopicProperties]:
        """All topics of the namespace, as the broker knows them, by name."""
        return _listed(self.links().sync.execute("HGETALL", topics_key(self.namespace)))

    async def atopics(self) -> dict[str, TopicProperties]:
        """`topics`, awaited."""
        return _listed(await self.links().asynchronous.execute("HGETALL", topics_key(self.namespace)))

    def trim(self) -> dict[str, list[Trimmed]]:
        """Remove from all topics of the namespace what their retention does not keep, for who looks after them."""
        link = self.links().sync
        return {name: drive(link, trim(self._log(name), known)) for name, known in self.topics().items()}

    async def atrim(self) -> dict[str, list[Trimmed]]:
        """`trim`, awaited."""
        link, topics = self.links().asynchronous, await self.atopics()
        return {name: await drive_async(link, trim(self._log(name), known)) for name, known in topics.items()}

    def _log(self, name: str) -> Log:
        return Log(self.namespace, name, {}, self.links, self._timeout)


def _listed(flat: list[bytes]) -> dict[str, TopicProperties]:
    pairs = sorted(zip(flat[::2], flat[1::2], strict=True))
    return {(name := str(key, "ascii", "replace")): decode(name, stored) for key, stored in pairs}
