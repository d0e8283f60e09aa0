"""Large bodies on stream queues: what a script appends it copies, so few of them go at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq.tasks.lists import ListBroker, light
from tests.lua.kit import buried, held, message
from tests.lua.stream_kit import StreamQueue
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
