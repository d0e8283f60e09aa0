"""Ordered groups of packed topics begin where they were told to, inside no entry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest

from taskq import Topic
from tests.events.ordered_kit import Scene
from tests.servers import RealServer


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace, partitions=1)
    yield made
    made.close()


@pytest.fixture
def packed(scene: Scene) -> Topic:
    return scene.new_app().topic("p", partitions=1, packed=True)


def handled(topic: Topic, reset: Literal["earliest", "latest"], last: int) -> list[int]:
    """What a loop gets, up to this value."""
    found: list[int] = []
    with topic.subscribe(group="g", reset=reset) as reading:
        for record in reading:
            found.append(record.value)
            if record.value == last:
                reading.commit()
                break
    return found


def test_a_group_of_a_packed_topic_begins_with_the_first_record(packed: Topic) -> None:
    packed.publish_many([1, 2, 3])
    assert handled(packed, "earliest", 3) == [1, 2, 3]
    packed.publish_many([4, 5])
    assert handled(packed, "earliest", 5) == [4, 5]
    packed.group("g").seek("earliest")
    assert handled(packed, "earliest", 5) == [1, 2, 3, 4, 5]


def test_the_end_of_a_packed_topic_is_behind_all_records_of_its_last_entry(packed: Topic) -> None:
    packed.publish_many(list(range(100)))
    with packed.subscribe(group="g", reset="latest") as reading:
        packed.publish_many([100, 101])
        assert [next(reading).value for _ in range(2)] == [100, 101]
    packed.group("g").seek("latest")
    packed.publish_many([102, 103])
    assert handled(packed, "latest", 103) == [102, 103]
    assert packed.group("g").lag()[0].records == 0
