"""What tasks say of their progress: the newest word under the lease that says it, at no cost to whoever says it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import orjson
import pytest

from taskq.errors import BrokerUnavailable
from taskq.message import Message, new_ids
from taskq.store.connection import SyncLink
from taskq.tasks.broker import Delivery, Held, Outgoing, Seat
from taskq.tasks.lists import ListBroker
from taskq_workers.attempt import Attempt, Plan
from taskq_workers.progress import MOST, Words
from tests.servers import RealServer

PATIENCE_S = 30


class Line(SyncLink):
    """Counts round trips, and can be cut or held up."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.trips: list[int] = []
        self.cut = False
        self.open = threading.Event()
        self.open.set()

    def pipeline(self, commands: Sequence[Any], *, timeout: float | None = None) -> list[Any]:
        self.trips.append(len(commands))
        assert self.open.wait(PATIENCE_S)
        if self.cut:
            return [BrokerUnavailable("cut")] * len(commands)
        return super().pipeline(commands, timeout=timeout)


class Bench:
    """A queue with running attempts, and what is stored of their words."""

    def __init__(self, server: RealServer, namespace: str) -> None:
        self.broker = ListBroker(server.link(), namespace)
        self.line = Line(server.url)
        self.words = Words(ListBroker(self.line, namespace))
        self.seat = Seat()

    def attempts(self, count: int) -> list[Attempt]:
        self.broker.enqueue("q", [Outgoing(one, b"body") for one in new_ids(count)])
        return self.lease(count)

    def lease(self, count: int) -> list[Attempt]:
        leased = self.broker.lease("q", self.seat.ticket("q"), count).deliveries
        return [self.attempt(delivery) for delivery in leased]

    def attempt(self, delivery: Delivery) -> Attempt:
        plan = Plan.__new__(Plan)
        plan.progress = self.words.say
        return Attempt(delivery, Message(delivery.id, "t", [], {}, 0), plan, time.monotonic(), 0)

    def word(self, attempt: Attempt) -> dict[str, Any]:
        text = self.broker.link.execute("GET", self.broker.keys("q").progress(attempt.id))
        return dict(orjson.loads(text)) if text else {}


@pytest.fixture
def bench(server: RealServer, namespace: str) -> Iterator[Bench]:
    one = Bench(server, namespace)
    yield one
    one.line.open.set()
    one.line.close()
    one.broker.close()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        threading.Event().wait(0.01)


def test_nobody_waits_for_the_broker_and_only_the_newest_word_is_kept(bench: Bench) -> None:
    first, *others = bench.attempts(50)
    bench.line.open.clear()
    first.report_progress(0, None, "")
    until(lambda: bench.line.trips == [1], "the first word to be on its way")
    for done in range(100):
        for attempt in (first, *others):
            attempt.report_progress(done, 99, f"word {done}")
    assert len(bench.words) == 50
    bench.line.open.set()
    until(lambda: all(bench.word(one).get("note") == "word 99" for one in (first, *others)), "the newest words")
    assert len(bench.line.trips) <= 4, "many words in one round trip, and a message once a second"
    until(lambda: len(bench.words) == 0, "what is over to be forgotten")


def test_a_lost_lease_says_nothing_any_more(bench: Bench) -> None:
    (stale,) = bench.attempts(1)
    bench.broker.release("q", [Held(stale.id, stale.delivery.token)])
    (fresh,) = bench.lease(1)
    assert fresh.id == stale.id
    fresh.report_progress(1, 2, "fresh")
    until(lambda: bench.word(fresh) != {}, "the word of the holder")
    stale.report_progress(2, 2, "stale")
    until(lambda: len(bench.words) == 0 and len(bench.line.trips) > 1, "the stale word to be tried")
    assert bench.word(fresh)["note"] == "fresh"
    stale.lease_lost = True
    stale.report_progress(2, 2, "stale")
    assert len(bench.words) == 0


def test_an_outage_costs_words_and_nothing_else(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    (attempt,) = bench.attempts(1)
    bench.line.cut = True
    attempt.report_progress(1, 2, "dropped")
    until(lambda: len(bench.words) == 0 and bench.line.trips != [], "the word to be dropped")
    bench.line.cut = False
    attempt.report_progress(2, 2, "back")
    until(lambda: bench.word(attempt).get("note") == "back", "a word after the outage")
    assert not caplog.records


def test_what_is_kept_is_bounded(bench: Bench) -> None:
    (first,) = bench.attempts(1)
    bench.line.open.clear()
    first.report_progress(0, None, "")
    until(lambda: bench.line.trips == [1], "the first word to be on its way")
    for one in new_ids(3 * MOST):
        bench.attempt(Delivery("q", one, b"", bytes(20), 1)).report_progress(0, None, "")
    assert len(bench.words) <= MOST + 1
    first.report_progress(1, None, "")
    assert len(bench.words) <= MOST + 1


def test_a_word_may_hold_any_number_and_any_name(bench: Bench) -> None:
    (attempt,) = bench.attempts(1)
    attempt.report_progress(Decimal("1.5"), Decimal(3), "caf\udce9 " + "x" * 1000)  # type: ignore[arg-type]
    until(lambda: bench.word(attempt) != {}, "the word")
    word = bench.word(attempt)
    assert (word["done"], word["total"], word["note"][:5], len(word["note"])) == (1.5, 3, "caf? ", 200)
