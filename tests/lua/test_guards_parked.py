"""expire_parked.lua, guard by guard: whom it buries, what goes with a message, and what the caps drop."""

from __future__ import annotations

import pytest

from taskq.store.subscription import Notice
from taskq.tasks import calls
from taskq.tasks.broker import Flags, Outgoing
from taskq.tasks.calls import Limits
from tests.lua.kit import Queue, buried, done, held, message, retried

KEY = b"u" * 16
AGE = Limits().parked_age


def park(queue: Queue, *messages: Outgoing) -> list[bytes]:
    queue.enqueue(*messages)
    taken = queue.take()
    queue.park(*((held(delivery), "t") for delivery in taken))
    return [delivery.id for delivery in taken]


@pytest.mark.parametrize("more", [{}, {"unique": KEY}], ids=["plain", "unique"])
def test_a_record_without_a_time_is_as_old_as_its_task(queue: Queue, more: dict[str, bytes]) -> None:
    (parked,) = park(queue, message(1, **more))
    record = queue.dump()["state"][parked]
    queue.link.execute("HSET", queue.keys.state, parked, record[:-8])
    queue.now += AGE - 1
    assert queue.expire_parked("t") == 0
    queue.now += 1
    assert queue.expire_parked("t") == 1


def test_entries_of_messages_that_are_elsewhere_go_alone(queue: Queue) -> None:
    queue.enqueue(message(7))
    queue.take()
    queue.enqueue(message(8, explicit=True))
    before = queue.dump()["state"]
    queue.link.execute("RPUSH", queue.keys.parked_task("t"), message(7).id, message(8).id, message(9).id)
    assert queue.expire_parked("t") == 0
    dump = queue.dump()
    assert dump["state"] == before
    assert not {"parked:t", "dead"} & set(dump)


def test_a_dead_letter_keeps_only_what_still_counts(queue: Queue) -> None:
    sent = Outgoing(message(1).id, b"x" * 2000, unique=KEY, explicit=True, expires=queue.now + 2 * AGE)
    queue.enqueue(sent, message(2, b"x" * 2000, explicit=True))
    one, two = queue.take()
    queue.cancel(one.id)
    queue.park((held(one), "t"))
    queue.now += AGE
    assert queue.expire_parked("t") == 1
    queue.bury(buried(two))
    dump = queue.dump()
    for record in dump["state"].values():
        assert record[:3] + record[8:] == b"x\x02" + bytes([Flags.EXPLICIT | Flags.BIG])
    assert len(dump["state"]) == 2
    assert not {"unique", "cancels", "parked", "parked:t"} & set(dump)
    assert dump["dead"] == [one.id, b"%d" % queue.now, two.id, b"%d" % queue.now]
    assert dump["results:due"] == [one.id, b"%d" % (queue.now + queue.limits.outcome_ttl)]


def test_a_unique_key_is_freed_only_by_its_holder(queue: Queue) -> None:
    park(queue, message(1, unique=KEY))
    queue.link.execute("HSET", queue.keys.unique, KEY, message(9).id)
    queue.now += AGE
    assert queue.expire_parked("t") == 1
    assert queue.dump()["unique"] == {KEY: message(9).id}


def test_a_task_that_was_struck_off_is_not_brought_back(queue: Queue) -> None:
    park(queue, message(1))
    queue.now += 1000
    park(queue, message(2))
    queue.link.execute("ZREM", queue.keys.parked, "t")
    queue.now += AGE - 1000
    assert queue.expire_parked("t") == 1
    assert "parked" not in queue.dump()
    assert queue.dump()["parked:t"] == [message(2).id]


def test_above_the_cap_the_oldest_dead_letters_go(queue: Queue) -> None:
    queue.limits = Limits(dead=2)
    queue.enqueue(message(9))
    queue.bury(buried(queue.take()[0]))
    queue.now += 1
    ids = park(queue, message(1), message(2))
    queue.now += AGE
    assert queue.expire_parked("t") == 2
    dump = queue.dump()
    assert dump["dead"][::2] == ids
    assert set(dump["body"]) == set(dump["state"]) == set(dump["errors"]) == set(ids)
    assert queue.counter("dead_dropped") == 1


def test_above_the_cap_the_results_that_end_soonest_go(queue: Queue) -> None:
    queue.limits = Limits(results=3)
    queue.now += AGE
    ids = park(queue, message(1), message(2))
    queue.enqueue(message(8), message(9))
    soon, late = queue.take()
    queue.now += AGE
    queue.ack(done(soon, b"d8", 1000), done(late, b"d9", 2 * queue.limits.outcome_ttl))
    assert queue.expire_parked("t") == 2
    assert set(queue.dump()["results"]) == {*ids, late.id}
    assert set(queue.dump()["results:due"][::2]) == {*ids, late.id}
    queue.enqueue(message(7))
    queue.cancel(message(7).id)
    assert set(queue.dump()["results"]) < {*ids, late.id, message(7).id}
    assert late.id in queue.dump()["results"], "cancelling drops the soonest as well"


def test_the_outcome_is_told_and_the_history_kept_within_its_limit(queue: Queue) -> None:
    queue.limits = Limits(error_bytes=25)
    queue.enqueue(message(1))
    for number in range(2):
        queue.nack(retried(queue.take()[0], line=b'{"line":%d}' % number))
    queue.park((held(queue.take()[0]), "t"))
    queue.now += AGE
    ears = queue.link.subscribe(queue.keys.channel)
    try:
        assert ears.get(5) == Notice("connected")
        assert queue.expire_parked("t", b'{"l":3}') == 1
        assert ears.get(5) == Notice("message", queue.keys.channel, message(1).id)
    finally:
        ears.close()
    assert queue.lookup(message(1).id)[0].lines == b'{"line":1}\n{"l":3}'


@pytest.mark.parametrize(("ttl", "result"), [(0, b"x{}"), (1000, b"")], ids=["no time", "no result"])
def test_no_outcome_is_kept_if_none_is_wanted(queue: Queue, ttl: int, result: bytes) -> None:
    limits = Limits(outcome_ttl=ttl)
    park(queue, message(1))
    queue.now += AGE
    assert queue.run(calls.expire_parked(queue.keys, "t", b"{}", result, limits, queue.at)) == 1
    assert not {"results", "results:due"} & set(queue.dump())
