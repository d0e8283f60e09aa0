"""The supervisor against a real server, with fake children: who is started, who is ended, and when it leaves."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from taskq.store import keys
from tests.runtime.fake_child import QUEUE
from tests.runtime.supervising import FakeWorker, wait_for_end
from tests.servers import RealServer

pytestmark = pytest.mark.crash


@pytest.fixture
def worker(server: RealServer, namespace: str) -> Iterator[FakeWorker]:
    one = FakeWorker(server, namespace)
    yield one
    one.close()


def test_a_dead_child_is_replaced_at_once(worker: FakeWorker) -> None:
    worker.start(processes=2)
    first, second = worker.event("hello"), worker.event("hello")
    assert {first["index"], second["index"]} == {1, 2}
    os.kill(first["pid"], signal.SIGKILL)
    assert worker.event("hello")["index"] == 3


def test_children_end_with_their_supervisor(worker: FakeWorker) -> None:
    worker.start(processes=2)
    pids = [worker.event("hello")["pid"] for _ in range(2)]
    worker.signal(signal.SIGKILL)
    for pid in pids:
        wait_for_end(pid)
    assert worker.exit_code() == -signal.SIGKILL


def test_one_signal_drains_what_runs_and_gives_back_what_waits(worker: FakeWorker) -> None:
    runs, waits = worker.enqueue("run", "wait")
    worker.start()
    worker.events(("started", "run"), ("held", "wait"))
    worker.signal(signal.SIGTERM)
    assert worker.event("finished")["body"] == "run"
    assert worker.exit_code() == 0
    assert worker.find(runs).state == "?"
    assert worker.lease()[0].id == waits
    found = worker.find(waits)
    assert (found.deliveries, found.crashes, found.attempts) == (1, 0, 0)


def test_a_second_signal_gives_back_at_once(worker: FakeWorker) -> None:
    (hangs,) = worker.enqueue("hang")
    worker.start(drain_timeout=3600.0)
    worker.event("started")
    worker.signal(signal.SIGTERM)
    worker.event("drain")
    worker.signal(signal.SIGINT)
    assert worker.exit_code() == 5
    delivery = worker.lease()[0]
    assert (delivery.id, delivery.deliveries, delivery.crashes) == (hangs, 1, 0)


def test_after_the_drain_time_what_runs_is_given_back(worker: FakeWorker) -> None:
    (hangs,) = worker.enqueue("hang")
    worker.start(drain_timeout=0.3)
    worker.event("started")
    worker.signal(signal.SIGTERM)
    worker.event("give back")
    assert worker.exit_code() == 0
    assert worker.lease()[0].id == hangs


def test_leases_are_kept_while_a_worker_drains(worker: FakeWorker) -> None:
    """The child holds on for three leases; had the heartbeat stopped, another could take the message meanwhile."""
    worker.lease_ms = 500
    (hangs,) = worker.enqueue("hang")
    worker.start(drain_timeout=1.5)
    worker.event("started")
    worker.signal(signal.SIGTERM)
    worker.event("give back")
    assert worker.exit_code() == 0
    found = worker.lease()[0]
    assert (found.id, found.deliveries, found.crashes) == (hangs, 1, 0)


def test_quiet_starts_nothing_new_even_in_a_new_child(worker: FakeWorker) -> None:
    worker.start()
    child = worker.event("hello")
    worker.signal(signal.SIGUSR1)
    worker.event("quiet", index=1)
    os.kill(child["pid"], signal.SIGKILL)
    worker.event("quiet", index=2)


def test_stacks_of_supervisor_and_children_can_be_seen(worker: FakeWorker) -> None:
    worker.start()
    worker.event("hello")
    worker.signal(signal.SIGUSR2)
    worker.event("stacks")
    worker.says("in _turn")


def test_a_burst_ends_when_nothing_is_left(worker: FakeWorker) -> None:
    ids = worker.enqueue(*["done"] * 20)
    worker.start(burst=True, processes=2)
    assert worker.exit_code() == 0
    assert {worker.find(one).state for one in ids} == {"?"}


def test_a_burst_runs_what_a_dead_child_left(worker: FakeWorker) -> None:
    """It leaves its message with exit code 0, twice beside others and once alone; then it is a dead letter."""
    (leaves,) = worker.enqueue("exit")
    worker.start(burst=True)
    assert worker.exit_code() == 0
    assert (worker.find(leaves).state, worker.find(leaves).crashes) == ("x", 3)
    assert [event["alone"] for event in _starts(worker)] == [False, False, True]


def test_an_app_that_cannot_be_imported_ends_the_worker(worker: FakeWorker) -> None:
    worker.start(env={"FAKE_ERROR": "cannot import 'fake:app'"}, processes=2)
    assert worker.exit_code() == 4
    assert worker.said().splitlines()[-1] == "error: cannot import 'fake:app'"


def test_children_that_die_while_they_start_end_the_worker(worker: FakeWorker) -> None:
    worker.start(env={"FAKE_LEASE_MS": "no number"})
    assert worker.exit_code() == 1
    assert "the children die while they start: exit code 1" in worker.said()


def test_the_record_of_a_worker_is_there_while_it_is(worker: FakeWorker) -> None:
    worker.enqueue("hang")
    worker.start()
    worker.event("started")
    (name,) = _members(worker)
    # The record is written once a second: wait for the one that shows the running task.
    record: dict[str, object] = {"running": []}
    while not record["running"]:
        record = json.loads(worker.link.execute("GET", keys.worker_record(worker.namespace, name)))
        worker.link.blocking(0.1, "BLPOP", "nothing", 0.1)
    assert (record["id"], record["state"], record["queues"], record["app"]) == (name, "running", [QUEUE], "fake:app")
    running = record["running"]
    assert isinstance(running, list)
    assert [(run["task"], run["queue"]) for run in running] == [("fake.hang", QUEUE)]
    worker.signal(signal.SIGTERM)
    worker.event("drain")
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 5
    assert _members(worker) == []
    assert worker.link.execute("EXISTS", keys.worker_record(worker.namespace, name)) == 0


def _members(worker: FakeWorker) -> list[str]:
    """The list of workers; written with the first round, which may come after the first lease."""
    while True:
        names = [str(name, "ascii") for name in worker.link.execute("ZRANGE", keys.workers(worker.namespace), 0, -1)]
        assert worker.process is not None
        if names or worker.process.poll() is not None:
            return names
        worker.link.blocking(0.1, "BLPOP", "nothing", 0.1)


def _starts(worker: FakeWorker) -> list[dict[str, object]]:
    events = [json.loads(line) for line in worker.link.execute("LRANGE", worker.told_at, 0, -1)]
    return [event for event in events if event["event"] == "started"]
