"""The settle buffer: no outcome is taken for stored that is not, and a thread that ends does not end in silence."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any, cast

import pytest

from taskq.errors import BrokerUnavailable
from taskq.message import new_ids
from taskq.store.connection import SyncLink
from taskq.tasks.broker import LEASE_MESSAGES, Delivery, Outgoing, Seat
from taskq.tasks.lists import ListBroker
from taskq_workers.demand import Demand, Source
from taskq_workers.fetcher import Fetcher
from taskq_workers.settle import Settler
from taskq_workers.table import Table
from taskq_workers.tokens import TokenBook
from tests.servers import RealServer

PATIENCE_S = 30


class Overtaking(SyncLink):
    """The first call of the first pipeline gets no answer, and never came to the server; those behind it did."""

    def __init__(self, url: str, *, arrives: bool) -> None:
        super().__init__(url)
        self.arrives = arrives
        self.pipelines: list[int] = []

    def pipeline(self, commands: Sequence[Any], *, timeout: float | None = None) -> list[Any]:
        self.pipelines.append(len(commands))
        if len(self.pipelines) > 1:
            return super().pipeline(commands, timeout=timeout)
        replies = super().pipeline(commands if self.arrives else commands[1:], timeout=timeout)
        return [BrokerUnavailable("not ready"), *(replies[1:] if self.arrives else replies)]


class Count:
    """Counts what was settled; leaves out what is held."""

    def __init__(self) -> None:
        self.settled_count = 0

    def settled(self, token: bytes, count: int) -> None:
        self.settled_count += count


@pytest.mark.parametrize("arrives", [False, True])
def test_an_outcome_that_newer_ones_overtook_is_stored_all_the_same_and_none_is_told_as_lost(
    server: RealServer, namespace: str, arrives: bool
) -> None:
    broker = ListBroker(server.link(), namespace)
    seat, count = Seat(), LEASE_MESSAGES + 50
    broker.enqueue("q", [Outgoing(one, b"body") for one in new_ids(count)])
    link = Overtaking(server.url, arrives=arrives)
    tokens, lost = Count(), list[int]()
    settler = Settler(ListBroker(link, namespace), seat, tokens, lambda _, number: lost.append(number), lambda _: None)
    for _ in range(2):
        for delivery in broker.lease("q", seat.ticket("q"), LEASE_MESSAGES).deliveries:
            settler.put(("q", delivery))
    settler.start()
    assert settler.flush(PATIENCE_S)
    assert settler.stop(PATIENCE_S)
    assert link.pipelines[0] == 2
    assert broker.link.execute("HLEN", broker.keys("q").body) == 0, "an outcome was dropped, and its task runs again"
    assert broker.link.execute("HGET", broker.keys("q").meta, "done") == b"%d" % count
    assert (tokens.settled_count, lost) == (count, [])
    link.close()
    broker.close()


def test_a_settler_whose_thread_has_ended_says_so(server: RealServer, namespace: str) -> None:
    settler = Settler(ListBroker(server.link(), namespace), Seat(), Count(), lambda *_: None, lambda _: None)
    settler.put(("q", cast("Delivery", object())))
    settler.start()
    assert settler.stop(PATIENCE_S)
    assert isinstance(settler.failed, KeyError)
    assert not settler.flush(PATIENCE_S)


def test_a_fetcher_whose_thread_has_ended_says_so(server: RealServer, namespace: str) -> None:
    broker = ListBroker(server.link(), namespace)
    broker.enqueue("q", [Outgoing(new_ids(1)[0], b"body")])
    threads: SimpleQueue[threading.Thread] = SimpleQueue()

    def deliver(deliveries: list[Delivery], recall: int, fresh_until: float) -> None:
        threads.put(threading.current_thread())
        raise RuntimeError("can't start new thread")

    tokens = TokenBook(Table.create(1))
    demand = Demand(1, lambda: 0, lambda: 0, lambda: 0)
    fetcher = Fetcher(broker, Seat(), Source((("q", 1),)), tokens, demand, deliver, lambda: 0)
    fetcher.start()
    threads.get(timeout=PATIENCE_S).join(PATIENCE_S)
    assert isinstance(fetcher.failed, RuntimeError)
    assert tokens.outstanding == 1, "it stays announced, so that it is given back when the child ends"
    broker.close()
