"""What dies, and what becomes of its messages: children, supervisors, stopped hosts, tasks that end their process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq.inspector import Inspector
from taskq.message import id_text
from taskq.tasks.failure import parse
from tests.runtime.world import World, world
from tests.servers import RealServer

pytestmark = pytest.mark.crash


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace) as one:
        yield one


@pytest.fixture
def quick_lease(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace, lease=1.0) as one:
        yield one


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_killed_child_gives_its_running_and_waiting_messages_back(here: World) -> None:
    """Given a child that runs two messages while others wait, when it is killed, then all run and only two are
    blamed.
    """
    running = [here.enqueue("gated", f"run{n}", here.gate("g")) for n in range(2)]
    here.worker("-c", "2")
    first = [here.hear("start", f"run{n}")[0] for n in range(2)]
    waiting = [here.enqueue("quick", f"wait{n}") for n in range(5)]
    os.kill(first[0].pid, signal.SIGKILL)
    again = [here.hear("start", f"run{n}", 2)[1] for n in range(2)]
    assert all(
        after.pid != before.pid and after.fence > before.fence for before, after in zip(first, again, strict=True)
    )
    assert [here.found(message).crashes for message in running] == [1, 1]
    here.open_gate("g")
    for message in [*running, *waiting]:
        assert here.until_state(message, "o").result[:1] == b"d"
    assert all(len(here.said("start", f"wait{n}")) == 1 for n in range(5))
    assert all(one.attempt == 1 for one in again)


def test_children_end_with_their_supervisor_and_another_worker_goes_on(quick_lease: World) -> None:
    here = quick_lease
    message = here.enqueue("gated", "a", here.gate("g"))
    worker = here.worker()
    pid = here.hear("start", "a")[0].pid
    assert worker.children == [pid]
    here.worker()
    worker.process.kill()
    worker.process.wait()
    here.until(lambda: not alive(pid), "the end of the child")
    here.hear("start", "a", 2)
    here.open_gate("g")
    assert here.until_state(message, "o").result[:1] == b"d"


def test_a_worker_stopped_beyond_its_lease_changes_nothing_when_it_goes_on(quick_lease: World) -> None:
    here = quick_lease
    message = here.enqueue("gated", "a", here.gate("g"))
    stale = here.worker()
    first = here.hear("start", "a")[0]
    stale.signal_all(signal.SIGSTOP)
    here.worker()
    second = here.hear("start", "a", 2)[1]
    here.open_gate("g")
    result = here.until_state(message, "o").result
    done = here.counter("done")
    stale.signal_all(signal.SIGCONT)
    here.until(lambda: len(here.said("end", "a")) == 2, "the stale run to end")
    here.until(lambda: "lease lost" in stale.text(), "the stale worker to be told")
    assert here.found(message).result == result == f'd"a by {second.pid}"'.encode()
    assert (here.counter("done"), here.counter("retried"), here.counter("dead")) == (done, 0, 0)
    assert second.fence > first.fence


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("exit", "exit code 0"),
        ("kill", "SIGKILL"),
        pytest.param("segv", "SIGSEGV", marks=pytest.mark.slow),  # one of it is in test_supervisor_deaths.py, too
        pytest.param("abort", "SIGABRT", marks=pytest.mark.slow),
    ],
)
def test_a_task_that_ends_its_process_is_dead_after_three_deaths(here: World, how: str, words: str) -> None:
    """Given a killer beside an innocent, then the killer dies three times and the innocent is done without blame."""
    killer = here.enqueue("die", "k", how)
    innocent = here.enqueue("gated", "i", here.gate("g"))
    here.worker("-c", "4")
    found = here.until_state(killer, "x")
    here.open_gate("g")
    assert len(here.said("start", "k")) == 3
    assert found.crashes == 3
    history = parse(found.lines)
    assert words in history[-1]["message"]
    assert [line["kind"] for line in history] == ["crash"] * 4
    assert here.until_state(innocent, "o").result[:1] == b"d"


def test_a_task_that_never_returns_is_ended_three_times_and_its_neighbour_is_not_blamed(here: World) -> None:
    stuck = here.enqueue("never", "n")
    neighbour = here.enqueue("gated", "i", here.gate("g"))
    here.worker("-c", "2", "--kill-grace", "0.3")
    found = here.until_state(stuck, "x")
    assert len(here.said("start", "n")) == 3
    assert here.said("TaskTimeout", "n")
    assert "hard time limit" in parse(found.lines)[-1]["message"]
    assert here.found(neighbour).crashes == 0
    here.open_gate("g")
    assert here.until_state(neighbour, "o").result[:1] == b"d"


def test_an_at_most_once_message_that_was_running_is_reported_lost_and_not_run_again(here: World) -> None:
    message = here.enqueue("once", "o")
    worker = here.worker()
    found = here.until_state(message, "x")
    assert len(here.said("start", "o")) == 1
    assert parse(found.lines)[-1]["kind"] == "lost"
    assert "at_most_once" in worker.text()
    inspector = Inspector(here.broker.link, here.namespace)
    assert inspector.message("work", message).crashes == 1, "it ran once, and everybody says so"
    assert inspector.browse("work", "dead").items[0].crashes == 1
    assert here.app.handle(id_text(message), "work").info().crashes == 1


def test_a_task_that_holds_the_interpreter_for_five_leases_runs_once(quick_lease: World) -> None:
    """And what waited behind it in the same child is run by another one meanwhile."""
    here = quick_lease
    here.worker("-c", "1")
    holder = here.enqueue("hold_interpreter", "h", 5.0)
    here.hear("start", "h")
    other = here.worker("-c", "1")
    ids = [here.enqueue("quick", f"q{n}") for n in range(3)]
    for message in ids:
        here.until_state(message, "o")
    assert {one.pid for n in range(3) for one in here.said("start", f"q{n}")} == set(other.children)
    assert here.until_state(holder, "o").result[:1] == b"d"
    assert len(here.said("start", "h")) == 1
    assert here.counter("reclaimed") == 0 or all(len(here.said("start", f"q{n}")) == 1 for n in range(3))
