"""Enqueueing through an app on a real server: what arrives, what is refused, and what is told when nobody answers."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import AppOptions, BrokerFull, BrokerUnavailable, EnqueueUnconfirmed, Handle, TaskQ
from tests.runtime.hands import Hands
from tests.servers import RealServer


def add(a: int, b: int = 0) -> int:
    return a + b


def remind(when: datetime, note: str) -> None: ...


@pytest.fixture
def app(server: RealServer, namespace: str) -> Iterator[TaskQ]:
    app = TaskQ(namespace, url=server.url)
    yield app
    app.close()


def test_a_call_arrives_as_it_was_made(app: TaskQ) -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    task = app.task(name="remind", queue="mail")(remind)
    handle = task.options(headers={"a": "b"}).enqueue(when, note="tea")
    (message,) = Hands(app).read("mail")
    assert (message.task, message.headers) == ("remind", {"a": "b"})
    assert task.signature.decode(message.args, message.kwargs) == ([when], {"note": "tea"})
    assert handle.created


def test_more_urgent_calls_are_handed_out_first(app: TaskQ) -> None:
    task = app.task(name="add")(add)
    for priority in (0, -2, 2, 1, -1):
        task.options(priority=priority).enqueue(priority)
    assert [message.args for message in Hands(app).read()] == [[2], [1], [0], [-1], [-2]]


def test_a_delayed_call_waits(app: TaskQ) -> None:
    task = app.task(name="add")(add)
    later = task.options(delay=timedelta(hours=1)).enqueue(1)
    past = task.options(at=datetime(2000, 1, 1, tzinfo=UTC)).enqueue(2)
    assert (later.status(), past.status()) == ("delayed", "ready")
    assert [message.args for message in Hands(app).read()] == [[2]]


def test_an_explicit_id_is_accepted_once(app: TaskQ) -> None:
    task = app.task(name="add")(add).options(id="order-42")
    first, again = task.enqueue(1), task.enqueue(2)
    assert (first.created, again.created) == (True, False)
    assert first == again == app.handle("order-42")
    hands = Hands(app)
    hands.finish(hands.take_one(), 1)
    assert not task.enqueue(3).created, "its tombstone stands"
    assert not hands.take()


def test_the_handle_of_an_id_that_another_task_holds_tells_that_task(app: TaskQ) -> None:
    first = app.task(name="add")(add).options(id="order-42").enqueue(1)
    other = app.task(name="other")(remind).options(id="order-42")
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    handle, awaited = other.enqueue(moment, "x"), asyncio.run(_closing(app, other.aenqueue(moment, "x")))
    assert (handle.created, handle.task, awaited.task) == (False, "add", "add")
    assert handle == awaited == first
    again = app.remote("add").options(id="order-42").enqueue(1)
    assert (again.created, again.task) == (False, "add")
    hands = Hands(app)
    hands.finish(hands.take_one(), 7)
    assert handle.result(timeout=30) == 7
    late = other.enqueue(moment, "x")
    assert (late.created, late.task) == (False, "other"), "it is over, and nobody can tell whose it was"


async def _closing(app: TaskQ, call: Coroutine[Any, Any, Handle[Any]]) -> Handle[Any]:
    async with app:
        return await call


def test_a_unique_key_is_held_until_its_message_is_over(app: TaskQ) -> None:
    task = app.task(name="add")(add).options(unique="order-42")
    first, second = task.enqueue(1), task.enqueue(2)
    assert (second.created, second.id) == (False, first.id)
    other = app.task(name="other")(remind).options(unique="order-42")
    assert other.enqueue(datetime(2026, 1, 1, tzinfo=UTC), "x").created, "another task has keys of its own"
    hands = Hands(app)
    hands.finish(hands.take_one(), 1)
    assert task.enqueue(4).created


def test_a_bulk_arrives_whole_and_in_order(app: TaskQ) -> None:
    task = app.task(name="add")(add)
    batch = task.enqueue_many([(number,) for number in range(1_234)])
    hands, seen = Hands(app), []
    while messages := hands.read():
        seen += [message.args[0] for message in messages]
    assert seen == list(range(1_234))
    assert (batch.created, len(set(batch.ids))) == (1_234, 1_234)


def test_calls_of_one_bulk_may_differ_in_everything(app: TaskQ) -> None:
    one, two = app.task(name="one", queue="one")(add), app.task(name="two", queue="two")(remind)
    batch = app.enqueue_many(
        [
            one.call(1),
            two.options(delay=60).call(datetime(2026, 1, 1, tzinfo=UTC), "x"),
            one.options(id="fixed").call(2),
            one.options(id="fixed").call(2),
        ]
    )
    assert [handle.created for handle in batch] == [True, True, True, False]
    assert batch.counts() == {"ready": 3, "delayed": 1}
    assert [message.args for message in Hands(app).read("one")] == [[1], [2]]


async def test_awaited_calls_do_the_same(app: TaskQ) -> None:
    task = app.task(name="add")(add)
    async with app:
        handles = await asyncio.gather(*(task.aenqueue(number) for number in range(200)))
        batch = await task.aenqueue_many([(number,) for number in range(200, 1_400)])
        await app.aenqueue("add", 1_400)
        counts = await app.handle(handles[0].id).astatus(), await batch.acounts()
    assert counts == ("ready", {"ready": 1_200})
    hands, seen = Hands(app), []
    while messages := hands.read():
        seen += [message.args[0] for message in messages]
    assert sorted(seen) == list(range(1_401))


def test_a_forked_producer_goes_on_and_swallows_nothing(app: TaskQ) -> None:
    task = app.task(name="add")(add)
    task.enqueue(0)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for number in range(1, 51):
                assert task.enqueue(number).created
            status = 0
        finally:
            os._exit(status)
    for number in range(51, 101):
        assert task.enqueue(number).created
    assert os.waitpid(child, 0)[1] == 0
    hands, seen = Hands(app), []
    while messages := hands.read():
        seen += [message.args[0] for message in messages]
    assert sorted(seen) == list(range(101))


def test_threads_share_an_app(app: TaskQ) -> None:
    task = app.task(name="add")(add)
    threads = [
        threading.Thread(target=lambda base: [task.enqueue(base + step) for step in range(50)], args=(base,))
        for base in range(0, 400, 50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hands, seen = Hands(app), []
    while messages := hands.read():
        seen += [message.args[0] for message in messages]
    assert sorted(seen) == list(range(400))


def test_an_unconfirmed_enqueue_can_be_sent_again_by_its_id(
    start_server: Callable[..., RealServer], namespace: str
) -> None:
    server = start_server()
    app = TaskQ(namespace, url=server.url, enqueue_timeout=1.0, options=AppOptions(call_timeout=0.4))
    task = app.task(name="add")(add)
    task.enqueue(0)
    server.sigstop()
    with pytest.raises(EnqueueUnconfirmed, match="calling again with id=") as caught:
        task.enqueue(1)
    server.sigcont()
    handle = task.options(id=caught.value.id).enqueue(1)
    assert (handle.id, handle.created) == (caught.value.id, True)
    assert [message.args for message in Hands(app).read()] == [[0], [1]]
    app.close()


async def test_an_unconfirmed_bulk_says_which_ids_and_what_was_accepted(
    start_server: Callable[..., RealServer], namespace: str
) -> None:
    server = start_server()
    app = TaskQ(namespace, url=server.url, enqueue_timeout=1.0, options=AppOptions(call_timeout=0.4))
    task = app.task(name="add")(add)
    await task.aenqueue(0)
    server.sigstop()
    with pytest.raises(EnqueueUnconfirmed) as caught:
        await task.aenqueue_many([(number,) for number in range(100)])
    server.sigcont()
    assert len(caught.value.ids) == 100
    assert caught.value.accepted == ()
    await app.aclose()


async def test_what_could_not_even_be_sent_is_not_in_doubt(
    start_server: Callable[..., RealServer], namespace: str
) -> None:
    server = start_server(aof=True, config={"appendfsync": "always"})
    app = TaskQ(namespace, url=server.url, enqueue_timeout=0.3)
    task = app.task(name="add")(add)
    task.enqueue(0)
    server.kill9()
    for call in (lambda: task.enqueue(2), lambda: task.enqueue_many([(2,), (3,)])):
        with pytest.raises(
            BrokerUnavailable, match=r"nothing was enqueued to 'default' within 0\.3 s: cannot rea"
        ) as caught:
            call()
        assert not isinstance(caught.value, EnqueueUnconfirmed)
    with pytest.raises(BrokerUnavailable, match="nothing was enqueued") as caught:
        await task.aenqueue(2)
    assert not isinstance(caught.value, EnqueueUnconfirmed)
    server.restart()
    task.enqueue(4)
    assert [message.args for message in Hands(app).read()] == [[0], [4]]
    await app.aclose()


def test_without_a_server_the_error_names_it(namespace: str) -> None:
    app = TaskQ(namespace, url="redis://:secret@127.0.0.1:1", enqueue_timeout=0.2)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1") as caught:
        app.enqueue("add", 1)
    assert "secret" not in str(caught.value)


def test_a_full_server_refuses_and_says_why(start_server: Callable[..., RealServer], namespace: str) -> None:
    server = start_server(maxmemory="3mb")
    app = TaskQ(namespace, url=server.url)
    body: Any = "x" * 1_000
    with pytest.raises(BrokerFull, match="memory limit") as caught:
        app.remote("far").enqueue_many([(body,)] * 10_000)
    stored = 0
    while items := Hands(app).take():
        stored += len(items)
    assert 0 < len(caught.value.accepted) == stored < 10_000
    app.close()
