"""A namespace with something in every view of the dashboard, and the dashboard on a pseudo-terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from taskq import TaskQ
from taskq.store import keys
from taskq.tasks.broker import Mark
from tests.dashboard.glass import Glass
from tests.runtime.operating import Operator, operating
from tests.runtime.shop import Shop
from tests.servers import RealServer

HOSTILE = "\x1b[2J\x1b]0;owned\x07 two\nlines \u202egnp 漢字 end"


def tick() -> None:
    """What the schedule runs."""


@dataclass
class Scene:
    """The project, and how its dashboard is opened."""

    operator: Operator
    url: str

    @property
    def shop(self) -> Shop:
        return self.operator.shop

    def command(self, *options: str) -> list[str]:
        return self.operator.command("dashboard", *options)

    def open(self, *options: str, size: tuple[int, int] = (80, 24), env: Mapping[str, str] = {}) -> Glass:
        """The dashboard, looking ten times a second."""
        return Glass(self.command("--interval", "0.1", *options), size, cwd=self.operator.folder, env=env)

    def script(self, name: str, *arguments: str, size: tuple[int, int] = (80, 24)) -> Glass:
        """A program of the tests at the terminal."""
        program = Path(__file__).with_name(name)
        return Glass([sys.executable, str(program), *arguments], size, cwd=self.operator.folder)


@pytest.fixture
def scene(server: RealServer, namespace: str, tmp_path: Path) -> Iterator[Scene]:
    with operating(server, namespace, tmp_path) as one:
        yield Scene(one, server.url)


def fill(shop: Shop, url: str) -> None:
    """Five ready, one delayed, two parked and three dead messages; a running one, a worker, a paused queue, a topic."""
    app = shop.app
    dead = app.remote("shop.send", queue="mail").enqueue_many([(HOSTILE,), (43,), (44,)])
    shop.bury_all(shop.take(len(dead)), text=HOSTILE)
    shop.park(2, "shop.forgotten")
    (running,) = shop.enqueue(1, "shop.resize")
    (held,) = shop.take(1)
    shop.broker.extend("mail", [held.token], [Mark(held.id, held.token)])
    shop.enqueue(5)
    app.remote("shop.later", queue="mail").options(delay=3_600).enqueue(1)
    shop.enqueue(2, "shop.news", "news")
    shop.control.pause("news")
    app.task(name="shop.tick", queue="mail")(tick)
    app.schedules.add("nightly", "shop.tick", "0 3 * * *")
    with TaskQ(app.namespace, url=url) as other:
        orders = other.topic("orders", partitions=2)
        orders.publish_many(["one", "two", "three"])
        with orders.subscribe(group="billing", reset="earliest"):
            pass  # it is known now, and behind by three
    link, space, now = shop.broker.link, app.namespace, shop.inspector.server_ms()
    told = {"id": str(UUID(bytes=running)), "task": "shop.resize", "queue": "mail", "seconds": 12.0}
    record = {
        "id": "host-1",
        "state": "running",
        "queues": ["mail", "news"],
        "processes": 2,
        "concurrency": 4,
        "started": now - 90_000,
        "at": now,
        "version": "0.1.0",
        "counters": {"done": 5, "failed": 2},
        "children": [{"running": 1}],
        "running": [told | {"limit": 30.0, "child": 0, "slot": 3}],
    }
    link.execute("ZADD", keys.workers(space), now, "host-1")
    link.execute("SET", keys.worker_record(space, "host-1"), json.dumps(record))
