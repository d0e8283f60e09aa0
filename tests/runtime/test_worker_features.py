"""What a task can count on in a real worker: follow-ups, hooks, middleware, headers, uniqueness, results."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from taskq import TaskFailed
from taskq.inspector import Inspector
from tests.runtime.world import ROOT, World, world
from tests.servers import RealServer

PARENT, CHILD = "tests.runtime.follow.parent", "tests.runtime.follow.child"


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace) as one:
        one.worker("-c", "4", app="tests.runtime.follow:app")
        yield one


def test_a_follow_up_is_enqueued_once_when_its_parent_is_done(here: World) -> None:
    then = here.app.remote(CHILD, queue="other", headers={"colour": "red"}).call("second")
    handle = here.app.remote(PARENT, queue="work", then=then).enqueue("first")
    assert handle.result(timeout=30) == ["connected", "parent"]
    assert len(here.hear("start", "second")) == 1
    outbox = here.broker.keys("work").outbox
    here.until(lambda: here.broker.link.execute("HLEN", outbox) == 0, "the outbox to be empty")
    assert len(here.said("start", "second")) == 1


def test_headers_attempt_and_queue_are_known_inside_a_coroutine_and_its_result_is_awaited(here: World) -> None:
    async def ask() -> str:
        handle = await here.app.remote(CHILD, queue="other", headers={"colour": "blue"}).aenqueue("a")
        answer: str = await handle.aresult(timeout=30)
        return answer

    assert asyncio.run(ask()) == "other 1 blue"


def test_hooks_are_told_of_a_failure_and_a_death_and_the_caller_gets_the_remote_error(here: World) -> None:
    handle = here.app.remote("tests.runtime.follow.hopeless", queue="work").enqueue("nope")
    with pytest.raises(TaskFailed, match=r"ValueError: nope[\s\S]*in hopeless") as caught:
        handle.result(timeout=30)
    assert caught.value.type == "ValueError"
    assert here.hear("failed", "nope")
    assert here.hear("died", "nope")
    assert handle.status() == "dead"


def test_a_retry_that_does_not_count_spends_no_attempt(here: World) -> None:
    handle = here.app.remote("tests.runtime.follow.again", queue="work").enqueue("r")
    assert handle.result(timeout=30) == 1
    assert len(here.said("start", "r")) <= 3
    assert len(here.hear("start", "r", 3)) == 3


def test_a_unique_key_is_free_again_when_its_holder_is_done(here: World) -> None:
    sender = here.app.remote(PARENT, queue="work", unique="only", delay=2)
    first, second = sender.enqueue("u1"), sender.enqueue("u2")
    assert (first.created, second.created) == (True, False)
    assert second.id == first.id
    first.result(timeout=30)
    third = here.app.remote(PARENT, queue="work", unique="only").enqueue("u3")
    assert third.created
    third.result(timeout=30)


def test_shut_down_hooks_run_when_the_worker_ends(here: World) -> None:
    here.app.remote(PARENT, queue="work").enqueue("x").result(timeout=30)
    assert here.workers[0].terminate() == 0
    assert here.hear("shutdown", "-")


def test_many_results_are_awaited_at_once(here: World) -> None:
    async def ask() -> list[str]:
        batch = await here.app.remote(CHILD, queue="other").aenqueue_many([(f"m{n}",) for n in range(500)])
        return [answer async for answer in batch.aresults(timeout=30)]

    assert asyncio.run(ask()) == ["other 1 None"] * 500


@pytest.mark.parametrize(("task", "options"), [("tells", {}), ("atells", {"timeout": 50})])
def test_the_newest_word_of_a_running_task_is_shown(here: World, task: str, options: dict[str, Any]) -> None:
    gate = here.gate(task)
    handle = here.app.remote(f"tests.runtime.follow.{task}", queue="work", **options).enqueue(task, gate)
    here.hear("start", task)
    inspector = Inspector(here.broker.link, here.namespace)

    def told() -> dict[str, Any]:
        return dict(inspector.message("work", handle.id).progress or {})

    here.until(lambda: told().get("note") == f"{task} 2", "the newest word")
    assert (told()["done"], told()["total"]) == (2, 3)
    show = [sys.executable, "-m", "taskq_workers", "message", "show", handle.id, "--queue", "work", "--json"]
    show += ["--app", "tests.runtime.follow:app"]
    shown = subprocess.run(show, env=here.env, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)["progress"] == told()
    here.open_gate(task)
    here.until_state(UUID(handle.id).bytes, "o")
