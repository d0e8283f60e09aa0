"""What no other test notices if one guard of a script is missing; `python -m tests.mutants` finds such guards."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from taskq.store.subscription import Notice
from taskq.tasks.broker import Delivery, Finished, Mark
from taskq.tasks.calls import Limits
from taskq.tasks.progress import progress
from tests.lua.kit import Queue, buried, done, held, message, retried

KEY, OTHER = b"u" * 16, b"v" * 16
Settle = Callable[[Queue, Delivery], list[bytes]]

SETTLES: dict[str, Settle] = {
    "ack": lambda queue, delivery: queue.ack(done(delivery, b"d1")),
    "nack": lambda queue, delivery: queue.nack(retried(delivery, line=b"{}")),
    "dead_letter": lambda queue, delivery: queue.bury(buried(delivery, result=b"x{}", result_ttl=1000)),
    "release": lambda queue, delivery: queue.release(held(delivery)),
    "park": lambda queue, delivery: queue.park((held(delivery), "shop.later")),
    "extend": lambda queue, delivery: queue.extend([], [Mark(delivery.id, delivery.token)]).refused,
}
settles = pytest.mark.parametrize("settle", SETTLES.values(), ids=SETTLES)


# -- tokens


def not_leased(queue: Queue) -> Delivery:
    """A message that waits, with a token made of its digest and expiry: they stand where a lease has its token."""
    expires = queue.now + 5000
    queue.enqueue(message(1, unique=KEY, expires=expires))
    return Delivery("q", message(1).id, b"", KEY + struct.pack(">d", expires)[:4], 0)


@settles
def test_a_token_is_compared_only_in_the_record_of_a_leased_message(queue: Queue, settle: Settle) -> None:
    delivery = not_leased(queue)
    before = queue.dump()
    assert settle(queue, delivery) == [delivery.id]
    assert queue.dump() == before


def test_progress_is_stored_only_for_a_leased_message(queue: Queue) -> None:
    delivery = not_leased(queue)
    assert not queue.run(progress(queue.keys, delivery.token, delivery.id, b"half"))
    assert queue.link.execute("GET", queue.keys.progress(delivery.id)) is None


@pytest.mark.parametrize("mode", ["crash", "recall"])
def test_a_batch_that_names_what_is_not_leased_takes_nothing_back(queue: Queue, mode: str) -> None:
    delivery = not_leased(queue)
    queue.link.execute("HSET", queue.keys.held, delivery.token, b"0" * 16 + delivery.id)
    state = queue.dump()["state"]
    assert queue.reclaim(delivery.token, mode=mode, started=[delivery.id]) == []
    assert queue.dump()["state"] == state
    assert queue.ready() == [1]
    assert "held" not in queue.dump()


@settles
def test_tokens_of_one_worker_are_not_taken_for_each_other(queue: Queue, settle: Settle) -> None:
    queue.enqueue(message(1), message(2))
    first, second = queue.take(1) + queue.take(1)
    mixed = Delivery("q", first.id, b"", second.token, 0)
    before = queue.dump()
    assert settle(queue, mixed) == [first.id]
    assert queue.dump() == before


# -- results


def test_a_result_is_stored_only_if_there_is_one_that_is_to_be_kept(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(5)))
    one, two, three, four, five = queue.take()
    queue.ack(done(one, b"", 1000, follow=b"f" * 20), Finished(two.id, two.token, "c", b"c", 0))
    queue.bury(buried(three, result=b"", result_ttl=1000), buried(four, result=b"x{}", result_ttl=0), buried(five))
    assert not {"results", "results:due"} & set(queue.dump())


def test_one_notice_names_all_results_of_a_call(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(4)))
    one, two, three, four = queue.take()
    ears = queue.link.subscribe(queue.keys.channel)
    try:
        assert ears.get(5) == Notice("connected")
        queue.ack(done(one, b"d1"), done(two, b"d2"))
        assert ears.get(5) == Notice("message", queue.keys.channel, one.id + two.id)
        queue.bury(*(buried(item, result=b"x{}", result_ttl=1000) for item in (three, four)))
        assert ears.get(5) == Notice("message", queue.keys.channel, three.id + four.id)
    finally:
        ears.close()


def test_one_call_drops_all_results_above_the_cap(queue: Queue) -> None:
    queue.limits = Limits(results=2)
    queue.enqueue(*(message(number) for number in range(8)))
    taken = queue.take()
    queue.ack(*(done(item, b"d", 1000 + at) for at, item in enumerate(taken[:4])))
    assert set(queue.dump()["results"]) == {item.id for item in taken[2:4]}
    queue.bury(*(buried(item, result=b"x", result_ttl=2000 + at) for at, item in enumerate(taken[4:])))
    assert set(queue.dump()["results"]) == {item.id for item in taken[6:]}
    assert len(queue.dump()["results:due"]) == 4


def test_one_call_drops_all_dead_letters_above_the_cap(queue: Queue) -> None:
    queue.limits = Limits(dead=2)
    queue.enqueue(*(message(number) for number in range(9)))
    taken = queue.take()
    for item in taken[:5]:
        queue.now += 1
        queue.bury(buried(item))
    queue.limits = Limits(dead=1)
    queue.bury(*(buried(item, quarantine=True) for item in taken[5:]))
    assert [len(queue.dump()[name]) for name in ("dead", "quarantine")] == [2, 2]
    assert len(queue.dump()["state"]) == len(queue.dump()["errors"]) == 2
    assert queue.counter("dead_dropped") == 7


# -- tombstones, unique keys, cancelling


def test_only_an_explicit_id_is_held_against_a_tombstone(queue: Queue) -> None:
    queue.enqueue(message(1, explicit=True))
    queue.ack(done(queue.take()[0]))
    assert queue.enqueue(message(1, due=-50))[0].created


def test_a_repeated_cancel_knows_the_mark_when_no_outcome_is_kept(queue: Queue) -> None:
    queue.limits = Limits(outcome_ttl=0)
    queue.enqueue(message(1))
    assert [queue.cancel(message(1).id) for _ in range(2)] == ["cancelled", "cancelled"]


@pytest.mark.parametrize("state", ["ready", "delayed", "parked"])
def test_cancelling_frees_a_unique_key_only_for_its_holder(queue: Queue, state: str) -> None:
    queue.enqueue(message(1, unique=KEY, due=-50 if state == "delayed" else 0))
    if state == "parked":
        queue.park((held(queue.take()[0]), "t"))
    queue.link.execute("HSET", queue.keys.unique, KEY, message(9).id)
    assert queue.cancel(message(1).id) == "cancelled"
    assert queue.dump()["unique"] == {KEY: message(9).id}


# -- messages set aside


@pytest.mark.parametrize("quarantine", [False, True], ids=["dead", "quarantined"])
@pytest.mark.parametrize("verb", ["redrive", "discard"])
def test_an_id_with_a_time_counts_only_if_it_was_buried_then(queue: Queue, verb: str, quarantine: bool) -> None:
    queue.enqueue(message(1))
    queue.bury(buried(queue.take()[0], quarantine=quarantine))
    run = getattr(queue, verb)
    before = queue.dump()
    assert run(message(1).id + b"%d" % (queue.now - 1)) == 0
    assert queue.dump() == before
    assert run(message(1).id + b"%d" % queue.now) == 1


def test_what_has_no_body_is_not_brought_back(queue: Queue) -> None:
    queue.enqueue(message(1))
    queue.bury(buried(queue.take()[0]))
    queue.link.execute("HDEL", queue.keys.body, message(1).id)
    before = queue.dump()
    assert queue.redrive(message(1).id) == 0
    assert queue.dump() == before


def test_entries_of_a_parked_list_whose_messages_are_elsewhere_go_alone(queue: Queue) -> None:
    queue.enqueue(message(1))
    queue.take()
    queue.enqueue(message(2, explicit=True))
    before = queue.dump()
    queue.link.execute("RPUSH", queue.keys.parked_task("t"), message(1).id, message(2).id, message(3).id)
    assert queue.unpark("t") == (0, 0)
    assert queue.dump() == before
