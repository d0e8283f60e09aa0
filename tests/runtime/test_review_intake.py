"""Records that only another program could have written decide for themselves, and for nothing beside them."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import TaskQ
from taskq.message import encode, new_ids
from taskq.tasks.broker import Buried, Delivery
from taskq_workers.attempt import Plans
from taskq_workers.intake import Intake


def echo(value: int) -> int:
    return value


@pytest.mark.parametrize("options", [[1], "text", 7, {"t": {}}, {"r": [None, 1, 2]}, {"m": []}])
def test_odd_options_are_quarantined_and_the_rest_of_the_batch_runs(options: Any) -> None:
    app = TaskQ("bench", url="memory://")
    app.task(name="echo")(echo)
    settled: list[tuple[str, Any]] = []
    intake = Intake(Plans(app.tasks, app.middlewares), settled.append, "w")
    bodies = [encode("echo", [1], {}, 0, options), encode("echo", [1], {}, 0)]
    ids = new_ids(len(bodies))
    deliveries = [Delivery("q", one, body, bytes(20), 1) for one, body in zip(ids, bodies, strict=True)]
    threads, loop = intake.sort(deliveries, 0, float("inf"))
    assert [attempt.id for attempt in threads + loop] == ids[1:]
    ((queue, item),) = settled
    assert queue == "q"
    assert isinstance(item, Buried)
    assert item.id == ids[0]
    assert item.quarantine
