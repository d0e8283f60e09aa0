"""Waiting for outcomes on a real server: at once, later, thousands together, through outages, and in vain."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from taskq import (
    BrokerUnavailable,
    ResultTimeout,
    ResultUnavailable,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskQ,
)
from taskq.errors import DecodeError, EventLoopRunning
from taskq.store.connection import SyncLink
from taskq.tasks import waiting
from taskq.tasks.lists import ListBroker
from tests.runtime.hands import Hands
from tests.servers import RealServer


@dataclass
class Receipt:
    order: int
    day: date


def add(a: int, b: int = 0) -> int:
    return a + b


def sell(order: int) -> Receipt | None: ...


@pytest.fixture
def app(server: RealServer, namespace: str) -> Iterator[TaskQ]:
    app = TaskQ(namespace, url=server.url)
    yield app
    app.close()


def connections(server: RealServer) -> int:
    with server.client() as client:
        return len(client.client_list()) - 1


def test_a_result_is_rebuilt_by_the_annotation(app: TaskQ) -> None:
    task, hands = app.task(name="sell")(sell), Hands(app)
    handle = task.enqueue(7)
    hands.finish(hands.take_one(), {"order": 7, "day": "2026-05-01"})
    assert handle.result(timeout=30) == Receipt(7, date(2026, 5, 1))
    assert app.handle(handle.id).result() == {"order": 7, "day": "2026-05-01"}


def test_none_leaves_only_the_outcome(app: TaskQ) -> None:
    task, hands = app.task(name="sell")(sell), Hands(app)
    handle = task.enqueue(7)
    hands.finish(hands.take_one())
    assert (handle.result(timeout=30), handle.status()) == (None, "done")


def test_a_result_of_another_shape_is_told_as_such(app: TaskQ) -> None:
    task, hands = app.task(name="sell")(sell), Hands(app)
    handle = task.enqueue(7)
    hands.finish(hands.take_one(), "sold")
    with pytest.raises(DecodeError, match=rf"result of message {handle.id} of sell does not fit"):
        handle.result(timeout=30)


def test_a_thread_waits_until_the_result_is_there(app: TaskQ) -> None:
    task, hands = app.task(name="add")(add), Hands(app)
    handle, got = task.enqueue(1), []
    thread = threading.Thread(target=lambda: got.append(handle.result(timeout=30)))
    thread.start()
    hands.finish(hands.take_one(), 5)
    thread.join(30)
    assert got == [5]


def test_a_result_timeout_says_what_the_message_is_doing(app: TaskQ) -> None:
    task = app.task(name="add", queue="mail")(add)
    handle = task.enqueue(1)
    with pytest.raises(ResultTimeout, match=r"add in queue 'mail' was not finished within 0 s; it is ready, or"):
        handle.result(timeout=0)
    with pytest.raises(ResultTimeout, match=r"within 0.05 s"):
        handle.result(timeout=0.05)
    assert issubclass(ResultTimeout, TimeoutError)


def test_a_result_timeout_on_a_paused_queue_says_how_to_go_on(server: RealServer, namespace: str, app: TaskQ) -> None:
    task = app.task(name="add", queue="mail")(add)
    link = SyncLink(server.url)
    ListBroker(link, namespace).pause("mail")
    link.close()
    batch = task.enqueue_many([(1,), (2,)])
    handle, said = batch[0], r"; it is ready, and the queue is paused \(taskq queue resume mail\)"

    async def both() -> None:
        with pytest.raises(ResultTimeout, match=said):
            await handle.aresult(timeout=0)
        with pytest.raises(ResultTimeout, match=said):
            await batch.await_all(timeout=0)
        await app.aclose()

    with pytest.raises(ResultTimeout, match=said):
        handle.result(timeout=0)
    with pytest.raises(ResultTimeout, match=said):
        batch.wait(timeout=0)
    asyncio.run(both())


def test_other_outcomes_are_raised(app: TaskQ) -> None:
    task, hands = app.task(name="add")(add), Hands(app)
    for kind, error in (("c", TaskCancelled), ("e", TaskExpired)):
        handle = task.enqueue(1)
        hands.finish(hands.take_one(), kind=kind)
        with pytest.raises(error, match=handle.id):
            handle.result(timeout=30)


@pytest.mark.parametrize("kept", [True, False])
def test_a_failure_names_the_remote_error_and_carries_its_traceback(app: TaskQ, kept: bool) -> None:
    """Also when the result has expired and only the dead letter is left."""
    task, hands = app.task(name="add")(add), Hands(app)
    handle = task.enqueue(1)
    hands.bury(hands.take_one(), result=kept)
    with pytest.raises(TaskFailed, match=r"shop\.OutOfStock: no more tea") as caught:
        handle.result(timeout=30)
    assert (caught.value.type, caught.value.remote_message) == ("shop.OutOfStock", "no more tea")
    assert "Traceback: line 1" in caught.value.remote_traceback
    assert caught.value.id == handle.id


def test_what_cannot_come_is_not_waited_for(app: TaskQ) -> None:
    task, hands = app.task(name="add", result_ttl=0)(add), Hands(app)
    with pytest.raises(ResultUnavailable, match="has no result"):
        app.handle("never-seen").result()
    handle = task.enqueue(1)
    hands.finish(hands.take_one(), ttl=0)
    with pytest.raises(ResultUnavailable, match="keeps none"):
        handle.result()


def test_a_message_that_leaves_nothing_ends_the_wait(app: TaskQ) -> None:
    """Nothing is kept of it, so nothing is announced: the look of every second finds out."""
    task, hands = app.task(name="add", result_ttl=0)(add), Hands(app)
    handle, item = task.enqueue(1), hands.take_one()
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            handle.result(timeout=30)
        except ResultUnavailable as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    hands.finish(item, ttl=0)
    thread.join(30)
    assert len(caught) == 1


async def test_result_inside_a_loop_names_its_twin(app: TaskQ) -> None:
    handle = await app.task(name="add")(add).aenqueue(1)
    with pytest.raises(EventLoopRunning, match="aresult"):
        handle.result()
    batch = await app.aenqueue_many([app.remote("add").call(1)])
    with pytest.raises(EventLoopRunning, match="await_all"):
        batch.wait()
    with pytest.raises(EventLoopRunning, match="aresults"):
        batch.results()
    await app.aclose()


async def test_an_awaited_result(app: TaskQ) -> None:
    task, hands = app.task(name="sell")(sell), Hands(app)
    async with app:
        handle = await task.aenqueue(7)
        with pytest.raises(ResultTimeout, match="it is ready"):
            await handle.aresult(timeout=0)
        waiting = asyncio.create_task(handle.aresult(timeout=30))
        item = await asyncio.to_thread(hands.take_one)
        await asyncio.to_thread(hands.finish, item, {"order": 7, "day": "2026-05-01"})
        assert await waiting == Receipt(7, date(2026, 5, 1))
        assert await handle.aresult() == Receipt(7, date(2026, 5, 1))


async def test_thousands_of_awaited_results_share_two_connections(app: TaskQ, server: RealServer) -> None:
    task, hands = app.task(name="add")(add), Hands(app)
    async with app:
        batch = await task.aenqueue_many([(number,) for number in range(5_000)])
        app.close()
        before = connections(server)
        gathered = asyncio.gather(*(handle.aresult(timeout=60) for handle in batch))
        while items := await asyncio.to_thread(hands.take):
            await asyncio.to_thread(hands.finish_all, items, [items[0].id.hex()] * len(items))
        # the hands use one connection, and the bulk left one free that the looks use
        assert connections(server) - before <= 2
        with pytest.raises(DecodeError):
            await gathered
        hands.broker.close()


def test_thousands_of_threads_would_share_two_connections(app: TaskQ, server: RealServer) -> None:
    task, hands = app.task(name="add")(add), Hands(app)
    before = connections(server)  # of tests before this one that the server has not dropped yet
    batch = task.enqueue_many([(number,) for number in range(200)])
    got: dict[int, int] = {}

    def wait(number: int) -> None:
        got[number] = batch[number].result(timeout=60)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    items = hands.take()
    hands.finish_all(items, list(range(200)))
    for thread in threads:
        thread.join(60)
    assert got == {number: number for number in range(200)}
    assert connections(server) - before <= 3, "one for the looks, one that listens, one of the hands"


def test_a_batch_is_counted_awaited_and_read_in_order(app: TaskQ) -> None:
    task, hands = app.task(name="add")(add), Hands(app)
    batch = task.enqueue_many([(number,) for number in range(600)])
    with pytest.raises(ResultTimeout, match="one of 600"):
        batch.wait(timeout=0)
    while items := hands.take():
        hands.finish_all(items[::-1], [0] * len(items))
    assert batch.wait(timeout=30) == batch.counts() == {"done": 600}
    assert list(batch.results(timeout=30)) == [0] * 600


def test_a_batch_with_failures_raises_the_first_or_yields_it(app: TaskQ) -> None:
    task, hands = app.task(name="add")(add), Hands(app)
    batch = task.enqueue_many([(1,), (2,), (3,)])
    one, two, three = hands.take()
    hands.finish(one, 1)
    hands.bury(two)
    hands.finish(three, 3)
    results = batch.results(timeout=30)
    assert next(results) == 1
    with pytest.raises(TaskFailed, match="OutOfStock"):
        next(results)
    values = list(batch.results(return_exceptions=True))
    assert (values[0], type(values[1]), values[2]) == (1, TaskFailed, 3)
    assert batch.counts() == {"done": 2, "dead": 1}


async def test_a_batch_in_an_event_loop(app: TaskQ) -> None:
    one, two = app.task(name="one", queue="one")(add), app.task(name="two", queue="two")(add)
    hands = Hands(app)
    async with app:
        batch = await app.aenqueue_many([one.call(1), two.call(2), one.call(3)])
        reading = asyncio.create_task(_all(batch.aresults(timeout=30)))
        for queue in ("two", "one"):
            items = await asyncio.to_thread(hands.take, queue)
            await asyncio.to_thread(hands.finish_all, items, [9] * len(items))
        assert await reading == [9, 9, 9]
        assert await batch == await batch.await_all(timeout=5) == {"done": 3}
        with pytest.raises(ResultTimeout):
            await (await one.aenqueue_many([(1,)])).await_all(timeout=0)


async def _all(values: Any) -> list[Any]:
    return [value async for value in values]


async def test_a_wait_that_is_given_up_leaves_nothing_behind(app: TaskQ) -> None:
    task = app.task(name="add")(add)
    async with app:
        handle = await task.aenqueue(1)
        waits = [asyncio.create_task(handle.aresult()) for _ in range(10)]
        await asyncio.sleep(0)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        ends = app._brokers.ends()
        (loop,) = ends.async_results._loops.values()
        assert not loop._table


@pytest.mark.crash
def test_a_wait_survives_a_lost_server(start_server: Callable[..., RealServer], namespace: str) -> None:
    server = start_server(aof=True, config={"appendfsync": "always"})
    app = TaskQ(namespace, url=server.url)
    task, hands = app.task(name="add")(add), Hands(app)
    handle, got = task.enqueue(1), []
    item = hands.take_one()
    thread = threading.Thread(target=lambda: got.append(handle.result(timeout=60)))
    thread.start()
    while app._brokers.ends().results._listener is None:  # it is there once the first look has told nothing
        pass
    server.kill9()
    server.restart()
    hands.finish(item, 11)
    thread.join(60)
    assert got == [11]
    app.close()


@pytest.mark.crash
async def test_an_awaited_wait_survives_a_lost_server(start_server: Callable[..., RealServer], namespace: str) -> None:
    server = start_server(aof=True, config={"appendfsync": "always"})
    app = TaskQ(namespace, url=server.url)
    task, hands = app.task(name="add")(add), Hands(app)
    async with app:
        handle = await task.aenqueue(1)
        item = await asyncio.to_thread(hands.take_one)
        with pytest.raises(ResultTimeout):
            await handle.aresult(timeout=0.1)
        waiting = asyncio.create_task(handle.aresult(timeout=60))
        (loop,) = app._brokers.ends().async_results._loops.values()
        await asyncio.sleep(0)
        while loop._reader is not None:
            await asyncio.sleep(0)
        server.kill9()
        await asyncio.to_thread(server.restart)
        await asyncio.to_thread(hands.finish, item, 11)
        assert await waiting == 11


def test_without_a_server_nobody_waits(namespace: str) -> None:
    app = TaskQ(namespace, url="redis://127.0.0.1:1")
    with pytest.raises(BrokerUnavailable, match="cannot reach"):
        app.handle("x").result(timeout=60)
    with pytest.raises(BrokerUnavailable, match="cannot reach"):
        asyncio.run(app.handle("x").aresult(timeout=60))


def test_closing_the_app_ends_a_wait(app: TaskQ) -> None:
    handle, caught = app.task(name="add")(add).enqueue(1), []

    def wait() -> None:
        try:
            handle.result(timeout=60)
        except Exception as error:
            caught.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    while app._brokers.ends().results._listener is None:
        pass
    app.close()
    thread.join(30)
    assert caught == ["the app was closed while a result was waited for"]
    hands = Hands(app)
    hands.finish(hands.take_one(), 3)
    assert handle.result(timeout=30) == 3, "and it can be used again"


def test_a_forked_process_waits_for_itself(app: TaskQ) -> None:
    task, hands = app.task(name="add")(add), Hands(app)
    handle, item = task.enqueue(1), hands.take_one()
    with pytest.raises(ResultTimeout):
        handle.result(timeout=0.05)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if handle.result(timeout=60) == 8 else 2
        finally:
            os._exit(status)
    hands.finish(item, 8)
    assert handle.result(timeout=60) == 8
    assert os.waitpid(child, 0)[1] == 0


def test_the_listener_ends_when_nobody_waits(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.tasks.results.POLL_S", 0.05)
    monkeypatch.setattr("taskq.tasks.results.LINGER_S", 0.1)
    assert waiting.POLL_S == 1.0
    handle = app.task(name="add")(add).enqueue(1)
    with pytest.raises(ResultTimeout):
        handle.result(timeout=0.01)
    for thread in threading.enumerate():
        if thread.name == "taskq-results":
            thread.join(30)
    results = app._brokers.ends().results
    assert results._listener is None
    hands = Hands(app)
    hands.finish(hands.take_one(), 4)
    assert handle.result(timeout=30) == 4
