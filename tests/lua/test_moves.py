"""take, land, carried and remove, one at a time: what leaves, what arrives, and what a repeat changes (nothing)."""

from __future__ import annotations

import os
from typing import Any

import pytest

from taskq.store.keys import QueueKeys, queue_keys
from taskq.tasks import calls
from taskq.tasks.briefs import Place
from taskq.tasks.broker import LEASE_BYTES
from taskq.tasks.choosing import remove
from taskq.tasks.move_calls import carried, land, take
from taskq.tasks.packing import PURGE_BYTES
from tests.lua.kit import Queue, buried, held, message, number_of, retried

KEY = b"u" * 16
PLACES = {"r": "ready", "d": "delayed", "p": "parked", "x": "dead", "q": "quarantined"}


def place_of(keys: QueueKeys, letter: str) -> Place:
    if letter == "r":
        return Place("r2", keys.ready_for(0), 2)
    if letter == "p":
        return Place("p:t", keys.parked_task("t"))
    return Place(letter, {"d": keys.delayed, "x": keys.dead, "q": keys.quarantine}[letter])


def taken(queue: Queue, letter: str, *numbers: int, token: str = "", before: int = 0) -> list[int]:
    place = place_of(queue.keys, letter)
    place = Place(place.name, place.key, place.index, before=before)
    ids = [message(number).id for number in numbers]
    call = take(queue.keys, place, letter, token or os.urandom(4).hex(), "other", ids, queue.limits, queue.at)
    return [number_of(one) for one in queue.run(call)]


def parcels(queue: Queue, token: str) -> list[tuple[bytes, bytes]]:
    flat = queue.link.execute("HGETALL", queue.keys.parcels(token))
    return sorted(zip(flat[::2], flat[1::2], strict=True))


def landed(queue: Queue, token: str, *, back: bool = False, keys: QueueKeys | None = None) -> str:
    where = keys or queue_keys(queue.keys.base.split("{")[1].split(":")[0], "other")
    return queue.run(land(where, token, parcels(queue, token), queue.limits, back=back, now=queue.at))


def put(queue: Queue, letter: str) -> None:
    """Messages 1 (unique, explicit, expiring, failed once) and 2 in a state; 3 stays beside them."""
    queue.enqueue(message(1, unique=KEY, explicit=True, expires=-9_000), message(2))
    if letter in "rd":
        later = 5_000 if letter == "d" else 0
        queue.nack(*(retried(item, later, line=b'{"e":1}') for item in queue.take()))
    if letter in "pxq":
        queue.nack(*(retried(item, line=b'{"e":1}') for item in queue.take()))
        items = queue.take()
        if letter == "p":
            queue.park(*((held(item), "t") for item in items))
        else:
            queue.bury(*(buried(item, quarantine=letter == "q") for item in items))
    queue.enqueue(message(3))


@pytest.mark.parametrize("letter", "rdpxq")
def test_a_message_leaves_whole_and_arrives_as_it_was(queue: Queue, letter: str) -> None:
    put(queue, letter)
    before = queue.dump()
    records = before["state"]
    assert taken(queue, letter, 1, 2, token="t1") == [1, 2]
    left = queue.dump()
    assert set(left["body"]) == {message(3).id}
    assert not {"state", "errors", "unique", "delayed", "dead", "quarantine", "parked", "parked:t"} & set(left)
    assert queue.ready() == [3]
    assert float(left["tombs"][1]) == queue.now + queue.limits.tombstone + 0.5
    assert taken(queue, letter, 1, 2, 3, token="t1") == [1, 2], "a repeat answers the same"
    assert landed(queue, "t1") == "nn"
    other = Queue(queue.link, queue.keys.base.split("{")[1].split(":")[0])
    other.keys = queue_keys(queue.keys.base.split("{")[1].split(":")[0], "other")
    there = other.dump()
    assert landed(queue, "t1") == "nn", "a repeat changes nothing"
    assert other.dump() == there
    assert there["errors"] == before["errors"]
    assert there["body"] == {one: before["body"][one] for one in (message(1).id, message(2).id)}
    if letter != "p":
        assert there["state"] == {one: records[one] for one in (message(1).id, message(2).id)}
    for name in ("delayed", "dead", "quarantine", "unique"):
        assert there.get(name) == before.get(name), name
    if letter in "rp":
        assert other.ready() == [1, 2]
    assert float(there["tombs"][1]) == queue.now + queue.limits.tombstone
    assert queue.run(carried(queue.keys, "t1", 2)) == 1
    assert queue.run(carried(queue.keys, "t1", 2)) == 0
    assert not {"moves", "parcels:t1"} & set(queue.dump())
    assert queue.counter("moved") == 2
    assert landed_nothing(other)


def landed_nothing(other: Queue) -> bool:
    return not other.link.execute("KEYS", other.keys.base.replace("[", "\\[") + "lane:*")


def test_only_what_is_in_that_state_and_place_is_taken(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(6)), message(6, due=-50), message(7, priority=1))
    assert number_of(queue.take(1)[0]) == 7
    items = queue.take(2)
    queue.cancel(items[1].id)
    queue.nack(retried(items[1]))
    assert taken(queue, "r", 0, 1, 2, 2, 6, 7, 9) == [2], "leased, to be cancelled, twice, delayed, elsewhere, unknown"
    assert taken(queue, "d", 2, 3, 6) == [6]
    assert taken(queue, "x", 3) == []
    assert queue.ready() == [3, 4, 5, 1]


