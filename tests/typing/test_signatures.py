"""What a type checker knows of tasks. mypy and pyright read this file; pytest only sees that it runs.

Each `type: ignore` below is an error that must be found: with `warn_unused_ignores` it fails if it is not.
"""

from __future__ import annotations

from typing import Any, assert_type

from taskq import Batch, Call, Handle, TaskQ
from taskq.tasks.task import AsyncTask, Sender, SyncTask
from tests.unit.notepad import Notepad

app = TaskQ("typing", url="redis://127.0.0.1:1")


@app.task
def add(a: int, b: int = 0) -> str:
    return str(a + b)


@app.task(queue="mail", retry=5, timeout=30)
async def fetch(url: str, *, tries: int = 1) -> bytes:
    return url.encode() * tries


class Tools:
    @app.task(name="typing.halve")
    @staticmethod
    def halve(a: float) -> float:
        return a / 2


@app.periodic("*/5 * * * *", tz="Europe/Berlin", missed="all")
def clean(days: int = 7) -> str:
    return str(days)


@app.periodic(every=30, args=("u",), overlap="allow")
async def poll(url: str) -> bytes:
    return url.encode()


@app.periodic(every=30, jitter=1)
@app.task(timeout=5)
def over(days: int = 7) -> str:
    return str(days)


def periodic_tasks() -> None:
    assert_type(clean(3), str)
    assert_type(over(3), str)
    assert_type(clean.enqueue(days=3), Handle[str])
    assert_type(over.enqueue(days=3), Handle[str])
    assert_type(poll.enqueue("u"), Handle[bytes])


def sync_face() -> None:
    assert_type(add(1, b=2), str)
    assert_type(add.enqueue(1, b=2), Handle[str])
    assert_type(add.enqueue(1).id, str)
    assert_type(add.call(1), Call[str])
    assert_type(add.enqueue_many([(1,), add.call(2, b=3)]), Batch[str])
    assert_type(add.options(delay=60, unique="x", then=fetch.call("u")).enqueue(1), Handle[str])
    assert_type(Tools.halve.enqueue(1.0), Handle[float])
    assert_type(Tools.halve(1.0), float)
    assert_type(app.enqueue("anything", 1, two=2), Handle[Any])
    assert_type(fetch.enqueue("u", tries=2), Handle[bytes])
    assert_type(app.enqueue_many([add.call(1), add.call(2)]), Batch[str])
    for handle in add.enqueue_many([(1,)]):
        assert_type(handle, Handle[str])


async def async_face() -> None:
    assert_type(await fetch("u"), bytes)
    assert_type(await fetch.aenqueue("u", tries=2), Handle[bytes])
    assert_type(await fetch.options(priority=1).aenqueue("u"), Handle[bytes])
    assert_type(await add.aenqueue_many([(1,)]), Batch[str])


def results(handle: Handle[str]) -> None:
    assert_type(handle.result(timeout=5), str)


async def aresults(handle: Handle[bytes]) -> None:
    assert_type(await handle.aresult(timeout=5), bytes)


def mistakes() -> None:
    add.enqueue("one")  # type: ignore[arg-type]
    add.enqueue()  # type: ignore[call-arg]
    add.enqueue(1, c=2)  # type: ignore[call-arg]
    add.call("one")  # type: ignore[arg-type]
    add.options(priority=1).enqueue("one")  # type: ignore[arg-type]
    add.options(prioritty=1)  # type: ignore[call-arg]
    add.enqueue_many([fetch.call("u")])  # type: ignore[list-item]


async def more_mistakes() -> None:
    await fetch.aenqueue(1)  # type: ignore[arg-type]
    await fetch.aenqueue("u", 2)  # type: ignore[call-arg]


def test_what_is_promised_to_the_checker_is_there() -> None:
    with app.use_broker(Notepad()):
        sync_face()
        periodic_tasks()
    assert isinstance(add, SyncTask)
    assert isinstance(clean, SyncTask)
    assert isinstance(over, SyncTask)
    assert isinstance(poll, AsyncTask)
    assert isinstance(fetch, AsyncTask)
    assert isinstance(add.options(priority=1), Sender)
