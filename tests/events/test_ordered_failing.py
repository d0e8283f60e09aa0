"""Handlers of ordered groups that fail in unusual ways: what they raise, what they change, when they are stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from taskq import Event, Record
from tests.events.ordered_kit import SOON, Scene, Seen
from tests.servers import RealServer


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace)
    yield made
    made.close()


class Abrupt(BaseException):
    """No Exception."""


@pytest.mark.parametrize("error", [Abrupt("x"), asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(3)], ids=repr)
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
@pytest.mark.parametrize("mode", ["partition", "key"])
def test_whatever_a_handler_raises_is_a_failed_attempt(
    scene: Scene, error: BaseException, kind: str, mode: str
) -> None:
    def plain(record: Record) -> None:
        if record.value == 1:
            raise error

    async def coroutine(record: Record) -> None:
        plain(record)

    scene.publish(4)
    with scene.consumer(plain if kind == "plain" else coroutine, retry=SOON, mode=mode):
        scene.until(lambda: scene.position() == 4)
    assert [(head["number"], head["attempts"]) for head, _ in scene.dead()] == [(2, 3)]


def test_an_error_whose_text_is_no_unicode_is_kept(scene: Scene) -> None:
    def handler(record: Record) -> None:
        if record.value == 1:
            raise FileNotFoundError("r\udce9sum")

    scene.publish(3)
    with scene.consumer(handler, retry=SOON):
        scene.until(lambda: scene.position() == 3)
    assert [head["last"] for head, _ in scene.dead()] == ["FileNotFoundError: r\\udce9sum"]


def test_all_records_of_a_failed_batch_at_most_once_are_dead_letters(scene: Scene) -> None:
    def handler(records: list[Record]) -> None:
        records[0].value.clear()
        raise ValueError("no")

    scene.topic.publish_many([Event({"number": number}, partition=0) for number in range(600)])
    with scene.consumer(handler, batch=600, delivery="at_most_once"):
        scene.until(lambda: int(scene.field("dead") or 0) == 600)
    assert [body for _, body in scene.dead()] == [b'{"number":%d}' % number for number in range(600)]


@pytest.mark.parametrize(
    "options", [{}, {"batch": 2}, {"mode": "key"}, {"on_error": "park"}], ids=["one", "batch", "key", "park"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_a_handler_changes_in_a_value_is_neither_retried_nor_kept(
    scene: Scene, options: dict[str, Any], packed: bool
) -> None:
    app, seen = scene.new_app(), Seen()
    topic = app.topic("p", partitions=1, packed=packed)
    topic.publish_many([{"a": number} for number in range(3)])

    @app.subscribe("p", group="g", reset="earliest", retry=SOON, **options)
    def handler(got: Any) -> None:
        for record in got if isinstance(got, list) else [got]:
            seen.add(record.value.pop("a"))
            record.value["object"] = object()
        raise ValueError("no")

    with app.consume():
        scene.until(lambda: len(topic.group("g").dead()) == 3)
    assert sorted(letter.body for letter in topic.group("g").dead()) == [b'{"a":0}', b'{"a":1}', b'{"a":2}']
    assert {number: seen.items.count(number) >= 3 for number in range(3)} == dict.fromkeys(range(3), True)


@pytest.mark.parametrize("batch", [0, 10])
def test_what_is_committed_before_it_is_handled_is_handled_when_its_consumer_ends(scene: Scene, batch: int) -> None:
    seen = Seen()

    def handler(got: Any) -> None:
        for record in got if isinstance(got, list) else [got]:
            seen.add(record.value)

    for number in range(4):
        scene.publish(200, begin=number * 200, partition=number)
    for rounds in range(1, 9):
        with scene.consumer(handler, delivery="at_most_once", batch=batch):
            seen.count(rounds * 10)
    done = sum(scene.position(number) for number in range(4))
    assert (len(seen.items), len(set(seen.items))) == (done, done)


async def test_a_loop_whose_call_is_cancelled_goes_on_with_the_next_call(scene: Scene) -> None:
    scene.publish(200)
    found: list[int] = []
    async with scene.topic.subscribe(group="g", reset="earliest", batch=5) as reading:
        turns = 0
        while len(found) < 200:
            call = asyncio.ensure_future(anext(reading))
            for _ in range(turns % 7):
                await asyncio.sleep(0)
            turns += 1
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                found += [record.value for record in await call]
            if turns % 5 == 0 and len(found) < 200:
                found += [record.value for record in await anext(reading)]
    assert found == list(range(200))
