"""What the options and signals of `taskq worker` do to real children."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from taskq.message import new_ids
from taskq.tasks.broker import Outgoing
from taskq_workers import exits
from tests.runtime.world import World, world
from tests.servers import RealServer


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace) as one:
        yield one


def test_burst_ends_when_nothing_is_left_and_everything_was_run(here: World) -> None:
    messages = [here.enqueue("quick", f"b{n}") for n in range(30)]
    later = here.enqueue("quick", "later", delay=3600)
    worker = here.worker("--burst", "-c", "3", "-p", "2")
    assert worker.process.wait(40) == exits.OK
    assert {here.found(message).state for message in messages} == {"o"}
    assert here.found(later).state == "d"


@pytest.mark.parametrize("queues", ["work", "other,work"])
def test_a_burst_that_was_refused_at_a_queue_says_so_and_fails(here: World, queues: str) -> None:
    with here.server.client() as client:
        client.set(here.broker.keys("work").ready[0], "not a list")
    worker = here.worker("--burst", "-q", queues)
    assert worker.process.wait(40) == exits.UNREACHABLE
    (error,) = [line for line in worker.text().splitlines() if line.startswith("error: ")]
    assert "could not look at queue work:" in error
    assert "WRONGTYPE" in error


def test_a_child_is_replaced_after_its_share_of_tasks_and_none_runs_twice(here: World) -> None:
    worker = here.worker("-c", "2", "--max-tasks-per-child", "10")
    for n in range(40):
        here.until_state(here.enqueue("quick", f"r{n}"), "o")
        if len({one.pid for one in here.heard}) > 2:
            break
    else:
        # The count is looked at once a second, and 40 short tasks may take less.
        here.until(lambda: "is replaced: " in worker.text(), "a child to be replaced")
        here.until_state(here.enqueue("quick", "afterwards"), "o")
    starts = [one.tag for one in here.heard if one.word == "start"]
    assert len(starts) == len(set(starts))
    assert "tasks" in worker.text()


def test_strict_order_empties_the_first_queue_before_the_second(here: World) -> None:
    for n in range(20):
        here.enqueue("quick", f"low{n}", queue="low")
    for n in range(20):
        here.enqueue("quick", f"high{n}", queue="high")
    here.worker("-q", "high,low", "--strict-order", "-c", "1", "--burst").process.wait(40)
    here.hear("end", "low19")
    order = [one.tag for one in here.heard if one.word == "start"]
    assert order == [f"high{n}" for n in range(20)] + [f"low{n}" for n in range(20)]


def test_priorities_inside_a_queue_and_arrival_order_inside_a_priority(here: World) -> None:
    for priority in (0, -2, 2, 1, -1):
        for n in range(3):
            here.enqueue("quick", f"p{priority}-{n}", priority=priority)
    here.worker("-c", "1", "--burst").process.wait(40)
    here.hear("end", "p-2-2")
    order = [one.tag for one in here.heard if one.word == "start"]
    assert order == [f"p{priority}-{n}" for priority in (2, 1, 0, -1, -2) for n in range(3)]


def test_quiet_starts_nothing_new_and_stacks_are_shown_on_demand(here: World) -> None:
    worker = here.worker("-c", "2")
    running = here.enqueue("gated", "g", here.gate("g"))
    here.hear("start", "g")

    def shown() -> bool:
        worker.process.send_signal(signal.SIGUSR2)  # again: the first may come before the task waits
        return "wait_for_file" in worker.text()

    here.until(shown, "the stacks of the child")
    worker.process.send_signal(signal.SIGUSR1)
    here.until(lambda: "quiet" in worker.text(), "the worker to be quiet")
    waiting = here.enqueue("quick", "w")
    here.open_gate("g")
    assert here.until_state(running, "o").result[:1] == b"d"
    assert worker.terminate() == exits.OK
    assert here.found(waiting).state == "r"
    assert not here.said("start", "w")


def test_json_logs_are_one_object_a_line(here: World) -> None:
    worker = here.worker("--log-format", "json")
    here.until_state(here.enqueue("fails", "two\nlines"), "x")
    assert worker.terminate() == exits.OK
    lines = [json.loads(line) for line in worker.text().splitlines() if line]
    assert any("dead" in line["message"] for line in lines)


def test_an_expired_message_does_not_start(here: World) -> None:
    message = here.enqueue("quick", "x", expires=0.05)
    fresh = here.enqueue("quick", "y", expires=60)
    here.until_elapsed(0.1)
    here.worker()
    assert here.until_state(message, "o").result == b"e"
    assert here.until_state(fresh, "o").result[:1] == b"d"
    assert not here.said("start", "x")


def test_a_delayed_message_runs_when_it_is_due_and_not_before(here: World) -> None:
    here.worker()
    here.until_present(1)
    message = here.enqueue("quick", "d", delay=2)
    assert here.found(message).state == "d"
    here.until_state(message, "o")
    assert len(here.hear("start", "d")) == 1


def test_undecodable_bytes_are_quarantined_and_stop_nobody(here: World) -> None:
    bad = new_ids(3)
    bodies = [b"\x80\x04junk", b"", b"\x01abcd[]"]
    here.broker.enqueue("work", [Outgoing(one, body) for one, body in zip(bad, bodies, strict=True)])
    good = here.enqueue("quick", "g")
    worker = here.worker()
    assert here.until_state(good, "o").result[:1] == b"d"
    for message in bad:
        here.until_state(message, "q")
    assert "quarantined" in worker.text()
