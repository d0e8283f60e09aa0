"""The scripts of compaction: a pass that is cut anywhere changes nothing, and a whole one only what it says."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq.errors import BrokerRefused
from taskq.events.compaction import begin_call, compact, copy_call, keys_call, swap_call
from taskq.events.log import Log
from taskq.events.properties import TopicProperties
from taskq.events.record import Event
from taskq.store.links import Links
from taskq.store.scripts import Call, run
from tests.lua.events_kit import Partition
from tests.servers import RealServer

COMPACTED = TopicProperties(partitions=1, compact=True, tombstones=86_400 * 365 * 5)


@pytest.fixture
def partition(server: RealServer, namespace: str) -> Iterator[Partition]:
    link = server.link()
    yield Partition(link, namespace, compact=True)
    link.close()


def fill(partition: Partition, count: int, keys: int = 7) -> None:
    for start in range(0, count, 50):
        partition.publish(*(Event(number, f"key-{number % keys}") for number in range(start, min(start + 50, count))))
        partition.now += 1


def steps(partition: Partition, namespace: str) -> Any:
    def links() -> Links:
        raise AssertionError("not used")

    return compact(Log(namespace, "t", {}, links, 1.0), COMPACTED)


def asked(partition: Partition, step: Any) -> Any:
    return run(partition.link, step) if isinstance(step, Call) else partition.link.execute(*step)


def play(partition: Partition, passing: Any, reply: Any) -> None:
    while True:
        reply = asked(partition, passing.send(reply))


def walk(partition: Partition, namespace: str, stop: int = 10_000, meanwhile: Callable[[], None] | None = None) -> bool:
    """Play a pass until a step, with something happening between all of its steps; whether it came to its end."""
    passing = steps(partition, namespace)
    reply = None
    for _ in range(stop):
        try:
            step = passing.send(reply)
        except StopIteration:
            return True
        reply = asked(partition, step)
        if isinstance(step, Call) and meanwhile is not None:
            meanwhile()
    return False


def newest(partition: Partition) -> dict[str | None, tuple[Any, Any, int]]:
    return {one.key: (one.value, one.offset, one.number) for one in partition.records()}


def test_s94_of_each_key_the_newest_record_stays_with_its_id_and_number(partition: Partition, namespace: str) -> None:
    fill(partition, 600)
    partition.publish("no key", Event(None, "key-0"))
    before, info = newest(partition), partition.link.execute("XINFO", "STREAM", partition.keys.log)
    assert walk(partition, namespace)
    assert newest(partition) == before
    assert len(partition.records()) == 8
    offsets = [one.offset for one in partition.records()]
    assert offsets == sorted(offsets)
    after = partition.link.execute("XINFO", "STREAM", partition.keys.log)
    told = dict(zip(info[::2], info[1::2], strict=True)), dict(zip(after[::2], after[1::2], strict=True))
    for name in (b"last-generated-id", b"entries-added"):
        assert told[0][name] == told[1][name]
    assert {"log", "meta"} <= set(partition.dump()) <= {"log", "meta", f"lane:{partition.lane.hex()}"}
    assert partition.meta()["version"] == "1"
    partition.publish(Event("new", "key-1"))
    assert partition.records()[-1].number == 603


def test_s94_a_pass_that_is_killed_at_any_step_leaves_the_log_as_it_was(partition: Partition, namespace: str) -> None:
    fill(partition, 600)
    before = partition.entries()
    stop = 1
    while not walk(partition, namespace, stop):
        swapped = "version" in partition.meta()
        assert swapped or partition.entries() == before
        if swapped:
            break
        stop += 1
    assert stop > 6
    assert walk(partition, namespace)
    assert len(partition.records()) == 7


def test_s94_a_pass_goes_on_if_retention_takes_what_it_was_to_catch_up_with(
    partition: Partition, namespace: str
) -> None:
    fill(partition, 600)
    passing, reply, swaps = steps(partition, namespace), None, list[int]()
    with contextlib.suppress(StopIteration):
        while True:
            step = passing.send(reply)
            swap = isinstance(step, Call) and len(step.keys) == 4
            if swap and not swaps:
                partition.now += 1
                fill(partition, 300)
            reply = asked(partition, step)
            if swap:
                swaps.append(reply)
            if swap and reply == 2:
                partition.link.execute("XDEL", partition.keys.log, *(entry for entry, _ in partition.entries()[600:]))
    assert swaps == [2, 0]
    assert len(partition.records()) == 7


def test_s94_what_is_appended_meanwhile_stays(partition: Partition, namespace: str) -> None:
    fill(partition, 600)
    counted = iter(range(10_000))

    def append() -> None:
        partition.now += 1
        partition.publish(*(Event(f"late-{next(counted)}", "key-1") for _ in range(60)))

    assert walk(partition, namespace, meanwhile=append)
    late = [one.value for one in partition.records() if str(one.value).startswith("late")]
    assert late == [f"late-{number}" for number in range(next(counted))]
    numbers = [one.number for one in partition.records()]
    assert numbers == sorted(set(numbers))


def test_s94_a_second_pass_stops_the_first(partition: Partition, namespace: str) -> None:
    fill(partition, 600)
    first = steps(partition, namespace)
    reply = None
    for _ in range(6):
        reply = asked(partition, first.send(reply))
    assert walk(partition, namespace)
    before = partition.entries()
    with pytest.raises(StopIteration) as ended:
        play(partition, first, reply)
    assert [one.done for one in ended.value.value] == [False]
    assert partition.entries() == before


def test_a_repeat_of_each_step_changes_nothing(partition: Partition) -> None:
    fill(partition, 100)
    begin: Call[Any] = begin_call(partition.keys, b"one")
    for call in (begin, copy_call(partition.keys, b"one", "-", b"+", [])):
        partition.run(call)
        before = partition.dump()
        partition.run(call)
        assert partition.dump() == before
    last = partition.entries()[-1][0]
    for _ in range(2):
        assert partition.run(swap_call(partition.keys, b"one", last)) == 0
    assert partition.meta()["version"] == "1"
    assert len(partition.records()) == 100


def test_a_page_has_the_keys_and_no_values_and_ends_at_its_limits(partition: Partition) -> None:
    partition.publish("x" * 100_000, Event(1, "k"), Event(None, "gone"))
    partition.link.execute("XADD", partition.keys.log, f"{partition.now}-9", "k", "theirs")
    rows = partition.run(keys_call(partition.keys, "-", "+"))
    assert [row[1:] for row in rows] == [(b"-", b""), (b"v", b"k"), (b"t", b"gone"), (b"-", b"")]
    for _ in range(3):
        partition.publish(*("x" * 100_000 for _ in range(2)))
    assert len(partition.run(keys_call(partition.keys, "-", "+"))) < 260


def test_no_script_copies_more_bytes_than_it_may_but_one_record_whatever_its_size(
    partition: Partition, namespace: str
) -> None:
    late, copies = iter(range(3)), [(0, 0)]

    def meanwhile() -> None:
        if (number := next(late, None)) is not None:
            partition.publish(Event("m" * 200_000, f"late-{number}"))
        fresh = partition.link.execute("XRANGE", partition.keys.fresh, "-", "+")
        copies.append((len(fresh), sum(len(part) for _, fields in fresh for part in fields)))

    for number in range(12):
        partition.publish(Event("x" * 100_000, f"key-{number % 7}") if number else Event("x" * 900_000, "large"))
    assert walk(partition, namespace, meanwhile=meanwhile)
    grown = [(more - less, large - small) for (less, small), (more, large) in itertools.pairwise(copies)]
    assert [size for count, size in grown if count == 1 and size > 900_000]
    assert all(count <= 1 or size <= 262_144 for count, size in grown)
    expected = {"large", *(f"key-{n}" for n in range(7)), *(f"late-{n}" for n in range(3))}
    assert {one.key for one in partition.records()} == expected
    assert len(run(partition.link, keys_call(partition.keys, "-", "+"))) == 1, "the large one goes alone"


def test_a_swap_copies_no_more_bytes_than_a_script_may(partition: Partition) -> None:
    first, *_ = (partition.publish(Event("x", "a")), partition.publish(Event("y", "a")))
    begun = run(partition.link, begin_call(partition.keys, b"n"))
    assert run(partition.link, copy_call(partition.keys, b"n", "-", begun[1].encode(), [first.encode()])) == 0
    for number in range(3):
        partition.publish(Event("x" * 200_000, f"b{number}"))
    assert run(partition.link, swap_call(partition.keys, b"n", begun[1])) == 2
    rows = run(partition.link, keys_call(partition.keys, f"({begun[1]}", "+"))
    assert [key for *_, key in rows] == [b"b0"]
    more = run(partition.link, copy_call(partition.keys, b"n", f"({begun[1]}", b"+", []))
    assert more == 2, "a copy looks at its size itself"
    for entry, _, _ in run(partition.link, keys_call(partition.keys, f"({begun[1]}", "+")):
        assert run(partition.link, copy_call(partition.keys, b"n", entry.decode(), entry, [])) == 0
    assert run(partition.link, swap_call(partition.keys, b"n", rows[0][0].decode())) == 2, "two are left, too large"
    ids = [entry for entry, _ in partition.entries()]
    assert run(partition.link, copy_call(partition.keys, b"n", ids[-2], ids[-2].encode(), [])) == 0
    assert run(partition.link, swap_call(partition.keys, b"n", ids[-2])) == 0
    assert [fields["k"] for _, fields in partition.entries()] == [b"a", b"b0", b"b1", b"b2"]


def test_when_nothing_is_left_ids_and_numbers_go_on(partition: Partition) -> None:
    partition.publish(Event(None, "gone"))
    partition.run(begin_call(partition.keys, b"one"))
    entry = partition.entries()[0][0]
    partition.run(copy_call(partition.keys, b"one", "-", b"+", [entry.encode()]))
    assert partition.run(swap_call(partition.keys, b"one", entry)) == 0
    assert partition.entries() == []
    assert partition.publish("next") == f"{partition.now}-1"
    assert partition.records()[0].number == 2


def test_a_log_with_native_groups_is_left_alone(partition: Partition) -> None:
    fill(partition, 100)
    partition.run(begin_call(partition.keys, b"one"))
    partition.link.execute("XGROUP", "CREATE", partition.keys.log, "theirs", "0")
    assert partition.run(swap_call(partition.keys, b"one", partition.entries()[-1][0])) == 3
    assert partition.run(begin_call(partition.keys, b"two"))[0] == 1
    assert len(partition.records()) == 100


@pytest.mark.parametrize("key", ["log", "meta", "fresh", "old"])
def test_a_key_of_another_type_is_found_before_the_first_write(partition: Partition, key: str) -> None:
    fill(partition, 100)
    name = getattr(partition.keys, key)
    partition.link.execute("SET", name, "not ours")
    before = partition.dump()
    calls: list[Call[Any]] = [swap_call(partition.keys, b"one", "0-0")]
    if key != "old":
        calls += [begin_call(partition.keys, b"one"), copy_call(partition.keys, b"one", "-", b"+", [])]
    for call in calls:
        with pytest.raises(BrokerRefused, match="is a string"):
            partition.run(call)
    assert partition.dump() == before


def test_a_blocked_reader_gets_what_comes_after_a_swap(partition: Partition, server: RealServer) -> None:
    fill(partition, 100)
    last = partition.entries()[-1][0]
    reader = server.link()
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.append(reader.blocking(5, "XREAD", "BLOCK", 5000, "STREAMS", partition.keys.log, last))
    )
    thread.start()
    while not int(partition.link.execute("INFO", "clients").split(b"blocked_clients:")[1].split()[0]):
        pass
    partition.run(begin_call(partition.keys, b"one"))
    partition.run(copy_call(partition.keys, b"one", "-", b"+", []))
    assert partition.run(swap_call(partition.keys, b"one", last)) == 0
    assert thread.is_alive()
    partition.publish("new")
    thread.join()
    reader.close()
    assert found[0][0][1][0][1][3] == b'"new"'
