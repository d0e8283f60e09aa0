"""Numbers that are missing: what compaction has removed was no record that a group has lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq import Event, Retention
from tests.events.ordered_kit import Scene, Seen
from tests.servers import RealServer


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace, partitions=1)
    yield made
    made.close()


def test_a_group_behind_a_compacted_gap_gets_all_that_retention_has_left(scene: Scene) -> None:
    app, seen = scene.new_app(), Seen()
    topic = app.topic("c", partitions=1, compact=True, retention=Retention(count=350))

    def handled(until: int) -> list[int]:
        with topic.subscribe(group="g", reset="latest") as reading:
            for record in reading:
                seen.add(record.value)
                if record.value >= until:
                    reading.commit()
                    break
        return seen.items

    with topic.subscribe(group="g", reset="earliest"):
        topic.publish_many([Event(number, key=f"u{number}") for number in range(200)])
    handled(199)
    seen.items.clear()
    topic.publish_many([Event(1_000 + number, key="same") for number in range(300)])
    topic.publish_many([Event(5_000 + number, key=f"v{number}") for number in range(300)])
    topic.compact()
    topic.trim()
    left = [record.value for record in topic.read(0)]
    assert 300 < len(left) < 500, "retention has removed something"
    assert handled(5_299) == [value for value in left if value >= 1_000]
