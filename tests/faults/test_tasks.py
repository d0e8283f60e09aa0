"""Tasks that misbehave (group B): what becomes of them, and that their worker and their neighbours go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq.tasks.failure import parse
from taskq.tasks.queues import Transport
from taskq_workers import exits
from tests.faults.stage import Stage, stage
from tests.servers import RealServer, need_server

pytestmark = pytest.mark.crash
together = pytest.mark.xdist_group("faults-tasks")


@pytest.fixture(scope="module")
def crowd(transport: Transport) -> Iterator[Stage]:
    """One worker for all tests whose task does it no lasting harm; that it still works is part of each test."""
    server = RealServer(need_server()).start()
    try:
        with stage(server, "crowd", 2.0, transport) as one:
            one.hire("-c", "4")
            yield one
    finally:
        server.close()


def goes_on(here: Stage, tag: str) -> None:
    """A message that comes later runs once and is done."""
    message = here.put("effective", tag)
    assert here.until_state(message, "o").result[:1] == b"d"
    assert here.runs(tag) == 1


@together
@pytest.mark.parametrize("task", ["raises", "araises"])
@pytest.mark.parametrize(
    ("how", "type", "text"),
    [
        ("KeyboardInterrupt", "KeyboardInterrupt", ""),
        ("GeneratorExit", "GeneratorExit", ""),
        ("SystemExit", "SystemExit", "0"),
        ("SystemExit text", "SystemExit", "text"),
        ("StopIteration", "", ""),
        ("own", "tests.faults.misdeeds.Own", ""),
        ("MemoryError", "MemoryError", ""),
        ("recursion", "RecursionError", "recursion"),
        ("unprintable", "tests.faults.misdeeds.Unprintable", "<unprintable"),
        ("circular", "ValueError", "one"),
        ("huge", "ValueError", "truncated"),
        ("odd text", "ValueError", "\\ud800"),
    ],
)
def test_b02_b03_b10_b11_b12_whatever_a_task_raises_is_a_failure_with_its_name(
    crowd: Stage, task: str, how: str, type: str, text: str
) -> None:
    tag = f"{task}-{how.replace(' ', '-')}"
    found = crowd.until_state(crowd.put(task, tag, how), "x")
    (line,) = parse(found.lines)
    assert line["type"] == type or not type
    assert text in line.get("message", "")
    assert len(found.lines) <= 16_384
    assert len(crowd.said("start", tag)) == 1
    goes_on(crowd, f"after-{tag}")


@together
@pytest.mark.parametrize("what", ["generator", "coroutine", "lambda", "set", "huge", "circular"])
def test_b22_a_result_that_cannot_be_stored_is_no_reason_to_run_again(crowd: Stage, what: str) -> None:
    found = crowd.until_state(crowd.put("returns", f"r-{what}", what), "x")
    assert [line["kind"] for line in parse(found.lines)] == ["result"]
    assert crowd.runs(f"r-{what}") == 1
    goes_on(crowd, f"after-r-{what}")


@together
def test_b22_not_a_number_is_refused_as_a_result(crowd: Stage) -> None:
    found = crowd.until_state(crowd.put("returns", "r-nan", "nan"), "x", "o")
    assert found.state == "x"
    assert found.result[:1] == b"x"


@together
def test_b23_a_retry_sees_the_arguments_as_they_were_sent(crowd: Stage) -> None:
    found = crowd.until_state(crowd.put("mutates", "m", [0]), "o")
    assert found.result == b"d[0,1]"
    assert crowd.runs("m") == 2


@together
def test_b12_the_text_of_a_huge_failure_is_cut_for_whoever_waits(crowd: Stage) -> None:
    found = crowd.until_state(crowd.put("raises", "cut", "huge"), "x")
    assert len(found.result) < 16_384


@together
def test_b13_binary_noise_on_stdout_and_stderr_disturbs_nobody(crowd: Stage) -> None:
    found = crowd.until_state(crowd.put("prints", "p"), "o")
    assert found.result == b"d2097152"
    goes_on(crowd, "after-p")


@together
def test_b24_a_thread_that_is_left_behind_holds_up_nobody(crowd: Stage) -> None:
    crowd.until_state(crowd.put("leaves_a_thread", "t", crowd.gate("t")), "o")
    goes_on(crowd, "after-t")
    crowd.open_gate("t")


def test_b24_b19_a_left_thread_and_a_task_that_cannot_be_cancelled_do_not_keep_the_worker(here: Stage) -> None:
    worker = here.hire("-c", "4", "--drain-timeout", "0.2")
    here.put("leaves_a_thread", "t", here.gate("t"))
    stubborn = here.put("swallows", "s")
    here.hear("end", "t")
    here.hear("start", "s")
    assert worker.terminate() == exits.OK
    found = here.found(stubborn)
    assert (found.state, found.attempts, found.crashes) == ("r", 0, 0)


@pytest.mark.parametrize("how", ["abort", "segv"])
def test_b05_a_fatal_signal_is_named_and_its_neighbours_are_innocent(here: Stage, how: str) -> None:
    here.hire("-c", "1")
    killer = here.put("die", "k", how)
    innocents = [here.put("quick", f"q{n}") for n in range(5)]
    found = here.until_state(killer, "x")
    assert {"abort": "SIGABRT", "segv": "SIGSEGV"}[how] in parse(found.lines)[-1]["message"]
    for message in innocents:
        assert here.until_state(message, "o").result[:1] == b"d"
    assert [here.runs(f"q{n}") for n in range(5)] == [1] * 5


def test_b07_an_endless_call_into_c_is_ended_by_the_hard_limit(here: Stage) -> None:
    here.hire("-c", "1")
    found = here.until_state(here.put("pauses", "p"), "x")
    assert "hard time limit" in parse(found.lines)[-1]["message"]
    goes_on(here, "after")


def test_b09_a_task_that_eats_all_memory_fails_and_its_worker_lives(here: Stage) -> None:
    worker = here.hire("-c", "2")
    found = here.until_state(here.put("eats_memory", "m"), "x")
    pid = worker.children[0]
    assert parse(found.lines)[-1]["type"] == "MemoryError"
    goes_on(here, "after")
    assert worker.children == [pid]


def test_b09_a_child_that_has_grown_is_replaced_between_tasks(here: Stage) -> None:
    worker = here.hire("-c", "1", "--max-memory", "150")
    here.put("grows", "g", 200)
    old = here.hear("start", "g")[0].pid
    here.until(lambda: worker.children != [] and old not in worker.children, "another child")
    here.settled(here.put("effective", "after"))
    here.settled()


def test_b15_a_forked_child_that_returns_is_not_a_second_worker(here: Stage) -> None:
    """One outcome, and what waits in the forked copy of the child's memory is not run there."""
    worker = here.hire("-c", "1")
    message = here.put("forks", "f")
    for n in range(10):
        here.put("effective", f"e{n}")
    here.settled()
    forked = int(here.found(message).result[1:])
    here.until(lambda: not Path(f"/proc/{forked}").exists() or zombie(forked), "the forked process to end")
    assert {one.pid for one in here.heard} == set(worker.children)
    assert here.counter("done") == 11


