"""Ordered groups from outside: seeks, lag, members, dead letters (statements 8, 52, 102)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from taskq import Record, Reject
from taskq.errors import ConfigError, GroupActive
from taskq.events.ordered_group import REDRIVEN
from tests.events.ordered_kit import Scene, Seen
from tests.servers import RealServer


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace)
    yield made
    made.close()


def test_s08_an_inactive_group_that_was_put_elsewhere_goes_on_from_there(scene: Scene) -> None:
    scene.publish(10)
    seen = Seen()
    with scene.consumer(lambda record: seen.add(record.value)):
        seen.count(10)
        scene.until(lambda: scene.position() == 10)
    scene.topic.group("g").seek("earliest")
    with scene.consumer(lambda record: seen.add(record.value)):
        assert seen.count(20)[10:] == list(range(10))


def test_s08_an_active_group_is_put_elsewhere_only_by_force_which_fences_its_members(scene: Scene) -> None:
    scene.publish(10)
    seen = Seen()
    with scene.consumer(lambda record: seen.add(record.value), session=0.9):
        seen.count(10)
        scene.until(lambda: scene.position() == 10)
        before = scene.field("epoch")
        with pytest.raises(GroupActive, match="has 1 member: stop them first"):
            scene.topic.group("g").seek("earliest")
        assert scene.field("epoch") == before
        scene.topic.group("g").seek("earliest", [0], force=True)
        assert seen.count(20)[10:] == list(range(10))
        scene.until(lambda: scene.position() == 10)
        assert int(scene.field("epoch")) > int(before)


def test_a_group_that_is_not_there_is_not_put_anywhere(scene: Scene) -> None:
    with pytest.raises(ConfigError, match="no ordered group 'nobody'"):
        scene.topic.group("nobody").seek("latest")


async def test_s102_lag_is_exact_in_records_and_bytes_whatever_was_removed(scene: Scene) -> None:
    scene.publish(10)
    with scene.topic.subscribe(group="g", reset="earliest") as reading:
        for _ in range(4):
            next(reading)
        reading.commit()
    keys = scene.topic.log.keys.partition(0)
    first, *_ = scene.topic.group("g").lag()
    assert (first.records, first.bytes, first.partition, first.owner) == (6, 6, 0, "")
    entries = scene.link.execute("XRANGE", keys.log, "-", "+", "COUNT", 3)
    scene.link.execute("XTRIM", keys.log, "MINID", entries[2][0])
    assert (await scene.topic.group("g").alag())[0].records == 6
    scene.topic.group("g").seek("earliest")
    assert scene.topic.group("g").lag()[0].records == 10
    scene.topic.group("g").seek("latest")
    assert [one.records for one in scene.topic.group("g").lag()] == [0, 0, 0, 0]
    assert scene.topic.group("g").lag()[0].seconds == 0


def test_members_and_what_they_own_are_told(scene: Scene) -> None:
    with scene.consumer(Seen().add, member="a"), scene.consumer(Seen().add, member="b"):
        group = scene.topic.group("g")
        scene.until(lambda: [len(member.partitions) for member in group.members()] == [2, 2])
        assert [member.name for member in group.members()] == ["a", "b"]
        scene.until(lambda: {one.owner for one in group.lag()} == {"a", "b"})


def test_s52_a_dead_letter_that_is_published_again_counts_how_often_and_is_capped(scene: Scene) -> None:
    seen = Seen()

    def handler(record: Record) -> None:
        seen.add(record)
        raise Reject

    scene.topic.publish(7, key="k", headers={"a": "b"})
    group = scene.topic.group("g")
    with scene.consumer(handler):
        for times in range(1, 4):
            seen.count(times)
            scene.until(lambda: len(group.dead()) == 1)
            left = group.redrive(group.dead(), most=2)
            assert len(left) == (1 if times == 3 else 0)
    first, second, third = seen.items
    assert [dict(one.headers) for one in seen.items] == [
        {"a": "b"},
        {"a": "b", REDRIVEN: "1"},
        {"a": "b", REDRIVEN: "2"},
    ]
    assert {(one.partition, one.key, one.value, one.time) for one in (second, third)} == {
        (first.partition, "k", 7, first.time)
    }


def test_ordered_groups_run_on_a_cluster(start_server: Callable[..., RealServer], namespace: str) -> None:
    scene = Scene(start_server(cluster=True), namespace)
    seen = Seen()
    scene.publish(500, keys=20)
    with scene.consumer(lambda record: seen.add(record.value)), scene.consumer(lambda record: seen.add(record.value)):
        scene.publish(500, begin=500, keys=20)
        assert sorted(seen.count(1000)) == list(range(1000))
        scene.until(lambda: sum(one.records for one in scene.topic.group("g").lag()) == 0)
    scene.close()
