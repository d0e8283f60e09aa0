"""sweep.lua and promote.lua: what is due moves, what is old goes, and nobody lapses because the server stood still."""

from __future__ import annotations

from taskq.tasks import calls
from taskq.tasks.broker import Delivery
from taskq.tasks.calls import Limits
from tests.lua.kit import LEASE_MS, Queue, buried, done, held, message, number_of

STEP = LEASE_MS // 4


def sweep_until_lapsed(queue: Queue, step: int, limit: int = 40) -> int:
    """Sweep every `step` ms; how many ms passed until something lapsed."""
    started = queue.now
    for _ in range(limit):
        queue.now += step
        if queue.sweep().lapsed:
            break
    return queue.now - started


def leased(queue: Queue) -> Delivery:
    queue.enqueue(message(1))
    queue.sweep()
    return queue.take()[0]


def test_with_steady_sweeps_a_lease_lapses_at_its_deadline(queue: Queue) -> None:
    delivery = leased(queue)
    queue.now += STEP
    swept = queue.sweep()
    assert (swept.lapsed, swept.deadline) == ([], queue.now - STEP + LEASE_MS)
    assert sweep_until_lapsed(queue, STEP) + STEP == LEASE_MS
    queue.now += STEP
    assert queue.sweep().lapsed == [delivery.token]


def test_after_a_stall_everybody_gets_one_lease_of_grace(queue: Queue) -> None:
    leased(queue)
    queue.now += 3 * LEASE_MS
    swept = queue.sweep()
    assert (swept.lapsed, swept.deadline) == ([], queue.now + LEASE_MS)
    assert sweep_until_lapsed(queue, STEP) == LEASE_MS


def test_there_are_at_most_three_graces_in_a_row(queue: Queue) -> None:
    leased(queue)
    stalls = 0
    while not queue.sweep().lapsed:
        queue.now += 2 * LEASE_MS
        stalls += 1
        assert stalls < 10
    assert stalls == 4


def test_steady_sweeps_earn_the_graces_back(queue: Queue) -> None:
    leased(queue)
    for _ in range(5):
        queue.now += 2 * LEASE_MS
        assert queue.sweep().lapsed == []
        sweep_until_lapsed(queue, STEP, limit=5)


def test_a_jump_that_the_caller_saw_counts_as_a_stall(queue: Queue) -> None:
    leased(queue)
    queue.now += LEASE_MS // 3
    queue.sweep()
    queue.now += LEASE_MS // 3
    queue.sweep()
    queue.now += LEASE_MS // 3 + 10
    assert queue.sweep(jumped=True).lapsed == []


def test_two_sweeps_at_once_are_one(queue: Queue) -> None:
    leased(queue)
    before = queue.dump()
    assert queue.sweep().skipped
    assert queue.dump() == before
    queue.now += queue.limits.sweep_gap
    assert not queue.sweep().skipped


def test_when_the_clock_goes_back_far_deadlines_are_cut_to_one_lease(queue: Queue) -> None:
    delivery = leased(queue)
    queue.now -= 100 * LEASE_MS
    queue.sweep()
    assert queue.dump()["leases"] == [delivery.token, b"%d" % (queue.now + LEASE_MS)]
    assert sweep_until_lapsed(queue, STEP) == LEASE_MS


def test_the_longer_leases_of_another_release_are_left_alone(queue: Queue) -> None:
    queue.limits = Limits(lease=5 * LEASE_MS)
    delivery = leased(queue)
    deadline = queue.now + 5 * LEASE_MS
    queue.limits = Limits(lease=LEASE_MS)
    for _ in range(3):
        queue.now += STEP
        queue.sweep()
    assert queue.dump()["leases"] == [delivery.token, b"%d" % deadline]


def test_a_sweep_rings_for_work_that_nobody_was_told_of(queue: Queue) -> None:
    queue.enqueue(message(1, priority=-2))
    queue.rings()
    queue.sweep()
    assert queue.rings() == 1
    queue.take()
    queue.now += STEP
    queue.sweep()
    assert queue.rings() == 0
    queue.enqueue(message(2, due=-STEP))
    queue.rings()
    queue.now += STEP
    assert queue.sweep().due == queue.now
    assert queue.rings() == 1
    queue.link.execute("HSET", queue.keys.meta, "paused", "1")
    queue.now += STEP
    queue.sweep()
    assert queue.rings() == 0


