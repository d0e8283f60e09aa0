"""Which topics a subscription means, now and later: one name, or a pattern that is looked at again and again."""

from __future__ import annotations

import time

import orjson

from taskq.errors import DecodeError, UnknownTopic
from taskq.events.patterns import Pattern
from taskq.events.properties import TopicProperties, decode
from taskq.names import shown
from taskq.store.connection import SyncLink
from taskq.store.topic_keys import patterns as patterns_key
from taskq.store.topic_keys import topics as topics_key

LOOK_S = 5.0
WHOLE_S = 60.0  # a topic that was removed while another was made leaves the number the same


class TopicWatch:
    """The topics of one pattern. `look` answers those that were not there at the look before.

    A topic that did not exist when the group first declared the pattern is newer than the subscription, even if nobody
    ran when it was made: it is to be consumed from its first record. That first list is stored, so no clock is asked.
    """

    def __init__(self, link: SyncLink, namespace: str, pattern: Pattern, group: str) -> None:
        self._link = link
        self._pattern = pattern
        self._key = topics_key(namespace)
        self._patterns = patterns_key(namespace)
        self._field = f"{group} {pattern.text}"
        self._known: set[str] = set()
        self._old: frozenset[str] | None = None
        self._count = -1
        self._whole = 0.0

    def look(self) -> dict[str, TopicProperties]:
        """New topics by name; one command, and a second one if there may be any."""
        if self._old is None:
            self._old = self._declare()
        now = time.monotonic()
        count: int = self._link.execute("HLEN", self._key)
        if count == self._count and now - self._whole < WHOLE_S:
            return {}
        found = self._all()
        self._count, self._whole = count, now
        fresh = {name: stored for name, stored in found.items() if name not in self._known}
        self._known |= fresh.keys()
        return {name: decode(name, stored) for name, stored in fresh.items()}

    def is_new(self, name: str) -> bool:
        """Whether a topic is newer than the group's use of the pattern."""
        return self._old is not None and name not in self._old

    def _all(self) -> dict[str, bytes]:
        flat = self._link.execute("HGETALL", self._key)
        pairs = ((str(name, "ascii", "replace"), stored) for name, stored in zip(flat[::2], flat[1::2], strict=True))
        return {name: stored for name, stored in pairs if self._pattern.matches(name)}

    def _declare(self) -> frozenset[str]:
        stored = self._link.execute("HGET", self._patterns, self._field)
        if stored is None:
            self._link.execute("HSETNX", self._patterns, self._field, orjson.dumps(sorted(self._all())))
            stored = self._link.execute("HGET", self._patterns, self._field)
        try:
            return frozenset(map(str, orjson.loads(stored or b"[]")))
        except ValueError as error:
            raise DecodeError(f"what is stored of {self._field!r} is not readable: {shown(stored)}") from error


def one_topic(link: SyncLink, namespace: str, name: str) -> TopicProperties:
    """The properties of a topic. Raises UnknownTopic."""
    stored = link.execute("HGET", topics_key(namespace), name)
    if stored is None:
        raise UnknownTopic(
            f"there is no topic {name!r} in namespace {namespace!r}: declare it with app.topic({name!r}) before it is"
            " subscribed to, or subscribe to a pattern to wait for it"
        )
    return decode(name, stored)
