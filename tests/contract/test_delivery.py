"""Who gets a message, when, in which order, and with what beside it."""

from __future__ import annotations

import threading

import pytest

from taskq.tasks.broker import Delivery, Flags, Outgoing
from tests.contract.scene import LIMITS, QUEUE, Scene, held, message, number_of
from tests.lua.kit import done


def test_messages_come_in_the_order_in_which_they_were_enqueued(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    scene.enqueue(message(3))
    assert scene.worker.numbers() == [1, 2, 3]


@pytest.mark.priorities
def test_the_more_urgent_come_sooner(scene: Scene) -> None:
    scene.enqueue(*(message(priority + 2, priority=priority) for priority in (-2, 0, 2, 1, -1)))
    deliveries = scene.worker.take()
    assert [delivery.priority for delivery in deliveries] == [2, 1, 0, -1, -2]
    assert [number_of(delivery) for delivery in deliveries] == [4, 3, 2, 1, 0]


def test_each_message_has_one_holder(scene: Scene) -> None:
    scene.enqueue(*(message(number) for number in range(10)))
    others = [scene.hire() for _ in range(4)]
    taken = [number for worker in others for number in worker.numbers(3)]
    assert taken == list(range(10))
    assert scene.worker.lease().deliveries == []


def test_many_workers_at_once_share_without_overlap(scene: Scene) -> None:
    scene.enqueue(*(message(number) for number in range(200)))
    shares: list[list[Delivery]] = [[] for _ in range(4)]

    def work(share: list[Delivery]) -> None:
        worker = scene.hire()
        while taken := worker.take(7):
            share.extend(taken)

    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [delivery for share in shares for delivery in share]
    assert sorted(number_of(delivery) for delivery in everything) == list(range(200))
    assert len({delivery.fence for delivery in everything}) == 200


def test_a_delivery_carries_its_body_and_its_counts(scene: Scene) -> None:
    scene.enqueue(message(1, b"\x00\xff body"))
    delivery = scene.worker.one()
    assert delivery.body == b"\x00\xff body"
    assert (delivery.deliveries, delivery.attempts, delivery.crashes, delivery.flags) == (1, 0, 0, 0)
    assert delivery.queue == QUEUE


def test_fences_only_grow(scene: Scene) -> None:
    scene.enqueue(*(message(number) for number in range(3)))
    first = scene.worker.take(2)
    scene.release(*first)
    fences = [delivery.fence for delivery in first + scene.worker.take()]
    assert fences == sorted(set(fences))


def test_no_more_than_the_limit_is_handed_out(scene: Scene) -> None:
    scene.enqueue(*(message(number) for number in range(5)))
    assert scene.worker.numbers(0) == []
    assert scene.worker.numbers(2) == [0, 1]
    assert scene.worker.numbers(2) == [2, 3]


def test_five_thousand_at_once_are_five_thousand_messages(scene: Scene) -> None:
    accepted = scene.enqueue(*(message(number) for number in range(5000)))
    assert [number_of(item) for item in accepted] == list(range(5000))
    assert all(item.created for item in accepted)
    taken: list[int] = []
    while numbers := scene.worker.numbers(250):
        taken += numbers
    assert taken == list(range(5000))


def test_big_bodies_come_a_few_at_a_time_and_whole(scene: Scene) -> None:
    body = b"x" * 100_000
    scene.enqueue(*(message(number, body) for number in range(5)), message(9, b"y" * 600_000))
    rounds = []
    while deliveries := scene.worker.take(10):
        rounds.append([number_of(delivery) for delivery in deliveries])
        assert {len(delivery.body) for delivery in deliveries} <= {100_000, 600_000}
        scene.ack(*deliveries)
    assert rounds == [[0, 1], [2, 3], [4], [9]]


def test_the_repeat_of_a_lease_call_gets_the_same_batch(scene: Scene) -> None:
    scene.enqueue(message(1), message(2, expires=scene.now - 1), message(3))
    ticket = scene.worker.seat.ticket(QUEUE)
    first = scene.broker.lease(QUEUE, ticket, 2)
    again = scene.broker.lease(QUEUE, ticket, 2)
    assert [(d.id, d.token, d.fence, d.flags, d.body) for d in again.deliveries] == [
        (d.id, d.token, d.fence, d.flags, d.body) for d in first.deliveries
    ]
    assert scene.worker.numbers() == [3]


def test_an_overtaken_lease_call_takes_nothing_any_more(scene: Scene) -> None:
    old = scene.worker.seat.ticket(QUEUE)
    scene.enqueue(message(1))
    assert scene.worker.numbers() == [1]
    scene.enqueue(message(2))
    leased = scene.broker.lease(QUEUE, old, 10)
    assert (leased.deliveries, leased.refused) == ([], False)
    assert scene.worker.numbers() == [2]


def test_several_lease_calls_sent_again_together_get_what_each_of_them_holds(scene: Scene) -> None:
    scene.enqueue(*(message(number) for number in range(3)))
    tickets = [scene.worker.seat.ticket(QUEUE) for _ in range(3)]
    for _ in range(2):
        answers = [scene.broker.lease(QUEUE, ticket, 2) for ticket in tickets]
        assert [[number_of(delivery) for delivery in leased.deliveries] for leased in answers] == [[0, 1], [2], []]
        assert not any(leased.refused for leased in answers)


def test_a_delayed_message_waits_for_its_time(scene: Scene) -> None:
    scene.enqueue(message(1, due=scene.now + 500), message(2, due=-300), message(3, due=scene.now - 5))
    leased = scene.worker.lease()
    assert [number_of(delivery) for delivery in leased.deliveries] == [3]
    assert leased.due == scene.now + 300
    assert scene.state(message(1).id) == "d"
    scene.pass_ms(300)
    assert scene.broker.promote(QUEUE) == scene.now + 200
    assert scene.worker.numbers() == [2]
    scene.pass_ms(200)
    assert scene.broker.sweep(QUEUE).due is None
    assert scene.worker.numbers() == [1]


@pytest.mark.priorities
def test_due_messages_keep_their_priority(scene: Scene) -> None:
    scene.enqueue(message(1, due=-10), message(2, due=-20, priority=2), message(3))
    scene.pass_ms(20)
    scene.broker.promote(QUEUE)
    assert scene.worker.numbers() == [2, 3, 1]


def test_what_has_expired_is_handed_out_with_a_flag_for_its_holder_to_settle(scene: Scene) -> None:
    scene.enqueue(message(1, expires=-100), message(2, expires=scene.now + 500))
    scene.pass_ms(101)
    one, two = scene.worker.take()
    assert one.flags & Flags.EXPIRED
    assert not two.flags & Flags.EXPIRED
    scene.release(one, two)
    scene.pass_ms(500)
    assert all(delivery.flags & Flags.EXPIRED for delivery in scene.worker.take())


def test_a_paused_queue_hands_nothing_out_but_settles(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    one = scene.worker.one()
    scene.broker.pause(QUEUE)
    assert scene.worker.lease().paused
    assert scene.ack(one) == []
    scene.rings()
    scene.broker.resume(QUEUE)
    assert scene.rings()
    assert scene.worker.numbers() == [2]


def test_queues_do_not_share_messages(scene: Scene) -> None:
    scene.enqueue(message(1))
    scene.broker.enqueue("another queue", [message(2)])
    other = scene.broker.lease("another queue", scene.worker.seat.ticket("another queue"), 10)
    assert [number_of(delivery) for delivery in other.deliveries] == [2]
    assert scene.worker.numbers() == [1]
    assert scene.broker.ack(QUEUE, [done(other.deliveries[0])]) == [message(2).id]


# -- bells


def test_one_enqueue_rings_once(scene: Scene) -> None:
    scene.enqueue(message(1))
    assert scene.rings()
    assert not scene.rings()


def test_a_burst_wakes_one_after_the_other_until_nothing_is_left(scene: Scene) -> None:
    scene.enqueue(*(message(number) for number in range(3)))
    for number in range(3):
        assert scene.rings()
        assert scene.hire().numbers(1) == [number]
    assert not scene.rings()


def test_a_lease_that_found_nothing_does_not_ring(scene: Scene) -> None:
    scene.worker.take()
    assert not scene.rings()


def test_a_new_earliest_due_time_rings_and_a_later_one_does_not(scene: Scene) -> None:
    scene.enqueue(message(1, due=-500))
    assert scene.rings()
    scene.enqueue(message(2, due=-800))
    assert not scene.rings()
    scene.enqueue(message(3, due=-100))
    assert scene.rings()


def test_what_comes_back_rings(scene: Scene) -> None:
    scene.enqueue(message(1))
    scene.rings()
    scene.release(scene.worker.one())
    assert scene.rings()
    scene.nack(scene.worker.one())
    assert scene.rings()
    scene.crash(scene.worker.one())
    assert scene.rings()


def test_marks_that_were_dropped_do_not_hide_the_work_behind_them(scene: Scene) -> None:
    scene.enqueue(message(1), message(2))
    scene.broker.cancel(QUEUE, message(1).id)
    scene.rings()
    assert scene.worker.take(1) == []
    assert scene.rings()
    assert scene.worker.numbers(1) == [2]


def test_a_sweep_rings_if_nobody_was_told(scene: Scene) -> None:
    scene.enqueue(message(1))
    scene.rings()
    scene.broker.sweep(QUEUE)
    assert scene.rings()


def test_a_waiter_wakes_for_the_queue_that_rang(scene: Scene) -> None:
    heard: list[str | None] = []
    waiting = threading.Thread(target=lambda: heard.append(scene.broker.wait(["first", QUEUE], 30)))
    waiting.start()
    scene.enqueue(message(1))
    waiting.join()
    assert heard == [QUEUE]


def test_two_workers_can_wait_at_once_and_one_enqueue_wakes_one(scene: Scene) -> None:
    heard: list[str | None] = []
    woken = threading.Semaphore(0)

    def wait() -> None:
        heard.append(scene.broker.wait([QUEUE], 30))
        woken.release()

    waiting = [threading.Thread(target=wait) for _ in range(2)]
    for thread in waiting:
        thread.start()
    for number in range(2):
        scene.enqueue(message(number))
        woken.acquire()
        assert len(heard) == number + 1
    assert heard == [QUEUE, QUEUE]


def test_limits_of_a_message_are_those_of_the_transport(scene: Scene) -> None:
    scene.enqueue(Outgoing(message(1).id, b""))
    delivery = scene.worker.one()
    assert delivery.body == b""
    scene.pass_ms(LIMITS.lease)
    assert scene.broker.release(QUEUE, [held(delivery)]) == []