def test_a_sweep_rings_for_the_most_urgent_and_not_for_what_must_run_alone(queue: Queue) -> None:
    queue.enqueue(message(1, priority=2))
    queue.rings()
    queue.sweep()
    assert queue.rings() == 1
    queue.take()
    queue.link.execute("RPUSH", queue.keys.alone, message(1).id)
    queue.now += STEP
    assert queue.sweep().alone == 1
    assert queue.rings() == 0


def test_one_sweep_does_a_bounded_number_of_each_chore(queue: Queue) -> None:
    queue.limits = Limits(tombstone=100, lease=LEASE_MS)
    queue.enqueue(*(message(number, explicit=True) for number in range(12)))
    queue.ack(*(done(delivery, b"d", 100) for delivery in queue.take(12)))
    queue.enqueue(message(20), message(21))
    assert len(queue.take(1) + queue.take(1)) == 2
    queue.sweep()
    for lapsed in (0, 0, 0, 1):
        queue.now += LEASE_MS // 4
        call = calls.sweep(queue.keys, queue.limits, now=queue.at)
        call.args[2] = 1  # type: ignore[index]
        assert len(queue.run(call).lapsed) == lapsed
    dump = queue.dump()
    assert [len(dump[name]) for name in ("results", "results:due")] == [8, 16]
    assert "tombs" not in dump


def test_one_sweep_drops_a_bounded_number_of_tombstones(queue: Queue) -> None:
    queue.limits = Limits(tombstone=100)
    queue.enqueue(*(message(number, explicit=True) for number in range(12)))
    queue.now += 100
    call = calls.sweep(queue.keys, queue.limits, now=queue.at)
    call.args[2] = 1  # type: ignore[index]
    queue.run(call)
    assert len(queue.dump()["tombs"]) == 2 * 2


def test_old_results_tombstones_and_dead_letters_go(queue: Queue) -> None:
    queue.limits = Limits(dead_age=5000, tombstone=100)
    queue.enqueue(*(message(number, explicit=True) for number in range(4)))
    one, two, three, four = queue.take()
    queue.ack(done(one, b"d1", 100), done(two, b"d2", 9000))
    queue.bury(buried(three), buried(four, quarantine=True))
    queue.now += 100
    queue.sweep()
    dump = queue.dump()
    assert dump["results"] == {two.id: b"d2"}
    assert dump["results:due"][::2] == [two.id]
    assert "tombs" not in dump
    assert queue.lookup(three.id)[0].state == "x"
    queue.now += 4900
    queue.sweep()
    assert not {"dead", "quarantine", "body", "state", "errors"} & set(queue.dump())
    assert queue.counter("dead_dropped") == 1


def test_the_report_counts_what_waits_elsewhere(queue: Queue) -> None:
    queue.enqueue(message(1))
    queue.ack(done(queue.take()[0], follow=b"f" * 20))
    swept = queue.sweep()
    assert (swept.outbox, swept.alone, swept.due, swept.deadline, swept.parked_since) == (1, 0, None, None, None)


# -- promote


def test_due_messages_move_in_chunks_the_earliest_first(queue: Queue) -> None:
    queue.enqueue(*(message(number, due=-1000 - number) for number in range(6)))
    assert queue.promote() == (0, queue.now + 1000)
    queue.now += 1004
    queue.rings()
    assert queue.promote(3) == (3, queue.now - 1)
    assert queue.rings() == 1
    assert queue.promote(3) == (2, queue.now + 1)
    assert queue.ready() == [0, 1, 2, 3, 4]
    assert [number_of(delivery) for delivery in queue.take()] == [0, 1, 2, 3, 4]


def test_a_promoted_message_keeps_its_priority_and_what_is_written_about_it(queue: Queue) -> None:
    key = b"u" * 16
    queue.enqueue(message(1, due=-10, priority=2), message(2, due=-10, unique=key, expires=-50))
    queue.now += 10
    queue.promote()
    assert set(queue.dump()["state"]) == {message(2).id}
    first, second = queue.take()
    assert (number_of(first), first.priority) == (1, 2)
    assert not queue.enqueue(message(3, unique=key))[0].created
    queue.release(held(second))
    queue.now += 100
    assert queue.take()[0].flags & 128


def test_a_due_entry_without_a_body_leaves_nothing_behind(queue: Queue) -> None:
    queue.enqueue(message(1, due=-10))
    queue.link.execute("HDEL", queue.keys.body, message(1).id)
    queue.now += 10
    assert queue.promote() == (0, None)
    assert not {"state", "delayed"} & set(queue.dump())
