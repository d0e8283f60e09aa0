"""Order in all modes, also through retries (statements 30 to 36)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from taskq import Record, RetryPolicy
from tests.events.ordered_kit import LONG_S, SOON, Scene, Seen, fail_first, in_order, pairs, part
from tests.servers import RealServer


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace)
    yield made
    made.close()


class Guard:
    """Tells two records of one key that are in progress at once, and how many are at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[Any] = []
        self.most = 0
        self.overlaps = 0

    def __call__(self, name: Any) -> Guard:
        with self._lock:
            self.overlaps += name in self._running
            self._running.append(name)
            self.most = max(self.most, len(self._running))
        self._name = name
        return self

    def end(self, name: Any) -> None:
        with self._lock:
            self._running.remove(name)


@pytest.mark.parametrize("mode", ["partition", "key", "global"])
def test_s30_records_of_a_key_start_in_order_and_never_two_at_once(scene: Scene, mode: str) -> None:
    guard, seen = Guard(), Seen()

    def handler(record: Record) -> None:
        guard(record.key)
        seen.add(record)
        guard.end(record.key)

    scene.publish(1000, keys=23)
    with scene.consumer(handler, mode=mode), scene.consumer(handler, mode=mode):
        scene.publish(1000, begin=1000, keys=23)
        records = seen.count(2000)
    assert in_order(pairs(records))
    assert len(records) == 2000
    assert guard.overlaps == 0


@pytest.mark.parametrize("mode", ["partition", "key", "unordered", "global"])
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_each_mode_and_kind_of_function_handles_all_and_commits_all(scene: Scene, mode: str, kind: str) -> None:
    seen = Seen()

    async def coroutine(record: Record) -> None:
        await asyncio.sleep(0)
        seen.add(record)

    scene.publish(3000, keys=50)
    with scene.consumer(seen.add if kind == "plain" else coroutine, mode=mode):
        records = seen.count(3000)
        scene.until(lambda: sum(scene.position(number) for number in range(4)) == 3000)
    assert len(records) == 3000
    if mode != "unordered":
        assert in_order(pairs(records))


def test_s31_global_mode_has_one_active_consumer_and_hands_over(scene: Scene) -> None:
    one, two = Seen(), Seen()
    scene.publish(100, keys=10)
    with scene.consumer(two.add, mode="global") as second:
        two.count(100)
        with scene.consumer(one.add, mode="global") as first:
            scene.publish(100, begin=100, keys=10)
            two.count(200)
            assert one.items == []
            assert first.partitions == []
            second.stop()
            scene.until(lambda: len(first.partitions) == 4)
            scene.publish(100, begin=200, keys=10)
            one.count(100)
    assert in_order(pairs(two.items + one.items))


def test_s31_global_mode_merges_all_partitions_by_time_also_over_a_handover(scene: Scene) -> None:
    seen = Seen()

    def publish(begin: int) -> None:
        for number in range(begin, begin + 200):
            scene.topic.publish(number, partition=number % 4)

    publish(0)
    with scene.consumer(seen.add, mode="global") as first:
        publish(200)
        seen.count(400)
        first.stop()
        publish(400)
        with scene.consumer(seen.add, mode="global"):
            publish(600)
            records = seen.count(800)
    times = [record.offset.ms for record in records]
    assert times == sorted(times)
    assert sorted(record.value for record in records) == list(range(800))


def test_s32_unordered_mode_has_several_of_a_partition_in_progress_and_commits_the_low_watermark(scene: Scene) -> None:
    go, first, done = threading.Event(), threading.Event(), Seen()

    def handler(record: Record) -> None:
        if record.value == 0:
            first.set()
            assert go.wait(LONG_S)
        done.add(record.value)

    scene.publish(50)
    with scene.consumer(handler, mode="unordered", concurrency=4):
        done.count(49)
        assert first.is_set()
        assert scene.position() == 0, "the first is not done"
        go.set()
        scene.until(lambda: scene.position() == 50)


