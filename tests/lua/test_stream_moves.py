"""take and land on a stream queue: entries of what has left are over, and what comes back is delivered once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq.errors import BrokerRefused
from taskq.store.keys import queue_keys
from taskq.tasks.broker import Delivery
from taskq.tasks.move_calls import carried
from taskq.tasks.queues import OtherTransport
from tests.lua.kit import buried, done, held, message, number_of, retried
from tests.lua.stream_kit import StreamQueue
from tests.lua.test_moves import landed, taken
from tests.servers import RealServer


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield StreamQueue(link, namespace)
    link.close()


def drain(queue: StreamQueue) -> list[int]:
    """Lease and finish all there is; each number as often as it was delivered. A lease may find only what has left."""
    found: list[Delivery] = []
    for _ in range(4):
        items = queue.take(100)
        assert queue.ack(*(done(item) for item in items)) == []
        found += items
    queue.check()
    return [number_of(item) for item in found]


def test_what_was_given_back_leaves_with_its_entry(queue: StreamQueue) -> None:
    queue.enqueue(*(message(number) for number in range(5)))
    queue.release(*(held(item) for item in queue.take(3)))
    assert queue.given_back() == [0, 1, 2]
    assert taken(queue, "r", 0, 2) == [0, 2]
    assert (queue.given_back(), queue.pending(), queue.ready()) == ([1], [1], [1])
    queue.check()
    assert drain(queue) == [1, 3, 4]


def test_what_is_unread_leaves_an_entry_that_is_dropped(queue: StreamQueue) -> None:
    queue.enqueue(*(message(number) for number in range(5)))
    assert taken(queue, "r", 1, 3) == [1, 3]
    assert queue.unread == 5
    assert drain(queue) == [0, 2, 4]
    assert (queue.unread, queue.pending(), queue.tally("lost")) == (0, [], 0)


@pytest.mark.parametrize("first", [0, 2])
def test_what_comes_back_before_its_old_entry_was_read_is_delivered_once(queue: StreamQueue, first: int) -> None:
    queue.enqueue(*(message(number) for number in range(5)))
    taken(queue, "r", 1, 3, token="t")
    assert landed(queue, "t", back=True, keys=queue.keys) == "nn"
    queue.run(carried(queue.keys, "t", 0))
    given = queue.take(first) if first else []
    if given:
        queue.nack(*(retried(item, 5) for item in given))
        queue.now += 10
        queue.promote()
    assert sorted(drain(queue)) == [0, 1, 2, 3, 4]
    assert queue.pending() == []


def test_a_delayed_one_that_comes_back_is_not_run_by_its_old_entry(queue: StreamQueue) -> None:
    queue.enqueue(message(1), message(2))
    taken(queue, "r", 1, token="t")
    landed(queue, "t", back=True, keys=queue.keys)
    # it has two entries that are unread; the first is leased, fails, and waits while the second is read
    (one,) = queue.take(1)
    queue.nack(retried(one, 500))
    assert drain(queue) == [2] if number_of(one) == 1 else drain(queue) == [1]
    queue.now += 600
    queue.promote()
    assert drain(queue) == [number_of(one)]


def test_nothing_is_doubted_after_all_was_read(queue: StreamQueue) -> None:
    queue.enqueue(message(1), message(2))
    taken(queue, "r", 1, token="t")
    assert drain(queue) == [2]
    landed(queue, "t", back=True, keys=queue.keys)
    assert not queue.link.execute("HEXISTS", queue.keys.tally, "doubt")
    assert drain(queue) == [1]


def test_what_is_taken_elsewhere_leaves_no_hole(queue: StreamQueue) -> None:
    queue.enqueue(message(1), message(2))
    queue.bury(*(buried(item) for item in queue.take()))
    assert taken(queue, "x", 1) == [1]
    assert taken(queue, "r", 9) == []
    assert not queue.link.execute("HEXISTS", queue.keys.tally, "holes")


def test_who_takes_a_stream_queue_for_a_list_queue_is_told_before_anything_lands(queue: StreamQueue) -> None:
    queue.enqueue(message(1))
    taken(queue, "r", 1, token="t")
    before = queue.dump()
    with pytest.raises(OtherTransport):
        landed(queue, "t", back=True, keys=queue_keys(queue.namespace, "q"))
    assert queue.dump() == before


def test_an_error_is_an_error(queue: StreamQueue) -> None:
    queue.enqueue(message(1))
    queue.link.execute("SET", queue.keys.moves, "x")
    with pytest.raises(BrokerRefused, match="another type"):
        taken(queue, "r", 1)
