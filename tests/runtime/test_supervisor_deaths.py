"""What becomes of messages when their child dies, is ended or stands still; who is blamed, and who is not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from taskq.tasks.broker import Delivery
from tests.runtime.fake_child import QUEUE
from tests.runtime.supervising import FakeWorker
from tests.servers import RealServer

pytestmark = pytest.mark.crash


@pytest.fixture
def worker(server: RealServer, namespace: str) -> Iterator[FakeWorker]:
    one = FakeWorker(server, namespace, lease_ms=600_000)  # so that nothing ever lapses by itself
    yield one
    one.close()


def test_what_ran_is_blamed_and_what_waited_is_not(worker: FakeWorker) -> None:
    ran, waited = worker.enqueue("run", "wait")
    worker.start()
    started, held = worker.events(("started", "run"), ("held", "wait"))
    assert (started["crashes"], held["crashes"]) == (0, 0)
    os.kill(started["pid"], signal.SIGKILL)
    started, held = worker.events(("started", "run"), ("held", "wait"))
    assert (started["crashes"], started["deliveries"]) == (1, 2)
    assert (held["crashes"], held["deliveries"]) == (0, 1)
    (line,) = worker.history(ran)
    assert (line["kind"], line["task"]) == ("crash", "fake.run")
    assert "signal 9 (SIGKILL)" in line["message"]
    assert worker.history(waited) == []


def test_after_two_crashes_it_runs_alone_and_the_third_is_the_last(worker: FakeWorker) -> None:
    (suspect,) = worker.enqueue("hang")
    worker.start()
    for crashes in (0, 1, 2):
        event = worker.event("started", crashes=crashes)
        assert event["alone"] == (crashes == 2)
        os.kill(event["pid"], signal.SIGSEGV)
    worker.told(suspect)
    assert (worker.find(suspect).state, worker.find(suspect).crashes) == ("x", 3)
    assert [line["kind"] for line in worker.history(suspect)] == ["crash"] * 4
    assert worker.history(suspect)[-1]["message"] == "crashed its worker 3 times: signal 11 (SIGSEGV)"
    assert worker.find(suspect).result.startswith(b"x")


def test_an_exit_code_of_0_in_the_middle_of_a_task_is_a_crash(worker: FakeWorker) -> None:
    leaves, beside = worker.enqueue("exit", "wait")
    worker.start()
    worker.event("started", body="exit", crashes=1)
    assert "exit code 0" in worker.history(leaves)[0]["message"]
    assert worker.find(beside).crashes == 0


def test_what_may_run_only_once_is_lost_and_said_so(worker: FakeWorker) -> None:
    (once,) = worker.enqueue("once")
    worker.start()
    os.kill(worker.event("started")["pid"], signal.SIGKILL)
    worker.told(once)
    assert worker.find(once).state == "x"
    assert worker.history(once)[-1]["kind"] == "lost"
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    assert "lost fake.once" in worker.said()


def test_a_task_past_its_hard_limit_is_ended_at_once_if_it_runs_by_itself(worker: FakeWorker) -> None:
    (slow,) = worker.enqueue("late")
    worker.start(kill_grace=3600.0)
    worker.event("started", crashes=1)
    (line,) = worker.history(slow)
    assert (line["kind"], line["type"]) == ("timeout", "HardTimeout")


def test_those_beside_a_task_past_its_hard_limit_may_finish(worker: FakeWorker) -> None:
    slow, neighbour, waits = worker.enqueue("late", "run", "wait")
    worker.start(kill_grace=3600.0)
    worker.events(("finished", "run"), ("held", "wait"))
    worker.event("started", body="late", crashes=1)
    assert worker.find(neighbour).state == "?"
    assert worker.history(slow)[0]["kind"] == "timeout"
    assert worker.find(waits).crashes == 0


def test_neighbours_get_a_while_and_not_more_and_are_not_blamed(worker: FakeWorker) -> None:
    slow, neighbour = worker.enqueue("late", "hang")
    worker.start(kill_grace=0.2)
    late, hang = worker.events(("started", "late"), ("started", "hang"))
    assert (late["crashes"], hang["crashes"]) == (0, 0)
    worker.event("started", body="late", crashes=1)
    assert worker.history(slow)[0]["kind"] == "timeout"
    assert (worker.history(neighbour), worker.find(neighbour).crashes) == ([], 0)


def test_behind_a_stuck_task_the_others_go_elsewhere(worker: FakeWorker) -> None:
    stuck, waits = worker.enqueue("stuck", "wait")
    worker.start()
    worker.events(("started", "stuck"), ("held", "wait"))
    found: list[Delivery] = []
    while not found:
        worker.broker.wait([QUEUE], 1.0)
        found = worker.lease()
    assert [(one.id, one.crashes, one.deliveries) for one in found] == [(waits, 0, 1)]
    assert worker.find(stuck).state == "l"


def test_a_cancelled_task_that_does_not_end_is_ended_if_that_was_allowed(worker: FakeWorker) -> None:
    stubborn, beside = worker.enqueue("hang", "wait")
    worker.start()
    worker.events(("started", "hang"), ("held", "wait"))
    assert worker.broker.cancel(QUEUE, stubborn) == "requested"
    worker.event("cancel")
    assert worker.broker.cancel(QUEUE, stubborn, kill=True) == "requested"
    worker.event("kill")
    worker.told(stubborn)
    assert worker.find(stubborn).result == b"c"
    assert worker.event("held")["body"] == "wait"
    assert worker.find(beside).crashes == 0


def test_a_child_hears_that_its_lease_is_lost(worker: FakeWorker) -> None:
    worker.enqueue("hang")
    worker.start()
    worker.event("started")
    worker.link.execute("DEL", worker.broker.keys(QUEUE).leases)
    worker.event("lost")


def test_a_death_during_an_outage_is_dealt_with_after_it(
    start_server: Callable[..., RealServer], namespace: str
) -> None:
    server = start_server(aof=True, config={"appendfsync": "always"})
    worker = FakeWorker(server, namespace, lease_ms=600_000)
    try:
        ran, _ = worker.enqueue("run", "wait")
        worker.start()
        started, _ = worker.events(("started", "run"), ("held", "wait"))
        server.kill9()
        os.kill(started["pid"], signal.SIGKILL)
        worker.says("broker unreachable since")
        server.restart()
        started, held = worker.events(("started", "run"), ("held", "wait"))
        assert (started["crashes"], held["crashes"]) == (1, 0)
        assert worker.history(ran)[0]["kind"] == "crash"
        worker.says("broker is back after")
    finally:
        worker.close()


def test_what_a_vanished_worker_held_comes_back_when_its_lease_ends(server: RealServer, namespace: str) -> None:
    worker = FakeWorker(server, namespace, lease_ms=500)
    try:
        (orphan,) = worker.enqueue("done")
        assert [one.id for one in worker.lease()] == [orphan]  # taken here, and never heard of again
        worker.start()
        assert worker.event("started", body="done")["deliveries"] == 2
    finally:
        worker.close()
