"""One partition of a topic whose scripts are run one at a time, at times that the test sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from taskq.codec import JSON
from taskq.events import calls
from taskq.events.calls import Seat
from taskq.events.entries import records
from taskq.events.outgoing import Batch, batches
from taskq.events.properties import TopicProperties
from taskq.events.record import Record
from taskq.store.connection import SyncLink
from taskq.store.scripts import Call, T, run
from taskq.store.topic_keys import topic_keys
from tests.lua.kit import _READ, START_MS


class Partition:
    """Partition 0 of topic `t` on a real server; `now` is what its scripts take for the time, in milliseconds."""

    def __init__(self, link: SyncLink, namespace: str, **properties: Any) -> None:
        self.link = link
        self.keys = topic_keys(namespace, "t").partition(0)
        self.properties = TopicProperties(partitions=1, **properties)
        self.now = START_MS
        self.lane = os.urandom(12)
        self.number = 0

    def run(self, call: Call[T]) -> T:
        return run(self.link, call)

    def batch(self, *events: Any) -> Batch:
        (one,) = batches("t", self.properties, JSON, events, lambda: 0)
        return one

    def publish_call(self, batch: Batch, number: int = 0, seat: Seat | None = None) -> Call[str]:
        if not number:
            self.number = number = self.number + 1
        where = seat or Seat(self.keys.lane(self.lane))
        return calls.publish(self.keys, where, number, batch, self.properties, str(self.now))

    def publish(self, *events: Any, number: int = 0, seat: Seat | None = None) -> str:
        return self.run(self.publish_call(self.batch(*events), number, seat))

    # -- looking from outside

    def entries(self) -> list[tuple[str, dict[str, bytes]]]:
        """Ids and fields of the log."""
        found = self.link.execute("XRANGE", self.keys.log, "-", "+")
        return [
            (str(one, "ascii"), {str(fields[at], "ascii"): fields[at + 1] for at in range(0, len(fields), 2)})
            for one, fields in found
        ]

    def records(self) -> list[Record]:
        return records("t", 0, JSON, self.link.execute("XRANGE", self.keys.log, "-", "+"))

    def values(self) -> list[Any]:
        return [record.value for record in self.records()]

    def meta(self) -> dict[str, str]:
        flat = self.link.execute("HGETALL", self.keys.meta)
        return {str(key, "ascii"): str(value, "ascii") for key, value in zip(flat[::2], flat[1::2], strict=True)}

    def dump(self, *, without: Sequence[str] = ()) -> dict[str, Any]:
        """All keys of this partition and what they hold."""
        found: dict[str, Any] = {}
        names: list[bytes] = self.link.execute("KEYS", self.keys.base + "*")
        for name in sorted(names):
            key = name.decode()[len(self.keys.base) :]
            if key not in without:
                kind = self.link.execute("TYPE", name)
                command, *rest = _READ[kind]
                found[key] = self.link.execute(command, name, *rest)
        return found
