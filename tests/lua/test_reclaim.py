"""reclaim.lua: what a dead, silent or busy holder had goes back, and only what ran is blamed."""

from __future__ import annotations

import pytest

from taskq.tasks.broker import Condemned, Delivery, Mark, Seat
from taskq.tasks.packing import CRASHES, SUSPECT_DELIVERIES, Limits, Mode
from tests.lua.kit import LEASE_MS, Queue, buried, held, message, number_of, retried


def crash(queue: Queue, delivery: Delivery, *started: Delivery) -> list[Condemned]:
    """The child that holds a delivery dies; the next lease comes from a new one."""
    queue.seat = Seat()
    return queue.reclaim(delivery.token, mode="crash", started=[item.id for item in started])


def test_a_lapse_waits_for_the_deadline(queue: Queue) -> None:
    queue.enqueue(message(1), message(2), message(3))
    first = queue.take(2)[0]
    queue.now += LEASE_MS - 1
    before = queue.dump()
    assert queue.reclaim(first.token) == []
    assert queue.dump() == before
    queue.extend([first.token])
    queue.now += 1
    assert queue.reclaim(first.token) == []
    queue.now += LEASE_MS
    queue.rings()
    assert queue.reclaim(first.token) == []
    assert queue.ready() == [1, 2, 3]
    assert queue.rings() == 1
    assert queue.counter("reclaimed") == 2


def test_a_token_without_a_batch_is_struck_off(queue: Queue) -> None:
    queue.link.execute("ZADD", queue.keys.leases, queue.now, b"t" * 20)
    queue.link.execute("HSET", queue.keys.left, b"t" * 20, 1)
    assert queue.reclaim(b"t" * 20) == []
    assert queue.dump() == {}


