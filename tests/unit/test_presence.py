"""The record of a worker: what its children have counted, those that have ended included."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from taskq.tasks.calls import Limits
from taskq_workers.config import WorkerConfig
from taskq_workers.presence import Presence
from taskq_workers.process import Child, Hello
from taskq_workers.table import Table


class Counting:
    """A child of which only the table is there."""

    alone, pid = False, 7

    def __init__(self, index: int, done: int) -> None:
        self.index = index
        self.shared: Table | None = Table.create(1)
        self.shared.set_counters(done, 2, 1, 1, 0)

    @contextmanager
    def table(self) -> Generator[Table | None]:
        yield self.shared


def counters(presence: Presence, *children: Counting) -> dict[str, Any]:
    presence.hurry()
    wires = presence.wires(1.0, 1000.0, cast("list[Child]", list(children)), "running")
    (record,) = [wire.command[2] for wire in wires if wire.command and wire.command[0] == "SET"]
    counted: dict[str, Any] = json.loads(cast("str", record))["counters"]
    return counted


def test_the_counters_of_a_child_that_was_replaced_stay_in_the_record() -> None:
    hello = Hello("shop:app", "shop", 10.0, "redis://h", Limits(), ("shop.add",), ("default",))
    presence = Presence("host-1", WorkerConfig(app="shop:app"), hello)
    first, second = Counting(1, 5), Counting(2, 3)
    assert counters(presence, first, second)["done"] == 8
    presence.bury(cast("Child", first))
    assert counters(presence, first, second)["done"] == 8  # one that is still listed is not counted twice
    first.shared = None
    assert counters(presence, second) == {"done": 8, "failed": 4, "retried": 2, "dead": 2, "lost": 0}
