"""A fetch of many lease calls ends with the first that finds nothing: those that were not sent tell nothing."""

from __future__ import annotations

import time

from taskq.tasks.broker import LEASE_MESSAGES
from taskq_workers.demand import Source
from taskq_workers.fetcher import PIPELINE
from taskq_workers.leasing import AHEAD, PART
from tests.runtime.fetching import PATIENCE_S, Bench, fetching
from tests.servers import RealServer

SLOTS = PIPELINE * LEASE_MESSAGES
ONE = Source((("q", 1),))


def begun(bench: Bench) -> None:
    bench.fetcher.start()
    assert bench.line.waits.wait(PATIENCE_S)


def test_all_that_is_wanted_comes_in_order_and_each_call_is_accounted(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE, SLOTS) as bench:
        ids = bench.enqueue("q", SLOTS)
        bench.fetcher.start()
        got: list[bytes] = []
        while len(got) < SLOTS:
            got += [one.id for one in bench.delivered.get(timeout=PATIENCE_S)]
        assert got == ids
        assert bench.tokens.outstanding == SLOTS
        assert len(bench.tokens.entries()) >= PIPELINE


def test_of_an_empty_queue_no_more_is_asked_than_is_under_way(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE, SLOTS) as bench:
        begun(bench)
        assert bench.line.asked.count("q") <= AHEAD * PART + 1, "those, and the one behind the bell"
        assert len(bench.tokens.entries()) == 1, "none is announced but the one behind the bell"


def test_what_is_due_soon_is_remembered(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE, SLOTS) as bench:
        bench.enqueue("q", due=-60_000)
        begun(bench)
        assert 50 < bench.fetcher._due["q"] - time.monotonic() <= 60


def test_a_paused_queue_does_not_keep_a_burst_of_many_slots(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, Source((("q", 1),), burst=True), SLOTS) as bench:
        bench.enqueue("q", 2)
        bench.broker.pause("q")
        bench.fetcher.start()
        assert bench.exhausted.wait(PATIENCE_S)
        assert bench.ready() == 2


def test_a_refusal_is_remembered_and_ends_the_fetch(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, Source((("q", 1), ("other", 1)), burst=True), SLOTS) as bench:
        bench.broker.link.execute("SADD", bench.broker.keys("q").meta, "not ours")
        bench.fetcher.start()
        assert bench.exhausted.wait(PATIENCE_S)
        assert "data of another type" in bench.fetcher.unseen["q"]
        assert bench.line.asked.count("q") <= 2 * AHEAD * PART
