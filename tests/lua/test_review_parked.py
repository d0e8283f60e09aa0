"""expire_parked.lua: what nobody knew for seven days is a dead letter, each message by its own time."""

from __future__ import annotations

import pytest

from taskq.tasks import calls
from taskq.tasks.packing import FAILURES
from tests.lua.kit import Queue, held, message, number_of

DAY_MS = 86_400_000
KEY = b"u" * 16


def park_next(queue: Queue, task: str = "t") -> None:
    queue.park((held(queue.take(1)[0]), task))


def test_a_parked_message_is_dead_after_seven_days_of_its_own(queue: Queue) -> None:
    queue.enqueue(message(1), message(2), message(3))
    for _ in range(3):
        park_next(queue)
        queue.now += DAY_MS
    queue.now += 4 * DAY_MS - 1
    assert queue.expire_parked("t") == 0
    queue.now += 1
    assert queue.expire_parked("t") == 1
    assert queue.expire_parked("t") == 0
    (dead, *others) = queue.lookup(message(1).id, message(2).id, message(3).id)
    assert (dead.state, dead.lines, dead.result) == ("x", b'{"kind":"unknown_task"}', b"x{}")
    assert [one.state for one in others] == ["p", "p"]
    assert queue.sweep().parked_since == queue.now - 6 * DAY_MS, "since when the next one waits"
    queue.now += 2 * DAY_MS
    assert queue.expire_parked("t") == 2
    assert queue.sweep().parked_since is None
    assert queue.counter("dead") == 3
    assert queue.redrive(message(1).id) == 1
    assert [number_of(item) for item in queue.take()] == [1]


def test_it_frees_the_unique_key_and_leaves_a_tombstone(queue: Queue) -> None:
    queue.enqueue(message(1, unique=KEY, explicit=True, expires=queue.now + 99 * DAY_MS), message(2))
    park_next(queue)
    queue.now += 7 * DAY_MS
    assert queue.expire_parked("t") == 1
    assert queue.enqueue(message(3, unique=KEY))[0].created
    queue.discard(message(1).id)
    assert not queue.enqueue(message(1, explicit=True))[0].created


def test_marks_of_cancelled_messages_go_with_it(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    park_next(queue)
    park_next(queue)
    assert queue.cancel(message(1).id) == "cancelled"
    queue.now += 7 * DAY_MS
    assert queue.expire_parked("t") == 1
    assert set(queue.dump()["state"]) == {message(2).id}
    assert not {"parked", "parked:t"} & set(queue.dump())


def test_one_script_buries_a_bounded_number(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(FAILURES + 3)))
    queue.park(*((held(delivery), "t") for delivery in queue.take(250)))
    queue.now += 7 * DAY_MS
    assert queue.expire_parked("t") == FAILURES
    assert queue.expire_parked("t") == 3
    assert queue.expire_parked("t") == 0


@pytest.mark.parametrize("way", ["lease", "unpark"])
def test_what_comes_back_from_a_parked_list_is_as_it_was(queue: Queue, way: str) -> None:
    expires = queue.now + DAY_MS
    queue.enqueue(message(1, unique=KEY, explicit=True, expires=expires, priority=1), message(2, expires=expires))
    queue.enqueue(message(3, unique=b"v" * 16), message(4))
    deliveries = queue.take()
    before = without_token(queue)
    queue.park(*((held(delivery), "t") for delivery in deliveries))
    if way == "unpark":
        assert queue.unpark("t") == (4, 0)
        again = queue.take()
    else:
        ticket = queue.seat.ticket("q")
        again = queue.run(calls.lease(queue.keys, ticket, 10, queue.limits, parked="t", now=queue.at)).deliveries
    assert sorted(map(number_of, again)) == [1, 2, 3, 4]
    assert without_token(queue) == before


def without_token(queue: Queue) -> dict[bytes, bytes]:
    return {one: record[:8] + record[28:] for one, record in queue.dump()["state"].items()}
