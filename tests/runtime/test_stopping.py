"""Stopping in order, limits and cancels: nothing runs twice, no attempt is spent, nothing is left behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from taskq.tasks.failure import parse
from taskq_workers import exits
from tests.runtime.world import World, world
from tests.servers import RealServer

pytestmark = pytest.mark.crash


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace) as one:
        yield one


def test_sigterm_drains_what_runs_and_leaves_the_rest_untouched(here: World) -> None:
    worker = here.worker("-c", "2")
    running = [here.enqueue("gated", f"r{n}", here.gate("g")) for n in range(2)]
    for n in range(2):
        here.hear("start", f"r{n}")
    waiting = [here.enqueue("quick", f"w{n}") for n in range(10)]
    worker.process.send_signal(signal.SIGTERM)
    here.until(lambda: "draining" in worker.text(), "the worker to drain")
    here.open_gate("g")
    assert worker.process.wait(30) == exits.OK
    assert [here.found(message).result[:1] for message in running] == [b"d", b"d"]
    found = [here.found(message) for message in waiting]
    assert {(one.state, one.attempts, one.crashes) for one in found} == {("r", 0, 0)}
    assert here.broker.link.execute("ZCARD", here.broker.keys("work").leases) == 0
    here.worker()
    for message in waiting:
        here.until_state(message, "o")
    assert all(len(here.said("start", tag)) == 1 for tag in ["r0", "r1", *(f"w{n}" for n in range(10))])


def test_a_second_signal_gives_running_work_back_without_an_attempt(here: World) -> None:
    worker = here.worker("-c", "2")
    plain = here.enqueue("gated", "p", here.gate("g"))
    coroutine = here.enqueue("sleeps", "s")
    here.hear("start", "p")
    here.hear("start", "s")
    worker.process.send_signal(signal.SIGTERM)
    here.until(lambda: "draining" in worker.text(), "the worker to drain")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(30) == exits.FORCED
    assert "draining: 2 tasks have" in worker.text()
    assert "2 tasks were cut off; they run again elsewhere" in worker.text()
    for message in (plain, coroutine):
        found = here.found(message)
        assert (found.state, found.attempts, found.crashes) == ("r", 0, 0)


@pytest.mark.parametrize("task", ["gated", "sleeps"])
def test_one_task_that_is_cut_off_is_counted_as_one(here: World, task: str) -> None:
    here.enqueue(task, "a", *([here.gate("g")] if task == "gated" else []))
    worker = here.worker("--drain-timeout", "0")
    here.hear("start", "a")
    assert worker.terminate() == exits.OK
    assert "draining: 1 task has 0 s to finish; a second signal gives it back" in worker.text()
    assert "1 task was cut off; it runs again elsewhere" in worker.text()


def test_a_soft_limit_raises_inside_a_coroutine_and_a_function(here: World) -> None:
    here.worker()
    found = here.until_state(here.enqueue("asleeps_too_long", "a"), "x")
    assert parse(found.lines)[-1]["kind"] == "timeout"


def test_a_queued_message_is_cancelled_at_once_and_a_running_one_when_its_holder_hears_of_it(here: World) -> None:
    queued = here.enqueue("quick", "never-run", delay=60)
    assert here.broker.cancel("work", queued) == "cancelled"
    assert here.found(queued).result == b"c"
    here.worker("-c", "4")
    for task, tag in (("sleeps", "s"), ("loops", "l")):
        message = here.enqueue(task, tag)
        here.hear("start", tag)
        assert here.broker.cancel("work", message) == "requested"
        assert here.until_state(message, "o").result == b"c"
    assert here.said("cancelled", "s")
    assert here.broker.cancel("work", queued) == "cancelled"


def test_cancel_with_kill_ends_a_child_that_does_not_listen(here: World) -> None:
    here.worker("-c", "2")
    message = here.enqueue("hold_interpreter", "h", 30.0)
    here.hear("start", "h")
    assert here.broker.cancel("work", message, kill=True) == "requested"
    found = here.until_state(message, "o")
    assert found.result == b"c"
    assert not here.said("end", "h")


def test_retries_follow_the_policy_and_end_as_a_dead_letter_with_its_history(here: World) -> None:
    here.worker()
    found = here.until_state(here.enqueue("fails", "f"), "x")
    history = parse(found.lines)
    assert [(line["attempt"], line["type"], line["message"]) for line in history] == [
        (attempt, "ValueError", "no f") for attempt in (1, 2, 3)
    ]
    assert [one.attempt for one in here.said("start", "f")] == [1, 2, 3]
    assert "raise ValueError" in history[-1]["traceback"]


def test_after_a_drain_only_documented_keys_remain(here: World) -> None:
    """Every one of them has an expiry or a cap; `docs/protocol.md` lists them."""
    worker = here.worker("-c", "4", "-p", "2")
    ids = [here.enqueue("quick", f"q{n}") for n in range(50)] + [here.enqueue("aquick", f"a{n}") for n in range(50)]
    ids += [
        here.enqueue("quick", "u", unique="u"),
        here.enqueue("quick", "e", id="explicit"),
        here.enqueue("first", "x"),
    ]
    for message in ids[:-1]:
        here.until_state(message, "o")
    here.until(lambda: here.counter("done") == len(ids), "all to be done")
    assert worker.terminate() == exits.OK
    base = here.broker.keys("work").base
    pattern = f"taskq:{{{here.namespace}*"
    left = {str(key, "utf-8") for key in here.broker.link.execute("KEYS", pattern)}
    lasting = {key for key in left if here.broker.link.execute("PTTL", key) == -1}
    kept = {base + name for name in ("meta", "stats", "recent", "samples", "results", "results:due", "tombs", "wake")}
    assert lasting <= kept | {f"taskq:{{{here.namespace}}}:queues", f"taskq:{{{here.namespace}}}:layout"}, lasting
    assert all(key.startswith((base + "lane:", base + "worker:")) for key in left - lasting), left - lasting


def test_a_burst_says_how_many_it_has_done(here: World) -> None:
    for n in range(300):
        here.enqueue("quick", f"q{n}")
    worker = here.worker("--burst")
    assert worker.process.wait(60) == exits.OK
    lines = [line.split(": ", 1)[1].split() for line in worker.text().splitlines() if ": done " in line]
    assert sum(int(words[1]) if words[2] == "more" else 1 for words in lines) == 300
