"""Who owns which partition when members come, go, die, freeze and return (statements 15 to 29), with real processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from taskq import Record
from taskq.errors import MemberFenced
from tests.events.ordered_kit import LONG_S, Scene, Seen, in_order
from tests.servers import RealServer


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace)
    yield made
    made.close()


def owners(scene: Scene, group: str = "g") -> dict[int, str]:
    """Partition and member, as the group has it."""
    flat = scene.link.execute("HGETALL", scene.topic.log.keys.group(group, "owners"))
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {int(partition): owner.decode().split(":", 2)[2] for partition, owner in pairs}


def spread(scene: Scene, members: int) -> bool:
    """Whether so many members own all partitions evenly."""
    found = list(owners(scene).values())
    sizes = [found.count(name) for name in set(found)]
    return len(found) == 4 and len(sizes) == members and max(sizes) - min(sizes) <= 1


def test_s15_a_handler_beyond_max_poll_loses_its_partitions_and_its_commit_counts_no_more(scene: Scene) -> None:
    scene.publish(3)
    go, lost, slow = threading.Event(), Seen(), Seen()

    def handler(record: Record) -> None:
        slow.add(record.value)
        if len(slow.items) == 1:
            assert go.wait(LONG_S)

    quick = Seen()
    with scene.consumer(handler, max_poll=0.5, on_lost=lambda numbers: lost.add(numbers)):
        slow.count(1)
        assert sorted(number for numbers in lost.count(4) for number in numbers) == [0, 1, 2, 3]
        with scene.consumer(lambda record: quick.add(record.value)):
            assert quick.count(3) == [0, 1, 2]
            scene.until(lambda: scene.position() == 3)
            go.set()
            scene.until(lambda: spread(scene, 2))
            assert scene.position() == 3
            scene.publish(10, begin=10, keys=10)
            scene.until(lambda: len(quick.items) + len(slow.items) >= 14)


def test_s16_a_slow_handler_within_max_poll_keeps_its_partitions(scene: Scene) -> None:
    scene.publish(1)
    go, began = threading.Event(), Seen()

    def handler(record: Record) -> None:
        began.add(record)
        assert go.wait(LONG_S)

    with scene.consumer(handler, session=2.0):
        began.count(1)
        epoch = scene.link.execute("HGET", scene.topic.log.keys.group("g", "state"), "epoch")
        members = scene.topic.log.keys.group("g", "members")
        first = float(scene.link.execute("ZRANGE", members, 0, -1, "WITHSCORES")[1])
        scene.until(lambda: float(scene.link.execute("ZRANGE", members, 0, -1, "WITHSCORES")[1]) > first + 1000)
        go.set()
        scene.until(lambda: scene.position() == 1)
        assert scene.link.execute("HGET", scene.topic.log.keys.group("g", "state"), "epoch") == epoch


def test_s20_partitions_that_do_not_move_go_on_under_their_claim(scene: Scene) -> None:
    one, two = Seen(), Seen()
    with scene.consumer(lambda record: one.add(record.partition)):
        scene.publish(40, keys=40)
        one.count(40)
        before = {number: scene.field("epoch", number) for number in range(4)}
        with scene.consumer(lambda record: two.add(record.partition)):
            scene.until(lambda: spread(scene, 2))
            scene.publish(400, begin=100, keys=100)
            scene.until(lambda: len(one.items) + len(two.items) >= 440)
            after = {number: scene.field("epoch", number) for number in range(4)}
            moved = set(two.items)
            assert len(moved) == 2
            assert {number for number in after if after[number] != before[number]} == moved


def test_s22_a_member_that_leaves_in_order_leaves_nothing_to_repeat(scene: Scene) -> None:
    leaver = scene.process().started()
    scene.process().started()
    scene.until(lambda: spread(scene, 2))
    for begin in range(0, 500, 50):
        scene.publish(50, begin=begin, keys=50)
    leaver.leave()
    for begin in range(500, 1000, 50):
        scene.publish(50, begin=begin, keys=50)
    ledger = scene.ledger_until(lambda lines: len(lines) >= 1000)
    assert sorted(line["value"] for line in ledger) == list(range(1000))
    assert in_order([(line["key"], line["value"]) for line in ledger])


@pytest.mark.crash
def test_s23_after_a_kill_others_take_over_and_only_what_was_not_committed_comes_again(scene: Scene) -> None:
    victim = scene.process("slow:0.01").started()
    scene.process().started()
    scene.until(lambda: spread(scene, 2))
    scene.publish(400, keys=40)
    scene.ledger_until(lambda lines: sum(line["pid"] == victim.pid for line in lines) >= 20)
    victim.kill()
    ledger = scene.ledger_until(lambda lines: len({line["value"] for line in lines}) == 400)
    scene.until(lambda: sum(scene.position(number) for number in range(4)) == 400)
    repeated = len(ledger) - 400
    assert repeated <= 2 * 500, "at most what was in hand of its two partitions"
    firsts: dict[int, Any] = {line["value"]: line for line in reversed(ledger)}
    assert in_order([(line["key"], line["value"]) for line in ledger if firsts[line["value"]] is line])


def test_s24_on_revoke_comes_before_the_release_and_on_lost_when_it_is_too_late(scene: Scene) -> None:
    told = Seen()

    def revoked(numbers: list[int]) -> None:
        told.add((numbers[0], scene.field("owner", numbers[0]) != b""))

    with scene.consumer(Seen().add, on_revoke=revoked) as first:
        scene.until(lambda: len(first.partitions) == 4)
        with scene.consumer(Seen().add):
            moved = told.count(2)
            scene.until(lambda: spread(scene, 2))
    assert all(owned for _, owned in told.items)
    assert len({number for number, _ in moved}) == 2
    assert len({number for number, _ in told.items}) == 4, "the others when it ended"


def test_s25_a_static_member_that_restarts_in_time_moves_nothing(scene: Scene) -> None:
    stays, returns = Seen(), Seen()
    with scene.consumer(stays.add, member="a", session=20.0) as first:
        with scene.consumer(returns.add, member="b", session=20.0):
            scene.until(lambda: spread(scene, 2))
            before = owners(scene)
        with scene.consumer(returns.add, member="b", session=20.0) as second:
            scene.until(lambda: len(second.partitions) == 2)
            assert owners(scene) == before
            assert len(first.partitions) == 2
            scene.publish(100, keys=100)
            scene.until(lambda: len(stays.items) + len(returns.items) == 100)


@pytest.mark.crash
def test_s26_a_frozen_member_can_neither_commit_nor_write_state_when_it_goes_on(scene: Scene) -> None:
    frozen = scene.process("count", delivery="exactly_once", session=1.0).started()
    scene.publish(50, keys=10)
    scene.until(lambda: sum(scene.position(number) for number in range(4)) == 50)
    frozen.signal(signal.SIGSTOP)
    other = scene.process("count", delivery="exactly_once", session=1.0)
    scene.publish(50, begin=50, keys=10)
    other.started()
    scene.until(lambda: sum(scene.position(number) for number in range(4)) == 100)
    frozen.signal(signal.SIGCONT)
    scene.until(lambda: spread(scene, 2))
    scene.publish(50, begin=100, keys=10)
    scene.until(lambda: sum(scene.position(number) for number in range(4)) == 150)
    assert state(scene) == {f"k{number}": 15 for number in range(10)}


def state(scene: Scene) -> dict[str, int]:
    """The counts that `count` kept."""
    found: dict[str, int] = {}
    for number in range(4):
        flat = scene.link.execute("HGETALL", scene.topic.log.keys.partition(number).group("g", "state"))
        found |= {key.decode(): int(value) for key, value in zip(flat[::2], flat[1::2], strict=True)}
    return found


def test_s27_of_two_members_with_one_name_the_newer_wins_and_the_older_is_told(scene: Scene) -> None:
    with scene.consumer(Seen().add, member="a", session=1.0) as older:
        scene.until(lambda: len(older.partitions) == 4)
        seen = Seen()
        with scene.consumer(seen.add, member="a", session=1.0) as newer:
            with pytest.raises(MemberFenced, match="'a'"):
                older.wait(LONG_S)
            scene.until(lambda: len(newer.partitions) == 4)
            scene.publish(20, keys=20)
            seen.count(20)


@pytest.mark.crash
def test_s29_after_a_rolling_restart_all_is_owned_evenly_and_nothing_was_lost(scene: Scene) -> None:
    members = [scene.process().started() for _ in range(3)]
    published = 0
    for place in range(3):
        scene.publish(100, begin=published, keys=20)
        published += 100
        members[place].leave()
        members[place] = scene.process().started()
    scene.publish(100, begin=published, keys=20)
    scene.until(lambda: spread(scene, 3))
    ledger = scene.ledger_until(lambda lines: len(lines) >= 400)
    assert sorted(line["value"] for line in ledger) == list(range(400)), "nothing lost, nothing twice"
    assert in_order([(line["key"], line["value"]) for line in ledger])


def test_consumers_outlive_an_outage_and_say_it_once(
    start_server: Any, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(aof=True)
    scene = Scene(server, namespace)
    seen = Seen()
    with scene.consumer(lambda record: seen.add(record.value)):
        scene.publish(20, keys=20)
        seen.count(20)
        server.kill9()
        threading.Event().wait(1.0)  # several tries of each thread fall into it
        server.restart()
        scene.until(lambda: published(scene))
        seen.until(lambda values: 99 in values)
    scene.close()
    said = [record.message for record in caplog.records if "unreachable" in record.message]
    assert len(said) == 1


def published(scene: Scene) -> bool:
    try:
        scene.topic.publish(99, key="k")
    except OSError:
        return False
    return True
