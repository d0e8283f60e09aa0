"""One page of a replay, as its script takes it: what is noted, what moves, and what a refusal leaves as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskq.store.keys import QueueKeys, queue_keys
from taskq.store.scripts import Call
from taskq.tasks.broker import Outgoing
from taskq.tasks.packing import pack_spec
from taskq.tasks.transports import build_replay
from tests.lua.kit import message
from tests.lua.stream_kit import StreamQueue
from tests.lua.test_stream_care import finish
from tests.servers import RealServer

KEPT = "replayed"
LANE = b"lane" * 3


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield StreamQueue(link, namespace)
    link.close()


def page(keys: QueueKeys, cursor: str, following: str, *copies: tuple[bytes, Outgoing]) -> Call[Any]:
    names = [keys.lane(LANE), keys.meta, keys.body, keys.state, keys.delayed, keys.unique, keys.tombs]
    names += [keys.wake, *keys.landing, kept(keys)]
    args: list[Any] = ["", cursor, following, len(copies), 0, "", 60_000]
    for source, copy in copies:
        args += (source, copy.id, copy.body, pack_spec(copy))
    return build_replay(keys, names, args, list)


def kept(keys: QueueKeys) -> str:
    return f"{keys.base}:{KEPT}"


def source(number: int) -> bytes:
    return b"source%010d" % number


def test_a_message_of_an_earlier_page_is_not_enqueued_again_when_its_copy_is_over(queue: StreamQueue) -> None:
    first = [(source(number), message(number)) for number in (1, 2, 3)]
    assert queue.run(page(queue.keys, "", "a", *first)) == [0, b"a", 3, 3, 0, 0, 0]
    assert not queue.link.execute("EXISTS", queue.keys.lane(LANE))
    finish(queue, 3)
    again = [(source(number), message(10 + number)) for number in (3, 1, 2, 4)]
    assert queue.run(page(queue.keys, "a", ".", *again)) == [0, b".", 7, 4, 3, 0, 0]
    assert [entry.number for entry in queue.stream()] == [1, 2, 3, 14]


def test_a_message_with_two_entries_in_one_page_is_enqueued_once(queue: StreamQueue) -> None:
    copies = [(source(1), message(1)), (source(2), message(2)), (source(1), message(3))]
    assert queue.run(page(queue.keys, "", ".", *copies)) == [0, b".", 3, 2, 1, 0, 0]
    assert [entry.number for entry in queue.stream()] == [1, 2]


def test_a_copy_that_is_there_already_counts_as_such(queue: StreamQueue) -> None:
    queue.enqueue(message(1, explicit=True))
    copies = [(source(1), message(1, explicit=True)), (source(2), message(2))]
    assert queue.run(page(queue.keys, "", "a", *copies)) == [0, b"a", 2, 1, 1, 0, 0]


def test_who_takes_the_target_for_a_list_queue_is_told_and_the_cursor_stays(queue: StreamQueue, namespace: str) -> None:
    blind = queue_keys(namespace, "q")
    before = queue.dump()
    assert queue.run(page(blind, "", "a", (source(1), message(1))))[:2] == [4, b""]
    assert queue.dump() == before
    assert queue.run(page(queue.keys, "", "a", (source(1), message(1))))[:4] == [0, b"a", 1, 1]
