"""lease.lua and reclaim.lua, guard by guard: entries and records that are not as they should be, and bounds."""

from __future__ import annotations

import pytest

from tests.lua.kit import Queue, buried, done, held, message, number_of


def numbers(queue: Queue, limit: int = 10) -> list[int]:
    return [number_of(delivery) for delivery in queue.take(limit)]


def test_what_has_no_body_is_not_counted_as_held(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    queue.link.execute("HDEL", queue.keys.body, message(1).id)
    (delivery,) = queue.take()
    assert queue.dump()["left"] == {delivery.token: b"1"}
    queue.ack(done(delivery))
    assert not {"left", "held", "leases"} & set(queue.dump())


@pytest.mark.parametrize("state", ["d", "l", "x", "q"])
def test_an_entry_of_a_message_that_is_elsewhere_goes_alone(queue: Queue, state: str) -> None:
    queue.enqueue(message(1, due=-50 if state == "d" else 0))
    for delivery in queue.take():
        if state in "xq":
            queue.bury(buried(delivery, quarantine=state == "q"))
    before = queue.dump(without=[f"worker:{queue.seat.nonce.hex()}"])
    queue.link.execute("RPUSH", queue.keys.ready_for(0), message(1).id)
    assert queue.take() == []
    assert queue.dump(without=[f"worker:{queue.seat.nonce.hex()}"]) == before
    assert queue.state(message(1).id) == state


@pytest.mark.parametrize("record", [b"", b"z", b"r\2\0", b"zzzzzzzz", b"c" * 8], ids=repr)
def test_a_damaged_record_counts_as_none(queue: Queue, record: bytes) -> None:
    queue.enqueue(message(1), message(2), message(3, priority=1))
    for number in (1, 3):
        queue.link.execute("HSET", queue.keys.state, message(number).id, record)
    three, one, two = queue.take()
    assert [number_of(item) for item in (three, one, two)] == [3, 1, 2]
    assert [item.priority for item in (three, one, two)] == [1, 0, 0]


def test_a_repeat_gives_only_what_is_still_held_under_its_token(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(5)))
    call = queue.lease_call()
    settled, without_body, elsewhere, waiting, kept = queue.run(call).deliveries
    queue.ack(done(settled))
    queue.link.execute("HDEL", queue.keys.body, without_body.id)
    queue.release(held(elsewhere), held(waiting))
    assert numbers(queue, 1) == [2]
    again = queue.run(call).deliveries
    assert [(item.id, item.body, item.token) for item in again] == [(kept.id, kept.body, kept.token)]


@pytest.mark.parametrize("record", [b"z", b"r\2\0", b"r\7\0\0\0\0\0\0"], ids=repr)
def test_a_damaged_record_that_is_due_stops_no_other(queue: Queue, record: bytes) -> None:
    queue.enqueue(message(1, due=-50, priority=1), message(2, due=-60), message(3, due=-70))
    queue.link.execute("HSET", queue.keys.state, message(1).id, record)
    queue.link.execute("HDEL", queue.keys.state, message(3).id)
    queue.now += 100
    assert queue.promote() == (3, None)
    assert queue.ready() == [1, 2, 3]


@pytest.mark.parametrize("state", ["l", "x", "c"])
def test_a_due_entry_of_a_message_that_is_elsewhere_goes_alone(queue: Queue, state: str) -> None:
    queue.enqueue(message(1))
    if state == "c":
        queue.cancel(message(1).id)
    elif state == "x":
        queue.bury(buried(queue.take()[0]))
    else:
        queue.take()
    queue.rings()
    before = queue.dump()
    queue.link.execute("ZADD", queue.keys.delayed, queue.now, message(1).id)
    assert queue.promote() == (0, None)
    assert queue.rings() == 0
    assert queue.dump() == before


@pytest.mark.parametrize("way", ["release", "park", "crash"])
def test_a_count_of_deliveries_never_goes_below_zero(queue: Queue, way: str) -> None:
    queue.enqueue(message(1))
    (one,) = queue.take()
    queue.link.execute("HSET", queue.keys.state, one.id, b"l\2\0\0\0\0\0\0" + one.token)
    if way == "release":
        assert queue.release(held(one)) == []
    elif way == "park":
        assert queue.park((held(one), "t")) == []
    else:
        queue.reclaim(one.token, mode="crash")
    assert queue.lookup(one.id)[0].deliveries == 0
    assert not {"left", "held", "leases"} & set(queue.dump())


@pytest.mark.parametrize("way", ["release", "crash"])
@pytest.mark.parametrize("counts", [b"\0\0\1\0\1\0", b"\0\0\1\0\0\1", b"\0\0\1\1\0\0", b"\1\0\1\0\0\0"], ids=repr)
def test_each_thing_that_a_record_says_keeps_it(queue: Queue, way: str, counts: bytes) -> None:
    queue.enqueue(message(1))
    (one,) = queue.take()
    queue.link.execute("HSET", queue.keys.state, one.id, b"l\2" + counts + one.token)
    if way == "release":
        queue.release(held(one))
    else:
        queue.reclaim(one.token, mode="crash")
    assert queue.dump()["state"][one.id] == b"r\2" + counts[:1] + b"\0\0" + counts[3:]
