"""A worker by hand: leases messages and settles them as a test says."""

from __future__ import annotations

import time
from typing import Any

import orjson

from taskq import TaskQ
from taskq.message import Message, decode
from taskq.tasks.broker import Buried, Delivery, Finished, Retried, Seat
from taskq.tasks.failure import Failure

HOUR_MS = 3_600_000


class Hands:
    """What a child process does to the broker, one step at a time."""

    def __init__(self, app: TaskQ) -> None:
        self.broker = app.broker()
        self.seat = Seat()

    def take(self, queue: str = "default", limit: int = 250) -> list[Delivery]:
        return self.broker.lease(queue, self.seat.ticket(queue), limit).deliveries

    def take_one(self, queue: str = "default", seconds: float = 30) -> Delivery:
        deadline = time.monotonic() + seconds
        while not (taken := self.take(queue, 1)):
            assert self.broker.wait([queue], max(deadline - time.monotonic(), 0.01)), "nothing came"
        return taken[0]

    def read(self, queue: str = "default") -> list[Message]:
        return [decode(item.id, item.body) for item in self.take(queue)]

    def finish(self, item: Delivery, value: Any = None, kind: str = "d", ttl: int = HOUR_MS) -> None:
        result = (
            b"" if ttl == 0 else kind.encode() + (orjson.dumps(value) if kind == "d" and value is not None else b"")
        )
        assert not self.broker.ack(item.queue, [Finished(item.id, item.token, kind, result, ttl)])

    def finish_all(self, items: list[Delivery], values: list[Any]) -> None:
        done = [
            Finished(item.id, item.token, "d", b"d" + orjson.dumps(value), HOUR_MS)
            for item, value in zip(items, values, strict=True)
        ]
        assert not self.broker.ack(items[0].queue, done)

    def retry(self, item: Delivery, delay_ms: int) -> None:
        line = Failure("error", "ValueError", "not yet", attempt=1).line()
        assert not self.broker.nack(item.queue, [Retried(item.id, item.token, delay_ms, line=line)])

    def bury(self, item: Delivery, *, result: bool = True, quarantine: bool = False) -> None:
        failure = Failure("error", "shop.OutOfStock", "no more tea", "Traceback: line 1", 1)
        kept = failure.result() if result else b""
        buried = Buried(item.id, item.token, failure.line(), kept, HOUR_MS if result else 0, quarantine)
        assert not self.broker.dead_letter(item.queue, [buried])
