"""trim.lua: what may go, what stays, who holds it back, and what is counted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq.codec import JSON
from taskq.errors import BrokerRefused
from taskq.events.calls import key_digest
from taskq.events.log import Log
from taskq.events.packed import packed_batches
from taskq.events.properties import Retention
from taskq.events.record import Event
from taskq.events.retention import Step, trim_call
from taskq.events.retention import trim as trim_steps
from taskq.store.links import Links
from taskq.store.scripts import Call
from tests.lua.events_kit import Partition
from tests.servers import RealServer

NODE = 100  # entries of one node of a stream, as servers are set up


@pytest.fixture
def partition(server: RealServer, namespace: str) -> Iterator[Partition]:
    link = server.link()
    yield Partition(link, namespace)
    link.close()


def fill(partition: Partition, count: int, step_ms: int = 1, size: int = 1) -> None:
    for number in range(count):
        partition.publish("x" * size if size > 1 else number)
        partition.now += step_ms


def trim(partition: Partition, retention: Retention, groups: dict[str, bool] | None = None, limit: int = 1_000) -> Step:
    return partition.run(trim_call(partition.keys, retention, groups or {}, limit, now=str(partition.now)))


def position(partition: Partition, group: str, number: int) -> None:
    """The group has handled the records up to this one."""
    record = partition.records()[number - 1]
    partition.link.execute("HSET", partition.keys.group(group), "at", str(record.offset), "n", record.number)


@pytest.mark.parametrize("step_ms", [0, 1, 7])
@pytest.mark.parametrize("limit", ["count", "bytes", "age"])
def test_s92_what_is_kept_stays_and_at_most_a_node_more(partition: Partition, limit: str, step_ms: int) -> None:
    fill(partition, 650, step_ms)
    records = partition.records()
    total = int(partition.meta()["b"])
    if limit == "count":
        retention, least = Retention(count=120), 120
    elif limit == "bytes":
        retention = Retention(bytes=360)  # numbers of three digits
        least = 120
    else:
        retention = Retention(age=0.5)
        least = sum(1 for one in records if partition.now - one.offset.ms <= 500)
    step = trim(partition, retention)
    left = partition.records()
    assert least <= len(left) < least + NODE
    assert [one.number for one in left] == list(range(651 - len(left), 651))
    assert (step.removed, step.first) == (650 - len(left), left[0].offset.entry)
    meta = partition.meta()
    assert int(meta.get("gone", 0)) == 650 - len(left)
    assert total - int(meta.get("gone_b", 0)) == sum(len(str(one.value)) for one in left)
    assert trim(partition, retention).removed == 0, "a repeat finds nothing"
    assert partition.meta() == meta


def test_all_that_is_too_old_goes_and_numbers_go_on(partition: Partition) -> None:
    fill(partition, 300)
    partition.now += 10_000
    assert trim(partition, Retention(age=1)).removed == 300
    assert partition.entries() == []
    assert (partition.meta()["gone"], partition.meta()["gone_b"]) == ("300", partition.meta()["b"])
    partition.publish("next")
    assert partition.records()[0].number == 301


def test_a_script_removes_no_more_than_it_was_told(partition: Partition) -> None:
    fill(partition, 650)
    steps = []
    while (step := trim(partition, Retention(count=50), limit=200)).removed:
        assert step.removed <= 200
        steps.append(step.more)
    assert steps[:2] == [True, True]
    assert len(steps) == 3
    assert len(partition.records()) == 50


def test_nothing_from_a_bound_on_is_removed(partition: Partition) -> None:
    fill(partition, 650)
    bound = partition.records()[300].offset.entry
    step = partition.run(trim_call(partition.keys, Retention(count=50), {}, bound=bound, now=str(partition.now)))
    assert step.first == bound


def test_packed_entries_count_by_their_records(partition: Partition) -> None:
    partition.properties = type(partition.properties)(partitions=1, packed=True)
    for _ in range(300):
        for batch in packed_batches("t", partition.properties, JSON, range(10), lambda: 0):
            partition.run(partition.publish_call(batch))
            partition.now += 1
    trim(partition, Retention(count=1_500))
    left = partition.records()
    assert 1_500 <= len(left) < 1_500 + 10 * NODE
    assert left[0].number == int(partition.meta()["gone"]) + 1


def test_entries_of_somebody_else_do_not_stop_it(partition: Partition) -> None:
    for _ in range(4):
        partition.link.execute("XADD", partition.keys.log, f"{partition.now}-7", "some", "body")
        partition.now += 1
        fill(partition, 100)
    trim(partition, Retention(count=50))
    assert 50 <= len(partition.records()) < 50 + NODE


# -- groups


def test_s93_a_group_that_must_not_lose_holds_it_back_and_is_named_with_its_time(partition: Partition) -> None:
    fill(partition, 650)
    position(partition, "billing", 200)
    begun = partition.now
    for _ in range(2):
        step = trim(partition, Retention(count=50), {"billing": True, "other": False})
        partition.now += 1_000
        assert (step.held_by, step.held_since) == ("billing", begun), "since the first time"
    left = [one.number for one in partition.records()]
    assert 200 - NODE < left[0] <= 201
    position(partition, "billing", len(left))
    step = trim(partition, Retention(count=50), {"billing": True})
    assert (step.held_by, step.held_since) == ("", None)
    assert "held" not in partition.meta()


def test_s93_a_group_that_has_not_begun_holds_everything(partition: Partition) -> None:
    fill(partition, 300)
    step = trim(partition, Retention(count=50), {"billing": True})
    assert (step.removed, step.held_by) == (0, "billing")


def test_what_was_removed_past_a_group_is_counted_once(partition: Partition) -> None:
    fill(partition, 650)
    position(partition, "slow", 120)
    position(partition, "quick", 640)
    for _ in range(2):
        trim(partition, Retention(count=50), {"slow": False, "quick": False, "new": False})
    meta = partition.meta()
    assert meta["overrun:slow"] == str(int(meta["gone"]) - 120)
    assert not {"overrun:quick", "overrun:new"} & set(meta)


# -- guards


@pytest.mark.parametrize("key", ["none", "log", "meta", "group", "list"])
def test_a_key_of_another_type_is_found_before_the_first_write(partition: Partition, key: str) -> None:
    fill(partition, 300)
    lists = {"group": partition.keys.group("g"), "list": partition.keys.of_key("0" * 32)}
    name = lists.get(key) or getattr(partition.keys, key)
    partition.link.execute("SET", name, "not ours")
    before = partition.dump()
    with pytest.raises(BrokerRefused, match="is a string"):
        partition.run(trim_call(partition.keys, Retention(count=10), {"g": False}, lists=[lists["list"]]))
    assert partition.dump() == before


def test_a_full_server_is_trimmed(start_server: Callable[..., RealServer], namespace: str) -> None:
    partition = Partition(start_server().link(), namespace)
    fill(partition, 300)
    partition.link.execute("CONFIG", "SET", "maxmemory", "1")
    assert trim(partition, Retention(count=50), {"g": True}).held_by == "g"
    assert trim(partition, Retention(count=50)).removed == 200
    partition.link.close()


@pytest.mark.parametrize("size", [1, 30_000])
def test_an_index_forgets_in_the_same_script_what_is_removed(partition: Partition, namespace: str, size: int) -> None:
    partition.properties = type(partition.properties)(partitions=1, index=True, retention=Retention(count=50))
    count = 300 if size == 1 else 70
    for number in range(count):
        key = f"key-{number % 2}" if number < count - 1 else None
        partition.publish(Event("x" * size, key) if number != 5 else Event(None, "gone"))
        partition.now += 1

    def links() -> Links:
        raise AssertionError("not used")

    steps = trim_steps(Log(namespace, "t", {}, links, 1.0), partition.properties)
    reply: Any = None
    with contextlib.suppress(StopIteration):
        while True:
            step = steps.send(reply)
            reply = partition.run(step) if isinstance(step, Call) else partition.link.execute(*step)
            assert indexed(partition) == keyed(partition), "wherever it ends, the index has what is there"
    assert 50 <= len(partition.entries()) <= 150
    assert int(partition.meta()["gone"]) == count - len(partition.entries())


def indexed(partition: Partition) -> list[str]:
    keys = (b"key-0", b"key-1", b"gone")
    lists = [partition.keys.of_key(key_digest(key)) for key in keys]
    return sorted(str(one, "ascii") for name in lists for one in partition.link.execute("LRANGE", name, 0, -1))


def keyed(partition: Partition) -> list[str]:
    return sorted(entry for entry, fields in partition.entries() if "k" in fields)
