"""`taskq.testing` in event loops, as a fixture, as `memory://`, and what is left afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from taskq import ConfigError, ResultTimeout, TaskQ
from taskq.errors import EventLoopRunning
from taskq.testing import Memory, memory

pytest_plugins = ["taskq.pytest_plugin"]

app = TaskQ("testing-places")


@pytest.fixture
def q() -> Iterator[Memory]:
    with memory(app) as q:
        yield q


@app.task(queue="other")
async def double(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


@app.task
def half(number: int) -> float:
    return number / 2


@app.task(retry=False)
def broken() -> None:
    raise ZeroDivisionError("broken")


def test_a_task_may_wait_for_another(q: Memory) -> None:
    @app.task(name="outer")
    def outer() -> int:
        return double.enqueue(4).result() + 1

    assert outer.enqueue().result() == 9


async def test_inside_an_event_loop(q: Memory) -> None:
    handle = await double.aenqueue(4)
    with pytest.raises(EventLoopRunning, match="arun_until_idle"):
        q.run_until_idle()
    await q.arun_until_idle()
    assert await handle.aresult() == 8
    assert await (await half.aenqueue(4)).aresult() == 2
    late = await double.options(delay=5).aenqueue(1)
    with pytest.raises(ResultTimeout):
        await late.aresult()


async def test_errors_inside_an_event_loop(q: Memory) -> None:
    await broken.aenqueue()
    with pytest.raises(ZeroDivisionError):
        await q.arun_until_idle()


def test_afterwards_the_app_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = TaskQ("before", url="memory://")
    broker = mine.broker()
    with memory(TaskQ("other")), memory(mine):
        pass
    assert mine.broker() is broker
    with pytest.raises(ConfigError, match="inside another"):

        @mine.task
        def local() -> None: ...


def test_what_was_enqueued_to_memory_before_is_run() -> None:
    mine = TaskQ("url", url="memory://")
    task = mine.task(name="double")(double.function)
    handle = task.enqueue(2)
    with memory(mine) as own:
        own.run_until_idle()
        assert own.enqueued == []
    assert handle.status() == "done"


def test_the_fixture(taskq_memory: Callable[[TaskQ], Memory]) -> None:
    q = taskq_memory(app)
    double.enqueue(1)
    q.run_until_idle()
    assert [call.task for call in q.enqueued] == [double.name]
