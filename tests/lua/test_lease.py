"""lease.lua and extend.lua: who gets what, in which order, and what a repeat is told."""

from __future__ import annotations

import pytest

from taskq.message import PLAIN_BYTES
from taskq.tasks import calls
from taskq.tasks.broker import LEASE_BYTES, Flags, Mark
from tests.lua.kit import LEASE_MS, Queue, done, held, message, number_of, retried


def numbers(queue: Queue, limit: int = 10) -> list[int]:
    return [number_of(delivery) for delivery in queue.take(limit)]


def test_the_most_urgent_come_first_and_each_list_in_order(queue: Queue) -> None:
    queue.enqueue(message(1, priority=-2), message(2), message(3, priority=2), message(4), message(5, priority=1))
    assert numbers(queue, 4) == [3, 5, 2, 4]
    assert numbers(queue) == [1]


def test_deliveries_carry_priority_body_token_and_a_growing_fence(queue: Queue) -> None:
    queue.enqueue(message(1, priority=1), message(2))
    first, second = queue.take(1) + queue.take(1)
    assert (first.priority, second.priority, first.body) == (1, 0, b"body-1")
    assert first.token != second.token
    assert first.fence < second.fence
    assert (second.deliveries, second.crashes, second.attempts) == (1, 0, 0)


def test_fences_grow_when_the_clock_goes_back(queue: Queue) -> None:
    queue.enqueue(message(1), message(2), message(3))
    before = queue.take(2)
    queue.now -= 1_000_000
    assert queue.take()[0].fence > before[1].fence > before[0].fence


def test_a_repeat_gets_the_same_batch_and_writes_nothing(queue: Queue) -> None:
    queue.enqueue(message(1), message(2, priority=1, expires=queue.now - 1), message(3, unique=b"u" * 16))
    call = queue.lease_call(2)
    first, before = queue.run(call), queue.dump()
    again = queue.run(call)
    assert [(d.id, d.body, d.token, d.fence, d.flags, d.deliveries) for d in again.deliveries] == [
        (d.id, d.body, d.token, d.fence, d.flags, d.deliveries) for d in first.deliveries
    ]
    assert queue.dump() == before
    assert queue.ready() == [3]


