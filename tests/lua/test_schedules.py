"""The scripts of schedules, each alone, at times that the test sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskq.cron import Every
from taskq.errors import BrokerFull, BrokerRefused
from taskq.store.scripts import Call
from taskq.tasks import schedule_calls as calls
from taskq.tasks.broker import Outgoing
from taskq.tasks.schedule import Definition, Entry
from tests.lua.kit import START_MS, Queue, buried, done, held, message, retried

MINUTE = 60_000
TICK = Definition("tick", Every(MINUTE), {"task": "t", "queue": "q", "args": [], "kwargs": {}})


def made(queue: Queue, slot: int | None = START_MS, **fields: Any) -> Entry:
    said = {"def": TICK.wire, "digest": TICK.digest, "origin": "code", f"d:{TICK.digest}": queue.now, **fields}
    answer = queue.run(calls.put(queue.keys, "tick", "", said, slot=slot, now=queue.at))
    assert answer.code == calls.ENQUEUED
    return stored(queue)


def stored(queue: Queue) -> Entry:
    entry = Entry.read(queue.link.execute(*calls.read(queue.keys, "tick")))
    assert entry is not None
    return entry


def out(number: int, **more: Any) -> Outgoing:
    return message(number, explicit=True, **more)


def fire(queue: Queue, entry: Entry, sent: Outgoing | None, *, skip: bool = False) -> calls.Answer:
    assert entry.slot is not None
    following = entry.slot + MINUTE
    return queue.run(
        calls.fire(queue.keys, "tick", entry.rev, entry.slot, following, sent, queue.limits, skip=skip, now=queue.at)
    )


def score(queue: Queue) -> bytes:
    found: bytes = queue.link.execute("ZSCORE", queue.keys.schedules, "tick")
    return found


# -- fire --------------------------------------------------------------------------------------------------------------


def test_a_due_slot_is_enqueued_and_the_entry_advanced(queue: Queue) -> None:
    entry = made(queue)
    answer = fire(queue, entry, out(1))
    assert (answer.code, answer.now, answer.slot) == (calls.ENQUEUED, START_MS, START_MS + MINUTE)
    after = stored(queue)
    assert (after.slot, after.last, after.at) == (START_MS + MINUTE, START_MS, START_MS)
    assert (after.runs, after.skips, after.rev) == (1, 0, answer.rev)
    assert after.message == out(1).id
    assert score(queue) == b"%d" % (START_MS + MINUTE)
    assert queue.ready() == [1]
    assert queue.counter("enqueued") == 1
    assert queue.rings() == 1


def test_a_fired_message_is_like_one_that_was_enqueued_with_its_id(queue: Queue) -> None:
    entry = made(queue)
    sent = out(1, priority=2, expires=-50_000, body=b"b" * 2_000)
    fire(queue, entry, sent)
    fired = queue.dump(without=["schedules", "schedule:tick"])
    queue.link.execute("FLUSHALL")
    queue.enqueue(sent)
    lane = f"lane:{queue.lane.hex()}"
    assert fired == queue.dump(without=[lane])
    delivery = queue.take()[0]
    queue.ack(done(delivery))
    assert not queue.enqueue(sent)[0].created, "its tombstone stands"


def test_a_later_message_is_delayed(queue: Queue) -> None:
    fire(queue, made(queue), out(1, due=START_MS + 5_000))
    assert queue.ready() == []
    assert queue.state(out(1).id) == "d"
    queue.now += 5_000
    assert queue.promote() == (1, None)
    assert queue.ready() == [1]


def test_only_an_earlier_due_time_rings(queue: Queue) -> None:
    queue.enqueue(message(9, due=START_MS + 1_000))
    queue.rings()
    fire(queue, made(queue), out(1, due=START_MS + 5_000))
    assert queue.rings() == 0
    fire(queue, made_again(queue), out(2, due=START_MS + 500))
    assert queue.rings() == 1


def test_no_second_marker_is_put_beside_the_first(queue: Queue) -> None:
    fire(queue, made(queue), out(1))
    fire(queue, made_again(queue), out(2))
    assert queue.rings() == 1


def made_again(queue: Queue) -> Entry:
    """The entry, due at once."""
    entry = stored(queue)
    queue.run(calls.put(queue.keys, "tick", entry.rev, {}, slot=queue.now, now=queue.at))
    return stored(queue)


def test_a_slot_is_decided_once(queue: Queue) -> None:
    entry = made(queue)
    fire(queue, entry, out(1))
    before = queue.dump()
    answer = fire(queue, entry, out(1))
    assert (answer.code, answer.rev, answer.slot) == (calls.CHANGED, stored(queue).rev, START_MS + MINUTE)
    assert queue.dump() == before


def test_nothing_is_fired_for_an_entry_that_is_not_there(queue: Queue) -> None:
    for rev in ("", "1"):
        call = calls.fire(queue.keys, "tick", rev, START_MS, None, out(1), queue.limits, now=queue.at)
        assert queue.run(call).code == calls.CHANGED
    assert queue.dump() == {}


def test_nor_before_the_servers_clock_has_come_to_the_slot(queue: Queue) -> None:
    entry = made(queue, START_MS + 1)
    before = queue.dump()
    answer = fire(queue, entry, out(1))
    assert (answer.code, answer.now, answer.slot) == (calls.EARLY, START_MS, START_MS + 1)
    assert queue.dump() == before


def test_a_given_up_slot_advances_and_enqueues_nothing(queue: Queue) -> None:
    assert fire(queue, made(queue), None).code == calls.GIVEN_UP
    after = stored(queue)
    assert (after.last, after.slot, after.runs, after.skips) == (START_MS, START_MS + MINUTE, 0, 0)
    assert "body" not in queue.dump()


def test_the_last_slot_of_an_entry_leaves_none(queue: Queue) -> None:
    entry = made(queue)
    queue.run(calls.fire(queue.keys, "tick", entry.rev, START_MS, None, out(1), queue.limits, now=queue.at))
    assert stored(queue).slot is None
    assert score(queue) == b"inf"
    call = calls.fire(queue.keys, "tick", stored(queue).rev, START_MS, None, out(2), queue.limits, now=queue.at)
    assert queue.run(call).code == calls.EARLY


def test_a_run_by_hand_leaves_the_slot_alone(queue: Queue) -> None:
    entry = made(queue, START_MS + MINUTE)
    call = calls.fire(queue.keys, "tick", entry.rev, None, None, out(1), queue.limits, now=queue.at)
    assert queue.run(call).code == calls.ENQUEUED
    after = stored(queue)
    assert (after.slot, after.last, after.at, after.runs) == (START_MS + MINUTE, None, START_MS, 1)
    assert after.message == out(1).id
    assert after.rev != entry.rev
    assert queue.ready() == [1]


@pytest.mark.parametrize("kind", ["ready", "delayed", "leased", "retrying", "parked"])
def test_skip_waits_for_the_last_message_to_be_over(queue: Queue, kind: str) -> None:
    fire(queue, made(queue), out(1, due=START_MS + MINUTE if kind == "delayed" else 0))
    if kind in ("leased", "retrying", "parked"):
        delivery = queue.take()[0]
        if kind == "retrying":
            queue.nack(retried(delivery, 30 * MINUTE))
        if kind == "parked":
            queue.park((held(delivery), "t"))
    queue.now += MINUTE
    answer = fire(queue, stored(queue), out(2), skip=True)
    assert (answer.code, answer.slot) == (calls.SKIPPED, START_MS + 2 * MINUTE)
    after = stored(queue)
    assert (after.runs, after.skips, after.message) == (1, 1, out(1).id)
    assert queue.state(out(2).id) == "?"


@pytest.mark.parametrize("kind", ["done", "dead", "quarantined", "cancelled"])
def test_skip_goes_on_once_it_is(queue: Queue, kind: str) -> None:
    fire(queue, made(queue), out(1))
    if kind == "cancelled":
        queue.cancel(out(1).id)
    else:
        delivery = queue.take()[0]
        if kind == "done":
            queue.ack(done(delivery))
        else:
            queue.bury(buried(delivery, quarantine=kind == "quarantined"))
    queue.now += MINUTE
    assert fire(queue, stored(queue), out(2), skip=True).code == calls.ENQUEUED


def test_without_skip_runs_overlap(queue: Queue) -> None:
    fire(queue, made(queue), out(1))
    queue.now += MINUTE
    assert fire(queue, stored(queue), out(2)).code == calls.ENQUEUED
    assert queue.ready() == [1, 2]


def test_the_first_message_of_an_entry_has_none_before_it(queue: Queue) -> None:
    assert fire(queue, made(queue), out(1), skip=True).code == calls.ENQUEUED


@pytest.mark.parametrize("kind", ["there", "plain", "mark", "tombstone"])
def test_an_id_that_was_there_already_counts_as_run(queue: Queue, kind: str) -> None:
    queue.enqueue(message(1) if kind == "plain" else out(1))
    if kind == "mark":
        queue.cancel(out(1).id)
        queue.link.execute("DEL", queue.keys.tombs)
    if kind == "tombstone":
        queue.ack(done(queue.take()[0]))
    entry = made(queue)
    answer = fire(queue, entry, out(1))
    assert (answer.code, answer.slot) == (calls.THERE, START_MS + MINUTE)
    assert stored(queue).runs == 1
    assert queue.counter("enqueued") == 1


def test_a_tombstone_whose_time_is_over_does_not_count(queue: Queue) -> None:
    queue.link.execute("ZADD", queue.keys.tombs, START_MS, out(1).id)
    assert fire(queue, made(queue), out(1)).code == calls.ENQUEUED


# -- put ---------------------------------------------------------------------------------------------------------------


def put(queue: Queue, rev: str, fields: dict[str, Any], **more: Any) -> calls.Answer:
    return queue.run(calls.put(queue.keys, "tick", rev, fields, now=queue.at, **more))


def test_an_entry_is_made_only_where_there_is_none(queue: Queue) -> None:
    entry = made(queue)
    before = queue.dump()
    answer = put(queue, "", {"def": b"x"}, slot=5)
    assert (answer.code, answer.rev, answer.slot) == (calls.CHANGED, entry.rev, START_MS)
    assert queue.dump() == before


def test_an_entry_is_changed_only_as_it_was_read(queue: Queue) -> None:
    entry = made(queue)
    answer = put(queue, entry.rev, {"paused": "1"}, held=True)
    assert answer.code == calls.ENQUEUED
    assert stored(queue).paused
    assert stored(queue).slot == START_MS, "held, but not forgotten"
    assert score(queue) == b"inf"
    assert put(queue, entry.rev, {"paused": ""}, slot=7).code == calls.CHANGED
    assert put(queue, answer.rev, {"paused": ""}, slot=7).code == calls.ENQUEUED
    assert not stored(queue).paused
    assert (stored(queue).slot, score(queue)) == (7, b"7")


def test_a_repeat_of_a_change_changes_nothing(queue: Queue) -> None:
    entry = made(queue)
    queue.now += 5
    call = calls.put(queue.keys, "tick", entry.rev, {"turn": 1}, slot=7, now=queue.at)
    first, before = queue.run(call), queue.dump()
    queue.now += 5
    again = queue.run(call)
    assert (again.code, again.rev, again.slot) == (first.code, first.rev, 7)
    assert queue.dump() == before
    assert stored(queue).at == START_MS + 5


def test_a_change_without_a_slot_leaves_it(queue: Queue) -> None:
    entry = made(queue)
    queue.now += 5
    put(queue, entry.rev, {"by": "me"})
    assert (stored(queue).slot, stored(queue).at, score(queue)) == (START_MS, START_MS, b"%d" % START_MS)
    put(queue, stored(queue).rev, {}, slot=None)
    assert (stored(queue).slot, score(queue)) == (None, b"inf")


def test_revisions_grow_over_an_entry_that_was_made_anew(queue: Queue) -> None:
    first = made(queue)
    assert queue.run(calls.drop(queue.keys, "tick", first.rev)) == 0
    queue.now += 1
    second = made(queue)
    assert int(second.rev) > int(first.rev)
    assert fire(queue, first, out(1)).code == calls.CHANGED


# -- seen and drop -----------------------------------------------------------------------------------------------------


def test_seen_notes_what_the_entry_knows(queue: Queue) -> None:
    made(queue, **{"d:old": START_MS - 9})
    queue.now += 1_000
    names = queue.run(calls.seen(queue.keys, {"tick": TICK.digest, "tock": "x"}, now=queue.at))
    assert names == ["tock"]
    assert stored(queue).known == {TICK.digest: START_MS + 1_000, "old": START_MS - 9}
    assert queue.run(calls.seen(queue.keys, {"tick": "old"}, now=queue.at)) == ["tick"], "not the one in use"
    assert stored(queue).known["old"] == START_MS + 1_000
    assert queue.run(calls.seen(queue.keys, {"tick": "new"}, now=queue.at)) == ["tick"]
    assert "new" not in stored(queue).known
    assert "schedule:tock" not in queue.dump()


def test_drop_removes_an_entry_as_it_was_read(queue: Queue) -> None:
    entry = made(queue)
    assert queue.run(calls.drop(queue.keys, "tick", "1")) == 2
    assert stored(queue) == entry
    assert queue.run(calls.drop(queue.keys, "tick", entry.rev)) == 0
    assert queue.dump() == {}
    assert queue.run(calls.drop(queue.keys, "tick", entry.rev)) == 1


def test_due_names_come_in_order_and_held_ones_never(queue: Queue) -> None:
    for name, slot in (("b", 20), ("a", 30), ("c", 10)):
        queue.run(calls.put(queue.keys, name, "", {}, slot=slot, held=name == "c", now=queue.at))
    assert queue.link.execute(*calls.due(queue.keys, 30, 9)) == [b"b", b"20", b"a", b"30"]
    assert queue.link.execute(*calls.due(queue.keys, 29, 9)) == [b"b", b"20"]


# -- rules of every script ---------------------------------------------------------------------------------------------

BUILD: dict[str, Callable[[Queue, Entry], Call[Any]]] = {
    "fire": lambda queue, entry: calls.fire(
        queue.keys, "tick", entry.rev, entry.slot, 9, out(1, due=START_MS + 9), queue.limits, now=queue.at
    ),
    "put": lambda queue, entry: calls.put(queue.keys, "tick", entry.rev, {"by": "x"}, slot=9, now=queue.at),
    "seen": lambda queue, entry: calls.seen(queue.keys, {"tick": TICK.digest}, now=queue.at),
    "drop": lambda queue, entry: calls.drop(queue.keys, "tick", entry.rev),
}


@pytest.mark.parametrize("name", BUILD)
def test_a_key_of_another_type_is_refused_before_anything_is_written(queue: Queue, name: str) -> None:
    entry = made(queue)
    call = BUILD[name](queue, entry)
    for key in call.keys:
        if queue.link.execute("EXISTS", key):
            queue.link.execute("RENAME", key, key + "!")
        queue.link.execute("SET", key, "x")
        before = queue.dump()
        with pytest.raises(BrokerRefused, match="WRONGTYPE"):
            queue.run(call)
        assert queue.dump() == before, key
        queue.link.execute("DEL", key)
        if queue.link.execute("EXISTS", key + "!"):
            queue.link.execute("RENAME", key + "!", key)
    queue.run(call)


@pytest.mark.parametrize("name", ["put", "seen", "drop"])
def test_a_full_server_lets_entries_be_changed(queue: Queue, name: str) -> None:
    entry = made(queue)
    call = BUILD[name](queue, entry)
    queue.link.execute("CONFIG", "SET", "maxmemory", 1)
    try:
        queue.run(call)
    finally:
        queue.link.execute("CONFIG", "SET", "maxmemory", 0)


def test_a_full_server_keeps_the_slot(queue: Queue) -> None:
    entry = made(queue)
    before = queue.dump()
    queue.link.execute("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(BrokerFull):
            fire(queue, entry, out(1))
    finally:
        queue.link.execute("CONFIG", "SET", "maxmemory", 0)
    assert queue.dump() == before
