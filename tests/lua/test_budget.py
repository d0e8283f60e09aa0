"""What one script may free or read at once: the rest waits for the next, and something always moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taskq.tasks.broker import Delivery
from taskq.tasks.calls import Limits
from taskq.tasks.packing import PURGE_BYTES
from tests.lua.kit import LEASE_MS, Queue, buried, held, message

LARGE = PURGE_BYTES * 2 // 3
OLD = 5000


def fill(queue: Queue, *bodies: int) -> list[Delivery]:
    """Messages with bodies of so many bytes, numbered, and all leased."""
    taken: list[Delivery] = []
    for number, size in enumerate(bodies):
        queue.enqueue(message(number, b"x" * size))
        taken += queue.take(1)
    return taken


def kept(queue: Queue, place: str) -> list[int]:
    return [int.from_bytes(one, "big") for one in queue.dump().get(place, [])[::2]]


def swept(queue: Queue, place: str) -> list[list[int]]:
    """Sweep until nothing is left there; what was left each time."""
    queue.now += OLD
    left = [kept(queue, place)]
    while left[-1]:
        assert len(left) < 10
        queue.sweep()
        queue.now += queue.limits.sweep_gap
        left.append(kept(queue, place))
    assert not {"body", "state", "errors"} & set(queue.dump())
    return left[1:]


# -- sweep


@pytest.mark.parametrize("place", ["dead", "quarantine"])
def test_old_dead_letters_with_large_bodies_go_a_few_at_a_sweep(queue: Queue, place: str) -> None:
    queue.limits = Limits(lease=LEASE_MS, dead_age=OLD)
    for delivery in fill(queue, PURGE_BYTES // 2, PURGE_BYTES // 2, LARGE, LARGE, PURGE_BYTES + 1, 10, 10):
        queue.bury(buried(delivery, quarantine=place == "quarantine"))
    assert swept(queue, place) == [[2, 3, 4, 5, 6], [3, 4, 5, 6], [4, 5, 6], [5, 6], []], "even the largest goes"
    assert queue.counter("dead_dropped") == (7 if place == "dead" else 0)


def test_dead_letters_and_quarantine_share_what_one_sweep_may_free(queue: Queue) -> None:
    queue.limits = Limits(lease=LEASE_MS, dead_age=OLD)
    one, two, three = fill(queue, LARGE, LARGE // 2, LARGE // 2)
    queue.bury(buried(one), buried(two, quarantine=True), buried(three, quarantine=True))
    assert swept(queue, "quarantine") == [[2], []]


# -- the cap of dead letters


def bury_dead(queue: Queue, *taken: Delivery) -> None:
    queue.bury(*(buried(delivery) for delivery in taken))


def bury_quarantined(queue: Queue, *taken: Delivery) -> None:
    queue.bury(*(buried(delivery, quarantine=True) for delivery in taken))


def bury_parked(queue: Queue, *taken: Delivery) -> None:
    queue.park(*((held(delivery), "t") for delivery in taken))
    queue.now += 1
    assert queue.expire_parked("t") == len(taken)


WAYS = {"dead": bury_dead, "quarantine": bury_quarantined, "parked": bury_parked}
each_way = pytest.mark.parametrize("way", WAYS)


def played(queue: Queue, way: str) -> tuple[Callable[..., None], str]:
    queue.limits = Limits(lease=LEASE_MS, parked_age=1)
    return WAYS[way], "quarantine" if way == "quarantine" else "dead"


@each_way
def test_a_cap_that_was_lowered_pushes_large_bodies_out_a_few_at_a_time(queue: Queue, way: str) -> None:
    bury, place = played(queue, way)
    *large, four, five, six = fill(queue, LARGE, LARGE, LARGE, 10, 10, 10)
    for delivery in large:
        bury(queue, delivery)
        queue.now += 1
    queue.limits = Limits(lease=LEASE_MS, parked_age=1, dead=1)
    for delivery, left in zip((four, five, six), ([1, 2, 3], [2, 3, 4], [5]), strict=True):
        bury(queue, delivery)
        assert kept(queue, place) == left
        queue.now += 1
    assert queue.counter("dead_dropped") == 5
    assert set(queue.dump()["body"]) == {message(5).id}


@each_way
def test_as_many_go_as_came_however_large_or_the_cap_would_not_hold(queue: Queue, way: str) -> None:
    bury, place = played(queue, way)
    queue.limits = Limits(lease=LEASE_MS, parked_age=1, dead=2)
    taken = fill(queue, LARGE, PURGE_BYTES + 1, 10, 10)
    bury(queue, *taken[:2])
    queue.now += 1
    bury(queue, *taken[2:])
    assert kept(queue, place) == [2, 3]


@each_way
def test_small_bodies_above_the_cap_go_at_once(queue: Queue, way: str) -> None:
    bury, place = played(queue, way)
    taken = fill(queue, *[PURGE_BYTES // 5] * 5, 10)
    for delivery in taken[:5]:
        bury(queue, delivery)
        queue.now += 1
    queue.limits = Limits(lease=LEASE_MS, parked_age=1, dead=1)
    bury(queue, taken[5])
    assert kept(queue, place) == [5]


def test_dead_letters_and_quarantine_share_what_the_cap_may_free(queue: Queue) -> None:
    *old, four, five = fill(queue, LARGE, LARGE // 3, LARGE // 3, LARGE // 3, 10, 10)
    for at, delivery in enumerate(old):
        queue.bury(buried(delivery, quarantine=at > 0))
        queue.now += 1
    queue.limits = Limits(lease=LEASE_MS, dead=1)
    queue.bury(buried(four), buried(five, quarantine=True))
    assert (kept(queue, "dead"), kept(queue, "quarantine")) == ([4], [3, 5])


# -- cancel requests under extend


def requests(queue: Queue, count: int, holder: bytes) -> list[bytes]:
    ids = [message(number).id for number in range(count)]
    for one in ids:
        queue.link.execute("HSET", queue.keys.cancels, one, holder)
    return ids


def test_a_heartbeat_tells_five_hundred_requests_at_once(queue: Queue) -> None:
    (one,) = fill(queue, 10)
    ids = requests(queue, 500, one.token)
    assert queue.extend([one.token]).cancelled == dict.fromkeys(ids, False)


def test_of_more_requests_a_heartbeat_tells_some_and_in_time_all(queue: Queue) -> None:
    (one,) = fill(queue, 10)
    ids = requests(queue, 600, one.token + b"k")
    met: dict[bytes, bool] = {}
    for _ in range(40):  # each leaves a sixth out: one in 6 to the power of 40 is never met
        told = queue.extend([one.token]).cancelled
        assert len(told) == 500
        met |= told
    assert met == dict.fromkeys(ids, True)
