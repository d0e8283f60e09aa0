"""purge.lua: what operators throw away takes with it what belongs to it, and nothing else."""

from __future__ import annotations

import pytest

from taskq.tasks.operator_calls import Purged, State, purge
from taskq.tasks.packing import PURGE_BYTES
from tests.lua.kit import Queue, buried, held, message, retried

KEY, OTHER = b"u" * 16, b"v" * 16


def purged(queue: Queue, state: State, source: str, *, task: str = "", limit: int = 250) -> Purged:
    return queue.run(purge(queue.keys, state, source, queue.limits, task=task, limit=limit, now=queue.at))


def test_ready_messages_go_in_parts_and_a_mark_is_not_counted(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(4)), message(7, priority=1, explicit=True))
    queue.cancel(message(1).id)
    assert purged(queue, "ready", queue.keys.ready_for(0), limit=2) == Purged(1, 2, 2)
    assert queue.ready() == [2, 3]
    assert set(queue.dump()["state"]) == {message(7).id}, "the mark is gone, and what is in other lists stays"
    assert purged(queue, "ready", queue.keys.ready_for(0)) == Purged(2, 2, 0)
    assert purged(queue, "ready", queue.keys.ready_for(0)) == Purged(0, 0, 0)
    assert queue.ready(1) == [7]
    assert set(queue.dump()["body"]) == {message(7).id}
    assert queue.counter("purged") == 3


def test_no_script_removes_more_than_it_is_asked_or_more_than_250(queue: Queue) -> None:
    for first in (0, 150):
        queue.enqueue(*(message(number) for number in range(first, first + 150)))
    ready = queue.keys.ready_for(0)
    assert purged(queue, "ready", ready, limit=0) == Purged(0, 0, 300)
    call = purge(queue.keys, "ready", ready, queue.limits, limit=250, now=queue.at)
    call.args[1] = 10_000  # type: ignore[index]
    assert queue.run(call) == Purged(250, 250, 50)


@pytest.mark.parametrize("state", ["ready", "delayed", "parked", "dead", "quarantined"])
def test_all_that_belongs_to_a_message_goes_with_it(queue: Queue, state: State) -> None:
    queue.enqueue(message(1, unique=KEY, explicit=True), message(2))
    queue.nack(*(retried(delivery, line=b"{}") for delivery in queue.take()))
    source = put(queue, state)
    queue.enqueue(message(3, unique=OTHER, priority=1))
    queue.now += 1000
    assert purged(queue, state, source, task="t" if state == "parked" else "") == Purged(2, 2, 0)
    dump = queue.dump()
    assert set(dump["body"]) == set(dump["state"]) == {message(3).id}
    assert dump["unique"] == {OTHER: message(3).id}
    assert not {"errors", "parked", "parked:t", "delayed", "dead", "quarantine", "results", "results:due"} & set(dump)
    assert queue.counter("purged") == 2
    assert dump["tombs"][0] == message(1).id
    assert float(dump["tombs"][1]) == queue.now + queue.limits.tombstone, "as when it is cancelled"


def put(queue: Queue, state: State) -> str:
    """Bring what is ready into this state; the key where it waits then."""
    if state == "ready":
        return queue.keys.ready_for(0)
    deliveries = queue.take()
    if state == "delayed":
        queue.nack(*(retried(delivery, 5000) for delivery in deliveries))
        return queue.keys.delayed
    if state == "parked":
        queue.park(*((held(delivery), "t") for delivery in deliveries))
        return queue.keys.parked_task("t")
    quarantine = state == "quarantined"
    queue.bury(*(buried(one, result=b"x{}", result_ttl=9000, quarantine=quarantine) for one in deliveries))
    return queue.keys.quarantine if quarantine else queue.keys.dead


def test_the_outcome_of_a_message_that_waits_again_under_an_old_id_stays(queue: Queue) -> None:
    queue.enqueue(message(1))
    queue.link.execute("HSET", queue.keys.results, message(1).id, b"d1")
    queue.link.execute("ZADD", queue.keys.results_due, queue.now + 500, message(1).id)
    assert purged(queue, "ready", queue.keys.ready_for(0)).removed == 1
    assert queue.dump()["results"] == {message(1).id: b"d1"}
    assert "results:due" in queue.dump()


