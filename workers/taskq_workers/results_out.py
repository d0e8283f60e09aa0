"""Records of results that a dead child left in an outbox, published by its supervisor, which has no app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskq.store.connection import AsyncLink
from taskq.store.links import Links
from taskq.tasks.lists import ListBroker

TIMEOUT_S = 1.0
"""For one record: heartbeats wait behind it."""


def publisher(broker: ListBroker) -> Callable[[Any], None]:
    """What publishes such records to topics that are there; events are imported when the first one comes."""
    made: list[Callable[[Any], None]] = []

    def publish(record: Any) -> None:
        if not made:
            made.append(_made(broker))
        made[0](record)

    return publish


def _made(broker: ListBroker) -> Callable[[Any], None]:
    from taskq import bridge
    from taskq.events.hub import Events
    from taskq.events.topic import Topic
    from taskq.events.topic_watch import one_topic

    links = Links(broker.link, AsyncLink(broker.link.url.text))
    events = Events(broker.namespace, lambda: links, TIMEOUT_S)

    def known(name: str) -> Topic:
        one_topic(broker.link, broker.namespace, name)  # what it is to be like only its app knows: raises UnknownTopic
        return events.topic(name)

    return bridge.publisher(known)
