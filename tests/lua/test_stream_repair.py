"""Repair appends all that lost its entry, and nothing that waits elsewhere; history waits for the pending list."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq import Retain
from taskq.tasks import stream_calls
from tests.lua.kit import buried, done, held, message, number_of, retried
from tests.lua.stream_kit import GROUP, StreamQueue
from tests.lua.test_stream_care import destroy_group, fill, finish, trim_all
from tests.servers import RealServer


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield StreamQueue(link, namespace)
    link.close()


def ask(queue: StreamQueue) -> None:
    queue.link.execute("HSET", queue.keys.tally, "repair", "0")


def test_nothing_is_repaired_that_nobody_asked_for(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    trim_all(queue)
    assert queue.repair() == 0
    assert queue.stream() == []


def test_all_pages_of_a_repair_are_looked_at_and_it_rings(queue: StreamQueue) -> None:
    fill(queue, 0, 700, b"x" * 100)
    trim_all(queue)
    assert queue.take() == []
    queue.rings()
    assert queue.repair() == 700
    assert (queue.rings(), queue.tally("repaired")) == (1, 700)
    found = [number_of(one) for _ in range(3) for one in queue.take(250)]
    assert sorted(found) == list(range(700))
    assert not queue.watch().repair


def test_repair_rings_once_and_not_if_it_found_nothing(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    ask(queue)
    assert queue.repair() == 1
    assert queue.rings() == 1
    queue.take()
    ask(queue)
    assert (queue.repair(), queue.rings()) == (0, 0)


def test_no_history_goes_while_pages_of_the_pending_list_are_missing(queue: StreamQueue) -> None:
    queue.declare(Retain(count=0))
    fill(queue, 0, 250)
    taken = queue.take(250)
    queue.ack(*(done(one) for number, one in enumerate(taken) if number not in (0, 150)))
    entries, stream = queue.stream(), queue.keys.stream
    destroy_group(queue)
    queue.link.execute("XGROUP", "CREATE", stream, GROUP, entries[-1].id)
    queue.link.execute("XCLAIM", stream, GROUP, GROUP, 0, entries[150].id, "FORCE", "JUSTID")
    queue.link.execute("HSET", queue.keys.tally, "restore", "0")
    assert queue.watch().trimmed == 0
    assert queue.watch_all().trimmed == 0
    assert queue.pending() == [0, 150]


def test_history_goes_when_it_is_older_than_its_age_and_not_before(queue: StreamQueue) -> None:
    queue.declare(Retain(age=10))
    fill(queue, 0, 100)
    finish(queue, 100)
    queue.watch_all()
    queue.now += 10_000
    assert queue.watch_all().trimmed == 0
    queue.now += 1
    assert queue.watch_all().trimmed == 100


@pytest.mark.parametrize("taken", [0, 1, 100])
def test_a_block_stays_while_one_of_it_is_unread_or_pending(queue: StreamQueue, taken: int) -> None:
    queue.declare(Retain(count=0))
    fill(queue, 0, 100)
    if taken:
        deliveries = queue.take(taken)
        queue.ack(*map(done, deliveries[:-1]))
    assert queue.watch_all().trimmed == 0
    assert len(queue.stream()) == 100


@pytest.mark.parametrize("retain", [Retain(bytes=25_000), Retain(count=250)])
def test_no_block_goes_that_is_needed_for_what_is_retained(queue: StreamQueue, retain: Retain) -> None:
    queue.declare(retain)
    fill(queue, 0, 300, b"x" * 100)
    finish(queue, 300)
    assert queue.watch_all().trimmed == 0


def test_what_a_watch_is_told_to_retain_is_stored_only_if_nobody_has_said(queue: StreamQueue) -> None:
    queue.declare(Retain(count=1_000))
    fill(queue, 0, 100)
    finish(queue, 100)
    assert queue.run(stream_calls.watch(queue.keys, "0 0 0", queue.at)).trimmed == 0
    queue.link.execute("HDEL", queue.keys.meta, "retain")
    queue.run(stream_calls.watch(queue.keys, "500 1000000 1000000", queue.at))
    assert queue.link.execute("HGET", queue.keys.meta, "retain") == b"500 1000000 1000000"


def test_one_call_moves_a_hundred_blocks_and_says_that_there_is_more(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    finish(queue, 1)
    queue.link.execute("RPUSH", queue.keys.behind[4], *[f"{queue.stream()[0].id} 0 0"] * 101)
    assert [queue.watch().more for _ in range(2)] == [True, False]
    assert queue.link.execute("LLEN", queue.keys.behind[5]) == 101


def test_watching_twice_rings_once(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    queue.watch()
    queue.watch()
    assert queue.rings() == 1


def test_nothing_is_retained_that_nobody_has_said(queue: StreamQueue) -> None:
    queue.link.execute("HDEL", queue.keys.meta, "retain")
    queue.watch()
    assert not queue.link.execute("HEXISTS", queue.keys.meta, "retain")


def test_what_waits_in_alone_is_not_repaired_whatever_else_was_removed(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    for _ in range(2):
        queue.seat = type(queue.seat)()
        (one,) = queue.take(1)
        queue.reclaim(one.token, mode="crash", started=[one.id])
    queue.link.execute("DEL", queue.keys.entries)
    ask(queue)
    assert queue.repair() == 0


def test_what_was_blamed_once_and_what_has_a_record_is_repaired(queue: StreamQueue) -> None:
    queue.enqueue(message(0), message(1, explicit=True))
    (one,) = queue.take(1)
    queue.reclaim(one.token, mode="crash", started=[one.id])
    queue.link.execute("DEL", queue.keys.entries, queue.keys.ready_for(0), queue.keys.stream)
    ask(queue)
    assert queue.repair() == 2
    queue.seat = type(queue.seat)()
    assert sorted(number_of(one) for one in queue.take()) == [0, 1]


@pytest.mark.parametrize("ahead", [0, 3_600_000])
def test_a_stream_that_is_made_anew_goes_on_behind_what_was_read(queue: StreamQueue, ahead: int) -> None:
    """Made in the same millisecond, or after the clock was set back, it would begin before the place of the group."""
    fill(queue, 0, 2)
    queue.take(1)
    ms = int(bytes(queue.link.execute("TIME")[0])) * 1_000 + 999 + ahead
    queue.link.execute("HSET", queue.keys.tally, "last", f"{ms}-7")
    queue.link.execute("DEL", queue.keys.stream)
    queue.enqueue(message(2), message(3))
    first, second = (bytes(entry) for entry, _ in queue.link.execute("XRANGE", queue.keys.stream, "-", "+"))
    assert (first, second) == (b"%d-8" % ms, b"%d-9" % ms)
    assert [number_of(one) for one in queue.take()] == [2, 3]


def test_what_is_delayed_parked_or_dead_is_not_repaired(queue: StreamQueue) -> None:
    queue.enqueue(message(0, due=-50), *(message(number) for number in (1, 2, 3)))
    one, two, three = queue.take()
    queue.park((held(one), "t"))
    queue.bury(buried(two))
    queue.nack(retried(three, 1_000))
    ask(queue)
    assert queue.repair() == 0
