"""Loops of the user's own, registered functions, and what is refused."""

from __future__ import annotations

import re
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
        ({"filter": print}, "filter= is no option of an ordered subscription"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(said: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidOption if word != "member" else ValueError, match=word):
        Subscription.of("g", said)


@pytest.mark.parametrize("mode", ["key", "unordered"])
@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"batch": True}, "batch goes with mode='partition' or 'global', not '{}'"),
        ({"batch": 5}, "batch goes with mode='partition' or 'global', not '{}'"),
        ({"on_error": "park"}, "on_error=\"park\" goes with mode='partition' or 'global', not '{}'"),
        ({"delivery": "at_most_once"}, "delivery='at_most_once' needs mode='partition' or 'global', not '{}'"),
        ({"delivery": "exactly_once"}, "delivery='exactly_once' needs mode='partition' or 'global', not '{}'"),
    ],
)
def test_what_a_mode_lacks_is_refused_at_the_subscription(scene: Scene, mode: Any, said: Any, word: str) -> None:
    with pytest.raises(InvalidOption, match=re.escape("group 'g': " + word.format(mode))):
        scene.app.subscribe("t", group="g", mode=mode, **said)(lambda record: None)
    assert scene.link.execute("EXISTS", scene.topic.log.keys.groups) == 0


@pytest.mark.parametrize("said", [{"mode": "key"}, {"mode": "unordered"}, {"delivery": "exactly_once"}], ids=str)
def test_what_a_loop_lacks_is_refused_too(scene: Scene, said: Any) -> None:
    with pytest.raises(InvalidOption, match="register a function"):
        scene.topic.subscribe(group="g", **said)


@pytest.mark.parametrize("said", [{"batch": 5}, {"on_error": "park"}, {"delivery": "exactly_once"}], ids=str)
def test_what_a_shared_group_lacks_is_refused_too(scene: Scene, said: Any) -> None:
    with pytest.raises(InvalidOption):
        scene.app.subscribe("t", group="g", mode="shared", **said)(lambda record: None)


def test_s57_who_leaves_gets_nothing_more_and_its_partitions_are_free_at_once(scene: Scene) -> None:
    one, two = Seen(), Seen()
    scene.publish(40, keys=20)
    with scene.consumer(one.add, session=60.0):
        one.count(40)
        scene.until(lambda: sum(scene.position(number) for number in range(4)) == 40)
    assert [scene.field("owner", number) for number in range(4)] == [b""] * 4
    scene.publish(40, begin=40, keys=20)
    with scene.consumer(two.add, session=60.0):  # no session has to end for that
        assert sorted(record.value for record in two.count(40)) == list(range(40, 80))
    assert len(one.items) == 40
