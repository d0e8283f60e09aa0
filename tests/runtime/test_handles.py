"""Handles on a real server: every status word, the history, and cancelling."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from taskq import ResultUnavailable, TaskCancelled, TaskQ
from taskq.tasks.broker import Held, Mark
from tests.runtime.hands import Hands
from tests.servers import RealServer


def add(a: int, b: int = 0) -> int:
    return a + b


@pytest.fixture
def app(server: RealServer, namespace: str) -> Iterator[TaskQ]:
    app = TaskQ(namespace, url=server.url)
    yield app
    app.close()


def test_each_status_has_its_word(app: TaskQ) -> None:
    task, hands = app.task(name="add")(add), Hands(app)
    handle = task.enqueue(1)
    assert handle.status() == "ready"
    item = hands.take_one()
    assert handle.status() == "ready", "a message that waits inside a worker has not been started"
    hands.broker.extend("default", [item.token], [Mark(item.id, item.token)])
    assert handle.status() == "running"
    hands.retry(item, 60_000)
    assert handle.status() == "retrying"
    assert task.options(delay=60).enqueue(1).status() == "delayed"
    assert app.handle("never-seen").status() == "unknown"


def test_each_outcome_has_its_word(app: TaskQ) -> None:
    task, hands = app.task(name="add")(add), Hands(app)
    words = {}
    for kind in ("d", "c", "e"):
        handle = task.enqueue(1)
        hands.finish(hands.take_one(), 1, kind=kind)
        words[kind] = handle.status()
    dead = task.enqueue(1)
    hands.bury(hands.take_one())
    odd = task.enqueue(1)
    hands.bury(hands.take_one(), quarantine=True)
    far = task.enqueue(1)
    item = hands.take_one()
    hands.broker.park("default", [(Held(item.id, item.token), "add")])
    assert words == {"d": "done", "c": "cancelled", "e": "expired"}
    assert [handle.status() for handle in (dead, odd, far)] == ["dead", "quarantined", "parked"]


def test_the_history_of_a_message_can_be_read(app: TaskQ) -> None:
    task, hands = app.task(name="add")(add), Hands(app)
    handle = task.options(priority=1).enqueue(1)
    hands.retry(hands.take_one(), 60_000)
    info = handle.info()
    assert (info.id, info.queue, info.task, info.status) == (handle.id, "default", "add", "retrying")
    assert (info.attempts, info.deliveries, info.crashes, info.priority) == (1, 1, 0, 1)
    assert [line["message"] for line in info.history] == ["not yet"]
    assert asyncio.run(handle.ainfo()) == info


def test_a_dead_letter_counts_its_last_attempt(app: TaskQ) -> None:
    task, hands = app.task(name="add")(add), Hands(app)
    handle = task.enqueue(1)
    hands.bury(hands.take_one())
    assert (handle.status(), handle.info().attempts, len(handle.info().history)) == ("dead", 1, 1)
    assert asyncio.run(handle.ainfo()).attempts == 1


def test_a_done_message_claims_no_counts(app: TaskQ) -> None:
    task, hands = app.task(name="add")(add), Hands(app)
    handle = task.enqueue(1)
    hands.retry(hands.take_one(), 0)
    assert (handle.info().attempts, handle.info().deliveries) == (1, 1)
    hands.finish(hands.take_one(), 3)
    info = handle.info()
    assert (info.status, info.attempts, info.crashes, info.deliveries, info.history) == ("done", None, None, None, ())


async def test_a_waiting_message_is_cancelled_at_once(app: TaskQ) -> None:
    task, hands = app.task(name="add")(add), Hands(app)
    async with app:
        one, two = await task.aenqueue(1), await task.options(delay=60).aenqueue(2)
        assert await one.acancel() == "cancelled"
        assert await two.acancel() == "cancelled"
        assert [await one.astatus(), await two.astatus()] == ["cancelled", "cancelled"]
        with pytest.raises(TaskCancelled, match=f"message {one.id} of add was cancelled"):
            await one.aresult()
    assert not hands.take()


def test_a_running_message_is_asked_and_one_that_is_over_is_left(app: TaskQ) -> None:
    task, hands = app.task(name="add")(add), Hands(app)
    handle = task.enqueue(1)
    item = hands.take_one()
    assert handle.cancel() == "requested"
    assert hands.broker.extend("default", [item.token]).cancelled == {item.id: False}
    assert handle.cancel(kill=True) == "requested"
    assert hands.broker.extend("default", [item.token]).cancelled == {item.id: True}
    hands.finish(item, 1)
    assert handle.cancel() == "too_late"


def test_a_handle_from_elsewhere_reads_the_plain_result(app: TaskQ) -> None:
    task, hands = app.task(name="add", queue="mail")(add), Hands(app)
    handle = task.enqueue(1)
    hands.finish(hands.take_one("mail"), [1, 2])
    assert app.handle(handle.id, queue="mail").result(timeout=30) == [1, 2]
    with pytest.raises(ResultUnavailable):
        app.handle(handle.id).result(timeout=30)
