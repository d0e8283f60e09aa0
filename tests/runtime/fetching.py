"""A fetcher by itself on a real server: what it leases comes to the test, which settles it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Sequence
from queue import SimpleQueue
from typing import Any

from taskq.errors import BrokerUnavailable
from taskq.message import new_ids
from taskq.store.connection import SyncLink
from taskq.tasks.broker import Delivery, Finished, Outgoing, Seat
from taskq.tasks.lists import ListBroker
from taskq_workers.demand import Demand, Source
from taskq_workers.fetcher import Fetcher
from taskq_workers.table import Table
from taskq_workers.tokens import TokenBook
from tests.servers import RealServer

PATIENCE_S = 30


class Line(SyncLink):
    """Notes which queues are asked for messages, in order, and when somebody waits for a bell; can lose an answer."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked: list[str] = []
        self.answered = threading.Event()
        self.waits = threading.Event()
        self.behinds = 0  # lease calls that were sent behind a wait
        self.lose = False
        self.lost = threading.Event()

    def pipeline(self, commands: Sequence[Any], *, timeout: float | None = None) -> list[Any]:
        self.asked += [str(command[3]).split(":")[2].rstrip("}") for command in commands if command[0] == "EVALSHA"]
        replies = super().pipeline(commands, timeout=timeout)
        self.answered.set()
        return replies

    def behind(self, block_s: float, commands: Sequence[Any]) -> list[Any]:
        self.asked += [str(command[3]).split(":")[2].rstrip("}") for command in commands if command[0] == "EVALSHA"]
        self.behinds += 1
        self.waits.set()
        replies = super().behind(block_s, commands)
        self.waits.clear()
        if self.lose and replies[0]:
            self.lose = False
            self.lost.set()
            return [BrokerUnavailable("lost")] * len(replies)
        return replies

    def blocking(self, block_s: float, *command: Any) -> Any:
        self.waits.set()
        return super().blocking(block_s, *command)


class Exhausted(threading.Event):
    """Notes how many messages were ready each time when it was said that nothing is left."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self.left: list[int] = []

    def set(self) -> None:
        self.left.append(self._bench.ready())
        super().set()


class Bench:
    """One slot, or more, filled again as soon as the test has settled what was in it."""

    def __init__(self, server: RealServer, namespace: str, source: Source, slots: int = 1) -> None:
        self.names = [name for name, _ in source.queues]
        self.broker = ListBroker(server.link(), namespace)
        self.line = Line(server.url)
        self.tokens = TokenBook(Table.create(1))
        self.delivered: SimpleQueue[list[Delivery]] = SimpleQueue()
        self.busy = 0
        demand = Demand(slots, lambda: self.busy, lambda: 0, lambda: 0)
        own = ListBroker(self.line, namespace)
        self.fetcher = Fetcher(own, Seat(), source, self.tokens, demand, self._deliver, lambda: 0)
        self.exhausted = self.fetcher.exhausted = Exhausted(self)

    def _deliver(self, deliveries: list[Delivery], recall: int, fresh_until: float) -> None:
        self.busy = 1
        self.delivered.put(deliveries)

    def enqueue(self, queue: str, count: int = 1, **options: Any) -> list[bytes]:
        ids = new_ids(count)
        self.broker.enqueue(queue, [Outgoing(one, b"body", **options) for one in ids])
        return ids

    def take(self, count: int = 1) -> list[tuple[str, bytes]]:
        """Wait for so many messages and settle each of them."""
        taken: list[tuple[str, bytes]] = []
        while len(taken) < count:
            for one in self.delivered.get(timeout=PATIENCE_S):
                self.broker.ack(one.queue, [Finished(one.id, one.token)])
                taken.append((one.queue, one.id))
                self.busy = 0
                self.tokens.settled(one.token, 1)
                self.fetcher.hungry()
        return taken

    def ready(self) -> int:
        """How many entries the ready lists of its queues have."""
        lists = [key for name in self.names for key in self.broker.keys(name).ready]
        return sum(n for n in self.broker.link.pipeline([("LLEN", key) for key in lists]) if isinstance(n, int))


@contextlib.contextmanager
def fetching(server: RealServer, namespace: str, source: Source, slots: int = 1) -> Generator[Bench]:
    one = Bench(server, namespace, source, slots)
    try:
        yield one
    finally:
        one.fetcher.stop()
        one.line.close()
        one.broker.close()