def test_a_repeat_after_settling_gives_nothing_back(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    call = queue.lease_call(1)
    queue.ack(done(queue.run(call).deliveries[0]))
    assert queue.run(call).deliveries == []
    assert queue.ready() == [2]


def test_the_repeat_of_an_older_call_gets_the_batch_that_it_still_holds(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    old = queue.lease_call(1)
    first = queue.run(old).deliveries
    assert numbers(queue) == [2]
    again = queue.run(old)
    assert not again.refused
    assert [(d.id, d.token, d.fence) for d in again.deliveries] == [(d.id, d.token, d.fence) for d in first]
    queue.ack(done(first[0]))
    assert queue.run(old).deliveries == []


def test_an_overtaken_call_takes_nothing_any_more(queue: Queue) -> None:
    old = queue.lease_call()
    assert queue.take() == []
    queue.enqueue(message(1))
    before = queue.dump()
    leased = queue.run(old)
    assert (leased.deliveries, leased.refused) == ([], False)
    assert queue.dump() == before


def test_a_paused_queue_hands_nothing_out_and_says_so(queue: Queue) -> None:
    queue.enqueue(message(1))
    queue.run(calls.pause(queue.keys, True))
    call = queue.lease_call()
    assert queue.run(call).paused
    queue.rings()
    queue.run(calls.pause(queue.keys, False))
    assert queue.rings() == 1
    assert [number_of(delivery) for delivery in queue.run(call).deliveries] == [1]


def test_the_earliest_due_time_comes_along(queue: Queue) -> None:
    assert queue.lease().due is None
    queue.enqueue(message(1, due=-700), message(2, due=-300))
    assert queue.lease().due == queue.now + 300


def test_big_bodies_are_counted_before_they_are_taken(queue: Queue) -> None:
    third = LEASE_BYTES // 3
    queue.enqueue(*(message(number, b"x" * (third if number else 10)) for number in range(6)))
    assert numbers(queue) == [0, 1, 2, 3]
    assert numbers(queue) == [4, 5]


def test_a_body_above_the_limit_goes_alone(queue: Queue) -> None:
    queue.enqueue(message(1, b"x" * (LEASE_BYTES + 1)))
    queue.enqueue(message(2), message(3, b"y" * (PLAIN_BYTES + 1)))
    assert numbers(queue) == [1]
    assert numbers(queue) == [2, 3]


def test_what_has_expired_is_flagged_and_nothing_else(queue: Queue) -> None:
    queue.enqueue(message(1, expires=-100), message(2, expires=-300), message(3, expires=-100, unique=b"u" * 16))
    queue.now += 200
    flags = [bool(delivery.flags & Flags.EXPIRED) for delivery in queue.take()]
    assert flags == [True, False, True]


def test_the_expiry_flag_does_not_outlive_the_lease(queue: Queue) -> None:
    queue.enqueue(message(1, expires=-100))
    queue.now += 200
    delivery = queue.take()[0]
    queue.release(held(delivery))
    queue.now -= 200
    assert not queue.take()[0].flags & Flags.EXPIRED


def test_cancelled_marks_are_dropped_and_what_waits_behind_them_rings(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(4)))
    for number in range(2):
        assert queue.cancel(message(number).id) == "cancelled"
    queue.rings()
    assert numbers(queue, 2) == []
    assert queue.rings() == 1
    assert "state" not in queue.dump()
    assert numbers(queue) == [2, 3]
    assert queue.rings() == 0


def test_a_lease_that_leaves_work_behind_rings_and_an_empty_one_does_not(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    queue.rings()
    queue.take(1)
    assert queue.rings() == 1
    queue.take(1)
    assert queue.rings() == 0
    queue.take(1)
    assert queue.rings() == 0


def test_an_entry_without_a_body_is_dropped(queue: Queue) -> None:
    queue.enqueue(message(1), message(2), message(3, expires=-50), message(4, expires=-50))
    queue.link.execute("HDEL", queue.keys.body, message(1).id, message(3).id, message(4).id)
    assert numbers(queue) == [2]
    assert queue.ready() == []
    assert set(queue.dump()["state"]) == {message(2).id}


# -- extend


def test_a_held_token_is_extended_even_past_its_deadline_and_a_lost_one_named(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    first, second = queue.take(1) + queue.take(1)
    queue.ack(done(second))
    queue.now += 2 * LEASE_MS
    extended = queue.extend([first.token, second.token])
    assert extended.lost == [second.token]
    assert queue.dump()["leases"] == [first.token, b"%d" % (queue.now + LEASE_MS)]


def test_marks_are_stored_with_the_message_and_refused_without_the_token(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    first, second = queue.take()
    queue.release(held(second))
    extended = queue.extend(
        [first.token], [Mark(first.id, first.token, once=True), Mark(second.id, second.token), Mark(b"?" * 16, b"")]
    )
    assert extended.refused == [second.id, b"?" * 16]
    assert queue.lookup(first.id)[0].flags == Flags.STARTED | Flags.ONCE


@pytest.mark.parametrize("first", [True, False], ids=["kill-first", "kill-second"])
def test_a_cancel_request_reaches_the_holder_and_keeps_its_kill(queue: Queue, first: bool) -> None:
    queue.enqueue(message(1), message(2))
    one, _ = queue.take()
    assert queue.cancel(one.id, kill=first) == "requested"
    assert queue.cancel(one.id, kill=not first) == "requested"
    assert queue.extend([one.token]).cancelled == {one.id: True}
    assert queue.extend([]).cancelled == {}


def test_a_request_travels_with_the_message_to_its_next_holder(queue: Queue) -> None:
    queue.enqueue(message(1))
    first = queue.take()[0]
    queue.cancel(first.id)
    queue.nack(retried(first, 5000))
    second = queue.take()[0]
    assert second.flags & Flags.CANCEL
    assert queue.extend([second.token]).cancelled == {}
    queue.cancel(second.id)
    assert queue.extend([second.token]).cancelled == {second.id: False}
