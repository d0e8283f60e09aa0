"""Workers and their hosts (group A): killed, stopped, told to end, short of descriptors, memory, processes and disk."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from taskq.tasks.failure import parse
from taskq.tasks.lists import ListBroker
from taskq_workers import exits
from tests.faults.chaos import Chaos, Plan
from tests.faults.stage import Stage

pytestmark = pytest.mark.crash


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a02_a_kill_storm_loses_nothing_and_repeats_only_what_was_running(short: Stage) -> None:
    chaos = Chaos(short, Plan(kills=60, restarts=0, seconds=240.0), seed=2)
    report = chaos.run(print)
    assert report.clean, f"{report}: {report.details}"
    assert chaos.tally.kills >= 30
    assert report.allowed > 0, "some messages were running when their worker was killed"


def test_a01_a_killed_worker_costs_its_running_messages_one_run_and_the_waiting_ones_none(short: Stage) -> None:
    here = short
    worker = here.hire("-c", "2")
    for n in range(2):
        here.put("gated", f"run{n}", here.gate("g"))
    for n in range(2):
        here.hear("start", f"run{n}")
    for n in range(20):
        here.put("effective", f"wait{n}")
    here.kill_worker(worker)
    here.open_gate("g")
    here.hire("-c", "2")
    here.settled()
    assert [here.runs(f"run{n}") for n in range(2)] == [2, 2]
    assert {here.runs(f"wait{n}") for n in range(20)} == {1}


def test_a03_two_stopped_workers_of_three_change_nothing_when_they_go_on(short: Stage) -> None:
    here = short
    stale = [here.hire("-c", "1") for _ in range(2)]
    for n in range(2):
        here.put("gated", f"g{n}", here.gate("g"))
        here.hear("start", f"g{n}")
    for worker in stale:
        here.disturb(worker)
        worker.signal_all(signal.SIGSTOP)
    here.hire("-c", "2")
    for n in range(2):
        here.hear("start", f"g{n}", 2)
    here.open_gate("g")
    for message in here.accepted:
        here.until_state(message, "o")
    for worker in stale:
        worker.signal_all(signal.SIGCONT)
    for n in range(2):
        here.hear("end", f"g{n}", 2)
    here.until(lambda: all("lease lost" in worker.text() for worker in stale), "both to be told")
    here.settled(here.put("effective", "after"))
    assert here.counter("done") == 3


def test_a07_a_task_longer_than_the_drain_time_is_given_back_without_an_attempt(here: Stage) -> None:
    worker = here.hire("-c", "2", "--drain-timeout", "0.3")
    message = here.put("gated", "g", here.gate("never"))
    here.hear("start", "g")
    assert worker.terminate() == exits.OK
    found = here.found(message)
    assert (found.state, found.attempts, found.crashes) == ("r", 0, 0)
    assert here.broker.link.execute("ZCARD", here.broker.keys("work").leases) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("times", [1, 2])
def test_a08_signals_while_it_starts_end_it_without_a_traceback(
    here: Stage, number: signal.Signals, times: int
) -> None:
    worker = here.hire("-c", "1")
    here.until(lambda: worker.children != [], "the first child")
    for _ in range(times):
        worker.process.send_signal(number)
    assert worker.process.wait(40) in (exits.OK, exits.FORCED)
    assert "Traceback" not in worker.text()


@pytest.mark.parametrize("times", [1, 2])
def test_a08_signals_while_the_broker_is_away_end_it(durable: Stage, times: int) -> None:
    here = durable
    worker = here.hire("-c", "1", "--drain-timeout", "1")
    message = here.put("gated", "g", here.gate("g"))
    here.hear("start", "g")
    here.until_present(1)
    here.server.kill9()
    here.until(lambda: "broker unreachable" in worker.text(), "the worker to notice")
    here.disturb(worker)
    for _ in range(times):
        worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(60) in (exits.OK, exits.FORCED)
    assert "Traceback" not in worker.text()
    here.server.restart()
    here.open_gate("g")
    here.hire("-c", "1")
    here.settled(message)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_a08_other_fatal_signals_lose_nothing(short: Stage, number: signal.Signals) -> None:
    here = short
    before = signal.signal(number, signal.SIG_DFL)  # a suite under nohup ignores it, and so would the worker
    try:
        worker = here.hire("-c", "1", "--drain-timeout", "1")  # after a hang-up it waits for what runs
    finally:
        signal.signal(number, before)
    message = here.put("gated", "g", here.gate("g"))
    here.hear("start", "g")
    here.disturb(worker)
    worker.process.send_signal(number)
    worker.process.wait(40)
    here.open_gate("g")
    here.hire("-c", "1")
    here.settled(message)


def test_a10_a_worker_with_the_process_numbers_of_its_dead_forerunner(short: Stage) -> None:
    """In a process namespace of its own every supervisor is process 1 and its first child the next one."""
    here = short
    probe = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*probe, "true"], capture_output=True, check=False).returncode:
        pytest.skip("making a process namespace is not allowed here")
    message = here.put("gated", "g", here.gate("g"))
    first = here.hire("-c", "1", wrap=probe)
    one = here.hear("start", "g")[0]
    here.disturbed.add(one.pid)
    first.process.kill()
    first.process.wait(40)
    here.hire("-c", "1", wrap=probe)
    two = here.hear("start", "g", 2)[1]
    assert (two.pid, two.fence > one.fence) == (one.pid, True)
    here.open_gate("g")
    here.settled(message)


def test_a11_a_child_without_descriptors_goes_on_with_the_connections_it_has_and_is_replaced(here: Stage) -> None:
    """The task that leaked them fails with what the system said; work that needs none is still done."""
    worker = here.hire("-c", "2", wrap=["prlimit", "--nofile=80"])
    here.settled(here.put("effective", "before"))
    found = here.until_state(here.put("eats_descriptors", "d"), "x")
    assert "Too many open files" in parse(found.lines)[-1]["message"]
    for n in range(5):
        silent = here.put("silent", f"s{n}")
        assert here.until_state(silent, "o").result[:1] == b"d"
    here.until(lambda: "its last file descriptor" in worker.text(), "the child to retire")
    after = here.put("effective", "after")
    assert here.until_state(after, "o").result[:1] == b"d"  # it opens a file
    # nothing that ran was taken back; the child that retires may have been asked for this one when it stopped
    assert here.counter("crashed") == 0
    assert here.counter("reclaimed") <= 1
    assert here.runs("after") == 1


@pytest.mark.parametrize("where", ["full", "closed"])
def test_a13_nowhere_to_write_its_log_to(here: Stage, where: str) -> None:
    """A full disk, or a pipe whose reader has gone: words get lost, work does not."""
    if where == "full":
        worker = here.hire("-v", "-c", "2", log=Path("/dev/full"))
    else:
        pipe = here.dir / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        worker = here.hire("-v", "-c", "2", log=pipe)
        os.close(reader)
    for n in range(10):
        here.put("effective", f"e{n}", 0.0, n % 2)
    here.settled()
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(40)
    assert here.counter("reclaimed") == 0


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the limits of another process can be set on Linux only")
def test_a14_a_supervisor_that_cannot_start_a_child_goes_on_trying(here: Stage) -> None:
    worker = here.hire("-c", "1")
    here.settled(here.put("effective", "before"))
    here.until_present(1)
    pid = worker.process.pid
    old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, old[1]))
    here.kill(worker.children[0])
    here.until(lambda: "cannot start a child" in worker.text(), "the supervisor to say so")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, old)
    here.settled(here.put("effective", "after"))


def test_a15_without_a_broker_a_worker_ends_at_once_and_says_why(durable: Stage) -> None:
    """Whoever starts it starts it again; a worker that has once been ready waits for its broker for ever (C1)."""
    here = durable
    message = here.put("effective", "e")
    here.server.kill9()
    worker = here.hire("-c", "1")
    assert worker.process.wait(40) == exits.UNREACHABLE
    assert "cannot reach the broker" in worker.text()
    assert "Traceback" not in worker.text()
    here.server.restart()
    here.hire("-c", "1")
    here.settled(message)


@pytest.mark.slow
def test_a18_two_hundred_clients_find_back_to_a_server_that_was_restarted(durable: Stage) -> None:
    here = durable
    here.hire("-c", "4")
    senders = [ListBroker(here.server.link(), here.namespace, here.broker.limits) for _ in range(200)]
    for n, sender in enumerate(senders):
        here.accept(sender, here.outgoing("effective", f"a{n}"), f"a{n}")
    here.server.kill9()
    here.server.restart()
    for n, sender in enumerate(senders):
        here.accept(sender, here.outgoing("effective", f"b{n}"), f"b{n}")
    here.settled()
    for sender in senders:
        sender.close()


@pytest.mark.parametrize("hours", [-1, 1])
def test_a19_the_clock_of_a_worker_is_of_no_account(short: Stage, hours: int) -> None:
    here = short
    folder = here.dir / "shim"
    folder.mkdir()
    shift = hours * 3600
    (folder / "sitecustomize.py").write_text(
        f"import time\nold, old_ns = time.time, time.time_ns\ntime.time = lambda: old() + {shift}\n"
        f"time.time_ns = lambda: old_ns() + {shift} * 10**9\n"
    )
    here.hire("-c", "2", PYTHONPATH=f"{folder}{os.pathsep}{here.env['PYTHONPATH']}")
    message = here.put("gated", "g", here.gate("g"))
    here.hear("start", "g")
    late = here.put("effective", "late", delay=86_400)
    here.put("effective", "soon", delay=0.3)
    here.put("effective", "again", 0.0, 2)
    here.hear("end", "again")
    here.hear("end", "soon")
    here.until_elapsed(2.0)  # two leases: the fault itself
    here.open_gate("g")
    here.until_state(message, "o")
    assert here.found(late).state == "d"
    assert here.broker.cancel("work", late) == "cancelled"
    del here.accepted[late]
    here.settled()
    assert here.counter("reclaimed") == 0


def test_a20_a_poison_message_takes_nothing_with_it_that_was_only_fetched(here: Stage) -> None:
    here.hire("-c", "1")
    poison = here.put("die", "p", "kill")
    innocents = [here.put("effective", f"e{n}") for n in range(9)]
    found = here.until_state(poison, "x")
    assert found.crashes == 3
    here.disturbed.update(one.pid for one in here.said("start", "p"))
    here.settled(*innocents, dead=True)
    assert {here.runs(f"e{n}") for n in range(9)} == {1}
    assert here.counter("dead") == 1
