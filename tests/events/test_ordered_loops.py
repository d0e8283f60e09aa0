"""Loops of the user's own, registered functions, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskq import Record
from taskq.errors import InvalidOption
from taskq.events.subscription import Subscription
from tests.events.ordered_kit import Scene, Seen
from tests.servers import RealServer


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace)
    yield made
    made.close()


def test_a_loop_commits_what_it_has_passed_and_what_it_left_comes_again(scene: Scene) -> None:
    scene.publish(10)
    with scene.topic.subscribe(group="g", reset="earliest") as reading:
        assert [next(reading).value for _ in range(4)] == [0, 1, 2, 3]
    assert scene.position() == 3
    with scene.topic.subscribe(group="g", reset="earliest") as reading:
        assert [next(reading).value for _ in range(3)] == [3, 4, 5]
        reading.commit()
        assert scene.position() == 6
        assert next(reading).value == 6


async def test_an_async_loop_does_the_same(scene: Scene) -> None:
    scene.publish(10)
    async with scene.topic.subscribe(group="g", reset="earliest", batch=3) as reading:
        found: list[int] = []
        async for records in reading:
            found += [record.value for record in records]
            if len(found) == 6:
                await reading.acommit()
                break
    assert found == [0, 1, 2, 3, 4, 5]
    assert scene.position() == 6


def test_a_registered_function_is_run_by_consume(scene: Scene) -> None:
    app, seen = scene.new_app(), Seen()

    @app.subscribe("t", group="g", reset="earliest")
    def handler(record: Record) -> None:
        seen.add(record.value)

    scene.publish(5)
    with app.consume():
        assert seen.count(5) == [0, 1, 2, 3, 4]
    assert handler.__name__ == "handler"


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"mode": "keys"}, "mode="),
        ({"batch": 2_000}, "batch"),
        ({"resett": "latest"}, "reset"),
        ({"session": 0.1}, "session"),
        ({"mode": "key", "batch": 5}, "batch"),
        ({"mode": "key", "delivery": "exactly_once"}, "exactly_once"),
        ({"member": "a b"}, "member"),
        ({"on_lost": 3}, "on_lost"),
        ({"retry": 0}, "retry"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(said: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidOption if word != "member" else ValueError, match=word):
        Subscription.of("g", said)
