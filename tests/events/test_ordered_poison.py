"""Retries, poison and dead letters of ordered groups (statements 49 to 54)."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from taskq import Record, Reject, RetryPolicy
from tests.events.ordered_kit import SOON, Scene, Seen, fail_first, part
from tests.servers import RealServer


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace)
    yield made
    made.close()


@pytest.mark.parametrize("batch", [0, 5])
def test_s49_a_record_that_always_fails_is_a_dead_letter_and_the_partition_goes_on(scene: Scene, batch: int) -> None:
    seen = Seen()

    def handle(record: Record) -> None:
        seen.add(record.value)
        if record.value == 3:
            raise ValueError(f"try {record.attempt}")

    def handle_batch(records: list[Record]) -> None:
        for record in records:
            handle(record)

    for number in range(8):
        scene.topic.publish(number, key="k", headers={"h": "1"}, partition=0)
    with scene.consumer(handle_batch if batch else handle, batch=batch, retry=SOON):
        scene.until(lambda: scene.position() == 8)
    [(head, body)] = scene.dead()
    told = {name: head[name] for name in ("topic", "partition", "number", "key", "headers", "attempts", "reason")}
    assert told == {
        "topic": "t",
        "partition": 0,
        "number": 4,
        "key": "k",
        "headers": {"h": "1"},
        "attempts": 3,
        "reason": "error",
    }
    assert (head["first"], head["last"], body) == ("ValueError: try 1", "ValueError: try 3", b"3")
    assert seen.items[-4:] == [4, 5, 6, 7]
    assert scene.field("dead") == b"1"
    assert scene.link.execute("EXISTS", part(scene, "marks")) == 0


def test_s49_reject_and_errors_that_are_never_retried_are_dead_at_once(scene: Scene) -> None:
    seen = Seen()

    def handler(record: Record) -> None:
        seen.add(record.value)
        if record.value == 1:
            raise Reject("not ours")
        if record.value == 2:
            raise KeyError("gone")

    scene.publish(4)
    retry = RetryPolicy(never=(KeyError,))
    with scene.consumer(handler, retry=retry):
        scene.until(lambda: scene.position() == 4)
    assert seen.items == [0, 1, 2, 3]
    assert [head["reason"] for head, _ in scene.dead()] == ["reject", "error"]


@pytest.mark.crash
def test_s50_a_record_that_kills_its_process_three_times_is_a_dead_letter(scene: Scene) -> None:
    scene.publish(20)
    for _ in range(3):
        scene.process("die:7", session=1.0).died()
    scene.process("die:7", session=1.0).started()
    scene.until(lambda: scene.position() == 20)
    [(head, body)] = scene.dead()
    assert (head["reason"], head["number"], body) == ("crash", 8, b"7")
    assert {line["value"] for line in scene.ledger()} == set(range(20)) - {7}
    assert sum(line["value"] > 7 for line in scene.ledger()) == 12, "nobody behind it was blamed or run twice"


def test_s51_an_undecodable_record_is_a_dead_letter_and_never_reaches_the_handler(scene: Scene) -> None:
    seen = Seen()
    scene.publish(2)
    keys = scene.topic.log.keys.partition(0)
    scene.link.execute("XADD", keys.log, "*", "n", "3,30", "v", b"{broken")
    scene.link.execute("HSET", keys.meta, "n", 3, "b", 30)
    scene.publish(2, begin=3)
    with scene.consumer(lambda record: seen.add(record.value)):
        scene.until(lambda: scene.position() == 5)
    assert seen.items == [0, 1, 3, 4]
    [(head, body)] = scene.dead()
    assert (head["reason"], head["number"], body) == ("undecodable", 3, b"{broken")


def test_s53_without_its_dead_letter_the_position_does_not_advance(scene: Scene) -> None:
    scene.publish(1)
    scene.link.execute("SET", part(scene, "dead"), "in the way")
    seen = Seen()

    def handler(record: Record) -> None:
        seen.add(record)
        raise Reject

    with scene.consumer(handler):
        seen.count(1)
        threading.Event().wait(0.3)
        assert scene.position() == 0
        scene.link.execute("DEL", part(scene, "dead"))
        scene.until(lambda: scene.position() == 1)
    assert len(scene.dead()) == 1


def test_s54_a_record_that_waits_for_its_retry_blocks_no_heartbeat_and_no_handler(scene: Scene) -> None:
    seen = Seen()
    scene.publish(2)
    retry = RetryPolicy(max_attempts=3, base=4)
    with scene.consumer(fail_first(seen, 0, 1), retry=retry, session=0.6, max_poll=0.5, concurrency=1):
        seen.count(1)
        scene.publish(10, begin=10, partition=1)
        values = [record.value for record in seen.count(11)]
        assert values[1:] == list(range(10, 20)), "the only thread was free"
        epoch = scene.field("epoch")
        seen.count(13)
        assert scene.field("epoch") == epoch
