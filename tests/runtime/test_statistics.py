"""What is counted of tasks is what they did: real workers against their own ledger, on both transports."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from taskq.inspector import Inspector
from taskq.snapshot import Snapshot, TaskStats
from tests.runtime.world import World, world
from tests.servers import RealServer

NAME = "tests.runtime.guarded."


@pytest.fixture(params=["list", "stream"])
def here(request: pytest.FixtureRequest, server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace) as one:
        one.env["GUARDED_TRANSPORT"] = request.param
        yield one


def look(here: World) -> Snapshot:
    return Inspector(here.broker.link, here.namespace).snapshot()


def by_task(snapshot: Snapshot) -> dict[str, TaskStats]:
    return {one.task.removeprefix(NAME): one for one in snapshot.tasks}


def test_the_counters_are_the_ledger(here: World) -> None:
    here.worker("-c", "4", "-p", "2")
    tags = [here.enqueue(task, f"{task}{n}") for task, n in (("quick", 40), ("aquick", 15)) for n in range(n)]
    tags += [here.enqueue("fails", f"fails{n}") for n in range(6)]
    tags += [here.enqueue("asleeps_too_long", f"slow{n}") for n in range(2)]
    here.until(lambda: here.counter("done") == 55 and here.counter("dead") == 8, "all outcomes")
    starts = Counter(one.tag.rstrip("0123456789") for one in here.heard if one.word == "start")
    assert starts == {"quick": 40, "aquick": 15, "fails": 18, "slow": 2}
    snapshot = look(here)
    (queue,) = snapshot.queues
    told = {name: queue.counters[name] for name in ("enqueued", "done", "failed", "retried", "dead")}
    assert told == {"enqueued": len(tags), "done": 55, "failed": 20, "retried": 12, "dead": 8}
    tasks = by_task(snapshot)
    assert {name: (one.done, one.failed, one.retried, one.dead) for name, one in tasks.items()} == {
        "quick": (40, 0, 0, 0),
        "aquick": (15, 0, 0, 0),
        "fails": (0, 18, 12, 6),
        "asleeps_too_long": (0, 2, 0, 2),
    }
    assert {name: one.run.total for name, one in tasks.items()} == {
        "quick": 40, "aquick": 15, "fails": 18, "asleeps_too_long": 2
    }  # fmt: skip
    assert {name: one.wait.total for name, one in tasks.items()} == {
        "quick": 40, "aquick": 15, "fails": 6, "asleeps_too_long": 2
    }  # fmt: skip
    too_long = tasks["asleeps_too_long"].run.quantile(0.5)
    assert too_long is not None
    assert too_long > 0.18, "it ran into its time limit of 0.2 s"
    newest = {(one.task.removeprefix(NAME), one.fate, one.type, one.attempt) for one in snapshot.failures}
    assert newest <= {
        *(("fails", "retried", "ValueError", attempt) for attempt in (1, 2)),
        ("fails", "dead", "ValueError", 3),
        ("asleeps_too_long", "dead", "taskq.errors.TaskTimeout", 1),
    }
    assert len(snapshot.failures) == 10
    assert all(one.worker and one.message for one in snapshot.failures)


def test_a_child_that_is_killed_counts_as_crashes_and_nothing_is_counted_twice(here: World) -> None:
    here.worker("-c", "2")
    gates = [here.gate("one"), here.gate("two")]
    for number, gate in enumerate(gates):
        here.enqueue("gated", f"gated{number}", gate)
    victims = {here.hear("start", f"gated{number}")[0].pid for number in range(2)}
    for number in range(20):
        here.enqueue("quick", f"quick{number}")
    (victim,) = victims
    os.kill(victim, signal.SIGKILL)
    here.until(lambda: here.counter("crashed") == 2, "both blamed")
    for name in ("one", "two"):
        here.open_gate(name)
    here.until(lambda: here.counter("done") == 22, "all done")
    here.enqueue("die", "die", "exit")
    here.until(lambda: here.counter("dead") == 1, "a message that kills")
    assert len(here.said("start", "die")) == 3
    snapshot = look(here)
    (queue,) = snapshot.queues
    names = ("enqueued", "done", "dead", "failed", "crashed", "retried")
    assert [queue.counters.get(name, 0) for name in names] == [23, 22, 1, 0, 5, 0]
    told = {name: (one.done, one.failed, one.dead, one.run.total) for name, one in by_task(snapshot).items()}
    assert told == {"quick": (20, 0, 0, 20), "gated": (2, 0, 0, 2), "die": (0, 0, 1, 0)}
    fates = Counter((one.fate, one.task.removeprefix(NAME)) for one in snapshot.failures)
    assert fates["dead", "die"] == 1
    assert sum(count for (fate, _), count in fates.items() if fate == "crashed") == 5


def test_samples_are_taken_while_a_worker_is_there(here: World) -> None:
    here.worker("-c", "2")
    here.enqueue("quick", "a")
    here.until(lambda: here.counter("done") == 1, "it")
    here.until(lambda: any(one.done for one in look(here).samples.get("work", ())), "a sample of it")
    sample = look(here).samples["work"][-1]
    assert (sample.enqueued, sample.done, sample.failed, sample.waiting) == (1, 1, 0, 0)
