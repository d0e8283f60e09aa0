"""How much one script carries, and how much one transaction may cause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from taskq import Event, Record, RetryPolicy
from taskq.errors import PayloadTooLarge
from taskq.events import turns
from taskq.events.group_calls import MAX_STEP_BYTES, Step, commit, portions, step_bytes
from taskq.events.transaction import FULL, MAX_BYTES, Transaction
from tests.events.ordered_kit import SOON, Scene, Seen, outbox, part
from tests.servers import RealServer

LARGE = "x" * 60_000


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace, partitions=1)
    yield made
    made.close()


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Of each commit, how many steps with bodies it had and how many bytes."""
    found: list[tuple[int, int]] = []

    def noted(*args: Any) -> Any:
        steps: Sequence[Step] = args[5]
        found.append((sum(letter in "dots" for letter, _, _ in steps), sum(map(step_bytes, steps))))
        return commit(*args)

    monkeypatch.setattr(turns, "commit", noted)
    return found


def bounded(sizes: list[tuple[int, int]]) -> bool:
    return all(count <= 1 or size <= MAX_STEP_BYTES for count, size in sizes)


def test_steps_go_together_as_far_as_they_fit_and_one_always_does() -> None:
    steps: list[Step] = [("d", "head", "x" * size) for size in (10, 300_000, 100_000, 100_000, 100_000, 5)]
    assert [[len(two) for _, _, two in some] for some in portions(steps, 250)] == [
        [10],
        [300_000],
        [100_000, 100_000],
        [100_000, 5],
    ]
    assert [len(some) for some in portions([("c", "1-1", "")] * 7, 3)] == [3, 3, 1]
    assert list(portions([], 3)) == []


def test_large_records_behind_a_parked_key_are_stored_and_read_in_portions(
    scene: Scene, sizes: list[tuple[int, int]]
) -> None:
    scene.topic.publish_many([Event([number, LARGE], key="k") for number in range(20)])
    seen, waits = Seen(), RetryPolicy(max_attempts=9, base=0.3, cap=0.3)

    def handler(record: Record) -> None:
        seen.add(record.value[0])
        if record.value[0] == 0 and scene.position() < 20:
            raise ValueError("until all are parked behind it")

    with scene.consumer(handler, on_error="park", retry=waits):
        scene.until(lambda: scene.position() == 20)
        seen.until(lambda items: 19 in items)
        scene.until(lambda: scene.link.execute("EXISTS", part(scene, "parked"), part(scene, "bodies")) == 0)
    assert bounded(sizes)
    assert [number for number in seen.items if number] == list(range(1, 20))


@pytest.mark.parametrize("options", [{"delivery": "at_most_once", "batch": 50}, {"mode": "unordered"}], ids=str)
def test_large_dead_letters_are_stored_in_portions(
    scene: Scene, sizes: list[tuple[int, int]], options: dict[str, Any]
) -> None:
    scene.topic.publish_many([Event([number, LARGE], partition=0) for number in range(20)])

    def handler(got: Any) -> None:
        raise ValueError("no")

    with scene.consumer(handler, on_error="dead", max_bytes=2**30, **options):
        scene.until(lambda: len(scene.dead()) == 20)
    assert bounded(sizes)


def test_the_outbox_is_carried_in_pages_that_follow_the_size_of_its_entries(scene: Scene) -> None:
    out = scene.app.topic("out", partitions=1)

    def handler(record: Record, transaction: Transaction) -> None:
        for number in range(3):
            transaction.publish(out, [record.value, number, "x" * (300_000 if record.value % 2 else 10)])

    scene.publish(30)
    with scene.consumer(handler, delivery="exactly_once"):
        scene.until(lambda: scene.position() == 30 and outbox(scene) == 0)
    carried = [record.value[:2] for record in out.read(0)]
    assert carried == [[record, number] for record in range(30) for number in range(3)]


@pytest.mark.parametrize("what", ["state", "publish", "both", "tasks"])
def test_a_transaction_beyond_its_limit_does_nothing_and_follows_the_error_policy(scene: Scene, what: str) -> None:
    out = scene.app.topic("out", partitions=1)
    out.properties()
    raised = Seen()

    def much(transaction: Transaction) -> None:
        half = "x" * (MAX_BYTES // 2)
        if what == "state":
            transaction.state["a"] = transaction.state["b"] = half
        elif what == "publish":
            transaction.publish(out, half)
            transaction.publish(out, half)
        elif what == "both":
            transaction.publish(out, half)
            transaction.state["a"] = half
        else:
            for number in range(FULL + 1):
                if number % 2:
                    transaction.publish(out, number)
                else:
                    transaction.state[f"k{number}"] = number

    def handler(record: Record, transaction: Transaction) -> None:
        transaction.state["last"] = record.value
        transaction.publish(out, record.value)
        if record.value == 1:
            try:
                much(transaction)
            except PayloadTooLarge as error:
                raised.add(str(error))
                raise

    scene.publish(3)
    with scene.consumer(handler, delivery="exactly_once", retry=SOON):
        scene.until(lambda: scene.position() == 3 and outbox(scene) == 0)
    [(head, _)] = scene.dead()
    assert (head["number"], head["attempts"], len(raised.items)) == (2, 3, 3)
    said = f"at most {FULL} records, tasks" if what == "tasks" else f"the limit is {MAX_BYTES:,} for all its"
    assert said in raised.items[0]
    assert head["last"] == f"PayloadTooLarge: {raised.items[0]}"
    assert scene.link.execute("HGETALL", part(scene, "state")) == [b"last", b"2"]
    assert [record.value for record in out.read(0)] == [0, 2]


def test_what_a_transaction_changes_twice_counts_once_and_a_commit_is_due_by_bytes_too(
    scene: Scene, sizes: list[tuple[int, int]]
) -> None:
    def handler(record: Record, transaction: Transaction) -> None:
        for number in range(3 * FULL):
            transaction.state["count"] = number
        transaction.state["large"] = LARGE[: 20_000 + record.value]
        del transaction.state["large"]
        transaction.state[f"large-{record.value}"] = LARGE

    scene.publish(20)
    with scene.consumer(handler, delivery="exactly_once"):
        scene.until(lambda: scene.position() == 20)
    assert scene.dead() == []
    assert scene.link.execute("HLEN", part(scene, "state")) == 21
    assert all(size <= MAX_STEP_BYTES + len(LARGE) + 1_000 for _, size in sizes)
    assert scene.link.execute("HGET", part(scene, "state"), "count") == str(3 * FULL - 1).encode()
