"""Large bodies on stream queues: what a script appends it copies, so few of them go at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lua.kit import held, message
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
