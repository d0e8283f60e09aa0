"""cancel, remove, unpark and sample, guard by guard: what goes with a message that waits, and what is weighed."""

from __future__ import annotations

import pytest

from taskq.tasks.broker import LEASE_BYTES, Retried
from taskq.tasks.choosing import remove
from taskq.tasks.statistics import sample
from tests.lua.kit import Queue, buried, done, held, message, retried
from tests.lua.test_moves import put


def removed(queue: Queue, letter: str, *numbers: int) -> tuple[int, int]:
    return queue.run(remove(queue.keys, letter, [message(number).id for number in numbers], queue.limits, queue.at))


# -- cancel


def test_a_kill_that_was_meant_for_another_holder_does_not_end_the_child_of_the_next(queue: Queue) -> None:
    queue.enqueue(message(1))
    first = queue.take()[0]
    assert queue.cancel(first.id, kill=True) == "requested"
    queue.nack(retried(first))
    second = queue.take()[0]
    assert queue.dump()["cancels"] == {first.id: first.token + b"k"}, "it came back with its message"
    assert queue.cancel(second.id) == "requested"
    assert queue.dump()["cancels"] == {second.id: second.token}


def test_asking_without_a_kill_does_not_take_back_that_of_the_same_holder(queue: Queue) -> None:
    queue.enqueue(message(1))
    holder = queue.take()[0]
    for kill in (True, False):
        assert queue.cancel(holder.id, kill=kill) == "requested"
        assert queue.dump()["cancels"] == {holder.id: holder.token + b"k"}


# -- remove


@pytest.mark.parametrize("letter", "rdp")
def test_the_tombstone_of_a_removed_message_counts_from_its_removal(queue: Queue, letter: str) -> None:
    put(queue, letter)
    queue.now += 1000
    assert removed(queue, letter, 1, 2) == (2, 2)
    tombs = queue.dump()["tombs"]
    assert (tombs[0], float(tombs[1])) == (message(1).id, queue.now + queue.limits.tombstone)
    assert len(tombs) == 2, "an id that was not given by hand leaves none"


@pytest.mark.parametrize("letter", "rp")  # one that is to be cancelled is never delayed
def test_a_cancel_request_goes_with_the_message_that_is_removed(queue: Queue, letter: str) -> None:
    queue.enqueue(message(1), message(2))
    one, two = queue.take()
    assert {queue.cancel(item.id) for item in (one, two)} == {"requested"}
    if letter == "p":
        queue.park((held(one), "t"))
    else:
        queue.nack(retried(one, 5000))
    assert one.id in queue.dump()["cancels"]
    assert removed(queue, letter, 1, 2) == (1, 2)
    assert queue.dump()["cancels"] == {two.id: two.token}


# -- unpark


def test_small_bodies_are_not_weighed_when_they_come_back(queue: Queue) -> None:
    small = [message(number, b"s" * 1000) for number in range(1, 250)]
    queue.enqueue(message(0, b"x" * (LEASE_BYTES - 1000)), *small[:10])
    queue.enqueue(*small[10:])
    while taken := queue.take(250):
        queue.park(*((held(item), "t") for item in taken))
    assert queue.unpark("t") == (250, 0)
    assert len(queue.ready()) == 250


# -- sample


def test_a_sample_holds_each_counter_in_its_own_place(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(12)))
    one, *rest = queue.take(11)
    queue.ack(done(one))
    queue.nack(*(retried(item, 50) for item in rest[:2]))
    queue.nack(*(Retried(item.id, item.token, 50, counts=False) for item in rest[2:4]))
    queue.bury(*(buried(item) for item in rest[4:9]))
    assert queue.run(sample(queue.keys, queue.at))
    _, enqueued, finished, failed, again, dead, ready = map(int, queue.dump()["samples"][b"last"].split())
    assert (enqueued, finished, failed, again, dead, ready) == (12, 1, 7, 4, 5, 1)
