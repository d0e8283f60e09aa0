"""When a publisher looks after the partitions that it publishes to."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from taskq.errors import TaskqError
from taskq.events.properties import TopicProperties
from taskq.events.retention import logger
from taskq.events.sending import Receipts

EVERY_RECORDS: Final = 5_000
EVERY_S: Final = 30.0


class Upkeep:
    """Which partitions have been published to since they were last trimmed from here. Threads may share it."""

    def __init__(self) -> None:
        self._touched: set[int] = set()
        self._count = 0
        self._last = time.monotonic()

    def due(self, properties: TopicProperties, receipts: Receipts) -> list[int]:
        """Learn of a publish; the partitions to trim now, none most of the time."""
        if properties.retention.unlimited:
            return []
        self._touched.update(receipts.partitions)
        self._count += len(receipts)
        now = time.monotonic()
        if self._count < EVERY_RECORDS and now - self._last < EVERY_S:
            return []
        touched, self._touched, self._count, self._last = self._touched, set(), 0, now
        return sorted(touched)


@contextmanager
def whatever_happens(topic: str) -> Generator[None]:
    """What was published is published: trouble with what is done beside it is said, and no more."""
    try:
        yield
    except TaskqError as error:
        logger.warning("topic %s was not looked after by its publisher, the next one will: %s", topic, error)
