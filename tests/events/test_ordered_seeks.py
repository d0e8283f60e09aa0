"""Parked records of an ordered group that is put elsewhere, or is read otherwise: none runs twice, and none is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskq import Record, RetryPolicy
from tests.events.ordered_kit import Scene, Seen, part
from tests.servers import RealServer

LATER = RetryPolicy(max_attempts=9, base=3600, cap=3600)
NOW = RetryPolicy(max_attempts=9, base=0.01, cap=0.01)


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace, partitions=1)
    yield made
    made.close()


def fill(scene: Scene, count: int, begin: int = 0) -> None:
    """Three keys in turn: k0 has 0, 3, 6 ..."""
    for number in range(begin, begin + count):
        scene.topic.publish(number, key=f"k{number % 3}", partition=0)


def parks(scene: Scene, seen: Seen) -> Any:
    """Let the group come to its end, with the whole key k0 parked: its first record fails for an hour."""

    def handler(record: Record) -> None:
        seen.add(record.value)
        if record.key == "k0":
            raise ValueError("later")

    return scene.consumer(handler, on_error="park", retry=LATER)


def due_now(scene: Scene) -> None:
    for digest in scene.link.execute("ZRANGE", part(scene, "parked"), 0, -1):
        scene.link.execute("ZADD", part(scene, "parked"), 1, digest)


def tails(scene: Scene) -> list[int]:
    """The numbers of the parked records."""
    return [int(one.rpartition(b":")[2]) for one in scene.link.execute("ZRANGE", part(scene, "tails"), 0, -1)]


def settled(scene: Scene, end: int) -> None:
    names = [part(scene, name) for name in ("parked", "tails", "bodies")]
    scene.until(lambda: scene.position() == end and scene.link.execute("EXISTS", *names) == 0)


# to before record 0, 3 (parked), 4 (between parked ones), and behind the last one
@pytest.mark.parametrize(("to", "expected"), [(0, [*range(9)]), (3, [0, *range(3, 9)]), (4, [0, 3, *range(4, 9)])])
def test_after_a_seek_back_what_comes_again_from_the_log_is_no_longer_parked(
    scene: Scene, to: int, expected: list[int]
) -> None:
    fill(scene, 9)
    with parks(scene, Seen()):
        scene.until(lambda: scene.position() == 9)
    assert tails(scene) == [1, 4, 7]
    where = scene.topic.read(0)[to].offset
    scene.topic.group("g").seek(where, [0])
    assert tails(scene) == [number for number in (1, 4, 7) if number <= to], "before anybody reads on"
    due_now(scene)
    seen = Seen()
    with scene.consumer(seen.add, on_error="park", retry=NOW):
        settled(scene, 9)
    assert sorted(record.value for record in seen.items) == expected, "each once"
    keyed = [record.value for record in seen.items if record.key == "k0"]
    assert keyed == sorted(keyed)
    assert scene.dead() == []


def test_after_a_seek_to_the_end_what_was_parked_still_runs_before_what_comes_later(scene: Scene) -> None:
    fill(scene, 9)
    with parks(scene, Seen()):
        scene.until(lambda: scene.position() == 9)
    fill(scene, 6, begin=9)
    scene.topic.group("g").seek("latest")
    assert tails(scene) == [1, 4, 7]
    assert scene.topic.group("g").lag()[0].parked == 1
    fill(scene, 3, begin=15)
    due_now(scene)
    seen = Seen()
    with scene.consumer(seen.add, on_error="park", retry=NOW):
        settled(scene, 18)
    assert sorted(record.value for record in seen.items) == [0, 3, 6, 15, 16, 17], "9 to 14 were skipped by the seek"
    assert [record.value for record in seen.items if record.key == "k0"] == [0, 3, 6, 15]


@pytest.mark.parametrize("by", ["owner", "force"])
def test_a_seek_under_a_running_consumer_does_the_same(scene: Scene, by: str) -> None:
    fill(scene, 9)
    seen = Seen()
    with parks(scene, seen) as consumer:
        scene.until(lambda: scene.position() == 9)
        seen.items.clear()
        if by == "owner":
            consumer.seek(0, scene.topic.read(0)[3].offset)
        else:
            scene.topic.group("g").seek(scene.topic.read(0)[3].offset, [0], force=True)
        scene.until(lambda: scene.field("void") is None and scene.position() == 9)
        scene.until(lambda: tails(scene) == [1, 4, 7])
    assert seen.items == [4, 5, 7, 8], "3 and 6 wait behind 0, which stayed parked"


def test_who_dies_before_the_parked_are_forgotten_leaves_it_to_the_next_owner(scene: Scene) -> None:
    fill(scene, 9)
    with parks(scene, Seen()):
        scene.until(lambda: scene.position() == 9)
    before = tails(scene)
    scene.link.execute("HSET", scene.topic.log.keys.partition(0).group("g"), "void", "3 word")  # of a seek to record 3
    assert tails(scene) == before
    seen = Seen()
    due_now(scene)
    with scene.consumer(seen.add, on_error="park", retry=NOW):
        settled(scene, 9)
    assert [record.value for record in seen.items] == [0]


@pytest.mark.parametrize("mode", ["key", "unordered"])
def test_what_a_group_has_parked_runs_first_when_its_mode_is_another(scene: Scene, mode: str) -> None:
    fill(scene, 9)
    with parks(scene, Seen()):
        scene.until(lambda: scene.position() == 9)
    fill(scene, 9, begin=9)
    due_now(scene)
    seen = Seen()
    failed: list[int] = []

    def handler(record: Record) -> None:
        seen.add(record.value)
        if record.value == 3 and not failed:
            failed.append(3)
            raise ValueError("once more")

    with scene.consumer(handler, mode=mode, retry=NOW):
        settled(scene, 18)
    assert seen.items[:4] == [0, 3, 3, 6]
    assert sorted(seen.items[4:]) == [*range(9, 18)]
