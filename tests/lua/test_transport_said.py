"""enqueue.lua and fire.lua: who takes a stream queue for a list is told, and what is appended says its transport."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taskq.errors import BrokerRefused
from taskq.tasks import schedule_calls as calls
from taskq.tasks.broker import Outgoing
from taskq.tasks.queues import OtherTransport
from tests.lua.kit import START_MS, Queue, message
from tests.lua.stream_kit import StreamQueue
from tests.lua.test_schedules import MINUTE, fire, made, out, stored

Streamed = Callable[[], StreamQueue]


@pytest.fixture
def streamed(queue: Queue, namespace: str) -> Streamed:
    """Declares the queue a stream queue and answers one who knows; `queue` goes on taking it for a list queue."""
    return lambda: StreamQueue(queue.link, namespace)


def said(queue: Queue) -> bytes | None:
    transport: bytes | None = queue.link.execute("HGET", queue.keys.meta, "transport")
    return transport


# -- fire


@pytest.mark.parametrize("kind", ["slot", "given up", "by hand"])
def test_who_fires_into_a_stream_queue_as_into_a_list_is_told_and_writes_nothing(
    queue: Queue, streamed: Streamed, kind: str
) -> None:
    entry = made(queue)
    knowing = streamed()
    slot = None if kind == "by hand" else START_MS
    sent = None if kind == "given up" else out(1)
    before = queue.dump()
    with pytest.raises(OtherTransport):
        queue.run(calls.fire(queue.keys, "tick", entry.rev, slot, None, sent, queue.limits, now=queue.at))
    assert queue.dump() == before
    assert fire(knowing, entry, out(1)).code == calls.ENQUEUED, "the slot is still there for one who knows"


def test_a_slot_of_a_stream_queue_is_decided_and_its_message_appended(queue: Queue, streamed: Streamed) -> None:
    entry = made(queue)
    knowing = streamed()
    answer = fire(knowing, entry, out(1))
    assert (answer.code, answer.slot) == (calls.ENQUEUED, START_MS + MINUTE)
    assert (stored(queue).message, stored(queue).runs) == (out(1).id, 1)
    assert [one.number for one in knowing.stream()] == [1]
    assert queue.ready() == []
    assert queue.counter("enqueued") == 1
    knowing.check()


def test_a_list_queue_is_fired_into_without_a_word_of_transports(queue: Queue) -> None:
    assert fire(queue, made(queue), out(1)).code == calls.ENQUEUED
    assert queue.ready() == [1]
    assert said(queue) is None


@pytest.mark.parametrize("due", [0, START_MS + MINUTE], ids=["now", "later"])
def test_fire_checks_the_type_of_meta_on_a_stream_queue_before_it_writes(
    queue: Queue, streamed: Streamed, due: int
) -> None:
    # a list queue reads meta before its first write anyhow; a stream queue does not
    entry = made(queue)
    knowing = streamed()
    queue.link.execute("DEL", queue.keys.meta)
    queue.link.execute("SADD", queue.keys.meta, "not ours")
    before = queue.dump()
    with pytest.raises(BrokerRefused, match="holds data of another type"):
        fire(knowing, entry, out(1, due=due))
    assert queue.dump() == before


# -- enqueue

KINDS = pytest.mark.parametrize(
    "sent", [message(1), message(1, explicit=True), message(1, due=-50)], ids=["plain", "with a record", "delayed"]
)


@KINDS
def test_what_is_enqueued_into_a_list_queue_does_not_make_it_a_stream_queue(queue: Queue, sent: Outgoing) -> None:
    assert queue.enqueue(sent)[0].created
    assert queue.dump()["meta"] == {b"enqueued": b"1"}


@KINDS
def test_what_is_appended_to_what_says_nothing_of_a_transport_says_it(
    queue: Queue, streamed: Streamed, sent: Outgoing
) -> None:
    knowing = streamed()
    knowing.declare(transport="list")
    assert said(queue) is None
    assert knowing.enqueue(sent)[0].created
    assert said(queue) == b"stream"


def test_an_enqueue_that_accepts_nothing_says_nothing(queue: Queue, streamed: Streamed) -> None:
    queue.enqueue(message(1, explicit=True))
    knowing = streamed()
    knowing.declare(transport="list")
    assert not knowing.enqueue(message(1, explicit=True))[0].created
    assert said(queue) is None


@KINDS
def test_who_enqueues_into_a_stream_queue_as_into_a_list_is_told_and_writes_nothing(
    queue: Queue, streamed: Streamed, sent: Outgoing
) -> None:
    streamed()
    before = queue.dump()
    with pytest.raises(OtherTransport):
        queue.enqueue(sent)
    assert queue.dump() == before
