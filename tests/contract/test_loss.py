"""What becomes of messages whose holder died, fell silent or is too busy."""

from __future__ import annotations

import pytest

from taskq.tasks.broker import Delivery, Mark
from taskq.tasks.packing import CRASHES, SUSPECT_DELIVERIES, Mode
from tests.contract.scene import LIMITS, QUEUE, Scene, held, message, number_of

LINE = b'{"kind":"lapse"}'


def test_a_lapsed_lease_is_told_by_the_sweep_and_delivered_again(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    first = scene.worker.take()
    scene.broker.sweep(QUEUE)
    lapsed: list[bytes] = []
    for _ in range(4):
        assert lapsed == []
        scene.pass_ms(LIMITS.lease // 4)
        lapsed = scene.broker.sweep(QUEUE).lapsed
    assert lapsed == [first[0].token]
    assert scene.broker.reclaim(QUEUE, lapsed[0], LINE) == []
    again = scene.hire().take()
    assert [number_of(delivery) for delivery in again] == [1, 2]
    assert {(delivery.deliveries, delivery.crashes) for delivery in again} == {(2, 0)}


def test_an_extended_lease_is_not_reclaimed(scene: Scene) -> None:
    scene.enqueue(message(1))
    delivery = scene.worker.one()
    scene.pass_ms(LIMITS.lease)
    scene.broker.extend(QUEUE, [delivery.token])
    assert scene.broker.reclaim(QUEUE, delivery.token, LINE) == []
    assert scene.state(delivery.id) == "l"


def test_after_a_stall_nothing_lapses_for_one_lease_three_times_at_most(scene: Scene) -> None:
    scene.enqueue(message(1))
    scene.worker.one()
    scene.broker.sweep(QUEUE)
    graces = 0
    scene.pass_ms(2 * LIMITS.lease)
    while not scene.broker.sweep(QUEUE).lapsed:
        graces += 1
        assert graces < 10
        scene.pass_ms(2 * LIMITS.lease)
    assert graces == 3


def test_a_jump_of_the_clock_grants_one_lease(scene: Scene) -> None:
    scene.enqueue(message(1))
    delivery = scene.worker.one()
    scene.broker.sweep(QUEUE)
    for _ in range(2):
        scene.pass_ms(LIMITS.lease // 3 + 1)
        assert scene.broker.sweep(QUEUE).lapsed == []
    scene.pass_ms(LIMITS.lease // 3 + 1)
    swept = scene.broker.sweep(QUEUE, jumped=True)
    assert swept.lapsed == []
    assert swept.deadline == scene.now + LIMITS.lease
    assert scene.broker.extend(QUEUE, [delivery.token]).lost == []


def test_two_sweeps_at_once_are_one(scene: Scene) -> None:
    assert not scene.broker.sweep(QUEUE).skipped
    assert scene.broker.sweep(QUEUE).skipped
    scene.pass_ms(LIMITS.sweep_gap)
    assert not scene.broker.sweep(QUEUE).skipped


def test_a_crash_blames_what_ran_and_returns_the_rest(scene: Scene) -> None:
    scene.enqueue(message(1), message(2), message(3))
    one, two, three = scene.worker.take()
    assert scene.crash(one, two) == []
    found = scene.broker.lookup(QUEUE, [one.id, two.id, three.id])
    assert [item.crashes for item in found] == [0, 1, 0]
    assert found[1].lines == b'{"kind":"crash"}'
    assert scene.worker.numbers() == [1, 2, 3]


def test_a_dead_worker_is_given_nothing_more(scene: Scene) -> None:
    dead = scene.worker
    scene.enqueue(message(1))
    scene.crash(dead.one())
    assert dead.lease().refused
    assert scene.worker.numbers() == [1]


def test_a_late_lease_call_of_a_dead_worker_is_refused(scene: Scene) -> None:
    late = scene.worker.seat.ticket(QUEUE)
    scene.enqueue(message(1))
    scene.broker.reclaim(QUEUE, late.token, b"{}", "crash")
    assert scene.broker.lease(QUEUE, late, 10).refused
    assert scene.hire().numbers() == [1]


def crashed(scene: Scene, times: int) -> Delivery:
    """A message after so many deaths of the child that ran it, in the hands of the next one."""
    scene.enqueue(message(1))
    for _ in range(times):
        delivery = scene.worker.one()
        assert scene.crash(delivery, delivery) == []
    return scene.worker.one(alone=times > 1)


def test_after_two_deaths_it_runs_alone_and_a_third_condemns_it(scene: Scene) -> None:
    suspect = crashed(scene, 2)
    assert suspect.crashes == 2
    scene.release(suspect)
    assert scene.worker.take() == []
    assert scene.broker.sweep(QUEUE).alone == 1
    suspect = scene.worker.one(alone=True)
    for _ in range(2):
        condemned = scene.crash(suspect, suspect)
        assert [(item.id, item.token, item.crashes, item.once) for item in condemned] == [
            (suspect.id, suspect.token, CRASHES, False)
        ]
    assert scene.bury(suspect) == []
    assert scene.state(suspect.id) == "x"


def test_a_finished_run_clears_the_deaths(scene: Scene) -> None:
    scene.nack(crashed(scene, 2))
    assert scene.worker.one().crashes == 0


def test_a_suspect_that_was_parked_still_runs_alone(scene: Scene) -> None:
    suspect = crashed(scene, 2)
    scene.broker.park(QUEUE, [(held(suspect), "t")])
    scene.broker.unpark(QUEUE, "t")
    assert scene.worker.take() == []
    assert scene.worker.one(alone=True).crashes == 2


def test_a_lapse_blames_what_was_marked_as_started(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    one, two = scene.worker.take()
    scene.broker.extend(QUEUE, [], [Mark(one.id, one.token)])
    scene.pass_ms(LIMITS.lease)
    assert scene.broker.reclaim(QUEUE, one.token, LINE) == []
    assert [item.crashes for item in scene.broker.lookup(QUEUE, [one.id, two.id])] == [1, 0]


def test_endless_lapses_without_a_mark_are_blamed_in_the_end(scene: Scene) -> None:
    scene.enqueue(message(1))
    for _ in range(SUSPECT_DELIVERIES):
        assert scene.find(message(1).id).crashes == 0
        delivery = scene.worker.one()
        scene.pass_ms(LIMITS.lease)
        scene.broker.reclaim(QUEUE, delivery.token, LINE)
    assert scene.find(message(1).id).crashes == 1


def test_a_recall_takes_what_has_not_started(scene: Scene) -> None:
    scene.enqueue(message(1), message(2), message(3))
    one, two, three = scene.worker.take()
    assert scene.broker.reclaim(QUEUE, one.token, b"{}", "recall", [two.id]) == []
    others = scene.hire().take()
    assert [(number_of(item), item.deliveries) for item in others] == [(1, 1), (3, 1)]
    assert scene.ack(one, two, three) == [one.id, three.id]
    assert scene.worker.numbers() == []
    assert not scene.worker.lease().refused


@pytest.mark.parametrize(
    ("mode", "started", "condemns"),
    [("lapse", False, True), ("crash", True, True), ("crash", False, True), ("recall", False, False)],
)
def test_what_may_not_run_twice_never_does_once_its_start_is_stored(
    scene: Scene, mode: Mode, started: bool, condemns: bool
) -> None:
    scene.enqueue(message(1))
    delivery = scene.worker.one()
    scene.broker.extend(QUEUE, [], [Mark(delivery.id, delivery.token, once=True)])
    scene.pass_ms(LIMITS.lease)
    condemned = scene.broker.reclaim(QUEUE, delivery.token, LINE, mode, [delivery.id] if started else [])
    assert [(item.id, item.once) for item in condemned] == ([(delivery.id, True)] if condemns else [])
    assert scene.state(delivery.id) == "l"


def test_only_what_is_left_of_a_batch_goes_back(scene: Scene) -> None:
    scene.enqueue(message(1), message(2), message(3))
    one, two, three = scene.worker.take()
    scene.ack(two)
    scene.crash(one)
    assert scene.worker.numbers() == [1, 3]
    assert scene.ack(three) == [three.id]
