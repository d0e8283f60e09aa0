"""A stream queue beside those who take it for a list queue: a former release, or a process that has not learned yet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq import Retain
from taskq.store.keys import queue_keys
from taskq.store.scripts import Call, T
from tests.lua.kit import Queue, done, held, message, number_of, retried
from tests.lua.stream_kit import StreamQueue
from tests.servers import RealServer


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield StreamQueue(link, namespace)
    link.close()


class Former(Queue):
    """Scripts that know nothing of transports, on the same queue: what says of it that it is a stream queue is away
    while one of them runs.
    """

    def run(self, call: Call[T]) -> T:
        transport = self.link.execute("HGET", self.keys.meta, "transport")
        self.link.execute("HDEL", self.keys.meta, "transport")
        try:
            return super().run(call)
        finally:
            if transport is not None:
                self.link.execute("HSET", self.keys.meta, "transport", transport)


@pytest.fixture
def former(queue: StreamQueue, namespace: str) -> Former:
    return Former(queue.link, namespace)


def test_what_waits_in_a_list_and_was_appended_by_a_repair_is_handed_out_once(
    queue: StreamQueue, former: Former
) -> None:
    queue.enqueue(message(1))
    queue.link.execute("XTRIM", queue.keys.stream, "MAXLEN", 0)
    assert queue.take() == []  # it finds that one is missing
    former.enqueue(message(2))
    assert queue.repair() == 2
    taken = queue.take()
    assert sorted(map(number_of, taken)) == [1, 2]
    assert queue.ack(*map(done, taken)) == []
    assert queue.take() == []
    assert queue.link.execute("HLEN", queue.keys.held) == 0
    assert queue.link.execute("XPENDING", queue.keys.stream, "taskq")[0] == 0


def test_what_was_retried_while_it_was_there_twice_does_not_run_again_when_it_is_over(queue: StreamQueue) -> None:
    queue.enqueue(message(1))
    queue.link.execute("XTRIM", queue.keys.stream, "MAXLEN", 0)
    assert queue.take() == []
    queue.enqueue(message(2))
    assert queue.repair() == 2  # now 2 is there twice
    queue.enqueue(message(3))
    (two,) = queue.take(1)
    assert number_of(two) == 2
    assert queue.nack(retried(two)) == []
    taken = queue.take(3)
    assert sorted(map(number_of, taken)) == [1, 2, 3]
    assert queue.ack(*map(done, taken)) == []
    assert queue.take() == []
    assert not queue.link.execute("HEXISTS", queue.keys.tally, "doubt")


def test_what_a_former_release_took_from_the_list_and_finished_does_not_hold_up_the_history(
    queue: StreamQueue, former: Former
) -> None:
    queue.declare(Retain(count=0))
    queue.enqueue(*map(message, range(100)))
    taken = queue.take(100)
    assert queue.release(held(taken[0])) == []
    assert former.ack(*map(done, former.take())) == []
    queue.ack(*map(done, taken[1:]))
    queue.watch_all()
    assert queue.stream() == []
    assert queue.link.execute("HLEN", queue.keys.entries) == 0


def test_a_former_release_that_takes_back_a_lease_leaves_nothing_that_keeps_the_queue_a_stream_queue(
    queue: StreamQueue, former: Former
) -> None:
    queue.enqueue(*map(message, range(3)))
    token = queue.take()[0].token
    former.reclaim(token, mode="crash")
    assert former.ack(*map(done, former.take())) == []
    queue.watch_all()
    queue.declare(transport="list")
    assert queue.link.execute("EXISTS", queue.keys.entries) == 0


def test_whoever_still_appends_to_what_has_become_a_list_queue_makes_it_a_stream_queue_again(
    queue: StreamQueue, namespace: str
) -> None:
    queue.declare(transport="list")
    queue.enqueue(message(1))
    # otherwise it would lie in a stream that nobody reads, and nobody would be told
    meta = queue_keys(namespace, "q").meta
    assert queue.link.execute("HGET", meta, "transport") == b"stream"


def test_large_bodies_are_weighed_while_a_repair_goes_through_them(queue: StreamQueue) -> None:
    queue.enqueue(*(message(number, b"x" * 20_000) for number in range(12)))
    queue.link.execute("XTRIM", queue.keys.stream, "MAXLEN", 0)
    queue.take()
    assert int(queue.link.execute("HGET", queue.keys.tally, "big")) == 20_000
    assert queue.repair() == 12
    assert len(queue.take(12)) + len(queue.take(12)) == 12
    queue.take()
    assert int(queue.link.execute("HGET", queue.keys.tally, "big")) == 0


def test_history_of_large_bodies_goes_a_little_at_a_time(queue: StreamQueue) -> None:
    queue.declare(Retain(count=0))
    for number in range(12):
        queue.enqueue(message(number, b"x" * 1_000_000))
    while taken := queue.take():
        queue.ack(*map(done, taken))
    first = queue.watch()
    assert first.more
    assert 0 < first.trimmed <= 5
    queue.watch_all()
    assert queue.stream() == []