def test_a_unique_key_is_freed_only_by_its_holder(queue: Queue) -> None:
    queue.enqueue(message(1, unique=KEY))
    queue.link.execute("HSET", queue.keys.unique, KEY, message(9).id)
    assert purged(queue, "ready", queue.keys.ready_for(0)).removed == 1
    assert queue.dump()["unique"] == {KEY: message(9).id}


def test_entries_of_messages_that_are_elsewhere_go_alone(queue: Queue) -> None:
    queue.enqueue(message(1), message(2, explicit=True))
    queue.take(1)
    queue.enqueue(message(3))
    stray = [message(1).id, message(9).id]
    queue.link.execute("LPUSH", queue.keys.ready_for(0), *stray)
    queue.link.execute("ZADD", queue.keys.dead, queue.now, message(1).id, queue.now, message(3).id)
    before = queue.dump(without=["dead"])
    assert purged(queue, "dead", queue.keys.dead) == Purged(0, 2, 0)
    assert queue.dump() == before
    assert purged(queue, "ready", queue.keys.ready_for(0)) == Purged(2, 4, 0)
    assert set(queue.dump()["body"]) == {message(1).id}
    assert queue.state(message(1).id) == "l"
    assert purged(queue, "dead", queue.keys.dead) == Purged(0, 0, 0)


def test_a_mark_outside_of_the_lists_is_left_to_its_list(queue: Queue) -> None:
    queue.enqueue(message(1))
    queue.cancel(message(1).id)
    queue.link.execute("ZADD", queue.keys.delayed, queue.now, message(1).id)
    assert purged(queue, "delayed", queue.keys.delayed) == Purged(0, 1, 0)
    assert queue.dump()["state"] == {message(1).id: b"c"}


def test_a_cancel_request_that_came_back_with_its_message_goes_too(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    one, two = queue.take()
    queue.cancel(one.id)
    queue.cancel(two.id)
    queue.nack(retried(one))
    assert purged(queue, "ready", queue.keys.ready_for(0)).removed == 1
    assert set(queue.dump()["cancels"]) == {two.id}


def test_large_bodies_are_freed_a_few_at_a_time(queue: Queue) -> None:
    for number in range(3):
        queue.enqueue(message(number, b"x" * (PURGE_BYTES * 2 // 3)))
    ready = queue.keys.ready_for(0)
    assert purged(queue, "ready", ready) == Purged(1, 1, 2)
    assert purged(queue, "ready", ready) == Purged(1, 1, 1)
    queue.enqueue(message(9, b"x" * (PURGE_BYTES + 1)), message(10))
    assert purged(queue, "ready", ready) == Purged(1, 1, 2)
    assert purged(queue, "ready", ready) == Purged(1, 1, 1), "even the largest goes"
    assert purged(queue, "ready", ready) == Purged(1, 1, 0)


def test_large_dead_letters_are_freed_a_few_at_a_time(queue: Queue) -> None:
    for number in range(2):
        queue.enqueue(message(number, b"x" * (PURGE_BYTES * 2 // 3)))
    for delivery in queue.take(1) + queue.take(1):
        queue.bury(buried(delivery))
    assert purged(queue, "dead", queue.keys.dead) == Purged(1, 1, 1)
    assert queue.dump()["dead"][::2] == [message(1).id]
    assert purged(queue, "dead", queue.keys.dead) == Purged(1, 1, 0)


def test_a_task_is_struck_off_only_when_nothing_of_it_is_parked(queue: Queue) -> None:
    queue.enqueue(message(1), message(2), message(3))
    one, two, three = queue.take()
    queue.park((held(one), "t"), (held(two), "t"), (held(three), "other"))
    parked = queue.keys.parked_task("t")
    assert purged(queue, "parked", parked, task="t", limit=1) == Purged(1, 1, 1)
    assert queue.dump()["parked"][::2] == [b"other", b"t"]
    assert purged(queue, "parked", parked, task="t", limit=1) == Purged(1, 1, 0)
    assert queue.dump()["parked"][::2] == [b"other"]
