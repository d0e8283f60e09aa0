"""One queue that cannot be leased from holds up no other; and the queue whose bell rang is asked first."""

from __future__ import annotations

import pytest

from taskq_workers import fetcher
from taskq_workers.demand import Source
from tests.runtime.fetching import PATIENCE_S, Bench, fetching
from tests.servers import RealServer

FOR_EVER_S = 3600.0
QUEUES = (("bad", 1), ("good", 1))


def spoil(bench: Bench, key: str) -> None:
    bench.broker.link.execute("SET", key, "of another type")


@pytest.mark.parametrize("strict", [True, False])
def test_the_other_queues_go_on_and_it_is_not_asked_all_the_time(
    server: RealServer, namespace: str, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    monkeypatch.setattr(fetcher, "REST_S", FOR_EVER_S)
    with fetching(server, namespace, Source(QUEUES, strict)) as bench:
        spoil(bench, bench.broker.keys("bad").ready[0])
        bench.enqueue("good", 10)
        bench.fetcher.start()
        assert len(bench.take(10)) == 10
        for _ in range(3):  # by their bell, too
            bench.enqueue("good")
            assert bench.take()[0][0] == "good"
        assert bench.line.asked.count("bad") <= 1


@pytest.mark.parametrize("where", ["ready", "wake"])
def test_it_is_asked_again_when_it_has_rested(
    server: RealServer, namespace: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(fetcher, "REST_S", 0.05)
    with fetching(server, namespace, Source((("bad", 1),))) as bench:
        keys = bench.broker.keys("bad")
        key = keys.wake if where == "wake" else keys.ready[0]
        spoil(bench, key)
        bench.fetcher.start()
        assert bench.line.answered.wait(PATIENCE_S)
        bench.broker.link.execute("DEL", key)
        (message,) = bench.enqueue("bad")
        assert bench.take() == [("bad", message)]
        assert not bench.fetcher.unseen


def test_a_bell_that_cannot_be_waited_for_holds_up_nobody(
    server: RealServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher, "REST_S", FOR_EVER_S)
    with fetching(server, namespace, Source(QUEUES)) as bench:
        spoil(bench, bench.broker.keys("bad").wake)
        bench.fetcher.start()
        assert bench.line.waits.wait(PATIENCE_S)
        for _ in range(3):
            bench.enqueue("good")
            assert bench.take()[0][0] == "good"


def test_a_burst_runs_the_others_and_tells_which_it_could_not_see(
    server: RealServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher, "REST_S", FOR_EVER_S)
    with fetching(server, namespace, Source(QUEUES, burst=True)) as bench:
        spoil(bench, bench.broker.keys("bad").ready[0])
        bench.enqueue("good", 5)
        bench.fetcher.start()
        assert len(bench.take(5)) == 5
        assert bench.exhausted.wait(PATIENCE_S)
        assert list(bench.fetcher.unseen) == ["bad"]


def test_the_queue_whose_bell_rang_is_asked_first(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, Source((("often", 10**6), ("seldom", 1)))) as bench:
        bench.fetcher.start()
        assert bench.line.waits.wait(PATIENCE_S)
        before = len(bench.line.asked)
        bench.enqueue("seldom")
        bench.take()
        assert bench.line.asked[before] == "seldom"
