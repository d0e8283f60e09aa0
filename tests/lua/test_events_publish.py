"""publish.lua, publish_once.lua, enlist.lua and declare.lua: what each guard is for, and what a repeat does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq.errors import BrokerFull, BrokerRefused, OutOfOrder, PublisherFenced, VersionConflict
from taskq.events.calls import Gap, Seat, key_digest
from taskq.events.named import enlist
from taskq.events.properties import Dedup
from taskq.events.record import Event
from taskq.store.scripts import Call, load, run
from taskq.store.topic_keys import topics
from tests.lua.events_kit import Partition
from tests.servers import RealServer


@pytest.fixture
def partition(server: RealServer, namespace: str) -> Iterator[Partition]:
    link = server.link()
    yield Partition(link, namespace)
    link.close()


# -- ids, numbers and counts


def test_ids_of_a_batch_follow_each_other_and_numbers_and_bytes_add_up(partition: Partition) -> None:
    first = partition.publish("a", Event("bc", key="k"), "d")
    assert first == f"{partition.now}-0"
    assert [entry for entry, _ in partition.entries()] == [f"{partition.now}-{seq}" for seq in range(3)]
    assert [fields["n"] for _, fields in partition.entries()] == [b"1,3", b"2,8", b"3,11"]
    assert partition.meta() == {"n": "3", "b": "11", "id": f"{partition.now}-2"}


def test_a_clock_that_goes_back_gives_ids_that_go_on(partition: Partition) -> None:
    partition.publish(1)
    partition.now -= 5_000
    assert partition.publish(2, 3) == f"{partition.now + 5_000}-1"
    partition.now += 10_000
    assert partition.publish(4) == f"{partition.now}-0"
    assert partition.values() == [1, 2, 3, 4]


def test_behind_an_entry_of_somebody_else_ids_and_numbers_go_on(partition: Partition) -> None:
    partition.publish(1)
    partition.link.execute("XADD", partition.keys.log, f"{partition.now + 7}-5", "x", "y")
    assert partition.publish(2, 3) == f"{partition.now + 7}-6"
    assert [(record.number, record.value) for record in partition.records()] == [(1, 1), (2, 2), (3, 3)]


def test_numbers_go_on_when_meta_was_removed(partition: Partition) -> None:
    partition.publish(1, 2)
    partition.link.execute("DEL", partition.keys.meta)
    partition.publish(3)
    assert [record.number for record in partition.records()] == [1, 2, 3]
    assert partition.meta()["n"] == "3"


def test_all_that_an_event_has_is_stored_and_read(partition: Partition) -> None:
    events = [
        Event({"a": 1}, "k", {"trace": "x"}, 1.5),
        Event(None, "gone"),
        Event([1], headers={"only": "headers"}),
        Event(0, time=0),
    ]
    partition.publish(*events)
    found = [(one.value, one.key, dict(one.headers), one.time) for one in partition.records()]
    now = partition.now
    assert found == [
        ({"a": 1}, "k", {"trace": "x"}, 1500),
        (None, "gone", {}, now),
        ([1], None, {"only": "headers"}, now),
        (0, None, {}, 0),
    ]


# -- lanes


def test_s42_a_repeat_of_any_of_the_last_eight_numbers_gets_the_old_answer_and_adds_nothing(
    partition: Partition,
) -> None:
    answers = {number: partition.publish(number, number=number) for number in range(1, 11)}
    before = partition.dump()
    partition.now += 1
    for number in range(3, 11):
        assert partition.publish("other", number=number) == answers[number]
    assert partition.dump() == before


def test_s43_a_gap_and_a_number_that_is_long_over_are_refused(partition: Partition) -> None:
    for number in range(1, 10):
        partition.publish(number, number=number)
    before = partition.dump()
    with pytest.raises(OutOfOrder):
        partition.publish("old", number=1)
    with pytest.raises(Gap):
        partition.publish("gap", number=11)
    assert partition.dump() == before


def test_a_lane_is_forgotten_after_an_hour_and_a_named_publisher_never(partition: Partition) -> None:
    partition.publish(1)
    seat = Seat(partition.keys.producer("p"), partition.run(enlist(partition.keys, "p", b"one"))[0], "p")
    partition.publish(2, number=1, seat=seat)
    assert 3_590_000 < partition.link.execute("PTTL", partition.keys.lane(partition.lane)) <= 3_600_000
    assert partition.link.execute("PTTL", partition.keys.producer("p")) == -1


# -- named publishers


def test_s44_a_newer_incarnation_fences_the_older_and_goes_on_with_its_numbers(partition: Partition) -> None:
    def seat(epoch: str) -> Seat:
        return Seat(partition.keys.producer("p"), epoch, "p")

    one, last = partition.run(enlist(partition.keys, "p", b"one"))
    assert (one, last) == ("1", 0)
    first = partition.publish("a", number=1, seat=seat(one))
    assert partition.run(enlist(partition.keys, "p", b"one")) == ("1", 1), "a repeat is the same incarnation"
    two, last = partition.run(enlist(partition.keys, "p", b"two"))
    assert (two, last) == ("2", 1)
    before = partition.dump()
    with pytest.raises(PublisherFenced, match="'p' has begun anew"):
        partition.publish("b", number=2, seat=seat(one))
    with pytest.raises(PublisherFenced):
        partition.publish("a", number=1, seat=seat(one))
    assert partition.dump() == before
    assert partition.publish("a", number=1, seat=seat(two)) == first
    partition.publish("b", number=2, seat=seat(two))
    assert partition.values() == ["a", "b"]


# -- versions


def test_s61_a_key_is_appended_to_only_at_the_version_that_was_expected(partition: Partition) -> None:
    def append(*values: Any, expected: int | None) -> str:
        batch = partition.batch(*(Event(value, "k") for value in values))
        batch.version = b"k", expected
        return partition.run(partition.publish_call(batch))

    append("a", "b", expected=0)
    before = partition.dump()
    with pytest.raises(VersionConflict) as refused:
        append("c", expected=1)
    assert refused.value.version == 2
    assert partition.dump() == before
    partition.number -= 1
    append("c", expected=2)
    append("d", expected=None)
    assert partition.values() == ["a", "b", "c", "d"]
    assert partition.link.execute("HGET", partition.keys.versions, "k") == b"4"


# -- given ids


def test_s45_an_id_is_appended_once_within_its_window_and_anew_after_it(partition: Partition) -> None:
    partition.properties = type(partition.properties)(partitions=1, dedup=Dedup(age=10, count=100))
    first = partition.publish(Event("a", id="one"))
    partition.now += 9_999
    assert partition.publish(Event("a", id="one")) == "=" + first
    partition.now += 2
    again = partition.publish(Event("a", id="one"))
    assert again == f"{partition.now}-0"
    assert partition.values() == ["a", "a"]
    partition.publish(Event("b", id="two"))
    assert partition.meta().get("crowded") is None


def test_s45_the_oldest_ids_make_room_and_both_limits_are_counted(partition: Partition) -> None:
    partition.properties = type(partition.properties)(partitions=1, dedup=Dedup(age=10, count=3))
    partition.publish(*(Event(number, id=f"id-{number}") for number in range(5)))
    assert partition.meta()["crowded"] == "2"
    assert partition.publish(Event(4, id="id-4")).startswith("=")
    assert not partition.publish(Event(0, id="id-0")).startswith("=")
    partition.now += 10_001
    partition.publish(Event(9, id="id-9"))
    assert partition.meta()["forgotten"] == "2", "as many as are there, at most twice as many as came"
    assert partition.link.execute("HLEN", partition.keys.seen) == partition.link.execute("ZCARD", partition.keys.due)


def test_one_id_twice_in_a_batch_is_one_record(partition: Partition) -> None:
    answer = partition.publish(Event(1, id="x"), Event(2), Event(3, id="x"))
    now = partition.now
    assert answer == f"{now}-0 {now}-1 ={now}-0"
    assert partition.values() == [1, 2]


def test_a_repeat_with_given_ids_gets_the_old_answer(partition: Partition) -> None:
    batch = partition.batch(Event(1, id="x"), Event(2, id="y"))
    answer = partition.run(partition.publish_call(batch, 1))
    before = partition.dump()
    assert partition.run(partition.publish_call(batch, 1)) == answer
    assert partition.dump() == before


# -- the index by key


def test_an_index_has_the_ids_of_each_key(partition: Partition) -> None:
    partition.properties = type(partition.properties)(partitions=1, index=True)
    partition.publish(Event(1, "a"), Event(2, "b", time=1), Event(3), Event(4, "a", headers={"x": "y"}))
    partition.publish(Event(5, "a", id="given"))
    ids = {
        key: [
            str(one, "ascii") for one in partition.link.execute("LRANGE", partition.keys.of_key(key_digest(key)), 0, -1)
        ]
        for key in (b"a", b"b")
    }
    by_key = {key: [entry for entry, fields in partition.entries() if fields.get("k") == key] for key in (b"a", b"b")}
    assert ids == by_key


# -- before the first write


def sends(partition: Partition) -> dict[str, Callable[[], Call[Any]]]:
    def version() -> Call[Any]:
        batch = partition.batch(Event(1, "k"))
        batch.version = b"k", 0
        return partition.publish_call(batch)

    return {
        "plain": lambda: partition.publish_call(partition.batch(Event(1, "k"))),
        "once": lambda: partition.publish_call(partition.batch(Event(1, "k", id="x"))),
        "version": version,
    }


@pytest.mark.parametrize("which", ["plain", "once", "version"])
@pytest.mark.parametrize("key", ["lane", "log", "meta", "seen", "due", "versions", "index"])
def test_a_key_of_another_type_is_found_before_the_first_write(partition: Partition, key: str, which: str) -> None:
    partition.properties = type(partition.properties)(partitions=1, index=True)
    names = {"lane": partition.keys.lane(partition.lane), "index": partition.keys.of_key(key_digest(b"k"))}
    name = names.get(key) or getattr(partition.keys, key)
    partition.link.execute("SET", name, "not ours")
    before = partition.dump()
    with pytest.raises(BrokerRefused, match="is a string"):
        partition.run(sends(partition)[which]())
    assert partition.dump() == before


@pytest.mark.parametrize("which", ["plain", "once", "version"])
def test_a_full_server_refuses_to_publish_and_nothing_is_half_there(
    start_server: Callable[..., RealServer], namespace: str, which: str
) -> None:
    server = start_server()
    partition = Partition(server.link(), namespace, index=True)
    partition.publish(0)
    before = partition.dump()
    partition.link.execute("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(BrokerFull):
        partition.run(sends(partition)[which]())
    partition.link.execute("CONFIG", "SET", "maxmemory", "0")
    assert partition.dump() == before
    partition.link.close()


# -- declare


def test_properties_are_stored_only_over_what_the_caller_has_seen(server: RealServer, namespace: str) -> None:
    link = server.link()

    def declare(seen: bytes, wanted: bytes) -> bytes:
        return run(link, Call(load("events/declare"), [topics(namespace)], ["t", seen, wanted], bytes))

    assert declare(b"", b"") == b""
    assert declare(b"", b"one") == b"one"
    assert declare(b"", b"two") == b"one"
    assert declare(b"one", b"two") == b"two"
    assert declare(b"one", b"three") == b"two"
    assert declare(b"", b"") == b"two"
    link.close()
