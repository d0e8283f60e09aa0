"""Hooks are told of what took a process: crashes, hard time limits, lost messages."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from taskq_workers import exits
from tests.runtime.world import World, world
from tests.servers import RealServer

pytestmark = pytest.mark.crash

APP = "tests.runtime.hooked:app"


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace, lease=2.0) as one:
        yield one


def told(here: World, tag: str) -> dict[str, int]:
    """How often hooks said what of a message."""
    here.until(lambda: True, "what was said")
    return dict(Counter(one.word for one in here.heard if one.tag == tag and ":" in one.word))


def enqueue(here: World, task: str, *args: Any) -> None:
    here.app.remote(f"tests.runtime.hooked.{task}", queue="work").enqueue(*args)


def test_a_crash_is_told_at_each_death_and_the_dead_letter_once(here: World) -> None:
    killer = here.enqueue("die", "k", "kill")
    worker = here.worker(app=APP)
    here.until_state(killer, "x")
    here.hear("adead:crash:nothing", "k")
    assert worker.terminate() == 0
    counts = {"failure:crash:nothing": 3, "dead:crash:nothing": 1, "die-dead:crash:nothing": 1}
    assert told(here, "k") == counts | {"adead:crash:nothing": 1}
    assert "hook tests.runtime.hooked.dead failed" in worker.text()


def test_a_hard_time_limit_is_told(here: World) -> None:
    stuck = here.enqueue("never", "n")
    worker = here.worker("--kill-grace", "0.3", app=APP)
    here.until_state(stuck, "x")
    here.hear("adead:timeout:nothing", "n")
    assert worker.terminate() == 0
    counts = {"failure:timeout:nothing": 3, "dead:timeout:nothing": 1, "adead:timeout:nothing": 1}
    assert told(here, "n") == counts


def test_a_lost_message_is_told_once_though_two_children_live(here: World) -> None:
    worker = here.worker("-p", "2", app=APP)
    here.enqueue("once", "o")
    here.hear("adead:lost:nothing", "o")
    assert worker.terminate() == 0
    assert told(here, "o") == {"failure:lost:nothing": 1, "dead:lost:nothing": 1, "adead:lost:nothing": 1}


def test_what_a_stopped_worker_lost_is_told_before_it_ends(here: World) -> None:
    worker = here.worker("--drain-timeout", "0", app=APP)
    enqueue(here, "once_sleeps", "s")
    here.hear("start", "s")
    assert worker.terminate() == 0
    assert told(here, "s").items() >= {"failure:lost:nothing": 1, "dead:lost:nothing": 1}.items()


def test_what_another_worker_lost_is_told_by_the_one_that_finds_it(here: World) -> None:
    lost = here.worker(app=APP)
    enqueue(here, "once_gated", "g", here.gate("g"))
    here.hear("start", "g")
    here.worker(app=APP)
    here.until_present(2)
    lost.process.kill()
    here.hear("dead:lost:nothing", "g")


def test_a_burst_tells_all_before_it_ends(here: World) -> None:
    here.enqueue("die", "k", "kill")
    here.enqueue("once", "o")
    worker = here.worker("--burst", "-c", "1", app=APP)
    assert worker.process.wait(60) == 0
    assert told(here, "k")["failure:crash:nothing"] == 3
    assert {word: told(here, tag)[word] for tag, word in (("k", "dead:crash:nothing"), ("o", "dead:lost:nothing"))} == {
        "dead:crash:nothing": 1,
        "dead:lost:nothing": 1,
    }
    assert told(here, "k")["adead:crash:nothing"] == 1


def test_a_hook_that_ends_its_process_is_called_three_times(here: World) -> None:
    worker = here.worker(app=APP, HOOK_ENDS="1")
    here.enqueue("once", "o")
    here.until(lambda: "no hook is told of" in worker.text(), "the end of the tries")
    message = here.enqueue("quick", "q")
    here.until_state(message, "o")
    assert worker.terminate() == 0
    assert told(here, "o") == {"failure:lost:nothing": 3}


def test_a_hook_that_hangs_keeps_no_task_waiting_and_no_worker_from_ending(here: World) -> None:
    worker = here.worker(app=APP, HOOK_GATE=here.gate("never"))
    here.enqueue("once", "o")
    here.hear("failure:lost:nothing", "o")
    here.until_state(here.enqueue("quick", "q"), "o")
    worker.process.send_signal(signal.SIGTERM)
    here.until(lambda: "draining" in worker.text(), "the worker to drain")
    assert worker.terminate() == exits.FORCED
    assert "a hook that is told of a process that died was cut off" in worker.text()
    assert told(here, "o") == {"failure:lost:nothing": 1}


def test_a_worker_that_ends_with_its_last_child_says_what_it_could_not_tell(here: World) -> None:
    worker = here.worker("--drain-timeout", "0", app=APP)
    enqueue(here, "once_gated", "g", here.gate("g"))
    here.hear("start", "g")
    assert worker.terminate() == 0
    assert "this worker ends before hooks were told of 1 " in worker.text()


def test_an_error_is_told_as_before(here: World) -> None:
    message = here.enqueue("fails", "f")
    worker = here.worker(app=APP)
    here.until_state(message, "x")
    here.hear("adead:error:ValueError", "f")
    assert worker.terminate() == 0
    counts = {"failure:error:ValueError": 3, "dead:error:ValueError": 1, "adead:error:ValueError": 1}
    assert told(here, "f") == counts
