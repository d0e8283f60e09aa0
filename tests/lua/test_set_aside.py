"""dead_letter, redrive, discard, park and unpark: messages that are set aside, and their way back."""

from __future__ import annotations

import pytest

from taskq.tasks.broker import Buried
from taskq.tasks.calls import Limits
from tests.lua.kit import Queue, buried, held, message, number_of, retried


def test_dead_letters_are_capped_and_the_dropped_ones_leave_nothing(queue: Queue) -> None:
    queue.limits = Limits(dead=2)
    queue.enqueue(*(message(number) for number in range(3)))
    for delivery in queue.take():
        queue.now += 1
        queue.bury(buried(delivery))
    dump = queue.dump()
    kept = {message(1).id, message(2).id}
    assert set(dump["dead"][::2]) == set(dump["body"]) == set(dump["state"]) == set(dump["errors"]) == kept
    assert queue.counter("dead_dropped") == 1
    assert queue.counter("dead") == 3


@pytest.mark.parametrize("quarantine", [False, True], ids=["dead", "quarantined"])
def test_a_redriven_message_starts_anew_and_a_discarded_one_is_gone(queue: Queue, quarantine: bool) -> None:
    queue.enqueue(message(1, priority=1), message(2, explicit=True))
    for delivery in queue.take():
        queue.nack(retried(delivery))
    for delivery in queue.take():
        queue.bury(Buried(delivery.id, delivery.token, b"{}", b"x{}", 1000, quarantine))
    state = "q" if quarantine else "x"
    assert [found.state for found in queue.lookup(message(1).id, message(2).id)] == [state, state]
    queue.rings()
    assert queue.redrive(message(1).id, message(2).id, message(7).id) == 2
    assert queue.redrive(message(1).id) == 0
    assert queue.rings() == 1
    assert not {"dead", "quarantine", "errors", "results", "results:due"} & set(queue.dump())
    again = queue.take()
    assert [(d.deliveries, d.attempts, d.crashes, d.priority) for d in again] == [(1, 0, 0, 1), (1, 0, 0, 0)]
    queue.bury(*(buried(delivery, quarantine=quarantine) for delivery in again))
    assert queue.discard(message(1).id, message(2).id, message(7).id) == 2
    assert not {"dead", "quarantine", "errors", "body", "state"} & set(queue.dump())


def test_parked_messages_come_back_in_order_and_in_parts(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(3)), message(9))
    for delivery in queue.take():
        queue.now += 1
        queue.park((held(delivery), "other" if number_of(delivery) == 9 else "shop.later"))
    assert queue.state(message(0).id) == "p"
    assert queue.sweep().parked_since == queue.now - 3
    assert queue.unpark("shop.later", 2) == (2, 1)
    assert queue.unpark("shop.later", 2) == (1, 0)
    assert queue.rings() == 1
    assert queue.ready() == [0, 1, 2]
    assert queue.unpark("nobody") == (0, 0)
    assert queue.dump()["parked"][::2] == [b"other"]
    assert set(queue.dump()["state"]) == {message(9).id}
