"""Ordered groups as users have them: apps, consumers in this process, and consumers in processes that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from taskq import Event, Record, RetryPolicy, TaskQ, Topic
from taskq.events.consumer import Consumer
from taskq.events.subscription import Subscription
from tests.servers import RealServer

LONG_S = 60.0  # how long an awaited thing may take before the test fails; never how long it should take
ROOT = Path(__file__).parents[2]
LEDGER = "ledger"
SOON = RetryPolicy(max_attempts=3, base=0.05, cap=0.1)


class Seen:
    """What handlers saw, from any thread, and a way to wait for more."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.items: list[Any] = []

    def add(self, item: Any) -> None:
        with self._changed:
            self.items.append(item)
            self._changed.notify_all()

    def until(self, holds: Callable[[list[Any]], bool], timeout: float = LONG_S) -> list[Any]:
        """Wait until it holds of what was seen."""
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self.items), timeout), (
                f"only {len(self.items)}: {self.items[-5:]}"
            )
            return list(self.items)

    def count(self, number: int) -> list[Any]:
        return self.until(lambda items: len(items) >= number)


class Scene:
    """One topic on one server, and who reads it."""

    def __init__(self, server: RealServer, namespace: str, partitions: int = 4) -> None:
        self.server = server
        self.namespace = namespace
        self.stack = ExitStack()
        self.app = self.new_app()
        self.topic: Topic = self.app.topic("t", partitions=partitions)
        self.topic.properties()
        self.link = server.link()
        self.stack.callback(self.link.close)

    def new_app(self) -> TaskQ:
        """An app of its own, as another process would have it."""
        url = self.server.tcp_url if self.server.options.cluster else self.server.url
        app = TaskQ(self.namespace, url=url)
        self.stack.callback(app.close)
        return app

    def publish(self, count: int, *, begin: int = 0, keys: int = 0, partition: int | None = None) -> None:
        """Values from `begin` on; with `keys` under so many keys in turn, else in one partition."""
        numbers = range(begin, begin + count)
        if keys:
            self.topic.publish_many([Event(number, key=f"k{number % keys}") for number in numbers])
        else:
            self.topic.publish_many([Event(number, partition=partition or 0) for number in numbers])

    @contextmanager
    def consumer(self, handler: Callable[..., Any], group: str = "g", **options: Any) -> Generator[Consumer]:
        """A consumer in this process that has joined; ends in order."""
        said: dict[str, Any] = {"reset": "earliest", "session": 3.0, **options}
        consumer = Consumer(self.new_app().topic("t").log, Subscription.of(group, said), handler)
        consumer.start()
        try:
            assert consumer.wait_joined(LONG_S) or consumer.desk.failure
            yield consumer
        finally:
            consumer.stop()

    def close(self) -> None:
        self.stack.close()

    # -- what the broker has

    def field(self, name: str, partition: int = 0, group: str = "g") -> Any:
        return self.link.execute("HGET", self.topic.log.keys.partition(partition).group(group), name)

    def position(self, partition: int = 0, group: str = "g") -> int:
        """The number of the last record that is done."""
        return int(self.field("n", partition, group) or 0)

    def dead(self, partition: int = 0, group: str = "g") -> list[tuple[dict[str, Any], bytes]]:
        """Dead letters: what is said of them, and their values."""
        found = self.link.execute("XRANGE", self.topic.log.keys.partition(partition).group(group, "dead"), "-", "+")
        return [(json.loads(fields[1]), fields[3]) for _, fields in found]

    def until(self, holds: Callable[[], bool], timeout: float = LONG_S) -> None:
        """Look at the broker until it holds."""
        pause = threading.Event()
        for _ in range(int(timeout / 0.02)):
            if holds():
                return
            pause.wait(0.02)
        raise AssertionError("it did not come to that")

    # -- processes

    def process(self, behaviour: str = "note", **options: Any) -> Process:
        """A consumer in a process of its own, which notes each record in the ledger; see `ordered_child.py`."""
        process = Process(self, behaviour, {"reset": "earliest", "session": 3.0, **options})
        self.stack.callback(process.kill)
        return process

    def ledger(self) -> list[dict[str, Any]]:
        """What processes noted: process, partition, number, key, value, attempt."""
        return [json.loads(line) for line in self.link.execute("LRANGE", LEDGER, 0, -1)]

    def ledger_until(self, holds: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = self.ledger()
            return holds(found)

        self.until(look)
        return found


class Process:
    """A consumer in a process of its own."""

    def __init__(self, scene: Scene, behaviour: str, options: dict[str, Any]) -> None:
        self.scene = scene
        told = {"url": scene.server.url, "namespace": scene.namespace, "behaviour": behaviour, "options": options}
        roots = os.pathsep.join(str(ROOT / part) for part in ("", "workers", "dashboard"))
        environment = {**os.environ, "PYTHONPATH": roots}
        command = [sys.executable, str(Path(__file__).with_name("ordered_child.py")), json.dumps(told)]
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @property
    def pid(self) -> int:
        return self.process.pid

    def started(self) -> Process:
        """Wait until it has joined."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"joined\n"
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.died()

    def died(self) -> int:
        """Wait for its end."""
        code = self.process.wait(LONG_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        return code

    def leave(self) -> None:
        """Let it end in order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.died()


def values(records: Sequence[Record]) -> list[Any]:
    return [record.value for record in records]


def in_order(items: Sequence[tuple[str | None, int]]) -> bool:
    """Whether the numbers of each key only grow."""
    last: dict[str | None, int] = {}
    for key, number in items:
        if number <= last.get(key, -1):
            return False
        last[key] = number
    return True


def pairs(records: Sequence[Record]) -> list[tuple[str | None, int]]:
    return [(record.key, record.value) for record in records]


def part(scene: Scene, name: str) -> str:
    """A key of the group in partition 0."""
    return scene.topic.log.keys.partition(0).group("g", name)


def outbox(scene: Scene) -> int:
    return int(scene.link.execute("XLEN", part(scene, "out")))


def fail_first(seen: Seen, failing: int, times: int) -> Callable[[Record], None]:
    """A handler that fails so many times at one value, and notes what it gets."""
    failures: list[int] = []

    def handler(record: Record) -> None:
        seen.add(record)
        if record.value == failing and len(failures) < times:
            failures.append(record.value)
            raise ValueError(f"no {record.value}")

    return handler
