"""Order, guarantees, retries, poison and dead letters of ordered groups (statements 30 to 54)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq import Record, Reject, RetryPolicy
from taskq.errors import InvalidOption
from taskq.events.subscription import Subscription
from taskq.events.transaction import Transaction
from taskq.store.keys import queue_keys
from tests.events.ordered_kit import LONG_S, Scene, Seen, in_order
from tests.servers import RealServer

SOON = RetryPolicy(max_attempts=3, base=0.05, cap=0.1)


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace)
    yield made
    made.close()


def pairs(records: list[Record]) -> list[tuple[str | None, int]]:
    return [(record.key, record.value) for record in records]


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


# -- order


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


def fail_first(seen: Seen, failing: int, times: int) -> Callable[[Record], None]:
    """A handler that fails so many times at one value, and notes what it gets."""
    failures: list[int] = []

    def handler(record: Record) -> None:
        seen.add(record)
        if record.value == failing and len(failures) < times:
            failures.append(record.value)
            raise ValueError(f"no {record.value}")

    return handler


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
    with scene.consumer(fail_first(seen, 3, 2), mode="key", retry=RetryPolicy(max_attempts=3, base=0.5)):
        records = seen.count(32)
        scene.until(lambda: scene.position() == 30)
    mine = [record.value for record in records if record.key == "k0"]
    assert mine == [0, 3, 3, 3, 6, 9, 12, 15, 18, 21, 24, 27]
    last = max(place for place, record in enumerate(records) if record.value == 3)
    assert all(record.key == "k0" for record in records[last:]), "other keys did not wait"


def test_s36_park_lets_later_records_of_the_key_wait_in_order_and_others_go_on(scene: Scene) -> None:
    seen = Seen()
    for number in range(30):
        scene.topic.publish(number, key=f"k{number % 3}", partition=0)
    retry = RetryPolicy(max_attempts=3, base=0.5)
    with scene.consumer(fail_first(seen, 3, 2), on_error="park", retry=retry):
        scene.until(lambda: scene.position() == 30)
        records = seen.count(32)
        scene.until(lambda: scene.link.execute("EXISTS", part(scene, "parked"), part(scene, "tails")) == 0)
    mine = [record.value for record in records if record.key == "k0"]
    assert mine == [0, 3, 3, 3, 6, 9, 12, 15, 18, 21, 24, 27]
    last = max(place for place, record in enumerate(records) if record.value == 3)
    assert all(record.key == "k0" for record in records[last:]), "other keys did not wait"
    assert scene.link.execute("EXISTS", part(scene, "bodies"), part(scene, "marks")) == 0


def test_s36_a_parked_head_that_never_succeeds_is_dead_and_its_tail_goes_on_under_the_next_owner(scene: Scene) -> None:
    seen = Seen()
    for number in range(9):
        scene.topic.publish(number, key=f"k{number % 3}", partition=0)
    slow = RetryPolicy(max_attempts=2, base=2)
    with scene.consumer(fail_first(seen, 0, 99), on_error="park", retry=slow):
        scene.until(lambda: scene.position() == 9)
    assert scene.link.execute("ZCARD", part(scene, "tails")) == 3
    again = Seen()
    with scene.consumer(fail_first(again, 0, 99), on_error="park", retry=slow):
        assert [record.value for record in again.count(3)] == [0, 3, 6]
        scene.until(lambda: scene.link.execute("EXISTS", part(scene, "parked")) == 0)
    [(head, body)] = scene.dead()
    assert (head["attempts"], head["key"], body) == (2, "k0", b"0")


def part(scene: Scene, name: str) -> str:
    return scene.topic.log.keys.partition(0).group("g", name)


# -- guarantees


@pytest.mark.crash
def test_s38_at_most_once_handles_nothing_twice_whatever_dies(scene: Scene) -> None:
    scene.publish(100)
    for fatal in (10, 50):
        victim = scene.process(f"die:{fatal}", delivery="at_most_once", session=1.0).started()
        victim.died()
    scene.process(delivery="at_most_once", session=1.0).started()
    scene.until(lambda: scene.position() == 100)
    ledger = scene.ledger_until(lambda lines: len(lines) >= 98)
    assert [line["value"] for line in ledger] == [number for number in range(100) if number not in (10, 50)]


@pytest.mark.crash
def test_s39_at_least_once_handles_everything_whatever_dies(scene: Scene) -> None:
    scene.publish(200)
    for fatal in (10, 150):
        scene.process(f"die:{fatal}", session=1.0).started().died()
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


def outbox(scene: Scene) -> int:
    return int(scene.link.execute("XLEN", part(scene, "out")))


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


# -- poison, retries, dead letters


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
        scene.process("die:7", session=1.0).started().died()
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
    retry = RetryPolicy(max_attempts=3, base=2)
    with scene.consumer(fail_first(seen, 0, 1), retry=retry, session=0.6, max_poll=0.5, concurrency=1):
        seen.count(1)
        scene.publish(10, begin=10, partition=1)
        values = [record.value for record in seen.count(11)]
        assert values[1:] == list(range(10, 20)), "the only thread was free"
        epoch = scene.field("epoch")
        seen.count(13)
        assert scene.field("epoch") == epoch


# -- loops of the user's own, and what is refused


def test_a_loop_commits_what_it_has_passed_and_what_it_left_comes_again(scene: Scene) -> None:
    scene.publish(10)
    with scene.topic.subscribe("g", reset="earliest") as reading:
        assert [next(reading).value for _ in range(4)] == [0, 1, 2, 3]
    assert scene.position() == 3
    with scene.topic.subscribe("g", reset="earliest") as reading:
        assert [next(reading).value for _ in range(3)] == [3, 4, 5]
        reading.commit()
        assert scene.position() == 6
        assert next(reading).value == 6


async def test_an_async_loop_does_the_same(scene: Scene) -> None:
    scene.publish(10)
    async with scene.topic.subscribe("g", reset="earliest", batch=3) as reading:
        found: list[int] = []
        async for records in reading:
            found += [record.value for record in records]
            if len(found) == 6:
                await reading.acommit()
                break
    assert found == [0, 1, 2, 3, 4, 5]
    assert scene.position() == 6


def test_a_registered_function_is_run_by_consuming(scene: Scene) -> None:
    app, seen = scene.new_app(), Seen()

    @app.subscribe("t", group="g", reset="earliest")
    def handler(record: Record) -> None:
        seen.add(record.value)

    scene.publish(5)
    with app.consume():
        assert seen.count(5) == [0, 1, 2, 3, 4]
    assert handler.__name__ == "handler"


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"mode": "keys"}, "mode="),
        ({"batch": 2_000}, "batch"),
        ({"resett": "latest"}, "reset"),
        ({"session": 0.1}, "session"),
        ({"mode": "key", "batch": 5}, "batch"),
        ({"mode": "key", "delivery": "exactly_once"}, "exactly_once"),
        ({"member": "a b"}, "member"),
        ({"on_lost": 3}, "on_lost"),
        ({"retry": 0}, "retry"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(said: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidOption if word != "member" else ValueError, match=word):
        Subscription.of("g", said)
