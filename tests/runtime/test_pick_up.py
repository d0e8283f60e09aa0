"""What an idle child is woken for is leased behind its wait: without another round trip, and as safely as otherwise."""

from __future__ import annotations

import time

import pytest

from taskq.tasks.queues import Queue, Retain
from taskq_workers.demand import Source
from tests.runtime.fetching import PATIENCE_S, Bench, fetching
from tests.servers import RealServer

ONE = Source((("q", 1),))


def begun(bench: Bench) -> None:
    bench.fetcher.start()
    assert bench.line.waits.wait(PATIENCE_S)


def test_what_rings_is_leased_behind_the_wait_and_nothing_else_is_asked(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE) as bench:
        begun(bench)
        before = len(bench.line.asked), bench.line.behinds
        (sent,) = bench.enqueue("q")
        assert bench.take() == [("q", sent)]
        asked, behinds = len(bench.line.asked) - before[0], bench.line.behinds - before[1]
        assert asked == behinds, "a lease call was sent by itself"
        assert bench.tokens.outstanding == 0


def test_a_burst_is_leased_whole(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE) as bench:
        begun(bench)
        ids = bench.enqueue("q", 50)
        assert [one for _, one in bench.take(50)] == ids


def test_a_lost_answer_is_asked_for_again_and_gives_the_same_messages(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE) as bench:
        bench.line.lose = True
        begun(bench)
        (sent,) = bench.enqueue("q")
        assert bench.line.lost.wait(PATIENCE_S), "the fault did not fire"
        (one,) = bench.delivered.get(timeout=PATIENCE_S)
        assert one.id == sent
        assert [found.deliveries for found in bench.broker.lookup("q", [sent])] == [1]


def test_what_comes_after_the_stop_is_given_back_unseen(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE) as bench:
        begun(bench)
        bench.fetcher.stop()
        (sent,) = bench.enqueue("q")
        thread = bench.fetcher._thread
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        (found,) = bench.broker.lookup("q", [sent])
        assert (found.state, found.deliveries) == ("r", 0)
        assert bench.ready() == 1
        assert bench.delivered.empty()
        assert not bench.broker.link.execute("HGET", bench.broker.keys("q").meta, "reclaimed"), "it was leased"
        assert not bench.tokens.entries()


def test_a_call_that_a_recall_met_on_its_way_gets_nothing(server: RealServer, namespace: str) -> None:
    """A child that is stuck in a task takes nothing that rings after what it had was taken back."""
    with fetching(server, namespace, ONE) as bench:
        begun(bench)
        (token,) = bench.tokens.entries().values()
        assert bench.broker.reclaim("q", token, b"line", mode="recall") == []
        (sent,) = bench.enqueue("q")
        for _ in range(2):  # the marker went to that call; what it left is found by the next
            assert bench.take() == [("q", sent)]
            (sent,) = bench.enqueue("q")
        assert token not in bench.tokens.entries().values()


def test_a_stop_does_not_wait_for_the_bell(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE) as bench:
        begun(bench)
        bench.fetcher.stop()
        assert bench.line.waits.is_set(), "the wait was over before the stop was"


def test_a_delayed_message_ends_the_wait(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE) as bench:
        begun(bench)
        (late,) = bench.enqueue("q", due=-300.0)
        assert bench.take() == [("q", late)]


def test_a_bell_of_another_type_does_not_keep_messages_away(
    server: RealServer, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    with fetching(server, namespace, ONE) as bench:
        bench.broker.link.execute("SET", bench.broker.keys("q").wake, "x")
        bench.fetcher.start()
        deadline = time.monotonic() + PATIENCE_S
        while "cannot wait for bells of q" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        bench.broker.link.execute("DEL", bench.broker.keys("q").wake)
        (sent,) = bench.enqueue("q")
        assert bench.take() == [("q", sent)]


def test_a_server_that_has_forgotten_the_scripts(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE) as bench:
        begun(bench)
        bench.broker.link.execute("SCRIPT", "FLUSH")
        (sent,) = bench.enqueue("q")
        assert bench.take() == [("q", sent)]


def test_a_queue_that_turns_out_to_be_a_stream(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE) as bench:
        begun(bench)
        bench.broker.declare(Queue("q", transport="stream", retain=Retain(count=10)))
        (sent,) = bench.enqueue("q")
        assert bench.take() == [("q", sent)]


def test_two_children_share_what_rings(server: RealServer, namespace: str) -> None:
    with fetching(server, namespace, ONE) as bench, fetching(server, namespace, ONE) as other:
        begun(bench)
        begun(other)
        ids = bench.enqueue("q", 2)
        # each has one slot, and nothing is settled: so neither can take both
        taken = [one.id for child in (bench, other) for one in child.delivered.get(timeout=PATIENCE_S)]
        assert sorted(taken) == sorted(ids)
