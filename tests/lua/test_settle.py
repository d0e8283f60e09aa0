"""ack, nack, dead_letter, release and park: the token decides, the first answer stays, nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taskq.errors import BrokerError
from taskq.store.subscription import Notice
from taskq.tasks.broker import Delivery, Finished, Flags, Op, Outgoing
from taskq.tasks.calls import Limits
from tests.lua.kit import LEASE_MS, Queue, buried, done, held, message, number_of, retried

Settle = Callable[[Queue, Delivery], list[bytes]]
KEY = b"u" * 16

SETTLES: dict[str, Settle] = {
    "ack": lambda queue, delivery: queue.ack(done(delivery, b"d1")),
    "nack": lambda queue, delivery: queue.nack(retried(delivery, line=b"{}")),
    "dead_letter": lambda queue, delivery: queue.bury(buried(delivery, result=b"x{}", result_ttl=1000)),
    "release": lambda queue, delivery: queue.release(held(delivery)),
    "park": lambda queue, delivery: queue.park((held(delivery), "shop.later")),
}
settles = pytest.mark.parametrize("settle", SETTLES.values(), ids=SETTLES)


@settles
def test_a_stale_token_changes_nothing_and_is_named(queue: Queue, settle: Settle) -> None:
    queue.enqueue(message(1, unique=KEY, explicit=True))
    stale = queue.take()[0]
    queue.now += LEASE_MS
    queue.reclaim(stale.token)
    current = queue.take()[0]
    before = queue.dump()
    assert settle(queue, stale) == [stale.id]
    assert queue.dump() == before
    assert settle(queue, current) == []
    assert settle(queue, current) == [current.id]


@settles
def test_settling_one_of_two_keeps_the_token_and_the_last_one_ends_it(queue: Queue, settle: Settle) -> None:
    queue.enqueue(message(1), message(2))
    first, second = queue.take()
    settle(queue, first)
    assert queue.dump()["left"] == {first.token: b"1"}
    settle(queue, second)
    assert not {"left", "held", "leases"} & set(queue.dump())


OPS: dict[str, tuple[str, Callable[[Queue, Delivery, Op], list[bytes]]]] = {
    "ack": ("ack", lambda queue, delivery, op: queue.ack(done(delivery, b"d1"), op=op)),
    "nack": ("nack", lambda queue, delivery, op: queue.nack(retried(delivery, line=b"{}"), op=op)),
    "dead_letter": ("bury", lambda queue, delivery, op: queue.bury(buried(delivery), op=op)),
}


@pytest.mark.parametrize(("verb", "settle"), OPS.values(), ids=OPS)
def test_a_repeated_number_gets_the_first_answer_and_an_older_one_is_refused(
    queue: Queue, verb: str, settle: Callable[[Queue, Delivery, Op], list[bytes]]
) -> None:
    queue.enqueue(message(1), message(2))
    first, second = queue.take()
    old, op = queue.seat.op("q", verb), queue.seat.op("q", verb)
    queue.release(held(second))
    assert settle(queue, first, op) == []
    before = queue.dump()
    assert settle(queue, first, op) == []
    assert settle(queue, second, op) == [], "the number decides, not what is sent with it"
    with pytest.raises(BrokerError, match="newer call"):
        settle(queue, second, old)
    assert queue.dump() == before
    assert settle(queue, second, queue.seat.op("q", verb)) == [second.id]


def test_a_repeat_remembers_which_were_lost(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    first, second = queue.take()
    queue.release(held(first))
    op = queue.seat.op("q", "ack")
    assert queue.ack(done(first), done(second), op=op) == [first.id]
    assert queue.ack(done(first), done(second), op=op) == [first.id]
    assert queue.counter("done") == 1


def test_what_a_worker_is_remembered_by_expires(queue: Queue) -> None:
    queue.enqueue(message(1), message(2), message(3))
    for delivery, (verb, settle) in zip(queue.take(), OPS.values(), strict=True):
        queue.link.execute("DEL", queue.keys.worker(queue.seat.nonce))
        settle(queue, delivery, queue.seat.op("q", verb))
        assert queue.link.execute("PTTL", queue.keys.worker(queue.seat.nonce)) > 0


def test_one_message_twice_in_a_call_is_settled_once(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    first, _ = queue.take()
    assert queue.ack(done(first), done(first)) == [first.id]
    assert queue.dump()["left"] == {first.token: b"1"}
    queue.enqueue(message(3))
    third = queue.take()[0]
    assert queue.park((held(third), "a"), (held(third), "a")) == [third.id]
    assert queue.counter("parked") == 1


WAYS_OUT: dict[str, Callable[[Queue, Delivery], object]] = {
    "done": lambda queue, delivery: queue.ack(done(delivery)),
    "done with a result": lambda queue, delivery: queue.ack(done(delivery, b"d1")),
    "cancelled": lambda queue, delivery: queue.ack(Finished(delivery.id, delivery.token, "c")),
    "expired": lambda queue, delivery: queue.ack(Finished(delivery.id, delivery.token, "e")),
    "dead": lambda queue, delivery: queue.bury(buried(delivery)),
    "quarantined": lambda queue, delivery: queue.bury(buried(delivery, quarantine=True)),
    "cancelled while ready": lambda queue, delivery: (queue.release(held(delivery)), queue.cancel(delivery.id)),
    "cancelled while delayed": lambda queue, d: (queue.nack(retried(d, 50)), queue.cancel(d.id)),
    "cancelled while parked": lambda queue, d: (queue.park((held(d), "t")), queue.cancel(d.id)),
}


@pytest.mark.parametrize("leave", WAYS_OUT.values(), ids=WAYS_OUT)
def test_every_way_out_frees_the_unique_key_and_renews_the_tombstone(
    queue: Queue, leave: Callable[[Queue, Delivery], object]
) -> None:
    queue.enqueue(message(1, unique=KEY, explicit=True, expires=-1_000_000))
    delivery = queue.take()[0]
    queue.now += 1000
    leave(queue, delivery)
    dump = queue.dump()
    assert "unique" not in dump
    assert dump["tombs"] == [delivery.id, b"%d" % (queue.now + queue.limits.tombstone)]
    assert queue.enqueue(message(2, unique=KEY))[0].created


@pytest.mark.parametrize("leave", list(WAYS_OUT.values())[:6], ids=list(WAYS_OUT)[:6])
def test_a_unique_key_is_freed_only_by_its_holder(queue: Queue, leave: Callable[[Queue, Delivery], object]) -> None:
    queue.enqueue(message(1, unique=KEY))
    delivery = queue.take()[0]
    queue.link.execute("HSET", queue.keys.unique, KEY, message(9).id)
    leave(queue, delivery)
    assert queue.dump()["unique"] == {KEY: message(9).id}


STAYS: dict[str, Settle] = {name: SETTLES[name] for name in ("nack", "release", "park")}


@pytest.mark.parametrize("settle", STAYS.values(), ids=STAYS)
def test_what_comes_back_keeps_its_unique_key_expiry_and_size(queue: Queue, settle: Settle) -> None:
    sent = Outgoing(message(1).id, b"x" * 2000, unique=KEY, expires=queue.now + 500, explicit=True, priority=1)
    queue.enqueue(sent)
    first = queue.take()[0]
    settle(queue, first)
    queue.unpark("shop.later")
    assert not queue.enqueue(message(2, unique=KEY))[0].created
    queue.now += 1000
    second = queue.take()[0]
    assert second.flags == Flags.UNIQUE | Flags.EXPIRES | Flags.BIG | Flags.EXPLICIT | Flags.EXPIRED
    assert (second.priority, second.body) == (1, sent.body)


# -- results and errors


def test_results_are_stored_with_a_time_and_told_on_the_channel(queue: Queue) -> None:
    queue.enqueue(message(1), message(2), message(3))
    one, two, three = queue.take()
    ears = queue.link.subscribe(queue.keys.channel)
    try:
        assert ears.get(5) == Notice("connected")
        queue.ack(done(one, b"d1", 500), done(two), done(three, b"d3", 0))
        assert ears.get(5) == Notice("message", queue.keys.channel, one.id)
    finally:
        ears.close()
    dump = queue.dump()
    assert dump["results"] == {one.id: b"d1"}
    assert dump["results:due"] == [one.id, b"%d" % (queue.now + 500)]
    assert [found.state for found in queue.lookup(one.id, two.id)] == ["o", "?"]


def test_a_dead_letter_with_a_result_is_told_too(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    one, two = queue.take()
    ears = queue.link.subscribe(queue.keys.channel)
    try:
        assert ears.get(5) == Notice("connected")
        queue.bury(buried(one), buried(two, result=b"x{}", result_ttl=1000))
        assert ears.get(5) == Notice("message", queue.keys.channel, two.id)
    finally:
        ears.close()


def test_every_outcome_is_counted(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(8)))
    one, two, three, four, five, six, seven, eight = queue.take()
    queue.nack(retried(one), retried(two))
    queue.ack(done(three), done(four, b"d1"))
    queue.ack(Finished(five.id, five.token, "c", b"c", 10), Finished(six.id, six.token, "e", b"e", 10))
    queue.bury(buried(seven), buried(eight, quarantine=True))
    queue.redrive(seven.id)
    names = ["enqueued", "retried", "done", "cancelled", "expired", "dead", "quarantined", "redriven"]
    assert [queue.counter(name) for name in names] == [8, 2, 2, 1, 1, 1, 1, 1]


def test_results_are_capped_the_soonest_to_end_first(queue: Queue) -> None:
    queue.limits = Limits(results=2)
    queue.enqueue(*(message(number) for number in range(4)))
    for delivery in queue.take():
        queue.ack(done(delivery, b"d", 1000 + number_of(delivery)))
    assert set(queue.dump()["results"]) == {message(2).id, message(3).id}
    queue.enqueue(message(5))
    queue.bury(buried(queue.take()[0], result=b"x{}", result_ttl=5000))
    assert set(queue.dump()["results"]) == {message(3).id, message(5).id}
    queue.enqueue(message(6))
    queue.cancel(message(6).id)
    assert len(queue.dump()["results"]) == 2


def test_a_follow_up_is_in_the_outbox_by_its_id(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    one, two = queue.take()
    queue.ack(done(one, follow=b"i" * 16 + b"rest"), done(two))
    assert queue.dump()["outbox"] == {b"i" * 16: b"rest"}
    assert queue.counter("done") == 2


def test_error_lines_are_kept_whole_and_within_their_limit(queue: Queue) -> None:
    queue.limits = Limits(error_bytes=25)
    queue.enqueue(message(1))
    for number in range(4):
        queue.nack(retried(queue.take()[0], line=b'{"line":%d}' % number))
    assert queue.lookup(message(1).id)[0].lines == b'{"line":2}\n{"line":3}'
    queue.bury(buried(queue.take()[0], b'{"l":4}'))
    assert queue.lookup(message(1).id)[0].lines == b'{"line":3}\n{"l":4}'


def test_attempts_and_deliveries_are_counted_apart(queue: Queue) -> None:
    queue.enqueue(message(1))
    queue.nack(retried(queue.take()[0]))
    queue.nack(retried(queue.take()[0], counts=False))
    queue.release(held(queue.take()[0]))
    delivery = queue.take()[0]
    assert (delivery.attempts, delivery.deliveries, delivery.crashes) == (1, 3, 0)


def test_a_retry_later_waits_and_rings_only_if_it_is_the_first_due(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    one, two = queue.take()
    queue.rings()
    queue.nack(retried(one, 500))
    assert queue.rings() == 1
    queue.nack(retried(two, 900))
    assert queue.rings() == 0
    assert queue.lookup(one.id)[0].state == "d"


def test_a_parked_message_keeps_what_is_written_about_it(queue: Queue) -> None:
    queue.enqueue(message(1))
    queue.nack(retried(queue.take()[0]))
    queue.park((held(queue.take()[0]), "t"))
    assert queue.unpark("t") == (1, 0)
    found = queue.lookup(message(1).id)[0]
    assert (found.state, found.attempts, found.deliveries) == ("r", 1, 1)


def test_released_messages_stand_in_front_in_their_old_order(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(4)))
    taken = queue.take(3)
    queue.release(*(held(delivery) for delivery in taken))
    assert queue.ready() == [0, 1, 2, 3]
    assert "state" not in queue.dump()


def test_a_release_rings(queue: Queue) -> None:
    queue.enqueue(message(1))
    delivery = queue.take()[0]
    queue.rings()
    queue.release(held(delivery))
    assert queue.rings() == 1
    queue.release(held(delivery))
    assert queue.rings() == 0
