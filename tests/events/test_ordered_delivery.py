"""Guarantees of ordered groups, whatever dies (statements 38 to 48)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskq import Record
from taskq.events.transaction import Transaction
from taskq.store.keys import queue_keys
from tests.events.ordered_kit import SOON, Scene, Seen, fail_first, in_order, outbox, pairs, part
from tests.servers import RealServer


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace)
    yield made
    made.close()


@pytest.mark.crash
def test_s38_at_most_once_handles_nothing_twice_whatever_dies(scene: Scene) -> None:
    scene.publish(100)
    for fatal in (10, 50):
        scene.process(f"die:{fatal}", delivery="at_most_once", session=1.0).died()
    scene.process(delivery="at_most_once", session=1.0).started()
    scene.until(lambda: scene.position() == 100)
    ledger = scene.ledger_until(lambda lines: len(lines) >= 98)
    assert [line["value"] for line in ledger] == [number for number in range(100) if number not in (10, 50)]


@pytest.mark.crash
def test_s39_at_least_once_handles_everything_whatever_dies(scene: Scene) -> None:
    scene.publish(200)
    for fatal in (10, 150):
        scene.process(f"die:{fatal}", session=1.0).died()
    scene.process(session=1.0).started()
    scene.until(lambda: scene.position() == 200)
    assert {line["value"] for line in scene.ledger()} == set(range(200))
    assert scene.dead() == []


@pytest.mark.crash
def test_s40_exactly_once_gives_state_and_output_of_a_run_without_deaths(scene: Scene) -> None:
    scene.app.topic("out", partitions=2).properties()
    options: dict[str, Any] = {"delivery": "exactly_once", "session": 1.0}
    scene.publish(300, keys=10)
    for number in range(3):
        victim = scene.process("count:out", **options).started()
        scene.publish(100, begin=300 + number * 100, keys=10)
        enough = 60 * (number + 1)
        scene.ledger_until(lambda lines: len(lines) >= enough)  # noqa: B023
        victim.kill()
    scene.process("count:out", **options).started()
    scene.until(lambda: sum(scene.position(number) for number in range(4)) == 600)
    out: list[Record] = []

    def relayed() -> bool:
        out[:] = [one for number in range(2) for one in scene.app.topic("out").read(number, since="earliest")]
        return len(out) >= 600

    scene.until(relayed)
    counts: dict[str, int] = {}
    for number in range(4):
        flat = scene.link.execute("HGETALL", scene.topic.log.keys.partition(number).group("g", "state"))
        counts |= {key.decode(): int(value) for key, value in zip(flat[::2], flat[1::2], strict=True)}
    assert counts == {f"k{number}": 60 for number in range(10)}
    assert sorted(record.value for record in out) == list(range(600)), "each once"
    assert in_order(pairs(out)), "s47: in the order of each source"


def test_s41_nothing_of_a_failed_record_is_visible_and_state_is_rolled_back(scene: Scene) -> None:
    out = scene.app.topic("out", partitions=1)
    tries = Seen()

    def handler(record: Record, transaction: Transaction) -> None:
        seen = transaction.state.get("seen", 0)
        transaction.state["seen"] = seen + 1
        transaction.publish(out, record.value, key="k")
        tries.add((record.value, seen))
        if record.value == 2 and record.attempt == 1:
            raise ValueError("first")

    scene.publish(5)
    with scene.consumer(handler, delivery="exactly_once", retry=SOON):
        scene.until(lambda: scene.position() == 5)
        scene.until(lambda: scene.link.execute("EXISTS", part(scene, "out")) == 0 or not outbox(scene))
    assert tries.items == [(0, 0), (1, 1), (2, 2), (2, 2), (3, 3), (4, 4)]
    assert [record.value for record in out.read(0, since="earliest")] == [0, 1, 2, 3, 4]
    assert scene.link.execute("HGET", part(scene, "state"), "seen") == b"5"


def test_s46_what_the_outbox_carries_twice_is_at_the_target_once(scene: Scene) -> None:
    out = scene.app.topic("out", partitions=1)

    def handler(record: Record, transaction: Transaction) -> None:
        transaction.publish(out, record.value)

    scene.publish(30)
    with scene.consumer(handler, delivery="exactly_once"):
        scene.until(lambda: len(list(out.read(0, since="earliest"))) == 30)
        scene.until(lambda: outbox(scene) == 0)
    keys = scene.topic.log.keys.partition(0)
    for number in range(1, 31):  # as if its owner had died between the target and the outbox
        told = b'{"key":null,"headers":null,"time":null,"tombstone":false}'
        scene.link.execute("XADD", keys.group("g", "out"), "*", "n", number, "head", b"out/0 " + told, "body", b"0")
    with scene.consumer(handler, delivery="exactly_once"):
        scene.until(lambda: outbox(scene) == 0)
        scene.publish(1, begin=30)
        scene.until(lambda: scene.position() == 31)
        scene.until(lambda: len(list(out.read(0, since="earliest"))) == 31)
    assert [record.value for record in out.read(0, since="earliest")] == list(range(31))


def test_what_the_outbox_carries_to_a_topic_with_an_index_is_found_by_its_key(scene: Scene) -> None:
    out = scene.app.topic("out", partitions=2, index=True)

    def handler(record: Record, transaction: Transaction) -> None:
        transaction.publish(out, record.value, key=f"k{record.value % 3}" if record.value else None, time=record.value)
        if record.value == 7:
            transaction.publish(out, None, key="k0")

    out.publish("before", key="k0")
    scene.publish(12)
    with scene.consumer(handler, delivery="exactly_once"):
        scene.until(lambda: scene.position() == 12 and outbox(scene) == 0)
    every = [record for number in range(2) for record in out.read(number)]
    for key in ("k0", "k1", "k2"):
        assert [*out.of_key(key).records] == [record for record in every if record.key == key]
    assert [record.value for record in out.of_key("k0").records] == ["before", 3, 6, None, 9]


def test_s40_tasks_of_a_transaction_are_enqueued_once_however_often_the_outbox_is_carried(scene: Scene) -> None:
    app = scene.new_app()
    task = app.task(name="mail.send", queue="mail")(send)

    @app.subscribe("t", group="g", reset="earliest", delivery="exactly_once")
    def handler(record: Record, transaction: Transaction) -> None:
        transaction.enqueue(task.call(record.value))

    scene.publish(20)
    with app.consume():
        scene.until(lambda: scene.position() == 20 and outbox(scene) == 0)
    assert len(bodies(scene)) == 20
    number, first = 1, next(body for body in bodies(scene) if b"[0]" in body)
    wire = b'{"task":"mail.send","queue":"mail","args":[0],"kwargs":{}}'
    scene.link.execute("XADD", part(scene, "out"), "*", "n", number, "head", b"task ", "body", wire)
    with app.consume():
        scene.until(lambda: outbox(scene) == 0)
    assert len(bodies(scene)) == 20
    assert first in bodies(scene)


def send(number: int) -> None: ...


def bodies(scene: Scene) -> list[bytes]:
    found: list[bytes] = scene.link.execute("HVALS", queue_keys(scene.namespace, "mail").body)
    return found


def test_s48_a_record_has_the_same_id_at_every_delivery(scene: Scene) -> None:
    seen = Seen()
    scene.publish(3)
    with scene.consumer(fail_first(seen, 1, 1), retry=SOON) as consumer:
        seen.count(4)
        consumer.seek(0, "earliest")
        records = seen.count(7)
    assert len({record.id for record in records if record.value == 1}) == 1
    assert len({record.id for record in records}) == 3
