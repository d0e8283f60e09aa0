"""A burst ends when nothing is left, and not before: only a look that is certain counts."""

from __future__ import annotations

import time

from taskq_workers import exits
from taskq_workers.demand import Source
from tests.runtime.fetching import PATIENCE_S, fetching
from tests.runtime.world import world
from tests.servers import RealServer

ONE = Source((("q", 1),), burst=True)


def test_marks_of_cancelled_messages_do_not_look_like_the_end(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE) as bench:
        for one in bench.enqueue("q", 5):
            assert bench.broker.cancel("q", one) == "cancelled"
        ids = bench.enqueue("q", 3)
        bench.fetcher.start()
        assert [one for _, one in bench.take(3)] == ids
        assert bench.exhausted.wait(PATIENCE_S)
        assert set(bench.exhausted.left) == {0}


def test_what_has_just_become_due_is_run(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE) as bench:
        ids = bench.enqueue("q", 2, due=-1)
        time.sleep(0.01)  # the time of the server, which is another process
        bench.fetcher.start()
        assert {one for _, one in bench.take(2)} == set(ids)
        assert bench.exhausted.wait(PATIENCE_S)
        assert set(bench.exhausted.left) == {0}


def test_a_paused_queue_does_not_keep_a_burst(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, Source((("q", 1), ("still", 1)), burst=True)) as bench:
        bench.enqueue("still", 2)
        bench.broker.pause("still")
        bench.enqueue("q", 2)
        bench.fetcher.start()
        assert [queue for queue, _ in bench.take(2)] == ["q", "q"]
        assert bench.exhausted.wait(PATIENCE_S)
        assert bench.ready() == 2


def test_nothing_is_left_only_until_something_is_leased(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE) as bench:
        bench.fetcher.start()
        assert bench.exhausted.wait(PATIENCE_S)
        bench.enqueue("q")
        bench.delivered.put(bench.delivered.get(timeout=PATIENCE_S))
        assert not bench.fetcher.finished()
        assert not bench.exhausted.is_set()
        bench.take()
        assert bench.exhausted.wait(PATIENCE_S)
        while not bench.fetcher.finished():  # a lease call may be under way
            bench.fetcher.hungry()
        bench.enqueue("q")
        bench.fetcher.stop()
        assert bench.ready() == 1, "who has finished leases nothing more"


def test_a_worker_leaves_nothing_behind_cancelled_messages(server: RealServer, namespace: str) -> None:
    with world(server, namespace) as here:
        sender = here.app.remote("tests.runtime.follow.naps", queue="work")
        cancelled = [sender.enqueue("cancelled") for _ in range(5)]
        assert all(one.cancel() == "cancelled" for one in cancelled)
        for _ in range(30):
            sender.enqueue("real")
        worker = here.worker("-c", "1", "--burst", app="tests.runtime.follow:app")
        assert worker.process.wait(PATIENCE_S) == exits.OK
        assert len(here.hear("start", "real")) == 30
