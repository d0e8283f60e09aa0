"""What single guards of the scripts of stream queues are for: each test fails if one of them is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from taskq.errors import TaskqError
from taskq.store.connection import SyncLink
from taskq.store.scripts import Call
from taskq.tasks import calls
from taskq.tasks.broker import Finished, Outgoing
from taskq.tasks.operator_calls import Purged, purge
from tests.lua.kit import done, held, message, number_of, retried
from tests.lua.stream_kit import StreamQueue
from tests.lua.test_stream_care import fill, set_back, take
from tests.servers import RealServer


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield (one := StreamQueue(link, namespace))
    one.check()
    link.close()


def numbers(found: list[Any]) -> list[int]:
    return [number_of(one) for one in found]


def double(queue: StreamQueue) -> None:
    """Append all that is unread a second time, as a repair does that was not needed."""
    count = queue.unread
    queue.link.execute("HSET", queue.keys.tally, "repair", "0")
    assert queue.repair() == count


def purge_call(queue: StreamQueue, limit: int = 250, source: str = "") -> Call[Purged]:
    state: Any = "dead" if source else "ready"
    return purge(queue.keys, state, source or queue.keys.ready_for(0), queue.limits, limit=limit, now=queue.at)


def purged(queue: StreamQueue, limit: int = 250, source: str = "") -> tuple[int, int, int]:
    found = queue.run(purge_call(queue, limit, source))
    return found.removed, found.taken, found.left


# -- which entry is whose


def test_an_id_that_stands_across_two_others_of_its_batch_is_not_taken_for_them(queue: StreamQueue) -> None:
    ids = [b"x" * 8 + b"c" * 8, b"d" * 8 + b"y" * 8, b"c" * 8 + b"d" * 8]
    queue.enqueue(*(Outgoing(one, b"body") for one in ids))
    deliveries = queue.take()
    entries = [str(one, "ascii") for one, _ in queue.link.execute("XRANGE", queue.keys.stream, "-", "+")]
    queue.ack(done(deliveries[2]))
    queue.check()
    queue.link.execute("DEL", queue.keys.entries)
    queue.watch_all()
    assert queue.by_token() == {deliveries[0].token: [entries[0], entries[1], ""]}


def test_an_id_that_reads_like_the_fence_of_its_batch_is_not_taken_for_it(queue: StreamQueue) -> None:
    fence = b"%016d" % (queue.now * 1000 + 1)
    queue.enqueue(message(0), Outgoing(fence, b"body"))
    _, two = queue.take()
    assert (two.id, two.fence - 1) == (fence, int(fence))
    queue.ack(done(two))
    assert queue.pending() == [0]


def test_who_names_a_message_that_the_batch_does_not_have_acknowledges_nothing(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    (one,) = queue.take(1)
    assert queue.ack(Finished(message(1).id, one.token), Finished(message(9).id, one.token)) == [
        message(1).id,
        message(9).id,
    ]
    assert queue.pending() == [0]


def test_a_held_entry_that_is_read_again_stays_pending(queue: StreamQueue) -> None:
    fill(queue, 0, 4)
    given, _ = queue.take(2)
    queue.release(held(given))
    set_back(queue)
    queue.run(calls.pause(queue.keys, False))
    assert numbers(queue.take()) == [0, 2, 3]
    assert queue.pending() == [0, 1, 2, 3]


def test_what_was_blamed_and_given_back_is_pending_by_its_id(queue: StreamQueue) -> None:
    fill(queue, 0, 2)
    (one,) = queue.take(1)
    queue.reclaim(one.token, mode="crash", started=[one.id])
    queue.watch_all()
    assert (queue.given_back(), queue.pending(), queue.tally("healed")) == ([0], [0], 0)
    queue.seat = type(queue.seat)()
    set_back(queue)
    assert numbers(queue.take()) == [0, 1]
    assert queue.take() == []


def test_a_second_entry_of_what_was_given_back_is_acknowledged(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    double(queue)
    queue.release(*map(held, queue.take(1)))
    assert numbers(queue.take()) == queue.pending() == [0]


def test_a_message_whose_body_was_removed_is_not_appended(queue: StreamQueue) -> None:
    fill(queue, 0, 2)
    one, two = queue.take()
    queue.link.execute("HDEL", queue.keys.body, one.id)
    queue.nack(retried(one), retried(two))
    assert [entry.number for entry in queue.stream()] == [0, 1, 1]
    assert queue.unread == 1


def test_what_is_held_without_an_entry_is_not_read_again(queue: StreamQueue) -> None:
    fill(queue, 0, 2)
    (one,) = queue.take(1)
    queue.link.execute("DEL", queue.keys.entries)
    set_back(queue)
    assert numbers(queue.take()) == queue.pending() == [1]
    assert (queue.given_back(), queue.ack(done(one))) == ([], [])


def test_a_group_that_was_set_back_while_much_is_unread_hands_nothing_out_twice(queue: StreamQueue) -> None:
    fill(queue, 0, 20)
    queue.take(3)
    set_back(queue)
    assert numbers(queue.take(4)) == [3, 4, 5, 6]
    assert (queue.pending(), queue.unread, queue.given_back()) == (list(range(7)), 13, [])
    set_back(queue)
    assert numbers(queue.take(20)) == list(range(7, 20))
    assert (queue.unread, queue.tally("lost")) == (0, 0)


# -- a lease


def test_the_repeat_of_a_lease_reads_nothing_even_if_its_worker_was_forgotten(queue: StreamQueue) -> None:
    fill(queue, 0, 5)
    ticket = queue.seat.ticket("q")
    first = queue.take(2, ticket=ticket)
    queue.link.execute("DEL", queue.keys.worker(queue.seat.nonce))
    assert numbers(queue.take(2, ticket=ticket)) == numbers(first) == queue.pending() == [0, 1]
    assert queue.unread == 3


def test_fences_grow_whichever_way_a_batch_was_leased(queue: StreamQueue) -> None:
    queue.enqueue(message(0, explicit=True), message(1), message(2), message(3), message(4, explicit=True))
    fences = [one.fence for count in (1, 2, 1, 1) for one in queue.take(count)]
    assert fences == sorted(set(fences))
    assert len(fences) == 5


def test_what_waits_counts_as_asked_for(queue: StreamQueue) -> None:
    fill(queue, 0, 6)
    queue.release(*map(held, queue.take(2)))
    assert numbers(queue.take(3)) == queue.pending() == [0, 1, 2]
    assert (queue.unread, queue.ready()) == (3, [])


def test_a_mark_that_is_read_with_care_is_dropped(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    double(queue)
    queue.cancel(message(1).id)
    queue.rings()
    assert numbers(queue.take()) == queue.pending() == [0, 2]
    assert not queue.link.execute("HEXISTS", queue.keys.tally, "doubt"), "all is read"
    assert queue.rings() == 0
    assert not queue.link.execute("HEXISTS", queue.keys.state, message(1).id)


@pytest.mark.parametrize("parked", [None, "t"])
def test_a_lease_of_other_lists_reads_nothing(queue: StreamQueue, parked: str | None) -> None:
    fill(queue, 0, 3)
    ticket = queue.seat.ticket("q")
    more: dict[str, Any] = {"alone": parked is None, "parked": parked}
    assert queue.run(calls.lease(queue.keys, ticket, 10, queue.limits, now=queue.at, **more)).deliveries == []
    assert (queue.unread, queue.pending()) == (3, [])


def test_a_worker_that_leased_from_the_stream_is_remembered_for_a_time(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    queue.take()
    assert queue.link.execute("PTTL", queue.keys.worker(queue.seat.nonce)) > 0


def test_what_is_too_much_for_one_lease_stays_pending_in_its_list(queue: StreamQueue) -> None:
    fill(queue, 0, 6, b"x" * 100_000)
    deliveries = take(queue, 6)
    queue.release(*map(held, deliveries))
    assert numbers(queue.take()) == [0, 1]
    assert (queue.given_back(), queue.pending()) == ([2, 3, 4, 5], [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize("verb", ["lease", "purge"])
def test_an_error_of_the_server_when_it_reads_is_told_as_it_is(
    queue: StreamQueue, server: RealServer, verb: str
) -> None:
    fill(queue, 0, 2)
    queue.link.execute("ACL", "SETUSER", "limited", "on", ">secret", "~*", "+@all", "-xreadgroup")
    link: SyncLink = server.link()
    link.execute("AUTH", "limited", "secret")
    before = queue.dump()
    with pytest.raises(TaskqError, match=r"can't run this command|permission"):
        link.execute(*(queue.lease_call() if verb == "lease" else purge_call(queue)).full_command())
    link.close()
    queue.link.execute("ACL", "DELUSER", "limited")
    assert queue.dump() == before


# -- purging


def test_what_is_purged_without_an_entry_goes_too(queue: StreamQueue) -> None:
    fill(queue, 0, 2)
    queue.park(*((held(one), "t") for one in queue.take()))
    ticket = queue.seat.ticket("q")
    parked = queue.run(calls.lease(queue.keys, ticket, 1, queue.limits, parked="t", now=queue.at)).deliveries
    queue.release(*map(held, parked))
    assert purged(queue) == (1, 1, 0)
    assert queue.given_back() == []


def test_a_purge_takes_no_more_than_it_was_asked_for(queue: StreamQueue) -> None:
    fill(queue, 0, 300)
    queue.release(*map(held, queue.take(5)))
    assert purged(queue, 3) == (3, 3, 297)
    assert (queue.unread, queue.ready(), queue.pending()) == (295, [3, 4], [3, 4])
    assert purged(queue, 4) == (4, 4, 293)
    assert (queue.unread, queue.pending()) == (293, [])
    assert purged(queue, 1_000) == (250, 250, 43)


def test_a_purge_that_ends_early_keeps_what_it_read(queue: StreamQueue) -> None:
    fill(queue, 0, 8, b"x" * 70_000)
    call = purge_call(queue)
    found = queue.run(replace(call, args=[*call.args[:2], 150_000, *call.args[3:]]))
    assert (found.removed, found.taken, found.left) == (2, 2, 6)
    assert queue.pending() == queue.given_back() == queue.ready()
    assert numbers(take(queue, 6)) == queue.pending() == list(range(2, 8))


def test_a_purge_of_dead_letters_does_not_count_what_is_unread(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    assert purged(queue, source=queue.keys.dead) == (0, 0, 0)
    assert queue.unread == 3


# -- waking


def test_a_lease_that_leaves_nothing_does_not_ring(queue: StreamQueue) -> None:
    queue.enqueue(message(1, explicit=True), message(2))
    queue.rings()
    assert numbers(queue.take()) == [1, 2]
    assert queue.rings() == 0
