"""Views that follow from records (statements 65 and 66): a crash anywhere, and a rebuild beside the live one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from taskq import Event, Record
from taskq.errors import BrokerUnavailable
from taskq.events import fetcher
from taskq.events.consumer import Consumer
from taskq.events.log import Log
from taskq.events.subscription import Subscription
from taskq.events.transaction import Transaction
from taskq.store.links import Links
from tests.events.ordered_kit import Scene, Seen
from tests.servers import RealServer

OPTIONS: dict[str, Any] = {"delivery": "exactly_once", "reset": "earliest", "batch": 2, "session": 60.0}
RECORDS = 6


@pytest.fixture
def scene(server: RealServer, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(fetcher, "BLOCK_S", 0.05)
    made = Scene(server, namespace, partitions=1)
    yield made
    made.close()


class Mortal:
    """A link of a process that dies at one of the calls that its handlers and turns make: before it, or after it."""

    def __init__(self, link: Any, at: int = -1, *, after: bool = False) -> None:
        self._link, self._at, self._after = link, at, after
        self.calls = 0
        self.changes = 0  # how many calls there were when the last one that changes something was made
        self.dead = threading.Event()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._link, name)
        if name not in ("execute", "pipeline", "blocking"):
            return found

        def asked(*args: Any, **more: Any) -> Any:
            mine = threading.current_thread().name.startswith("taskq-run")
            number, self.calls = self.calls, self.calls + mine
            if mine and "XTRIM" in args:
                self.changes = self.calls
            last = mine and number == self._at
            if last and self._after:
                found(*args, **more)
            if last:
                self.dead.set()
            if self.dead.is_set():
                error = BrokerUnavailable("this process is dead")
                if name != "pipeline":
                    raise error
                return [error] * len(args[0])
            return found(*args, **more)

        return asked


class View:
    """A projection: totals by key, and a record in another topic for each."""

    def __init__(self, scene: Scene, number: int = 0) -> None:
        self.scene = scene
        self.group = f"totals-{number}"
        self.out = scene.app.topic(f"out-{number}", partitions=1)
        self.out.properties()

    def handle(self, records: list[Record], transaction: Transaction) -> None:
        for record in records:
            key = str(record.key)
            transaction.state[key] = transaction.state.get(key, 0) + record.value
            transaction.publish(self.out, [key, transaction.state[key]], key=key)

    def run(self, at: int = -1, *, after: bool = False) -> Mortal:
        """A process that handles all, or dies at one of its calls."""
        app = self.scene.new_app()
        mortal = Mortal(app.events.links().sync, at, after=after)
        links = Links(mortal, app.events.links().asynchronous)  # type: ignore[arg-type]
        log = Log(app.namespace, "t", {}, lambda: links, 2.0)
        consumer = Consumer(log, Subscription.of(self.group, OPTIONS), self.handle)
        consumer.start()
        try:
            self.scene.until(self.is_done if at < 0 else mortal.dead.is_set)
        finally:
            consumer.stop(10.0 if at < 0 else 0.0)
        return mortal

    def is_done(self) -> bool:
        out = self.scene.topic.log.keys.partition(0).group(self.group, "out")
        return self.scene.position(group=self.group) == RECORDS and not self.scene.link.execute("XLEN", out)

    def forget_the_dead(self) -> None:
        """As if their sessions had run out."""
        members = self.scene.topic.log.keys.group(self.group, "members")
        for name in self.scene.link.execute("ZRANGE", members, 0, -1):
            self.scene.link.execute("ZADD", members, 1, name)

    def seen(self) -> tuple[dict[bytes, bytes], list[Any]]:
        flat = self.scene.link.execute("HGETALL", self.scene.topic.log.keys.partition(0).group(self.group, "state"))
        return dict(zip(flat[::2], flat[1::2], strict=True)), [record.value for record in self.out.read(0)]


def publish(scene: Scene) -> None:
    scene.topic.publish_many([Event(number, key=f"k{number % 2}", partition=0) for number in range(1, RECORDS + 1)])


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("after", [False, True], ids=["before a call", "after a call"])
def test_s65_a_crash_at_any_point_leaves_the_view_of_a_clean_run(scene: Scene, after: bool, every: int) -> None:
    publish(scene)
    View(scene, 1_000).run()  # the server knows all scripts then
    clean = View(scene)
    points = clean.run().changes
    expected = clean.seen()
    assert expected[0] == {b"k0": b"12", b"k1": b"9"}
    assert len(expected[1]) == RECORDS
    assert points >= 10, "reads of state, commits, and what carries the outbox"
    for point in sorted({*range(0, points, every), points - 1}):
        view = View(scene, point + 1)
        view.run(point, after=after)
        view.forget_the_dead()
        view.run()
        assert view.seen() == expected, f"died at call {point} of {points}"
    assert scene.topic.group("totals-1").dead() == []


def test_s66_a_rebuild_beside_the_live_view_and_a_swap_lose_and_repeat_nothing(scene: Scene) -> None:
    def add(record: Record, transaction: Transaction) -> None:
        transaction.state["sum"] = transaction.state.get("sum", 0) + record.value
        transaction.state["count"] = transaction.state.get("count", 0) + 1

    go, seen = threading.Event(), Seen()

    def rebuilt(record: Record, transaction: Transaction) -> None:
        assert go.wait(60)
        add(record, transaction)
        transaction.state["largest"] = max(transaction.state.get("largest", 0), record.value)
        seen.add(record.value)

    live, new = scene.topic.group("live"), scene.topic.group("new")
    scene.publish(100)
    options: dict[str, Any] = {"delivery": "exactly_once", "reset": "earliest"}
    with scene.consumer(rebuilt, "new", **options):
        with scene.consumer(add, "live", **options):
            scene.until(lambda: scene.position(group="live") == 100)
            scene.publish(100, begin=100)  # it goes on while the other one is behind
            scene.until(lambda: scene.position(group="live") == 200)
            assert (live.state("sum", 0), new.state("sum", 0)) == (sum(range(200)), None)
            go.set()
            scene.until(lambda: new.lag()[0].records <= live.lag()[0].records)
            asked = new
            scene.publish(100, begin=200)
            scene.until(lambda: scene.position(group="new") == 300)
        scene.publish(100, begin=300)
        scene.until(lambda: scene.position(group="new") == 400)
    assert [asked.state(name, 0) for name in ("sum", "count", "largest")] == [sum(range(400)), 400, 399]
    assert seen.items == list(range(400))
    assert live.state("count", 0) == scene.position(group="live")


async def test_the_state_of_a_group_is_read_by_key_from_anywhere(server: RealServer, namespace: str) -> None:
    scene = Scene(server, namespace, partitions=4)

    def add(record: Record, transaction: Transaction) -> None:
        transaction.state[str(record.key)] = {"last": record.value}

    await scene.topic.apublish_many([Event(number, key=f"k{number}") for number in range(20)])
    with scene.consumer(add, "g", delivery="exactly_once"):
        scene.until(lambda: sum(scene.position(number) for number in range(4)) == 20)
    group = scene.topic.group("g")
    assert [group.state(f"k{number}") for number in range(20)] == [{"last": number} for number in range(20)]
    assert await group.astate("k7") == {"last": 7}
    assert group.state("never") is None
    await scene.app.aclose()
    scene.close()
