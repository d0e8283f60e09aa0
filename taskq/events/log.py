"""A topic at the broker: its name, keys and links, and its properties, which are agreed on at the first use."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from taskq.codec import Codec
from taskq.codec import get as codec_of
from taskq.errors import BrokerRefused, ConfigError, InvalidOption
from taskq.events.properties import TopicProperties, check_version, decide
from taskq.events.tracing import Tracers, none
from taskq.names import shown
from taskq.store.connection import SyncLink
from taskq.store.links import Links, Steps, drive, drive_async
from taskq.store.scripts import Call, load
from taskq.store.topic_keys import PartitionKeys, topic_keys
from taskq.store.topic_keys import topics as topics_key
from taskq.values import count_of


class Log:
    """What publishing and reading of one topic share. `said` is what was declared here; nothing is sent before needed.

    `timeout` is how long a publish may take in all, in seconds.
    """

    def __init__(
        self,
        namespace: str,
        name: str,
        said: Mapping[str, Any],
        links: Callable[[], Links],
        timeout: float,
        tracer: Tracers = none,
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.said = dict(said)
        self.links = links
        self.timeout = timeout
        self.tracer = tracer
        self.keys = topic_keys(namespace, name)
        self._agreed: tuple[SyncLink, TopicProperties] | None = None

    def declare(self, said: Mapping[str, Any]) -> None:
        """Say what the topic is, after it was only named."""
        self.said, self._agreed = dict(said), None

    @property
    def known(self) -> TopicProperties | None:
        """The properties, if they are agreed on with the broker in use."""
        agreed = self._agreed
        return agreed[1] if agreed is not None and agreed[0] is self.links().sync else None

    def properties(self) -> TopicProperties:
        """What the topic is. At the first use it is stored, or compared with what is: raises ConfigError."""
        if (known := self.known) is not None:
            return known
        link = self.links().sync
        found = drive(link, agree(self.namespace, self.name, self.said, link.url.masked))
        self._agreed = link, found
        return found

    async def aproperties(self) -> TopicProperties:
        """`properties`, awaited."""
        if (known := self.known) is not None:
            return known
        links = self.links()
        found = await drive_async(
            links.asynchronous, agree(self.namespace, self.name, self.said, links.sync.url.masked)
        )
        self._agreed = links.sync, found
        return found

    def codec(self, properties: TopicProperties) -> Codec:
        """The codec of its values."""
        return codec_of(properties.codec)

    def partition(self, number: int, properties: TopicProperties) -> PartitionKeys:
        """The keys of a partition. Raises InvalidOption if there is none of that number."""
        check_partition(self.name, number, properties.partitions)
        return self.keys.partition(number)


def check_partition(topic: str, number: object, partitions: int) -> int:
    """A number of a partition that there is. Raises InvalidOption."""
    if type(number) is not int or not 0 <= number < partitions:
        raise InvalidOption(
            f"partition={shown(number)}: topic {topic!r} has {count_of(partitions, 'partition')}, 0 to {partitions - 1}"
        )
    return number


def agree(namespace: str, name: str, said: Mapping[str, Any], url: str) -> Steps[TopicProperties]:
    """Store the properties of a topic, or compare them with what is stored."""
    key, seen = topics_key(namespace), b""
    with suppress(BrokerRefused):  # it may not be asked; what it lacks it will refuse by name
        check_version((yield ("INFO", "server")), url)
    seen = yield _declare(key, name, b"", b"")
    for _ in range(100):
        found, wanted = decide(name, seen, said, int(time.time() * 1000))
        if not wanted:
            return found
        stored = yield _declare(key, name, seen, wanted)
        if stored == wanted:
            return found
        seen = stored  # somebody else was quicker
    raise ConfigError(f"topic {name!r} is declared by others, again and again, while it is declared here")


def _declare(key: str, name: str, seen: bytes, wanted: bytes) -> Call[bytes]:
    return Call(load("events/declare"), [key], [name, seen, wanted], bytes)
