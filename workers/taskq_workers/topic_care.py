"""Upkeep of topics that nobody publishes to at the moment: retention and compaction, by one worker at a time."""

from __future__ import annotations

import os
import time

from taskq.events.hub import Events
from taskq.events.topic import Topic
from taskq.store.links import Links

TRIM_EVERY_S = 30.0
COMPACT_EVERY_S = 300.0


class TopicCare:
    """The declared topics of an app. Of all its processes the one whose word stands at the broker does the work."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._word = os.urandom(8).hex()
        # A little apart, so that the processes of a worker do not all ask in the same moment.
        self._due = time.monotonic() + TRIM_EVERY_S * (0.5 + os.urandom(1)[0] / 512)

    def look(self) -> None:
        """Do what is due. Raises BrokerError; the rest is then done at the next time."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + TRIM_EVERY_S
        for topic in list(self._events.declared.values()):
            self._tend(topic)

    def _tend(self, topic: Topic) -> None:
        properties, links = topic.properties(), self._events.links()
        if not properties.retention.unlimited and self._mine(links, topic, "trim", TRIM_EVERY_S):
            topic.trim()
        if properties.compact and self._mine(links, topic, "compact", COMPACT_EVERY_S):
            topic.compact()

    def _mine(self, links: Links, topic: Topic, what: str, every: float) -> bool:
        """Whether this process does it now: nobody has, for most of the time that it is to be done in."""
        key, period_ms = topic.log.keys.upkeep(what), round(every * 900)
        return links.sync.execute("SET", key, self._word, "NX", "PX", period_ms) is not None
