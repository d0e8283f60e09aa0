"""Ids, unique keys and cancelling: what names a message, and how a name is freed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taskq.tasks.broker import Accepted, Finished, Flags
from tests.contract.scene import LIMITS, QUEUE, Scene, held, message, number_of

KEY = b"u" * 16


def test_an_explicit_id_is_accepted_once_and_not_again_within_its_window(scene: Scene) -> None:
    sent = message(1, explicit=True)
    assert scene.enqueue(sent) == [Accepted(sent.id, True)]
    assert scene.enqueue(sent) == [Accepted(sent.id, False)]
    scene.ack(scene.worker.one())
    scene.pass_ms(LIMITS.tombstone - 1)
    assert scene.enqueue(sent) == [Accepted(sent.id, False)]
    scene.pass_ms(2)
    assert scene.enqueue(sent) == [Accepted(sent.id, True)]


def test_an_explicit_id_is_taken_while_its_message_waits_however_long(scene: Scene) -> None:
    scene.enqueue(message(1, explicit=True))
    scene.pass_ms(10 * LIMITS.tombstone)
    scene.broker.sweep(QUEUE)
    assert not scene.enqueue(message(1, explicit=True))[0].created
    assert scene.worker.numbers() == [1]


def test_a_unique_key_has_one_holder(scene: Scene) -> None:
    answers = scene.enqueue(message(1, unique=KEY), message(2, unique=KEY))
    assert [(number_of(item), item.created) for item in answers] == [(1, True), (1, False)]
    delivery = scene.worker.one()
    assert number_of(scene.enqueue(message(3, unique=KEY))[0]) == 1
    scene.nack(delivery, 500)
    assert not scene.enqueue(message(4, unique=KEY))[0].created
    scene.pass_ms(500)
    scene.broker.promote(QUEUE)
    scene.ack(scene.worker.one())
    assert scene.enqueue(message(5, unique=KEY))[0] == Accepted(message(5).id, True)


WAYS_OUT: dict[str, Callable[[Scene], object]] = {
    "done": lambda scene: scene.ack(scene.worker.one()),
    "dead": lambda scene: scene.bury(scene.worker.one()),
    "quarantined": lambda scene: scene.bury(scene.worker.one(), quarantine=True),
    "cancelled": lambda scene: scene.broker.cancel(QUEUE, message(1).id),
    "expired": lambda scene: [
        scene.broker.ack(QUEUE, [Finished(delivery.id, delivery.token, "e")]) for delivery in scene.worker.take()
    ],
}


@pytest.mark.parametrize("leave", WAYS_OUT.values(), ids=WAYS_OUT)
def test_every_way_out_frees_the_key(scene: Scene, leave: Callable[[Scene], object]) -> None:
    scene.enqueue(message(1, unique=KEY, expires=-5000))
    leave(scene)
    assert scene.enqueue(message(2, unique=KEY))[0].created


def test_a_redriven_message_does_not_take_its_key_back(scene: Scene) -> None:
    scene.enqueue(message(1, unique=KEY))
    scene.bury(scene.worker.one())
    scene.enqueue(message(2, unique=KEY))
    scene.broker.redrive(QUEUE, [message(1).id])
    two, one = scene.worker.take()
    assert (number_of(one), number_of(two)) == (1, 2)
    scene.ack(one)
    assert not scene.enqueue(message(3, unique=KEY))[0].created


# -- cancelling


def test_cancelling_a_ready_message_ends_it_and_keeps_its_id_until_it_is_dropped(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    for _ in range(2):
        assert scene.broker.cancel(QUEUE, message(1).id) == "cancelled"
    found = scene.find(message(1).id)
    assert (found.state, found.result) == ("c", b"c")
    assert not scene.enqueue(message(1, explicit=True))[0].created
    assert scene.worker.numbers() == [2]
    assert scene.find(message(1).id).state == "o"
    assert scene.broker.cancel(QUEUE, message(1).id) == "cancelled"
    assert scene.enqueue(message(1, explicit=True))[0].created


def test_cancelling_a_delayed_message(scene: Scene) -> None:
    scene.enqueue(message(1, due=-500))
    assert scene.broker.cancel(QUEUE, message(1).id) == "cancelled"
    scene.pass_ms(500)
    assert scene.broker.promote(QUEUE) is None
    assert scene.worker.take() == []


def test_cancelling_a_message_that_waits_to_be_retried(scene: Scene) -> None:
    scene.enqueue(message(1))
    scene.nack(scene.worker.one(), 500, line=b"{}")
    assert scene.broker.cancel(QUEUE, message(1).id) == "cancelled"
    found = scene.find(message(1).id)
    assert (found.state, found.result, found.lines) == ("o", b"c", b"")


def test_cancelling_a_parked_message(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    for delivery in scene.worker.take():
        scene.broker.park(QUEUE, [(held(delivery), "t")])
    assert scene.broker.cancel(QUEUE, message(1).id) == "cancelled"
    assert scene.find(message(1).id).state == "c"
    assert not scene.enqueue(message(1, explicit=True))[0].created
    assert scene.broker.unpark(QUEUE, "t") == 1
    assert scene.find(message(1).id).state == "o"
    assert scene.enqueue(message(1, explicit=True))[0].created
    assert scene.worker.numbers() == [2, 1]


def test_cancelling_a_held_message_asks_its_holder(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    one, two = scene.worker.one(), scene.worker.one()
    assert scene.broker.cancel(QUEUE, one.id) == "requested"
    assert scene.broker.extend(QUEUE, [one.token, two.token]).cancelled == {one.id: False}
    assert scene.broker.cancel(QUEUE, one.id, kill=True) == "requested"
    assert scene.broker.cancel(QUEUE, one.id) == "requested"
    assert scene.broker.extend(QUEUE, [one.token, two.token]).cancelled == {one.id: True}
    scene.broker.ack(QUEUE, [Finished(one.id, one.token, "c", b"c", 1000)])
    assert scene.find(one.id).result == b"c"
    assert scene.broker.extend(QUEUE, [two.token]).cancelled == {}


def test_a_request_outlives_the_lease(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    one, two = scene.worker.take()
    scene.broker.cancel(QUEUE, one.id)
    scene.broker.cancel(QUEUE, two.id)
    scene.nack(one, 500)
    scene.crash(two)
    again = scene.worker.take()
    assert {number_of(delivery) for delivery in again} == {1, 2}
    assert all(delivery.flags & Flags.CANCEL for delivery in again)


def test_it_is_too_late_to_cancel_what_is_over(scene: Scene) -> None:
    scene.enqueue(message(1), message(2), message(3))
    one, two, three = scene.worker.take()
    scene.ack(one)
    scene.bury(two)
    scene.bury(three, quarantine=True)
    for number in (1, 2, 3, 9):
        assert scene.broker.cancel(QUEUE, message(number).id) == "too_late"
    assert [item.state for item in scene.broker.lookup(QUEUE, [two.id, three.id])] == ["x", "q"]


def test_a_follow_up_waits_in_the_outbox(scene: Scene) -> None:
    scene.enqueue(message(1))
    delivery = scene.worker.one()
    scene.broker.ack(QUEUE, [Finished(delivery.id, delivery.token, follow=b"i" * 16 + b"wire")])
    assert scene.broker.sweep(QUEUE).outbox == 1
