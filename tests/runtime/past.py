"""A stream queue with a past, and somebody who reads and replays it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from taskq import Queue, Retain
from taskq.control import Pace
from taskq.inspector import Entry
from taskq.message import Message, decode
from taskq.tasks.replays import LABEL_HEADER, SOURCE_HEADER
from tests.runtime.shop import Shop
from tests.servers import RealServer

EVER = 0.0


class Past(Shop):
    """A shop whose queues `mail` and `copies` are stream queues; `lists` is a list queue."""

    def __init__(self, url: str, namespace: str, pace: Pace | None = None) -> None:
        super().__init__(url, namespace, pace)
        self.broker.declare(Queue("mail", transport="stream", retain=Retain(count=1_000_000)))
        self.broker.declare(Queue("copies", transport="stream"))
        self.broker.declare(Queue("lists"))

    def append(self, *fields: str | bytes) -> None:
        """An entry that taskq did not write."""
        self.broker.link.execute("XADD", self.broker.keys("mail").stream, "*", *fields)

    def entries(self, queue: str = "mail") -> list[Entry]:
        return list(self.inspector.history(queue, limit=10_000, contents=True).entries)

    def copies(self, label: str, queue: str = "mail") -> list[Message]:
        """What was enqueued under a label, as it waits in its queue."""
        keys, link = self.broker.keys(queue), self.broker.link
        flat = link.execute("HGETALL", keys.body)
        read = [decode(raw, body) for raw, body in zip(flat[::2], flat[1::2], strict=True)]
        return [one for one in read if (one.headers or {}).get(LABEL_HEADER) == label]

    def sources(self, label: str, queue: str = "mail") -> list[str]:
        """The ids of the messages that were replayed under a label, sorted: one twice stands here twice."""
        return sorted(str((one.headers or {})[SOURCE_HEADER]) for one in self.copies(label, queue))

    def finish_all_of(self, count: int, queue: str = "mail") -> None:
        for item in self.take(count, queue):
            self.hands.finish(item)

    def stored(self) -> dict[bytes, Any]:
        """All keys of the server with their dumped values, but for those that a process leaves by itself."""
        link = self.broker.link
        return {key: link.execute("DUMP", key) for key in sorted(link.execute("KEYS", "*"))}


@contextmanager
def past(server: RealServer, namespace: str, pace: Pace | None = None, url: str = "") -> Generator[Past]:
    one = Past(url or server.url, namespace, pace)
    try:
        yield one
    finally:
        one.close()
