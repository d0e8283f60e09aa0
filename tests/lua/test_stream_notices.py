"""What the scripts of stream queues notice in rare cases, above all entries that may be there twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq import Retain
from tests.lua.kit import held, message, number_of, retried
from tests.lua.stream_kit import GROUP, StreamQueue
from tests.lua.test_stream_care import fill, finish, set_back
from tests.lua.test_stream_guards import double, numbers
from tests.servers import RealServer


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield (one := StreamQueue(link, namespace))
    one.check()
    link.close()


# -- what may be there twice


def test_without_a_tally_a_second_entry_is_dropped_by_a_later_lease_too(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    double(queue)
    queue.link.execute("DEL", queue.keys.tally)
    queue.watch_all()
    assert numbers(queue.take(3)) == [0, 1, 2]
    assert queue.take(3) == []
    assert queue.pending() == [0, 1, 2]


def test_a_second_entry_of_what_waits_to_run_alone_is_not_run_beside_others(queue: StreamQueue) -> None:
    fill(queue, 0, 2)
    double(queue)
    for _ in range(2):
        queue.seat = type(queue.seat)()
        (one,) = queue.take(1)
        queue.reclaim(one.token, mode="crash", started=[one.id])
    queue.seat = type(queue.seat)()
    assert numbers(queue.take()) == [1]
    assert numbers(queue.take(alone=True)) == [0]


def test_what_was_retried_while_it_was_there_twice_is_held_once_though_others_are_between(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    double(queue)
    fill(queue, 1, 1)
    queue.nack(retried(queue.take(1)[0]))
    assert [entry.number for entry in queue.stream()] == [0, 0, 1, 0]
    assert [number_of(one) for _ in range(2) for one in queue.take(1)] == [0, 1]
    assert queue.take(1) == []
    assert queue.pending() == [0, 1]


def test_a_retry_without_a_body_ends_its_lease_while_others_may_be_there_twice(queue: StreamQueue) -> None:
    fill(queue, 0, 2)
    double(queue)
    (one,) = queue.take(1)
    queue.link.execute("HDEL", queue.keys.body, one.id)
    assert queue.nack(retried(one)) == []
    assert numbers(queue.take()) == queue.pending() == [1]


def test_a_retry_beside_a_group_that_was_set_back_is_held_once(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    queue.nack(retried(queue.take(1)[0]))
    set_back(queue)
    assert numbers(queue.take(1)) == [0]
    assert queue.take(1) == []
    assert queue.pending() == [0]


@pytest.mark.parametrize("later", [None, 500], ids=["held", "delayed"])
def test_a_copy_by_others_does_not_run_what_is_held_or_delayed(queue: StreamQueue, later: int | None) -> None:
    fill(queue, 0, 1)
    (one,) = queue.take()
    if later:
        queue.nack(retried(one, later))
    queue.link.execute("XADD", queue.keys.stream, "*", "id", one.id, "body", "other")
    assert queue.take() == []
    assert queue.pending() == ([] if later else [0])


def test_an_older_entry_does_not_take_its_place_from_what_was_given_back(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    queue.nack(retried(queue.take()[0]))
    queue.release(held(queue.take()[0]))
    old = queue.stream()[0].id
    queue.link.execute("XCLAIM", queue.keys.stream, GROUP, GROUP, 0, old, "FORCE", "JUSTID")
    assert queue.pending() == [0, 0]
    queue.watch_all()
    assert queue.pending() == queue.given_back() == [0]


# -- what one lease reads


def test_one_lease_looks_at_a_thousand_entries_at_most(queue: StreamQueue) -> None:
    fill(queue, 0, 1_500)
    finish(queue, 1_500)
    set_back(queue)
    assert queue.take(250) == []
    (group,) = queue.link.execute("XINFO", "GROUPS", queue.keys.stream)
    at = dict(zip(group[::2], group[1::2], strict=True))[b"last-delivered-id"]
    assert str(at, "ascii") == queue.stream()[999].id


# -- what watching does


def test_history_of_one_body_that_is_larger_than_what_a_call_frees_goes_all_the_same(queue: StreamQueue) -> None:
    queue.declare(Retain(count=0))
    fill(queue, 0, 1, b"x" * 2_200_000)
    finish(queue, 1)
    watched = queue.watch()
    assert (watched.trimmed, watched.more, queue.stream()) == (1, False, [])


def test_watching_alone_makes_the_transport_known(queue: StreamQueue) -> None:
    queue.link.execute("HDEL", queue.keys.meta, "transport")
    queue.watch()
    assert queue.link.execute("HGET", queue.keys.meta, "transport") == b"stream"


# -- what is appended


def test_each_entry_has_the_body_of_its_own_message(queue: StreamQueue) -> None:
    queue.enqueue(*(message(number) for number in range(3)))
    queue.enqueue(*(message(number, explicit=True) for number in range(3, 6)))
    found = queue.link.execute("XRANGE", queue.keys.stream, "-", "+")
    assert [(number_of(fields[1]), fields[3]) for _, fields in found] == [
        (number, b"body-%d" % number) for number in range(6)
    ]
