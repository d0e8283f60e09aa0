"""How a message is settled: once, by its holder, with what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taskq.errors import BrokerError
from taskq.tasks.broker import Buried, Delivery, Finished, Flags, Mark
from tests.contract.scene import LIMITS, QUEUE, Scene, buried, done, held, message, number_of, retried

SETTLES: dict[str, Callable[[Scene, Delivery], list[bytes]]] = {
    "ack": lambda scene, delivery: scene.ack(delivery),
    "nack": lambda scene, delivery: scene.nack(delivery),
    "nack later": lambda scene, delivery: scene.nack(delivery, 500),
    "dead letter": lambda scene, delivery: scene.bury(delivery),
    "release": lambda scene, delivery: scene.release(delivery),
    "park": lambda scene, delivery: scene.broker.park(QUEUE, [(held(delivery), "shop.later")]),
}
settles = pytest.mark.parametrize("settle", SETTLES.values(), ids=SETTLES)


@settles
def test_a_message_is_settled_once(scene: Scene, settle: Callable[[Scene, Delivery], list[bytes]]) -> None:
    scene.enqueue(message(1))
    delivery = scene.worker.one()
    assert settle(scene, delivery) == []
    after = scene.find(delivery.id)
    for again in SETTLES.values():
        assert again(scene, delivery) == [delivery.id]
    assert scene.find(delivery.id) == after


@settles
def test_who_lost_a_lease_changes_nothing(scene: Scene, settle: Callable[[Scene, Delivery], list[bytes]]) -> None:
    scene.enqueue(message(1))
    stale = scene.worker.one()
    scene.pass_ms(LIMITS.lease)
    scene.broker.reclaim(QUEUE, stale.token, b"{}")
    current = scene.hire().one()
    before = scene.find(stale.id)
    assert settle(scene, stale) == [stale.id]
    assert scene.find(stale.id) == before
    assert scene.broker.extend(QUEUE, [current.token]).lost == []
    assert settle(scene, current) == []


@settles
def test_settling_one_of_a_batch_leaves_the_others_held(
    scene: Scene, settle: Callable[[Scene, Delivery], list[bytes]]
) -> None:
    scene.enqueue(message(1), message(2))
    one, two = scene.worker.take()
    assert settle(scene, one) == []
    assert scene.broker.extend(QUEUE, [two.token]).lost == []
    assert settle(scene, two) == []
    assert scene.broker.extend(QUEUE, [two.token]).lost == [two.token]


def test_the_repeat_of_a_settling_call_gets_the_first_answer(scene: Scene) -> None:
    scene.enqueue(message(1), message(2), message(3), message(4))
    lost, one, two, three = scene.worker.take()
    scene.release(lost)
    ack, nack, bury = scene.worker.op("ack"), scene.worker.op("nack"), scene.worker.op("bury")
    for _ in range(2):
        assert scene.broker.ack(QUEUE, [done(lost), done(one, b"d1")], ack) == [lost.id]
        assert scene.broker.nack(QUEUE, [retried(lost), retried(two)], nack) == [lost.id]
        assert scene.broker.dead_letter(QUEUE, [buried(lost), buried(three)], bury) == [lost.id]
    assert scene.find(two.id).attempts == 1
    assert scene.find(three.id).lines == b'{"n":1}'


def test_an_older_settling_call_is_refused(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    one, two = scene.worker.take()
    old, new = scene.worker.op("ack"), scene.worker.op("ack")
    scene.broker.ack(QUEUE, [done(one)], new)
    with pytest.raises(BrokerError, match="newer call"):
        scene.broker.ack(QUEUE, [done(two)], old)
    assert scene.state(two.id) == "l"


def test_a_result_is_there_when_its_message_is_gone(scene: Scene) -> None:
    scene.enqueue(message(1), message(2), message(3))
    one, two, three = scene.worker.take()
    items = [done(one, b"d42"), Finished(two.id, two.token, "c", b"c", 1000), done(three)]
    assert scene.broker.ack(QUEUE, items) == []
    found = scene.broker.lookup(QUEUE, [one.id, two.id, three.id])
    assert [(item.state, item.result) for item in found] == [("o", b"d42"), ("o", b"c"), ("?", b"")]


def test_results_go_when_their_time_is_over_and_above_their_cap(scene: Scene) -> None:
    scene.enqueue(*(message(number) for number in range(LIMITS.results + 5)))
    for delivery in scene.worker.take(250):
        scene.broker.ack(QUEUE, [done(delivery, b"d", 1000 + number_of(delivery))])
    ids = [message(number).id for number in range(LIMITS.results + 5)]
    states = [item.state for item in scene.broker.lookup(QUEUE, ids)]
    assert states == ["?"] * 5 + ["o"] * LIMITS.results
    scene.pass_ms(1005 + 10)
    scene.broker.sweep(QUEUE)
    states = [item.state for item in scene.broker.lookup(QUEUE, ids)]
    assert states == ["?"] * 16 + ["o"] * (LIMITS.results - 11)


def test_a_retry_at_once_goes_to_the_back_with_its_attempt_counted(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    scene.nack(scene.worker.one(), line=b'{"at":1}')
    assert scene.worker.numbers(1) == [2]
    again = scene.worker.one()
    assert (number_of(again), again.attempts, again.deliveries) == (1, 1, 2)
    assert scene.find(again.id).lines == b'{"at":1}'


def test_a_retry_later_waits_and_a_free_one_counts_nothing(scene: Scene) -> None:
    scene.enqueue(message(1))
    scene.nack(scene.worker.one(), 500, counts=False)
    assert scene.worker.take() == []
    assert scene.find(message(1).id).state == "d"
    scene.pass_ms(500)
    scene.broker.promote(QUEUE)
    assert scene.worker.one().attempts == 0


def test_released_messages_stand_in_front_and_are_blamed_for_nothing(scene: Scene) -> None:
    scene.enqueue(*(message(number) for number in range(4)))
    scene.release(*scene.worker.take(3))
    again = scene.worker.take()
    assert [number_of(delivery) for delivery in again] == [0, 1, 2, 3]
    assert {(delivery.deliveries, delivery.attempts, delivery.crashes) for delivery in again} == {(1, 0, 0)}


def test_error_lines_are_trimmed_to_their_limit(scene: Scene) -> None:
    scene.enqueue(message(1))
    line = b'{"n":%d,"t":"' + b"x" * 6000 + b'"}'
    for number in range(5):
        scene.nack(scene.worker.one(), line=line % number)
    lines = scene.find(message(1).id).lines.split(b"\n")
    assert lines == [line % 3, line % 4]


# -- dead letters


def test_a_dead_letter_is_kept_and_does_not_run(scene: Scene) -> None:
    priority = 1 if scene.priorities else 0
    scene.enqueue(message(1, priority=priority))
    scene.nack(scene.worker.one(), line=b'{"first":1}')
    delivery = scene.worker.one()
    item = Buried(delivery.id, delivery.token, b'{"last":1}', b"x{}", 1000)
    assert scene.broker.dead_letter(QUEUE, [item]) == []
    assert scene.worker.take() == []
    found = scene.find(delivery.id)
    assert (found.state, found.result, found.attempts, found.priority) == ("x", b"x{}", 1, priority)
    assert found.lines == b'{"first":1}\n{"last":1}'


def test_a_redriven_message_runs_as_if_it_were_new(scene: Scene) -> None:
    priority = -1 if scene.priorities else 0
    scene.enqueue(message(1, priority=priority), message(2))
    scene.nack(scene.worker.one())
    for delivery in scene.worker.take():
        scene.bury(delivery, result=b"x{}", result_ttl=1000)
    scene.rings()
    assert scene.broker.redrive(QUEUE, [message(1).id, message(9).id]) == 1
    assert scene.broker.redrive(QUEUE, [message(1).id]) == 0
    assert scene.rings()
    again = scene.worker.one()
    assert (again.body, again.priority, again.attempts, again.deliveries) == (b"body-1", priority, 0, 1)
    assert scene.find(again.id).result == b""
    assert scene.state(message(2).id) == "x"


def test_a_discarded_message_is_gone(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    scene.bury(scene.worker.one())
    assert scene.broker.discard(QUEUE, [message(1).id, message(2).id]) == 1
    assert scene.state(message(1).id) == "?"
    assert scene.worker.numbers() == [2]


def test_what_cannot_be_read_waits_in_quarantine_and_can_be_brought_back(scene: Scene) -> None:
    scene.enqueue(message(1, b"\x00not ours"))
    scene.bury(scene.worker.one(), quarantine=True)
    assert scene.state(message(1).id) == "q"
    assert scene.broker.redrive(QUEUE, [message(1).id]) == 1
    assert scene.worker.one().body == b"\x00not ours"


def test_dead_letters_are_capped_and_aged_out(scene: Scene) -> None:
    scene.enqueue(*(message(number) for number in range(LIMITS.dead + 2)))
    for delivery in scene.worker.take(250):
        scene.pass_ms(1)
        scene.bury(delivery)
    ids = [message(number).id for number in range(LIMITS.dead + 2)]
    assert [item.state for item in scene.broker.lookup(QUEUE, ids)] == ["?", "?"] + ["x"] * LIMITS.dead
    scene.pass_ms(LIMITS.dead_age - 1)
    scene.broker.sweep(QUEUE)
    assert [item.state for item in scene.broker.lookup(QUEUE, ids)][-2:] == ["?", "x"]


# -- parked


def test_a_parked_message_waits_for_its_task_and_keeps_its_counts(scene: Scene) -> None:
    scene.enqueue(message(1), message(2), message(3))
    scene.nack(scene.worker.one())
    taken = scene.worker.take()
    for delivery, task in zip(taken, ("a", "b", "a"), strict=True):
        assert scene.broker.park(QUEUE, [(held(delivery), task)]) == []
    assert scene.worker.take() == []
    assert {scene.state(delivery.id) for delivery in taken} == {"p"}
    assert scene.broker.sweep(QUEUE).parked_since == scene.now
    assert scene.broker.unpark(QUEUE, "a") == 2
    assert scene.broker.unpark(QUEUE, "nobody") == 0
    again = {number_of(delivery): delivery for delivery in scene.worker.take()}
    assert set(again) == {1, 2}
    assert (again[1].attempts, again[1].deliveries, again[2].deliveries) == (1, 2, 1)


def test_a_worker_that_knows_a_task_takes_its_parked_messages_straight(scene: Scene) -> None:
    scene.enqueue(*(message(number) for number in range(4)))
    for delivery, task in zip(scene.worker.take(), ("a", "b", "a", "a"), strict=True):
        scene.broker.park(QUEUE, [(held(delivery), task)])
    assert scene.broker.cancel(QUEUE, message(0).id) == "cancelled"
    one, two = scene.worker.take(3, parked="a")
    assert (number_of(one), one.body, one.deliveries) == (2, b"body-2", 1)
    scene.release(two)
    assert scene.worker.numbers() == [3]
    assert scene.worker.take(parked="a") == scene.worker.take(parked="nobody") == []
    assert scene.ack(one) == []
    assert [number_of(delivery) for delivery in scene.worker.take(parked="b")] == [1]


# -- heartbeats


def test_a_heartbeat_keeps_what_is_held_and_names_what_is_lost(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    one, two = scene.worker.one(), scene.worker.one()
    scene.ack(two)
    for _ in range(5):
        scene.pass_ms(LIMITS.lease - 1)
        assert scene.broker.extend(QUEUE, [one.token, two.token]).lost == [two.token]
        scene.broker.reclaim(QUEUE, one.token, b"{}")
    assert scene.ack(one) == []


def test_past_the_deadline_but_not_swept_is_still_held(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    one, two = scene.worker.one(), scene.worker.one()
    scene.pass_ms(10 * LIMITS.lease)
    assert scene.broker.extend(QUEUE, [one.token]).lost == []
    assert scene.ack(two) == []


def test_marks_are_taken_from_the_holder_only(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    one, two = scene.worker.take()
    scene.release(two)
    told = scene.broker.extend(QUEUE, [one.token], [Mark(one.id, one.token, once=True), Mark(two.id, two.token)])
    assert told.refused == [two.id]
    assert scene.find(one.id).flags == Flags.STARTED | Flags.ONCE
    scene.release(one)
    assert scene.worker.take()[0].flags == 0