def zombie(pid: int) -> bool:
    """Whether it has ended, and only its parent has not asked."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_b16_a_process_that_a_task_left_behind_does_not_keep_the_worker(here: Stage) -> None:
    worker = here.hire("-c", "1")
    here.settled(here.put("leaves_a_daemon", "d", False))
    (daemon,) = daemons(here)
    try:
        assert worker.terminate() == exits.OK
        assert not zombie(daemon), "it was left alone: a task may start what outlives it"
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_b16_the_hard_limit_ends_the_processes_of_a_task_too(here: Stage) -> None:
    here.hire("-c", "1")
    here.until_state(here.put("leaves_a_daemon", "d", True), "x")
    for daemon in daemons(here):
        here.until(lambda: zombie(daemon), "the process that the task had started to end")  # noqa: B023
    goes_on(here, "after")


def daemons(here: Stage) -> list[int]:
    """The processes that `leaves_a_daemon` said it had started."""
    here.history()
    return [int(one.word.removeprefix("daemon-")) for one in here.heard if one.word.startswith("daemon-")]


def test_b17_a_task_that_closes_every_descriptor_loses_nothing(short: Stage) -> None:
    here = short
    here.hire("-c", "1")
    here.put("effective", "before")
    message = here.put("closes_everything", "c")
    here.until_state(message, "o", "x")
    goes_on(here, "after")


def test_b18_what_a_task_does_to_its_process_does_not_stop_the_next(here: Stage) -> None:
    """Working directory, umask, environment and the like are the process's: the next task sees them, as documented."""
    worker = here.hire("-c", "2")
    here.put("vandalises", "v")
    here.settled()
    for n in range(10):
        here.put("effective", f"e{n}")
    here.settled()
    assert worker.terminate() == exits.OK


def test_b20_a_task_that_waits_for_its_own_queue_with_one_slot_does_not_hang(here: Stage) -> None:
    """Its time limit ends it; then what it waited for runs."""
    here.hire("-c", "1")
    message = here.put("waits_for_its_own_queue", "w")
    found = here.until_state(message, "x", "o")
    here.hear("end", "w-inner")
    assert found.state == "x"
    assert parse(found.lines)[-1]["kind"] == "timeout"


def test_b21_a_coroutine_that_blocks_the_event_loop_keeps_its_lease_and_is_named(short: Stage) -> None:
    here = short
    worker = here.hire("-c", "2")
    here.hire("-c", "2")
    here.until_present(2)
    here.put("blocks_the_loop", "b", 3.0)
    here.settled()
    here.until(lambda: any("event loop has been blocked" in one.text() for one in here.workers), "the warning")
    assert any("blocks_the_loop" in one.text() for one in here.workers)
    assert here.runs("b") == 1
    assert "lease lost" not in worker.text()
