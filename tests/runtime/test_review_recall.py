"""What a child may start: nothing that was leased during a recall, and what was cancelled only while that is meant."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, cast

import pytest

from taskq import TaskQ
from taskq.message import Message
from taskq.tasks.broker import Delivery, Finished, Held, Outgoing, Seat
from taskq.tasks.lists import ListBroker
from taskq_workers.attempt import Attempt, Plans
from taskq_workers.beats import Beats
from taskq_workers.demand import Demand, Source
from taskq_workers.executor import Executor
from taskq_workers.fetcher import Fetcher
from taskq_workers.process import Child
from taskq_workers.report import Report
from taskq_workers.sightings import HeldToken
from taskq_workers.table import Table
from taskq_workers.tokens import TokenBook
from tests.servers import RealServer

PATIENCE_S = 30


def echo(value: int) -> int:
    return value


class Bench:
    """One slot, its table, and what was put into the settle buffer."""

    def __init__(self) -> None:
        app = TaskQ("bench", url="memory://")
        app.task(name="echo")(echo)
        self.plans = Plans(app.tasks, app.middlewares)
        self.table = Table.create(1)
        self.settled: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self.held_until = 0.0
        self.executor = Executor(
            cast("ListBroker", None),
            self.table,
            self.settled.put,
            Report("w"),
            lambda *_: None,
            {"q": 0},
            lambda _: self.held_until,
        )

    def attempt(self, recall: int, fresh_s: float = 60.0) -> Attempt:
        delivery = Delivery("q", os.urandom(16), b"", bytes(20), 1)
        message = Message(delivery.id, "echo", [1], {}, 0)
        plan = self.plans.of(message)
        assert plan is not None
        now = time.monotonic()
        return Attempt(delivery, message, plan, now, recall, now + fresh_s)


def test_what_is_leased_during_a_recall_does_not_start_even_while_that_goes_on(
    server: RealServer, namespace: str
) -> None:
    bench = Bench()
    broker = ListBroker(server.link(), namespace)
    delivered: SimpleQueue[tuple[list[Delivery], int]] = SimpleQueue()
    bench.table.begin_recall()
    fetcher = Fetcher(
        broker,
        Seat(),
        Source((("q", 1),)),
        TokenBook(bench.table),
        Demand(1, lambda: 0, delivered.qsize, lambda: 0),
        lambda deliveries, recall, _: delivered.put((deliveries, recall)),
        bench.table.recall_number,
    )
    broker.enqueue("q", [Outgoing(os.urandom(16), b"body")])
    fetcher.start()
    _, recall = delivered.get(timeout=PATIENCE_S)
    fetcher.stop()
    assert recall != bench.table.recall_number()
    bench.table.end_recall()
    assert not bench.executor.begin(bench.attempt(recall), 0)
    assert isinstance(bench.settled.get(timeout=PATIENCE_S)[1], Held)
    assert bench.executor.begin(bench.attempt(bench.table.recall_number()), 0)
    broker.close()


@pytest.mark.parametrize(("seconds", "starts"), [(60.0, False), (-0.1, True)])
def test_a_cancel_request_counts_only_while_it_is_posted(seconds: float, starts: bool) -> None:
    bench = Bench()
    attempt = bench.attempt(0)
    bench.executor.cancelled[attempt.id] = time.monotonic() + seconds
    assert bench.executor.begin(attempt, 0) is starts
    assert attempt.id not in bench.executor.cancelled
    if not starts:
        settled = bench.settled.get(timeout=PATIENCE_S)[1]
        assert isinstance(settled, Finished)
        assert settled.kind == "c"


def test_what_was_leased_more_than_a_lease_ago_is_given_back_unstarted() -> None:
    bench = Bench()
    recall = bench.table.recall_number()
    assert bench.executor.begin(bench.attempt(recall), 0)
    bench.table.clear(0)
    late = bench.attempt(recall, fresh_s=0.0)  # the process stood still since: others may have taken over
    assert not bench.executor.begin(late, 0)
    assert bench.settled.get_nowait() == ("q", Held(late.id, late.delivery.token))
    assert not bench.table.running()
    bench.held_until = time.monotonic() + 60  # the supervisor has extended it meanwhile
    assert bench.executor.begin(bench.attempt(recall, fresh_s=0.0), 0)


def test_the_lease_is_counted_from_before_it_was_asked_for(server: RealServer, namespace: str) -> None:
    bench = Bench()
    broker = ListBroker(server.link(), namespace)
    asked: list[float] = []
    pipeline = broker.link.pipeline

    def noting(*args: Any, **options: Any) -> list[Any]:
        asked.append(time.monotonic())
        return pipeline(*args, **options)

    broker.link.pipeline = noting  # type: ignore[method-assign]
    delivered: SimpleQueue[float] = SimpleQueue()
    fetcher = Fetcher(
        broker,
        Seat(),
        Source((("q", 1),)),
        TokenBook(bench.table),
        Demand(1, lambda: 0, delivered.qsize, lambda: 0),
        lambda deliveries, recall, fresh_until: delivered.put(fresh_until),
        bench.table.recall_number,
    )
    broker.enqueue("q", [Outgoing(os.urandom(16), b"body")])
    fetcher.start()
    fresh_until = delivered.get(timeout=PATIENCE_S)
    fetcher.stop()
    assert fresh_until - broker.limits.lease / 1000 <= asked[-1]
    broker.close()


def test_a_child_learns_when_its_leases_were_extended() -> None:
    table, token = Table.create(1), os.urandom(20)
    book = TokenBook(table)
    assert book.extended(token) == 0.0
    assert book.announce(0, token)
    (held,) = table.held()
    table.set_extended(held.entry, 5.0)
    assert book.extended(token) == 5.0
    table.close()


class Stuck:
    """A child as the keeper sees it, whose interpreter has not turned for a while."""

    index = 1

    def __init__(self, table: Table) -> None:
        self._table = table
        table.tick(time.monotonic() - 5)

    @contextmanager
    def table(self) -> Generator[Table]:
        yield self._table

    def held(self) -> list[HeldToken]:
        return self._table.held()

    def queue(self, index: int) -> str:
        return ("bad", "good")[index]


def test_a_recall_that_one_queue_refuses_comes_to_its_end(server: RealServer, namespace: str) -> None:
    broker, seat, table = ListBroker(server.link(), namespace), Seat(), Table.create(1)
    for index, queue in enumerate(("bad", "good")):
        broker.enqueue(queue, [Outgoing(os.urandom(16), b"body")])
        ticket = seat.ticket(queue)
        table.announce(index, ticket.token)
        assert broker.lease(queue, ticket, 1).deliveries
    broker.link.execute("SET", broker.keys("bad").errors, "not a hash")
    beats = Beats(broker, lambda *_: None)
    beats.recall([cast("Child", Stuck(table))])  # heartbeats come after it: it may not fail, nor leave the flag
    assert not table.recalled()
    assert broker.link.execute("LLEN", broker.keys("good").ready_for(0)) == 1
    broker.close()
    table.close()