def test_a_repeated_reclaim_changes_nothing(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    first = queue.take()[0]
    crash(queue, first, first)
    before = queue.dump()
    crash(queue, first, first)
    assert queue.dump() == before


def test_a_crash_blames_what_was_started_and_nothing_else(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    first, second = queue.take()
    assert crash(queue, first, first) == []
    assert queue.ready() == [1, 2]
    blamed, innocent = queue.lookup(first.id, second.id)
    assert (blamed.crashes, blamed.deliveries, blamed.lines) == (1, 1, b'{"crash":1}')
    assert (innocent.state, innocent.crashes, innocent.deliveries, innocent.lines) == ("r", 0, 0, b"")


def test_error_lines_of_deaths_are_kept_within_their_limit(queue: Queue) -> None:
    queue.limits = Limits(error_bytes=25)
    queue.enqueue(message(1))
    queue.nack(retried(queue.take()[0], line=b'{"attempt":1}'))
    first = queue.take()[0]
    crash(queue, first, first)
    assert queue.lookup(first.id)[0].lines == b'{"attempt":1}\n{"crash":1}'
    second = queue.take()[0]
    crash(queue, second, second)
    assert queue.lookup(first.id)[0].lines == b'{"crash":1}\n{"crash":1}'


def test_a_dead_child_gets_nothing_more(queue: Queue) -> None:
    queue.enqueue(message(1))
    late = queue.lease_call()
    ticket_token = late.args[1]
    assert queue.reclaim(ticket_token, mode="crash") == []
    assert queue.run(late).refused
    assert queue.ready() == [1]


def test_two_deaths_send_it_to_run_alone_and_the_third_condemns_it(queue: Queue) -> None:
    queue.enqueue(message(1, priority=2), message(2))
    for _ in range(2):
        suspect = queue.take(1)[0]
        assert crash(queue, suspect, suspect) == []
    assert [number_of(delivery) for delivery in queue.take()] == [2]
    assert queue.sweep().alone == 1
    suspect = queue.take(alone=True)[0]
    assert (suspect.crashes, suspect.priority) == (2, 2)
    condemned = crash(queue, suspect, suspect)
    assert condemned == [Condemned(suspect.id, suspect.token, CRASHES, False)]
    assert crash(queue, suspect, suspect) == condemned, "a repeat condemns the same and counts nothing twice"
    assert queue.lookup(suspect.id)[0].lines.count(b"\n") == CRASHES - 1
    assert queue.bury(buried(suspect)) == []
    assert "alone" not in queue.dump()


def test_condemned_messages_stay_in_sight_until_they_are_dead_lettered(queue: Queue) -> None:
    queue.enqueue(message(1))
    for _ in range(2):
        suspect = queue.take()[0]
        crash(queue, suspect, suspect)
    suspect = queue.take(alone=True)[0]
    condemned = crash(queue, suspect, suspect)
    assert condemned
    queue.now += LEASE_MS
    assert queue.sweep().lapsed == [suspect.token]
    assert queue.reclaim(suspect.token) == condemned


def test_finishing_a_run_clears_the_count_of_deaths(queue: Queue) -> None:
    queue.enqueue(message(1))
    for _ in range(2):
        suspect = queue.take()[0]
        crash(queue, suspect, suspect)
    queue.nack(retried(queue.take(alone=True)[0]))
    delivery = queue.take()[0]
    assert (delivery.crashes, delivery.attempts) == (0, 1)


def test_a_suspect_that_is_given_back_still_runs_alone(queue: Queue) -> None:
    queue.enqueue(message(1))
    for _ in range(2):
        suspect = queue.take()[0]
        crash(queue, suspect, suspect)
    queue.release(held(queue.take(alone=True)[0]))
    assert queue.take() == []
    queue.park((held(queue.take(alone=True)[0]), "t"))
    assert queue.unpark("t") == (1, 0)
    assert queue.take() == []
    assert len(queue.take(alone=True)) == 1


def test_a_lapse_blames_what_was_marked_as_started(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    first, second = queue.take()
    queue.extend([first.token], [Mark(first.id, first.token)])
    queue.now += LEASE_MS
    assert queue.reclaim(first.token) == []
    found = queue.lookup(first.id, second.id)
    assert [(item.crashes, item.deliveries) for item in found] == [(1, 1), (0, 1)]
    assert queue.ready() == [1, 2]


def test_what_lapses_again_and_again_unseen_is_blamed_in_the_end(queue: Queue) -> None:
    queue.enqueue(message(1))
    for _ in range(SUSPECT_DELIVERIES):
        delivery = queue.take()[0]
        assert delivery.crashes == 0
        queue.now += LEASE_MS
        queue.reclaim(delivery.token)
    assert queue.lookup(message(1).id)[0].crashes == 1


def test_a_recall_takes_what_was_not_started_and_leaves_the_rest(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(3)))
    taken = queue.take()
    assert queue.reclaim(taken[0].token, mode="recall", started=[taken[1].id]) == []
    assert queue.ready() == [0, 2]
    assert queue.dump()["left"] == {taken[1].token: b"1"}
    assert [found.deliveries for found in queue.lookup(*(item.id for item in taken))] == [0, 1, 0]
    assert queue.extend([taken[1].token]).lost == []
    assert len(queue.take()) == 2, "the worker itself is not retired"


def test_a_lease_call_that_comes_after_its_recall_gets_nothing_and_the_next_one_does(queue: Queue) -> None:
    seat = queue.seat
    queue.enqueue(message(0), message(1))
    (first,) = queue.take(1)
    late = seat.ticket("q")
    queue.reclaim(late.token, mode="recall")
    assert queue.take(1, ticket=late) == []
    assert queue.ready() == [1]
    queue.reclaim(first.token, mode="recall", started=[first.id])  # an older call makes no newer one come
    queue.reclaim(first.token[:8] + bytes(12), mode="recall")
    assert queue.take(1, ticket=late) == []
    assert [number_of(one) for one in queue.take(1)] == [1]
    fresh = Seat()
    queue.reclaim(fresh.ticket("q").token, mode="recall")
    assert queue.link.execute("PTTL", queue.keys.worker(fresh.nonce)) > 0


@pytest.mark.parametrize("mode", ["lapse", "crash"])
def test_only_a_recall_shuts_out_one_call(queue: Queue, mode: Mode) -> None:
    queue.enqueue(message(0))
    late = queue.seat.ticket("q")
    queue.reclaim(late.token, mode=mode)
    assert len(queue.take(1, ticket=late)) == (1 if mode == "lapse" else 0)


ONCE = pytest.mark.parametrize(
    ("mode", "started", "condemns"),
    [("lapse", False, True), ("crash", True, True), ("crash", False, True), ("recall", False, False)],
)


@ONCE
def test_what_may_not_run_twice_is_condemned_once_its_start_is_stored_even_if_it_runs_no_more(
    queue: Queue, mode: str, started: bool, condemns: bool
) -> None:
    queue.enqueue(message(1))
    once = queue.take()[0]
    queue.extend([once.token], [Mark(once.id, once.token, once=True)])
    queue.now += LEASE_MS
    for _ in range(2):
        condemned = queue.reclaim(once.token, mode=mode, started=[once.id] if started else [])
        assert condemned == ([Condemned(once.id, once.token, CRASHES, True)] if condemns else [])
    assert queue.ready() == []
    if condemns:
        assert queue.bury(buried(once)) == []
        assert queue.state(once.id) == "x"


def test_a_cancel_request_survives_the_death_of_the_holder(queue: Queue) -> None:
    queue.enqueue(message(1))
    first = queue.take()[0]
    queue.cancel(first.id)
    crash(queue, first, first)
    assert queue.take()[0].flags & 1
