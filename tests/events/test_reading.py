"""Reading without a group, all records of a key, packed blocks, and aggregates."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import Event, Offset, Record, TaskQ, VersionConflict
from taskq.codec import JSON
from taskq.errors import DecodeError, InvalidOption
from taskq.events.aggregates import Aggregates
from taskq.events.packing import ZSTD, Columns, pack, unpack
from taskq.events.record import Undecodable

Another = Callable[..., TaskQ]
packings = pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])


def values(records: builtins.list[Record] | tuple[Record, ...]) -> builtins.list[Any]:
    return [record.value for record in records]


# -- ranges


@packings
def test_s06_reading_begins_at_an_offset_or_a_time_and_s12_ends_at_one(app: TaskQ, packed: bool) -> None:
    topic = app.topic("t", partitions=1, packed=packed)
    topic.publish_many(range(10))
    app.broker().link.execute("DEBUG", "SLEEP", "0.002")
    late = topic.publish_many(range(10, 20))
    found = topic.read(0)
    assert values(found) == list(range(20))
    assert values(topic.read(0, since=found[5].offset, until=found[12].offset)) == list(range(5, 13))
    assert values(topic.read(0, since=found[5].offset.after, limit=3)) == [6, 7, 8]
    moment = late[0].offset.ms / 1000
    assert values(topic.read(0, since=moment)) == list(range(10, 20))
    assert values(topic.read(0, since=datetime.fromtimestamp(moment, UTC))) == list(range(10, 20))
    assert values(topic.read(0, until=(late[0].offset.ms - 1) / 1000)) == list(range(10))
    assert values(topic.read(0, until=moment)) == list(range(20)), "all of that millisecond"
    assert topic.read(0, since="latest") == []
    end = topic.ends()[0]
    topic.publish("new")
    assert values(topic.read(0, since=end)) == ["new"]


@packings
def test_pages_join_without_gap_or_repeat(app: TaskQ, packed: bool) -> None:
    topic = app.topic("t", partitions=1, packed=packed)
    topic.publish_many([{"number": number, "text": "x" * (number % 700)} for number in range(5_000)])
    found: list[Record] = []
    while some := topic.read(0, since=found[-1].offset.after if found else "earliest", limit=333):
        found += some
    assert [one.value["number"] for one in found] == list(range(5_000))
    assert [one.number for one in found] == list(range(1, 5_001))


def test_what_cannot_be_meant_is_refused(app: TaskQ) -> None:
    topic = app.topic("t", partitions=2)
    for call, text in (
        (lambda: topic.read(2), "has 2 partitions"),
        (lambda: topic.read(0, since="yesterday"), "since='yesterday'"),  # type: ignore[arg-type]
        (lambda: topic.read(0, limit=0), "limit=0"),
        (lambda: topic.of_key(""), "key=''"),
    ):
        with pytest.raises(InvalidOption, match=text):
            call()


def test_a_value_that_cannot_be_read_does_not_hide_the_others(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1)
    topic.publish("a", key="k")
    link, log = app.broker().link, topic.log.keys.partition(0).log
    link.execute("XADD", log, "*", "n", "2,9", "v", "{", "k", "k")
    link.execute("XADD", log, "*", "somebody", "else")
    topic.publish("b", key="k")
    one, bad, two = topic.read(0)
    assert (one.value, two.value) == ("a", "b")
    assert isinstance(bad.value, Undecodable)
    assert (bad.value.data, bad.key) == (b"{", None)


# -- one key


@pytest.mark.parametrize("options", [{}, {"index": True}, {"packed": True}], ids=str)
def test_the_records_of_one_key_are_found_with_an_index_and_without(app: TaskQ, options: Any) -> None:
    topic = app.topic("t", partitions=2, **options)
    topic.publish_many([Event(number, key=f"key-{number % 5}") for number in range(1_000)])
    found = topic.of_key("key-3")
    assert values(found.records) == list(range(3, 1_000, 5))
    assert found.cut is None
    first = topic.of_key("key-3", limit=7)
    assert first.cut is not None
    assert values(first.records) + values(topic.of_key("key-3", since=first.cut).records) == values(found.records)
    assert topic.of_key("never").records == ()


def test_a_scan_says_where_it_was_cut(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1)
    topic.publish_many([Event(number, key=f"key-{number}") for number in range(500)])
    found = topic.of_key("key-400", scan=300)
    assert (found.records, found.cut is None) == ((), False)
    assert found.cut is not None
    assert values(topic.of_key("key-400", since=found.cut).records) == [400]


# -- blocks


def columns(count: int) -> Columns:
    def each(kind: Callable[[int], bytes | None]) -> list[bytes | None]:
        return [kind(number) for number in range(count)]

    return Columns(
        each(lambda number: None if number % 3 == 0 else b"key-%d" % number),
        each(lambda number: b'{"a":"b"}' if number % 4 == 0 else None),
        [None if number % 5 else number for number in range(count)],
        each(lambda number: None if number % 7 == 0 else b"%d" % number),
    )


@pytest.mark.parametrize("count", [1, 2, 10, 1_000])
@pytest.mark.parametrize("listed", [False, True])
def test_a_block_gives_back_what_was_packed(count: int, listed: bool) -> None:
    given = columns(count)
    plain = [None if one is None else int(one) for one in given.values]
    if listed:
        given = given._replace(values=JSON.dumps(plain))
    keys, headers, times, found = unpack(pack(given), JSON)
    assert (list(keys), list(headers), list(times), list(found)) == (given.keys, given.headers, given.times, plain)


def test_a_block_is_compressed_where_that_gains_and_needs_no_zstandard(monkeypatch: pytest.MonkeyPatch) -> None:
    given = columns(1_000)
    small = pack(given)
    assert small[1] & ZSTD
    monkeypatch.setattr("taskq.events.packing.zstandard", lambda: None)
    large = pack(given)
    assert not large[1] & ZSTD
    assert len(small) < len(large) / 2
    assert list(unpack(large, JSON)[0]) == given.keys
    with pytest.raises(DecodeError, match=r"install taskq-redis\[zstd\]"):
        unpack(small, JSON)


def test_bytes_that_are_no_block_are_refused() -> None:
    whole = pack(columns(10))
    for at in range(len(whole)):
        with pytest.raises(DecodeError):
            unpack(whole[:at], JSON)
    for bad in (b"\x02" + whole[1:], b"\x01\x01garbage", b"\x01\x00\xff\xff\xff\xff"):
        with pytest.raises(DecodeError):
            unpack(bad, JSON)


def test_a_block_that_cannot_be_read_is_as_many_undecodable_records(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1, packed=True)
    topic.publish_many(range(3))
    link, log = app.broker().link, topic.log.keys.partition(0).log
    link.execute("XADD", log, "*", "n", "5,9", "c", "2", "b", "rubbish")
    link.execute("HSET", topic.log.keys.partition(0).meta, "n", 5)
    topic.publish("z")
    found = topic.read(0)
    assert [one.number for one in found] == [1, 2, 3, 4, 5, 6]
    assert [isinstance(one.value, Undecodable) for one in found] == [False] * 3 + [True] * 2 + [False]


def test_given_ids_and_versions_are_not_for_packed_topics(app: TaskQ) -> None:
    topic = app.topic("t", packed=True)
    with pytest.raises(InvalidOption, match="packed"):
        topic.publish(1, id="x")
    with pytest.raises(InvalidOption, match="packed"):
        Aggregates(topic, list, lambda state, record: state).append("k", [1])


# -- event sourcing


def balance(state: int, record: Record) -> int:
    amount: int = record.value
    return state + amount


@pytest.fixture(params=[False, True], ids=["scan", "index"])
def accounts(app: TaskQ, request: pytest.FixtureRequest) -> Aggregates[int]:
    return Aggregates(app.topic("accounts", partitions=2, index=request.param), int, balance)


def test_s61_of_a_hundred_appends_to_one_version_one_succeeds(accounts: Aggregates[int]) -> None:
    accounts.append("a", [1, 2])

    def append(amount: int) -> str:
        try:
            return str(accounts.append("a", [amount], expected=2).version)
        except VersionConflict as conflict:
            return f"conflict with {conflict.version}"

    with ThreadPoolExecutor(10) as pool:
        told = sorted(pool.map(append, range(100)))
    assert told == ["3", *["conflict with 3"] * 99]
    assert accounts.load("a").version == 3


def test_s62_events_go_together_or_not_at_all(accounts: Aggregates[int]) -> None:
    appended = accounts.append("a", range(250), expected=0)
    offsets = [one.offset for one in appended.records]
    assert offsets == [Offset(offsets[0].ms, offsets[0].seq + step) for step in range(250)]
    with pytest.raises(VersionConflict):
        accounts.append("a", range(250), expected=0)
    for many in (range(251), ["x" * 200_000] * 2, []):
        with pytest.raises(InvalidOption, match="they go together"):
            accounts.append("a", many)
    assert (accounts.load("a").version, accounts.load("a").state) == (250, sum(range(250)))


def test_s63_a_snapshot_and_what_came_after_it_equals_all_events(
    accounts: Aggregates[int], another_app: Another
) -> None:
    seen: list[int] = []

    def counted(state: int, record: Record) -> int:
        seen.append(record.value)
        return balance(state, record)

    accounts.append("a", range(10))
    assert accounts.snapshot("a") == accounts.load("a")
    accounts.append("a", [100])
    accounts.append("b", [7])
    other = Aggregates(another_app().topic("accounts"), int, counted)
    loaded = other.load("a")
    assert (loaded.state, loaded.version, seen) == (145, 11, [100])
    replayed = Aggregates(accounts.topic, int, balance, name="another").load("a")
    assert replayed == loaded
    assert accounts.load("nobody") == accounts.snapshot("nobody")


def test_s64_the_state_of_a_time_is_that_of_the_events_up_to_it(accounts: Aggregates[int]) -> None:
    accounts.append("a", [Event(amount, time=float(amount)) for amount in (1, 2, 3, 4)])
    accounts.snapshot("a")
    assert [accounts.as_of("a", moment).state for moment in (0.5, 1, 2.5, 9)] == [0, 1, 3, 10]


async def test_the_same_from_an_event_loop(accounts: Aggregates[int], app: TaskQ) -> None:
    appended = await accounts.aappend("a", [1, 2], expected=0)
    assert appended.version == 2
    assert await accounts.asnapshot("a") == await accounts.aload("a")
    assert (await accounts.aas_of("a", 4e9)).state == 3
    await app.aclose()


def test_s67_there_is_no_call_that_changes_a_record(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1)
    topic.publish("a")
    (record,) = topic.read(0)
    with pytest.raises(AttributeError):
        record.value = "b"  # type: ignore[misc]
    public = {name.lstrip("a") for name in dir(topic) if not name.startswith("_")}
    assert not {"delete", "update", "edit", "remove", "insert"} & public