def test_suspects_stay(queue: Queue) -> None:
    queue.enqueue(message(1))
    for _ in range(2):
        (item,) = queue.take()
        queue.reclaim(item.token, mode="crash", started=[item.id])
        queue.seat = type(queue.seat)()
    place = Place("suspects", queue.keys.alone)
    assert queue.run(take(queue.keys, place, "r", "t", "other", [message(1).id], queue.limits, queue.at)) == ()


def test_from_the_middle_and_the_end_of_a_list(queue: Queue) -> None:
    for start in range(0, 2_500, 250):
        queue.enqueue(*(message(number) for number in range(start, start + 250)))
    assert taken(queue, "r", 2, 4, 2_499, before=3) == [2, 4, 2_499], "the last one is searched for"
    assert taken(queue, "r", 1_800, 1_810, before=1_798) == [1_800, 1_810]
    assert taken(queue, "r", 2_001, 2_002, 2_003, 2_004) == [2_001, 2_002, 2_003], "three are searched for"
    assert queue.ready() == [n for n in range(2_500) if n not in (2, 4, 2_499, 1_800, 1_810, 2_001, 2_002, 2_003)]


def test_a_script_takes_no_more_than_its_bytes_but_one(queue: Queue) -> None:
    queue.enqueue(message(1, b"x" * 200_000), message(2, b"x" * 100_000), message(3, b"x" * 400_000))
    assert taken(queue, "r", 1, 2, 3) == [1]
    assert taken(queue, "r", 3, 2) == [3]


def test_error_lines_weigh_like_bodies_since_they_are_carried_too(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(20)))
    line = b'{"e":"' + b"x" * 16_000 + b'"}'
    queue.nack(*(retried(item, line=line) for item in queue.take(20)))
    first = taken(queue, "r", *range(20), token="t")
    assert first == list(range(16)), "16 of them have 256 KiB"
    assert sum(len(parcel) for _, parcel in parcels(queue, "t")) < LEASE_BYTES
    assert taken(queue, "r", *range(16, 20)) == [16, 17, 18, 19]


def test_what_cannot_land_is_told_and_comes_back(queue: Queue) -> None:
    space = queue.keys.base.split("{")[1].split(":")[0]
    other = Queue(queue.link, space)
    other.keys = queue_keys(space, "other")
    other.enqueue(message(1), message(5, unique=KEY), message(3, explicit=True))
    (item,) = [one for one in other.take() if number_of(one) == 3]
    other.run(_ack(other, item))
    queue.enqueue(message(1), message(2, unique=KEY), message(3, explicit=True), message(4))
    assert taken(queue, "r", 1, 2, 3, 4, token="t") == [1, 2, 3, 4]
    assert landed(queue, "t") == "eutn"
    assert other.state(message(4).id) == "r"
    queue.enqueue(message(9, unique=KEY))
    assert landed(queue, "t", back=True, keys=queue.keys) == "nnnn"
    assert queue.ready() == [9, 1, 2, 3, 4]
    assert queue.dump()["unique"] == {KEY: message(9).id}, "whoever took the key meanwhile has it"
    assert float(queue.dump()["tombs"][1]) == queue.now + queue.limits.tombstone


def test_an_id_that_is_there_again_is_not_overwritten_by_what_comes_back(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    taken(queue, "r", 1, 2, token="t")
    queue.enqueue(message(1, b"another"))
    before = queue.dump()
    assert landed(queue, "t", back=True, keys=queue.keys) == "en"
    assert queue.dump() == before


def _ack(queue: Queue, item: Any) -> Any:
    return calls.ack(queue.keys, [item], None, queue.limits, queue.at)


# -- remove


def removed(queue: Queue, letter: str, *numbers: int) -> tuple[int, int]:
    return queue.run(remove(queue.keys, letter, [message(number).id for number in numbers], queue.limits, queue.at))


@pytest.mark.parametrize("letter", "rdp")
def test_all_that_belongs_to_a_message_goes_with_it(queue: Queue, letter: str) -> None:
    put(queue, letter)
    assert removed(queue, letter, 1, 2) == (2, 2)
    assert removed(queue, letter, 1, 2) == (0, 2)
    dump = queue.dump()
    assert set(dump["body"]) == {message(3).id}
    assert dump.get("state", {}) == ({} if letter == "d" else {message(n).id: b"c" for n in (1, 2)})
    assert not {"errors", "unique", "delayed"} & set(dump)
    assert float(dump["tombs"][1]) == queue.now + queue.limits.tombstone
    assert queue.counter("purged") == 2
    assert [number_of(item) for item in queue.take()] == [3]


def test_what_is_elsewhere_stays_and_keys_of_others_too(queue: Queue) -> None:
    queue.enqueue(message(1), message(2, due=-5), message(3, unique=KEY))
    queue.link.execute("HSET", queue.keys.unique, KEY, message(8).id)
    queue.take(1)
    assert removed(queue, "r", 1, 2, 3, 9) == (1, 4)
    assert queue.dump()["unique"] == {KEY: message(8).id}
    assert (queue.state(message(1).id), queue.state(message(2).id)) == ("l", "d")


def test_large_bodies_are_freed_a_few_at_a_time(queue: Queue) -> None:
    for number in range(3):
        queue.enqueue(message(number, b"x" * (PURGE_BYTES * 2 // 3)))
    assert removed(queue, "r", 0, 1, 2) == (1, 1)
    assert removed(queue, "r", 1, 2) == (1, 1)
    queue.enqueue(message(7, b"x" * (PURGE_BYTES + 1)), message(8))
    assert removed(queue, "r", 7, 8) == (1, 1), "even the largest goes"