def test_s33_key_mode_runs_keys_side_by_side_and_one_key_in_order(scene: Scene) -> None:
    go, seen = threading.Event(), Seen()

    def handler(record: Record) -> None:
        if record.value == 0:
            assert go.wait(LONG_S)
        seen.add(record)

    for number in range(60):
        scene.topic.publish(number, key=f"k{number % 3}", partition=0)
    with scene.consumer(handler, mode="key"):
        others = seen.count(40)
        assert {record.key for record in others} == {"k1", "k2"}
        assert scene.position() == 0
        go.set()
        assert in_order(pairs(seen.count(60)))
        scene.until(lambda: scene.position() == 60)


def test_s35_block_lets_nothing_later_of_the_partition_start_before_the_record_succeeds(scene: Scene) -> None:
    seen = Seen()
    scene.publish(10)
    with scene.consumer(fail_first(seen, 3, 2), retry=SOON):
        records = seen.count(12)
        scene.until(lambda: scene.position() == 10)
    assert [record.value for record in records] == [0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9]
    assert [record.attempt for record in records if record.value == 3] == [1, 2, 3]


def test_s35_block_in_key_mode_holds_up_only_that_key(scene: Scene) -> None:
    seen = Seen()
    for number in range(30):
        scene.topic.publish(number, key=f"k{number % 3}", partition=0)
    with scene.consumer(fail_first(seen, 3, 2), mode="key", retry=SOON):
        records = seen.count(32)
        scene.until(lambda: scene.position() == 30)
    mine = [record.value for record in records if record.key == "k0"]
    assert mine == [0, 3, 3, 3, 6, 9, 12, 15, 18, 21, 24, 27]


@pytest.mark.parametrize("options", [{"mode": "key"}, {"on_error": "park"}], ids=["block", "park"])
def test_s35_and_s36_other_keys_do_not_wait_for_the_retry_of_one(scene: Scene, options: dict[str, Any]) -> None:
    seen = Seen()
    for number in range(30):
        scene.topic.publish(number, key=f"k{number % 3}", partition=0)
    never = RetryPolicy(max_attempts=3, base=3600, cap=3600)
    with scene.consumer(fail_first(seen, 3, 99), retry=never, **options):
        records = seen.until(lambda items: sum(one.key != "k0" for one in items) == 20)
    assert [record.value for record in records if record.key == "k0"] == [0, 3]


def test_s36_park_lets_later_records_of_the_key_wait_in_order_and_others_go_on(scene: Scene) -> None:
    seen = Seen()
    for number in range(30):
        scene.topic.publish(number, key=f"k{number % 3}", partition=0)
    with scene.consumer(fail_first(seen, 3, 2), on_error="park", retry=SOON):
        scene.until(lambda: scene.position() == 30)
        records = seen.count(32)
        scene.until(lambda: scene.link.execute("EXISTS", part(scene, "parked"), part(scene, "tails")) == 0)
    mine = [record.value for record in records if record.key == "k0"]
    assert mine == [0, 3, 3, 3, 6, 9, 12, 15, 18, 21, 24, 27]
    assert scene.link.execute("EXISTS", part(scene, "bodies"), part(scene, "marks")) == 0


def test_s36_a_parked_head_that_never_succeeds_is_dead_and_its_tail_goes_on_under_the_next_owner(scene: Scene) -> None:
    seen = Seen()
    for number in range(9):
        scene.topic.publish(number, key=f"k{number % 3}", partition=0)
    slow = RetryPolicy(max_attempts=2, base=4)
    with scene.consumer(fail_first(seen, 0, 99), on_error="park", retry=slow):
        scene.until(lambda: scene.position() == 9)
    assert scene.link.execute("ZCARD", part(scene, "tails")) == 3
    again = Seen()
    with scene.consumer(fail_first(again, 0, 99), on_error="park", retry=slow):
        assert [record.value for record in again.count(3)] == [0, 3, 6]
        scene.until(lambda: scene.link.execute("EXISTS", part(scene, "parked")) == 0)
    [(head, body)] = scene.dead()
    assert (head["attempts"], head["key"], body) == (2, "k0", b"0")
