"""enqueue.lua: lanes, explicit ids, unique keys, due times, bells."""

from __future__ import annotations

import os
from typing import Any

import pytest

from taskq.errors import BrokerError, BrokerFull
from taskq.store.scripts import Call
from taskq.tasks.broker import Accepted
from tests.lua.kit import LEASE_MS, Queue, done, message, number_of


def test_a_plain_message_costs_one_body_and_one_entry(queue: Queue) -> None:
    assert queue.enqueue(message(1), message(2)) == [Accepted(message(1).id, True), Accepted(message(2).id, True)]
    dump = queue.dump()
    lane = f"lane:{queue.lane.hex()}"
    assert dump.pop(lane) == b"1:"
    assert queue.link.execute("PTTL", queue.keys.base + lane) > 0
    assert dump == {
        "body": {message(1).id: b"body-1", message(2).id: b"body-2"},
        "ready:0": [message(1).id, message(2).id],
        "meta": {b"enqueued": b"2"},
        "wake": [b"1"],
    }


@pytest.mark.parametrize("more", [{}, {"explicit": True}, {"due": -500}], ids=["plain", "explicit", "delayed"])
def test_a_repeated_number_changes_nothing_and_gets_the_same_answer(queue: Queue, more: dict[str, Any]) -> None:
    call = queue.enqueue_call(message(1, **more))
    first, before = queue.run(call), queue.dump()
    assert queue.run(call) == first
    assert queue.dump() == before


def test_a_repeat_gets_the_old_answer_with_its_conflicts_even_when_they_are_over(queue: Queue) -> None:
    queue.enqueue(message(1, unique=b"k" * 16))
    call = queue.enqueue_call(message(2, unique=b"k" * 16), message(1, explicit=True), message(3))
    first = queue.run(call)
    assert [(number_of(item), item.created) for item in first] == [(1, False), (1, False), (3, True)]
    queue.ack(*(done(delivery) for delivery in queue.take()))
    assert queue.run(call) == first
    assert queue.ready() == []


GAP, STALE = 1, 2


def refusal(queue: Queue, call: Call[list[Accepted]]) -> int:
    """The code with which the lane refused the call; nothing may have been written then."""
    before = queue.dump()
    reply = queue.link.execute(*call.full_command())
    assert queue.dump() == before
    return int(reply[0])


def test_a_gap_and_a_stale_number_are_refused_and_write_nothing(queue: Queue) -> None:
    lane = os.urandom(12)
    assert refusal(queue, queue.enqueue_call(message(1), lane=lane, number=2)) == GAP
    queue.enqueue(message(1), lane=lane, number=1)
    assert refusal(queue, queue.enqueue_call(message(3), lane=lane, number=3)) == GAP
    queue.enqueue(message(2), lane=lane, number=2)
    stale = queue.enqueue_call(message(9), lane=lane, number=1)
    assert refusal(queue, stale) == STALE
    with pytest.raises(BrokerError, match="newer call of this lane"):
        queue.run(stale)
    assert queue.ready() == [1, 2]


def test_lanes_do_not_know_each_other(queue: Queue) -> None:
    for number in range(3):
        assert queue.enqueue(message(number), lane=os.urandom(12), number=1)[0].created
    assert queue.ready() == [0, 1, 2]


def test_an_explicit_id_is_taken_once_and_leaves_a_tombstone_for_its_window(queue: Queue) -> None:
    assert queue.enqueue(message(1, explicit=True))[0].created
    assert not queue.enqueue(message(1, explicit=True))[0].created
    queue.ack(*(done(delivery) for delivery in queue.take()))
    queue.now += queue.limits.tombstone - 1
    assert not queue.enqueue(message(1, explicit=True))[0].created
    queue.now += 2
    assert queue.enqueue(message(1, explicit=True))[0].created


def test_an_id_twice_in_one_call_is_one_message(queue: Queue) -> None:
    answer = queue.enqueue(message(1, explicit=True), message(1, explicit=True))
    assert [item.created for item in answer] == [True, False]
    assert queue.ready() == [1]


def test_a_unique_key_has_one_holder_which_the_others_are_told(queue: Queue) -> None:
    key = b"u" * 16
    answer = queue.enqueue(message(1, unique=key), message(2, unique=key), message(3, unique=b"v" * 16))
    assert [(number_of(item), item.created) for item in answer] == [(1, True), (1, False), (3, True)]
    assert number_of(queue.enqueue(message(4, unique=key))[0]) == 1
    assert queue.ready() == [1, 3]


def test_a_unique_key_whose_holder_has_vanished_is_free(queue: Queue) -> None:
    key = b"u" * 16
    queue.link.execute("HSET", queue.keys.unique, key, message(9).id)
    assert queue.enqueue(message(1, unique=key))[0] == Accepted(message(1).id, True)
    assert queue.dump()["unique"] == {key: message(1).id}


def test_priorities_and_due_times_go_to_their_places(queue: Queue) -> None:
    queue.enqueue(message(1, priority=2), message(2, priority=-2), message(3, due=-500), message(4, due=queue.now - 1))
    dump = queue.dump()
    assert queue.ready(2) == [1]
    assert queue.ready(-2) == [2]
    assert queue.ready() == [4]
    assert dump["delayed"] == [message(3).id, b"%d" % (queue.now + 500)]
    assert queue.lookup(message(3).id)[0].state == "d"


def test_one_bell_for_many_and_none_for_what_waits_longer(queue: Queue) -> None:
    queue.enqueue(message(1, due=-500))
    assert queue.rings() == 1
    queue.enqueue(message(2, due=-900))
    assert queue.rings() == 0
    queue.enqueue(message(3, due=-100))
    assert queue.rings() == 1
    queue.enqueue(message(4), message(5))
    queue.enqueue(message(6))
    assert queue.rings() == 1


def test_the_id_of_a_cancelled_message_is_taken_until_a_lease_drops_it(queue: Queue) -> None:
    limits = queue.limits
    queue.limits = type(limits)(lease=LEASE_MS, tombstone=0)
    queue.enqueue(message(1, explicit=True))
    assert queue.cancel(message(1).id) == "cancelled"
    queue.now += 1
    assert not queue.enqueue(message(1, explicit=True))[0].created
    assert queue.take() == []
    assert queue.enqueue(message(1, explicit=True))[0].created
    assert [number_of(delivery) for delivery in queue.take()] == [1]


@pytest.mark.parametrize("more", [{}, {"explicit": True}, {"due": -500}], ids=["plain", "explicit", "delayed"])
def test_a_full_server_takes_nothing_and_repeats_old_answers(queue: Queue, more: dict[str, Any]) -> None:
    call = queue.enqueue_call(message(1, **more))
    first = queue.run(call)
    queue.link.execute("CONFIG", "SET", "maxmemory", "1")
    try:
        before = queue.dump()
        with pytest.raises(BrokerFull, match="maxmemory"):
            queue.enqueue(message(2, **more))
        assert queue.dump() == before
        assert queue.run(call) == first
    finally:
        queue.link.execute("CONFIG", "SET", "maxmemory", "0")
