"""Settling on a stream queue: which calls acknowledge, and what a message leaves behind that has another entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from taskq.errors import TaskqError
from taskq.tasks import calls
from tests.lua.kit import buried, done, held, number_of, retried
from tests.lua.stream_kit import StreamQueue
from tests.lua.test_stream_care import destroy_group, fill
from tests.lua.test_stream_guards import double
from tests.servers import RealServer


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield (one := StreamQueue(link, namespace))
    one.check()
    link.close()


SETTLES: dict[str, Callable[..., Any]] = {
    "ack": lambda queue, *items, **more: queue.ack(*map(done, items), **more),
    "nack": lambda queue, *items, **more: queue.nack(*(retried(item, 1_000) for item in items), **more),
    "bury": lambda queue, *items, **more: queue.bury(*map(buried, items), **more),
    "park": lambda queue, *items: queue.park(*((held(item), f"t{item.fence % 2}") for item in items)),
}
numbered = pytest.mark.parametrize("verb", ["ack", "nack", "bury"])


@numbered
def test_an_older_settling_call_acknowledges_nothing(queue: StreamQueue, verb: str) -> None:
    fill(queue, 0, 2)
    one, two = queue.take()
    older, newer = queue.seat.op("q", verb), queue.seat.op("q", verb)
    SETTLES[verb](queue, one, op=newer)
    with suppress(TaskqError):
        SETTLES[verb](queue, two, op=older)
    assert queue.pending() == [1]


@numbered
def test_the_calls_of_each_verb_are_numbered_by_themselves(queue: StreamQueue, verb: str) -> None:
    fill(queue, 0, 4)
    deliveries = queue.take()
    for other in SETTLES:
        if other not in (verb, "park"):
            ops = [queue.seat.op("q", other) for _ in range(3)]
            SETTLES[other](queue, deliveries.pop(), op=ops[-1])
    SETTLES[verb](queue, deliveries.pop(), op=queue.seat.op("q", verb))
    assert queue.pending() == [0]


@pytest.mark.parametrize("verb", SETTLES)
def test_many_batches_in_one_call_are_all_acknowledged(queue: StreamQueue, verb: str) -> None:
    fill(queue, 0, 12)
    batches = [queue.take(2) for _ in range(6)]
    assert SETTLES[verb](queue, *(one for one, _ in batches)) == []
    assert queue.pending() == [1, 3, 5, 7, 9, 11]
    assert SETTLES[verb](queue, *(two for _, two in batches)) == []
    assert queue.pending() == []


def test_many_batches_in_one_call_are_all_given_back(queue: StreamQueue) -> None:
    fill(queue, 0, 12)
    batches = [queue.take(2) for _ in range(6)]
    queue.release(*(held(one) for one, _ in batches))
    assert queue.given_back() == [0, 2, 4, 6, 8, 10]
    assert queue.pending() == list(range(12))


@pytest.mark.parametrize("verb", SETTLES)
def test_a_second_entry_of_what_is_settled_is_acknowledged_when_it_is_read(queue: StreamQueue, verb: str) -> None:
    fill(queue, 0, 2)
    double(queue)
    SETTLES[verb](queue, *queue.take(1))
    (one,) = queue.take()
    assert (queue.pending(), queue.given_back()) == ([1], [])
    assert queue.ack(done(one)) == []


@pytest.mark.parametrize("verb", [*SETTLES, "release"])
def test_who_has_lost_one_of_a_batch_changes_nothing_for_its_new_holder(queue: StreamQueue, verb: str) -> None:
    fill(queue, 0, 2)
    lost, kept = queue.take()
    queue.release(held(lost))
    (one,) = queue.take()
    if verb == "release":
        assert queue.release(held(lost)) == [lost.id]
    else:
        assert SETTLES[verb](queue, lost) == [lost.id]
    assert (queue.pending(), queue.given_back()) == ([0, 1], [])
    assert queue.ack(done(one), done(kept)) == []


def test_all_that_was_lost_stays_with_its_new_holder(queue: StreamQueue) -> None:
    fill(queue, 0, 4)
    one, two, three, four = queue.take()
    queue.release(*map(held, (one, two, three)))
    queue.take()
    assert queue.ack(*map(done, (one, two, three, four))) == [one.id, two.id, three.id]
    assert queue.pending() == [0, 1, 2]


def test_of_a_batch_only_what_its_token_still_holds_becomes_pending_again(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    first, _, third = queue.take()
    queue.nack(retried(first))
    queue.ack(done(third))
    queue.take()
    destroy_group(queue)
    queue.watch()
    assert queue.pending() == [1, 0]


def test_what_is_held_without_an_entry_does_not_become_pending(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    queue.park(*((held(one), "t") for one in queue.take()))
    ticket = queue.seat.ticket("q")
    (one,) = queue.run(calls.lease(queue.keys, ticket, 1, queue.limits, parked="t", now=queue.at)).deliveries
    destroy_group(queue)
    queue.watch_all()
    assert (queue.pending(), queue.ack(done(one))) == ([], [])


def test_what_has_two_entries_is_looked_up_until_the_newest_was_read(queue: StreamQueue) -> None:
    fill(queue, 0, 10)
    double(queue)
    assert [number_of(one) for one in queue.take(5)] == [0, 1, 2, 3, 4]
    assert [number_of(one) for one in queue.take(10)] == [5, 6, 7, 8, 9]
    assert (queue.pending(), queue.given_back()) == (list(range(10)), [])


def test_of_a_message_that_is_named_twice_the_valid_token_counts(queue: StreamQueue) -> None:
    fill(queue, 0, 2)
    stale, _ = queue.take()
    queue.nack(retried(stale))
    (again,) = queue.take()
    assert queue.ack(done(again), done(stale)) == [stale.id]
    assert queue.pending() == [1]


def test_a_batch_that_is_given_back_in_another_order_keeps_each_entry_with_its_message(queue: StreamQueue) -> None:
    fill(queue, 0, 2)
    queue.release(*map(held, reversed(queue.take())))
    (one,) = (delivery for delivery in queue.take() if number_of(delivery) == 0)
    queue.ack(done(one))
    assert queue.pending() == [1]
