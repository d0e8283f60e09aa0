"""cancel.lua: at once where nobody holds the message, by a request where somebody does, and without traces."""

from __future__ import annotations

from taskq.store.subscription import Notice
from taskq.tasks.calls import Limits
from tests.lua.kit import Queue, done, held, message, retried


def test_a_plain_message_leaves_a_mark_and_its_outcome(queue: Queue) -> None:
    queue.enqueue(message(1))
    assert queue.cancel(message(1).id) == "cancelled"
    dump = queue.dump(without=[f"lane:{queue.lane.hex()}", "wake"])
    due = b"%d" % (queue.now + queue.limits.outcome_ttl)
    assert dump == {
        "ready:0": [message(1).id],
        "state": {message(1).id: b"c"},
        "results": {message(1).id: b"c"},
        "results:due": [message(1).id, due],
        "meta": {b"enqueued": b"1", b"cancelled": b"1"},
    }
    assert queue.cancel(message(1).id) == "cancelled"
    assert queue.counter("cancelled") == 1


def test_a_delayed_message_leaves_its_outcome_only(queue: Queue) -> None:
    queue.enqueue(message(1, due=-50))
    assert queue.cancel(message(1).id) == "cancelled"
    assert not {"body", "state", "delayed"} & set(queue.dump())


def test_a_parked_message_leaves_a_mark_that_its_list_drops(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    queue.park(*((held(delivery), "t") for delivery in queue.take()))
    assert queue.cancel(message(1).id) == "cancelled"
    assert queue.dump()["state"][message(1).id] == b"c"
    assert queue.unpark("t") == (1, 0)
    assert not {"state", "parked", "parked:t"} & set(queue.dump())
    assert queue.ready() == [2]


def test_waiters_are_told(queue: Queue) -> None:
    queue.enqueue(message(1))
    ears = queue.link.subscribe(queue.keys.channel)
    try:
        assert ears.get(5) == Notice("connected")
        queue.cancel(message(1).id)
        assert ears.get(5) == Notice("message", queue.keys.channel, message(1).id)
    finally:
        ears.close()


def test_no_outcome_is_kept_if_none_is_wanted(queue: Queue) -> None:
    queue.limits = Limits(outcome_ttl=0)
    queue.enqueue(message(1))
    assert queue.cancel(message(1).id) == "cancelled"
    assert not {"results", "results:due"} & set(queue.dump())


def test_a_request_is_gone_with_its_message(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    one, two = queue.take()
    for delivery in (one, two):
        assert queue.cancel(delivery.id, kill=True) == "requested"
    assert queue.dump()["cancels"] == {one.id: one.token + b"k", two.id: two.token + b"k"}
    queue.nack(retried(one))
    assert queue.cancel(one.id) == "cancelled"
    assert queue.dump()["cancels"] == {two.id: two.token + b"k"}
    queue.ack(done(two))
    assert "cancels" not in queue.dump()


def test_what_is_over_cannot_be_cancelled(queue: Queue) -> None:
    queue.enqueue(message(1))
    queue.ack(done(queue.take()[0], b"d1"))
    before = queue.dump()
    assert queue.cancel(message(1).id) == "too_late"
    assert queue.cancel(message(9).id) == "too_late"
    assert queue.dump() == before
