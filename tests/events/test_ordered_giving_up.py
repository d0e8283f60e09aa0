"""A partition read by key and given up in order: what is done of one key is not done again by the next owner."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from taskq import Event, Record, RetryPolicy
from tests.events.ordered_kit import LONG_S, Scene, Seen, in_order, pairs
from tests.servers import RealServer

COUNT = 40


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace)
    yield made
    made.close()


def publish(scene: Scene) -> None:
    """Two keys by turns: the even numbers under `a`, the odd ones under `b`."""
    scene.topic.publish_many([Event(number, key="ab"[number % 2], partition=0) for number in range(COUNT)])


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_what_stands_before_records_that_are_done_is_done_first(scene: Scene, kind: str) -> None:
    began, gate, seen = threading.Event(), threading.Event(), Seen()

    def plain(record: Record) -> None:
        if record.value == 0:
            began.set()
            assert gate.wait(LONG_S)
        seen.add(record)

    async def coroutine(record: Record) -> None:
        if record.value == 0:
            began.set()
            await asyncio.to_thread(gate.wait, LONG_S)
        seen.add(record)

    publish(scene)
    with scene.consumer(plain if kind == "plain" else coroutine, mode="key", concurrency=2) as first:
        assert began.wait(LONG_S)
        seen.count(COUNT // 2)  # all of b, while the first of a is in progress
        desk = first.desk
        holding = desk.holdings[0]
        desk.revoke(holding)
        gate.set()
        scene.until(lambda: holding.released)
    assert len(seen.items) == COUNT
    assert in_order(pairs(seen.items))
    assert scene.position() == COUNT


def test_whoever_ends_last_does_not_matter(scene: Scene) -> None:
    """Two keys are in progress; what the later one has done stands behind records of the earlier one, which is idle."""
    gates = {0: threading.Event(), 3: threading.Event()}
    began, seen = {number: threading.Event() for number in gates}, Seen()

    def handler(record: Record) -> None:
        if record.value in gates:
            began[record.value].set()
            assert gates[record.value].wait(LONG_S)
        seen.add(record)

    publish(scene)
    with scene.consumer(handler, mode="key", concurrency=2) as first:
        for event in began.values():
            assert event.wait(LONG_S)
        holding = first.desk.holdings[0]
        lane = first.desk._windows[holding].lanes["a"]
        first.desk.revoke(holding)
        gates[0].set()
        scene.until(lambda: not (lane.busy or lane.queued))  # it has ended, and owed nothing
        gates[3].set()
        scene.until(lambda: holding.released)
    assert sorted(record.value for record in seen.items) == [0, 1, 2, 3]
    assert scene.position() == 4


def test_nothing_of_a_partition_that_was_given_up_is_tried_again(scene: Scene) -> None:
    failed, seen = threading.Event(), Seen()
    tries: list[int] = []

    def handler(record: Record) -> None:
        if record.value == 0:
            tries.append(0)
            failed.set()
            raise ValueError("not yet")
        seen.add(record)

    publish(scene)
    with scene.consumer(handler, mode="key", concurrency=2, retry=RetryPolicy(base=3_600)) as first:
        assert failed.wait(LONG_S)
        seen.count(COUNT // 2)
        desk, holding = first.desk, first.desk.holdings[0]
        lane = desk._windows[holding].lanes["a"]
        scene.until(lambda: not (lane.busy or lane.queued))
        desk.revoke(holding)
        scene.until(lambda: holding.released)
        lane.resume_at = 0.0
        desk.ready.add(lane)  # as if its time had come
        scene.until(lambda: not (lane.busy or lane.queued))
    assert tries == [0]


def test_the_hook_is_told_once(scene: Scene) -> None:
    began, gate, told = threading.Event(), threading.Event(), list[int]()

    def handler(record: Record) -> None:
        if record.value == 0:
            began.set()
            assert gate.wait(LONG_S)

    publish(scene)
    with scene.consumer(handler, mode="key", concurrency=2, on_revoke=told.extend) as first:
        assert began.wait(LONG_S)
        holding = first.desk.holdings[0]
        first.desk.revoke(holding)
        first.desk.ready.add(holding)  # as the end of the time for it would
        scene.until(lambda: not (holding.busy or holding.queued))
        gate.set()
        scene.until(lambda: holding.released)
        assert told == [0]


def test_nobody_waits_for_a_record_that_failed(scene: Scene) -> None:
    failed, seen, again = threading.Event(), Seen(), Seen()

    def handler(record: Record) -> None:
        if record.value == 0:
            failed.set()
            raise ValueError("not yet")
        seen.add(record)

    publish(scene)
    policy = RetryPolicy(base=3_600)
    with scene.consumer(handler, mode="key", concurrency=2, retry=policy) as first:
        assert failed.wait(LONG_S)
        seen.count(COUNT // 2)
        holding = first.desk.holdings[0]
        first.desk.revoke(holding)
        scene.until(lambda: holding.released)
    assert scene.position() == 0
    with scene.consumer(again.add, mode="key"):
        assert len(again.count(COUNT)) == COUNT


def test_nothing_new_begins_behind_what_is_done(scene: Scene) -> None:
    """Only what stands before the last record that is done is finished; the rest is for the next owner."""
    began, gate, seen = threading.Event(), threading.Event(), Seen()

    def handler(record: Record) -> None:
        seen.add(record)
        if record.value == 10:
            began.set()
            assert gate.wait(LONG_S)

    publish(scene)
    with scene.consumer(handler, mode="key", concurrency=1) as first:
        assert began.wait(LONG_S)  # five of a are done, and none of b, which has no thread
        holding = first.desk.holdings[0]
        first.desk.revoke(holding)
        gate.set()
        scene.until(lambda: holding.released)
    assert [record.value for record in seen.items] == [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9]
    assert scene.position() == 11
