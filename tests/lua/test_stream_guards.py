"""What single guards of the scripts of stream queues are for: each test fails if one of them is left out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lua.kit import message
from tests.lua.stream_kit import StreamQueue
from tests.servers import RealServer


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield StreamQueue(link, namespace)
    link.close()


def test_watching_a_queue_without_a_tally_counts_nothing_if_its_stream_is_empty(queue: StreamQueue) -> None:
    queue.watch()
    assert (queue.unread, queue.tally("healed"), queue.stream()) == (0, 0, [])
    queue.enqueue(message(1))
    assert queue.unread == 1
