"""The verbs on a stream queue: what is appended, what is pending, and what is acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskq.tasks import calls
from taskq.tasks.broker import Delivery
from taskq.tasks.operator_calls import purge
from tests.lua.kit import LEASE_MS, buried, done, held, message, number_of, retried
from tests.lua.stream_kit import StreamQueue
from tests.servers import RealServer


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield (one := StreamQueue(link, namespace))
    one.check()
    link.close()


def fill(queue: StreamQueue, *numbers: int) -> None:
    queue.enqueue(*(message(number) for number in numbers))


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [number_of(delivery) for delivery in deliveries]


# -- in


def test_what_is_enqueued_is_appended_in_order_with_its_body(queue: StreamQueue) -> None:
    fill(queue, 1, 2)
    queue.enqueue(message(3, b"z" * 2000), message(4, explicit=True))
    found = queue.link.execute("XRANGE", queue.keys.stream, "-", "+")
    assert [fields for _, fields in found] == [
        [b"id", message(1).id, b"body", b"body-1"],
        [b"id", message(2).id, b"body", b"body-2"],
        [b"id", message(3).id, b"body", b"z" * 2000],
        [b"id", message(4).id, b"body", b"body-4"],
    ]
    assert (queue.tally("appended"), queue.unread, queue.tally("big")) == (4, 4, 2000)
    assert queue.rings() == 1


def test_a_repeated_enqueue_appends_nothing(queue: StreamQueue) -> None:
    for _ in range(2):
        queue.enqueue(message(1), message(2, explicit=True), number=1)
    assert [entry.number for entry in queue.stream()] == [1, 2]


def test_what_was_there_already_is_not_appended_again(queue: StreamQueue) -> None:
    queue.enqueue(message(1, explicit=True))
    queue.enqueue(message(1, explicit=True), message(2, unique=b"u" * 16), message(3, unique=b"u" * 16))
    assert [entry.number for entry in queue.stream()] == [1, 2]


def test_a_delayed_message_has_no_entry_before_it_is_due(queue: StreamQueue) -> None:
    queue.enqueue(message(1, due=-50), message(2))
    assert [entry.number for entry in queue.stream()] == [2]
    queue.now += 50
    queue.promote()
    assert [entry.number for entry in queue.stream()] == [2, 1]
    assert numbers(queue.take()) == [2, 1]


# -- out


def test_a_lease_makes_entries_pending_and_keeps_them_by_token(queue: StreamQueue) -> None:
    fill(queue, *range(5))
    deliveries = queue.take(3)
    assert numbers(deliveries) == queue.pending() == [0, 1, 2]
    assert queue.by_token() == {deliveries[0].token: [entry.id for entry in queue.stream()[:3]]}
    assert queue.unread == 2
    assert queue.rings() == 1, "it leaves work behind"
    assert numbers(queue.take()) == [3, 4]
    assert queue.rings() == 0


def test_a_repeated_lease_answers_the_same_and_reads_nothing_more(queue: StreamQueue) -> None:
    fill(queue, *range(5))
    ticket = queue.seat.ticket("q")
    first = [delivery.body for delivery in queue.take(3, ticket=ticket)]
    assert [delivery.body for delivery in queue.take(3, ticket=ticket)] == first
    assert queue.unread == 2


@pytest.mark.parametrize("odd", [{"explicit": True}, {"expires": -(10**9)}, {"unique": b"u" * 16}], ids=str)
def test_messages_with_a_record_are_leased_like_plain_ones(queue: StreamQueue, odd: dict[str, Any]) -> None:
    queue.enqueue(message(1), message(2, **odd), message(3))
    assert numbers(queue.take()) == queue.pending() == [1, 2, 3]


def test_nothing_is_read_while_the_queue_is_paused(queue: StreamQueue) -> None:
    fill(queue, 1)
    queue.run(calls.pause(queue.keys, True))
    assert queue.lease().paused
    assert (queue.unread, queue.pending()) == (1, [])


def test_a_retired_worker_reads_nothing(queue: StreamQueue) -> None:
    fill(queue, 1, 2)
    one = queue.take(1)[0]
    queue.reclaim(one.token, mode="crash")
    assert queue.lease().refused
    assert queue.unread == 1


def test_big_bodies_are_read_a_few_at_a_time(queue: StreamQueue) -> None:
    queue.enqueue(*(message(number, b"x" * 100_000) for number in range(6)))
    assert numbers(queue.take()) == [0, 1]
    assert queue.unread >= 3
    assert [number for _ in range(2) for number in numbers(queue.take())] == [2, 3, 4, 5]
    assert numbers(queue.take()) == []
    assert queue.tally("big") == 0, "nothing is unread any more"


def test_a_cancelled_message_is_dropped_and_acknowledged(queue: StreamQueue) -> None:
    fill(queue, 1, 2, 3)
    queue.cancel(message(2).id)
    assert numbers(queue.take()) == queue.pending() == [1, 3]
    queue.check()


def test_a_lease_that_met_only_marks_rings_for_what_is_left(queue: StreamQueue) -> None:
    fill(queue, 1, 2, 3)
    queue.cancel(message(1).id)
    queue.rings()
    assert numbers(queue.take(1)) == []
    assert queue.rings() == 1


# -- settling


def test_an_ack_acknowledges_what_it_names_and_nothing_else(queue: StreamQueue) -> None:
    fill(queue, *range(5))
    deliveries = queue.take()
    queue.ack(done(deliveries[1]), done(deliveries[3], b"d1"))
    assert queue.pending() == [0, 2, 4]
    queue.check()
    queue.ack(*(done(deliveries[at]) for at in (0, 2, 4)))
    assert (queue.pending(), queue.by_token()) == ([], {})
    assert [entry.number for entry in queue.stream()] == list(range(5)), "they stay as history"


def test_two_batches_in_one_ack(queue: StreamQueue) -> None:
    fill(queue, *range(6))
    one, two = queue.take(2), queue.take(3)
    queue.ack(done(one[0], b"d1"), done(two[1]), done(one[1]))
    assert queue.pending() == [2, 4]


def test_what_an_ack_has_lost_stays_pending_for_its_holder(queue: StreamQueue) -> None:
    fill(queue, 1, 2)
    old = queue.take()
    queue.release(*map(held, old))
    new = queue.take()
    assert sorted(queue.ack(*map(done, old))) == [message(1).id, message(2).id]
    assert queue.pending() == [1, 2]
    assert queue.ack(done(new[0]), done(new[0])) == [message(1).id], "twice in one call: lost the second time"
    assert queue.pending() == [2]


def test_a_message_named_with_an_old_and_its_new_token_is_settled_once(queue: StreamQueue) -> None:
    fill(queue, 1, 2)
    old = queue.take()
    queue.reclaim(old[0].token, mode="recall", started=[old[1].id])
    new = queue.take()[0]
    assert queue.ack(done(old[0]), done(new), done(old[1])) == [message(1).id]
    assert queue.pending() == []


def test_what_is_released_with_an_old_and_its_new_token_keeps_its_newest_entry(queue: StreamQueue) -> None:
    fill(queue, 1, 2)
    old = queue.take()
    queue.nack(retried(old[0]))
    new = queue.take()[0]
    assert queue.release(held(old[0]), held(new)) == [message(1).id]
    queue.check()
    assert [entry.id for entry in queue.stream()][-1] == str(
        queue.link.execute("XPENDING", queue.keys.stream, "taskq")[2], "ascii"
    )


def test_a_repeated_settling_call_does_not_touch_a_newer_entry(queue: StreamQueue) -> None:
    fill(queue, 1)
    delivery, op = queue.take()[0], queue.seat.op("q", "nack")
    queue.nack(retried(delivery), op=op)
    again = queue.take()[0]
    queue.nack(retried(delivery), op=op)
    assert queue.pending() == [1]
    assert [entry.number for entry in queue.stream()] == [1, 1]
    assert queue.ack(done(again)) == []


@pytest.mark.parametrize("delay", [0, 20])
def test_a_retry_is_appended_again_when_it_is_ready(queue: StreamQueue, delay: int) -> None:
    fill(queue, 1, 2)
    one, _ = queue.take()
    queue.nack(retried(one, delay))
    assert queue.pending() == [2]
    assert len(queue.stream()) == (2 if delay else 3)
    queue.now += delay
    queue.promote()
    assert [entry.number for entry in queue.stream()] == [1, 2, 1]
    assert numbers(queue.take()) == [1]


def test_a_dead_letter_has_no_entry_until_it_is_redriven(queue: StreamQueue) -> None:
    fill(queue, 1)
    queue.bury(buried(queue.take()[0]))
    assert queue.pending() == []
    queue.redrive(message(1).id)
    assert [entry.number for entry in queue.stream()] == [1, 1]
    assert numbers(queue.take()) == queue.pending() == [1]


def test_what_is_parked_has_no_entry_and_is_held_by_its_lease_alone(queue: StreamQueue) -> None:
    fill(queue, 1, 2, 3)
    queue.park(*((held(one), "t") for one in queue.take()))
    assert queue.pending() == []
    ticket = queue.seat.ticket("q")
    (one,) = queue.run(calls.lease(queue.keys, ticket, 1, queue.limits, parked="t", now=queue.at)).deliveries
    assert (number_of(one), queue.pending(), queue.by_token()) == (1, [], {one.token: [""]})
    queue.release(held(one))
    assert (queue.ready(), queue.given_back()) == ([1], [1])
    queue.unpark("t")
    assert numbers(queue.take()) == [1, 2, 3]
    assert queue.pending() == [2, 3]


def test_what_is_given_back_stays_pending_and_goes_first(queue: StreamQueue) -> None:
    fill(queue, 1, 2, 3)
    one, two = queue.take(2)
    queue.release(held(two))
    assert (queue.ready(), queue.pending(), queue.given_back()) == ([2], [1, 2], [2])
    queue.check()
    assert numbers(queue.take()) == [2, 3]
    assert queue.given_back() == []
    queue.ack(done(one))
    assert queue.pending() == [2, 3]


@pytest.mark.parametrize("mode", ["lapse", "crash", "recall"])
def test_what_is_reclaimed_stays_pending(queue: StreamQueue, mode: Any) -> None:
    fill(queue, *range(4))
    deliveries = queue.take()
    token = deliveries[0].token
    queue.ack(done(deliveries[3]))
    queue.nack(retried(deliveries[2]))
    queue.now += LEASE_MS + 1
    queue.reclaim(token, mode=mode, started=[deliveries[1].id] if mode == "recall" else [])
    queue.check()
    assert queue.given_back() == ([0] if mode == "recall" else [0, 1])
    assert queue.pending() == [0, 1]
    assert numbers(queue.take(seat=type(queue.seat)()))[0] == 0


def test_the_condemned_stay_pending_until_they_are_buried(queue: StreamQueue) -> None:
    fill(queue, 1)
    died = []
    for alone in (False, False, True):
        queue.seat = type(queue.seat)()
        died.append(queue.take(alone=alone)[0])
        condemned = queue.reclaim(died[-1].token, mode="crash", started=[died[-1].id])
        queue.check()
        assert queue.pending() == [1]
        assert len(condemned) == alone
    queue.bury(buried(died[-1]))
    assert queue.pending() == []


# -- emptying


def test_a_purge_takes_the_unread_and_tells_what_is_left(queue: StreamQueue) -> None:
    fill(queue, *range(10))
    queue.release(held(queue.take(2)[1]))
    purged = queue.run(purge(queue.keys, "ready", queue.keys.ready_for(0), queue.limits, limit=4, now=queue.at))
    assert (purged.removed, purged.taken, purged.left) == (4, 4, 5)
    assert queue.pending() == [0]
    assert [queue.state(message(number).id) for number in (1, 2, 3, 4, 5)] == ["?", "?", "?", "?", "r"]
    purged = queue.run(purge(queue.keys, "ready", queue.keys.ready_for(0), queue.limits, limit=250, now=queue.at))
    assert (purged.removed, purged.left, queue.unread) == (5, 0, 0)


def test_a_purge_of_dead_letters_reads_nothing(queue: StreamQueue) -> None:
    fill(queue, 1, 2)
    queue.bury(buried(queue.take(1)[0]))
    queue.run(purge(queue.keys, "dead", queue.keys.dead, queue.limits, limit=250, now=queue.at))
    assert (queue.unread, queue.pending()) == (1, [])
