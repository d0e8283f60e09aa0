"""Large bodies on stream queues: what a script appends it copies, so few of them go at once, and none is read twice.

Whenever Lua is given a string it hashes all of it, which takes more than anything else that a script does with a body.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskq.store.keys import queue_keys
from taskq.tasks.broker import Delivery
from taskq.tasks.lists import ListBroker, light
from tests.lua.kit import buried, held, message, number_of
from tests.lua.stream_kit import StreamQueue
from tests.lua.test_moves import landed, taken
from tests.lua.test_stream_reading import commands
from tests.servers import RealServer

SIZES = (200_000, 50_000, 300_000, 100_000, 10)
CALLS = [2, 1, 2, 0]  # how many go at once: 250 KB, one larger one, the rest


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield StreamQueue(link, namespace)
    link.close()


def test_a_promote_carries_as_many_bytes_as_other_scripts(queue: StreamQueue) -> None:
    queue.enqueue(*(message(number, b"x" * size, due=queue.now + 1 + number) for number, size in enumerate(SIZES)))
    queue.now += 1000
    assert [queue.promote()[0] for _ in CALLS] == CALLS
    assert [entry.number for entry in queue.stream()] == list(range(len(SIZES)))


def test_an_unpark_carries_as_many_bytes_as_other_scripts(queue: StreamQueue) -> None:
    for number, size in enumerate(SIZES):
        queue.enqueue(message(number, b"x" * size))
    while taken := queue.take():
        queue.park(*((held(one), "t") for one in taken))
    assert [queue.unpark("t")[0] for _ in CALLS] == CALLS
    assert [entry.number for entry in queue.stream()][len(SIZES) :] == list(range(len(SIZES)))


LARGE = b"x" * 300_000


@pytest.mark.parametrize("more", [{}, {"due": -5_000}, {"explicit": True}], ids=["now", "later", "explicit"])
def test_an_enqueue_does_not_read_back_what_it_was_given(queue: StreamQueue, more: dict[str, Any]) -> None:
    one = message(0, LARGE, **more)
    reads = commands(queue, "hmget", lambda: queue.enqueue(one))
    assert reads == (0 if "due" in more else 1), "only of the tally, and of nothing if nothing is appended"
    queue.now += 10_000
    queue.promote()
    (delivery,) = queue.take(1)
    assert (delivery.body, [entry.number for entry in queue.stream()]) == (LARGE, [0])


def test_of_an_id_that_is_named_twice_the_stream_has_what_is_stored(queue: StreamQueue) -> None:
    first, second = message(0, b"first", explicit=True), message(0, b"second", explicit=True)
    assert [item.created for item in queue.enqueue(first, second)] == [True, False]
    ((_, fields),) = queue.link.execute("XRANGE", queue.keys.stream, "-", "+")
    assert fields[3] == queue.link.execute("HGET", queue.keys.body, first.id) == b"first"


def test_a_lease_reads_a_body_once_from_the_stream_and_once_to_hand_it_out(queue: StreamQueue) -> None:
    queue.enqueue(message(0, LARGE), message(1, b"y"))
    found = queue.link.execute("HSTRLEN", queue.keys.body, message(0).id)
    assert found == len(LARGE)
    plain = commands(queue, "hmget", lambda: queue.take(1))
    small = commands(queue, "hmget", lambda: queue.take(1))
    # Both: meta, tally, states; then bodies. What is large has a record, so the verb leases it: meta, states, entries.
    assert (small, plain) == (4, 7)


def test_a_lease_reads_a_hundred_times_at_most_while_a_large_one_may_be_among_them(queue: StreamQueue) -> None:
    queue.enqueue(*(message(number) for number in range(130)), message(130, LARGE))
    got: list[Delivery] = []
    assert commands(queue, "xreadgroup", lambda: got.extend(queue.take(200))) == 100
    assert [number_of(one) for one in got] == list(range(100))
    assert queue.rings() == 1, "somebody is to look for the rest"
    assert [number_of(one) for one in queue.take(200)] == list(range(100, 130))
    assert [number_of(one) for one in queue.take(200)] == [130], "it is larger than what goes at once"
    queue.check()


def test_a_move_reads_no_body_of_others_and_none_twice(queue: StreamQueue) -> None:
    for number in range(3):
        queue.enqueue(message(number, LARGE))
    assert commands(queue, "xinfo|stream", lambda: taken(queue, "r", 1, token="t")) == 0
    assert queue.link.execute("HGET", queue.keys.tally, "holes") == queue.stream()[-1].id.encode()
    other = queue_keys(queue.namespace, "other", True)
    assert commands(queue, "hmget", lambda: landed(queue, "t", keys=other)) == 2, (
        "of the tally: to append, and of holes"
    )
    ((_, fields),) = queue.link.execute("XRANGE", other.stream, "-", "+")
    assert fields[1::2] == [message(1).id, LARGE]


def test_ids_are_parted_by_the_size_of_their_bodies() -> None:
    ids = [b"a", b"b", b"c", b"d"]
    assert list(light(ids, [5, 5, 11, 1], most=10)) == [[b"a", b"b"], [b"c"], [b"d"]]
    assert list(light(ids, [0, 0, 0, 0], most=10)) == [ids]


def test_a_redrive_brings_back_all_whatever_their_size(queue: StreamQueue, namespace: str) -> None:
    for number, size in enumerate(SIZES):
        queue.enqueue(message(number, b"x" * size))
    while taken := queue.take():
        queue.bury(*map(buried, taken))
    broker = ListBroker(queue.link, namespace)
    broker.know("q")
    assert broker.redrive("q", [message(number).id for number in range(len(SIZES))]) == len(SIZES)
    assert [entry.number for entry in queue.stream()][len(SIZES) :] == list(range(len(SIZES)))
