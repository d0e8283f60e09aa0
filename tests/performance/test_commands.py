"""What a task costs the server, in commands and bytes: one more per task or per batch fails here, not in a year."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from taskq import TaskQ
from taskq.store import scripts
from tests.performance import working
from tests.performance.counting import MARGIN, Traffic, Watched, traffic, watched
from tests.performance.parts import QUEUE, Hands, make_app, noop, stop_clocks
from tests.performance.working import MISDEED, NAMESPACE
from tests.servers import RealServer

TASK = f"{noop.__module__}.noop"
BULK = 1_000
DRAINED, FEW = 2_000, 200
ROOT = Path(__file__).resolve().parents[2]

# As read on 2026-11-27 with Redis 7.0.15 and Valkey 9.1. Commands are whole numbers, so none may be added; the limits
# of bytes stand MARGIN above.
ENQUEUE_COMMANDS, ENQUEUE_BYTES = 36, 102.0
SINGLE_COMMANDS, SINGLE_BYTES = 9, 764.0
LEASE_COMMANDS, LEASE_SENT = 108, 93.2
SETTLE_COMMANDS, SETTLE_BYTES = 124, 20.8
BATCHES = 4
"""A thousand messages are four scripts of 250 in one round trip, whatever is done with them."""

RUNS = {"lease": 20, "ack": 18}
"""Commands of one run, whatever its batch; see `Watched`."""

SCRIPT_BYTES, TASK_BYTES = 900.0, 20.0
ASKED_PER_TASK = 0.25
"""Besides scripts a worker asks for a few things a second, and for nothing by task."""


@pytest.fixture
def app(server: RealServer, namespace: str) -> Iterator[TaskQ]:
    with make_app(namespace, server.url) as one:
        one.tasks[TASK].enqueue_many([(0,)])  # connections, names and scripts are there
        yield one


@pytest.fixture
def hands(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hands]:
    stop_clocks(monkeypatch)
    one = Hands(app, app.broker())
    one.take(1)
    one.run()
    one.settle()
    yield one
    one.close()


def fill(app: TaskQ, count: int = BULK) -> None:
    app.tasks[TASK].enqueue_many([(number,) for number in range(count)])


@pytest.fixture
def one_command_more() -> Iterator[Callable[[], None]]:
    """Every script does one thing more than it must."""
    yield lambda: scripts.set_prefix("redis.call('EXISTS', KEYS[1])\n")
    scripts.set_prefix("")


def enqueued(server: RealServer, app: TaskQ) -> Traffic:
    return traffic(server, lambda: fill(app))


def test_a_bulk_of_a_thousand(server: RealServer, app: TaskQ) -> None:
    seen = enqueued(server, app)
    assert seen.scripts == BATCHES, seen
    assert seen.commands <= ENQUEUE_COMMANDS, seen
    assert seen.received / BULK <= ENQUEUE_BYTES * MARGIN, seen


def test_a_single_call(server: RealServer, app: TaskQ) -> None:
    task, count = app.tasks[TASK], 100
    task.enqueue(0)
    seen = traffic(server, lambda: [task.enqueue(number) for number in range(count)])
    assert seen.scripts == count, seen
    assert seen.commands <= SINGLE_COMMANDS * count, seen
    assert seen.received / count <= SINGLE_BYTES * MARGIN, seen


def test_leasing_and_settling_a_thousand(server: RealServer, app: TaskQ, hands: Hands) -> None:
    fill(app)
    leased = traffic(server, lambda: hands.take(BULK))
    assert leased.scripts == BATCHES, leased
    assert leased.commands <= LEASE_COMMANDS, leased
    assert leased.sent / BULK <= LEASE_SENT * MARGIN, leased
    quiet = traffic(server, hands.run)
    assert quiet.commands == 0, quiet
    settled = traffic(server, hands.settle)
    assert settled.scripts == BATCHES, settled
    assert settled.commands <= SETTLE_COMMANDS, settled
    assert settled.received / BULK <= SETTLE_BYTES * MARGIN, settled
    assert not hands.broker.link.execute("HLEN", hands.broker.keys(QUEUE).body), "all of them were done"


def test_a_thousand_take_one_round_trip_each_way(app: TaskQ, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    link, trips = hands.broker.link, list[str]()

    def counted(name: str) -> Callable[..., Any]:
        send = getattr(link, name)

        def sent(*args: Any, **more: Any) -> Any:
            trips.append(name)
            return send(*args, **more)

        return sent

    for name in ("execute", "pipeline"):
        monkeypatch.setattr(link, name, counted(name))
    steps: list[Callable[[], object]] = [lambda: fill(app), lambda: hands.take(BULK), hands.run, hands.settle]
    found: list[list[str]] = []
    for step in steps:
        trips.clear()
        step()
        found.append(list(trips))
    assert found == [["pipeline"], ["pipeline"], [], ["pipeline"]]


def test_one_command_more_in_each_script_is_seen(
    server: RealServer, app: TaskQ, hands: Hands, one_command_more: Callable[[], None]
) -> None:
    one_command_more()
    fill(app)
    hands.take(BULK)
    hands.run()
    hands.settle()  # the server has the new scripts now
    assert enqueued(server, app).commands > ENQUEUE_COMMANDS
    assert traffic(server, lambda: hands.take(BULK)).commands > LEASE_COMMANDS
    hands.run()
    assert traffic(server, hands.settle).commands > SETTLE_COMMANDS


# -- a real child: how large its batches are depends on the machine, so it is judged by what a batch and a task cost


def drain(server: RealServer, tmp_path: Path, count: int, **more: str) -> Callable[[], None]:
    """What runs a worker with one child until so many no-ops are done."""
    with TaskQ(NAMESPACE, url=server.url) as app:
        task = app.remote(f"{working.__name__}.counted", queue=QUEUE, result_ttl=0)
        app.enqueue_many([task.call(number) for number in range(count)])
        body = app.broker().keys(QUEUE).body
    paths = os.pathsep.join(str(ROOT / part) for part in (".", "workers", "dashboard"))
    env = os.environ | {"PYTHONPATH": paths, "PERFORMANCE_URL": server.url} | more
    command = [
        sys.executable,
        "-m",
        "taskq_workers",
        "worker",
        f"{working.__name__}:app",
        "--url",
        server.url,
        "--burst",
    ]

    def work() -> None:
        with (tmp_path / "log").open("wb") as log, server.client() as client:
            assert client.hlen(body) == count
            subprocess.run(command, env=env, cwd=ROOT, stdout=log, stderr=log, timeout=100, check=True)
            assert not client.hlen(body), (tmp_path / "log").read_text("utf-8", "replace")[-2_000:]

    return work


def test_a_child_that_drains_two_thousand(server: RealServer, tmp_path: Path) -> None:
    work, told = drain(server, tmp_path, DRAINED), list[Watched]()
    with server.client() as client:
        for verb in RUNS:
            client.script_load(scripts.load(f"tasks/{verb}").text)
    seen = traffic(server, lambda: told.append(watched(server, work)))
    assert seen.received <= (SCRIPT_BYTES * seen.scripts + TASK_BYTES * DRAINED) * MARGIN, seen
    (commands,) = told
    assert commands.asked.total() <= DRAINED * ASKED_PER_TASK, commands.asked
    # The median: a call that had to be sent again takes another way through its script.
    usual = {verb: median(commands.scripts[scripts.load(f"tasks/{verb}").sha]) for verb in RUNS}
    assert all(0 < usual[verb] <= RUNS[verb] for verb in RUNS), usual


def test_a_command_more_per_task_of_a_child_is_seen(server: RealServer, tmp_path: Path) -> None:
    seen = watched(server, drain(server, tmp_path, FEW, **{MISDEED: "1"}))
    assert seen.asked.total() > FEW * ASKED_PER_TASK, seen.asked
