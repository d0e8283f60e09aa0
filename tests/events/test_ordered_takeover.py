"""Who hears of a death or of a departure, and when: sessions are so long here that no heartbeat comes by itself."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import pytest

from taskq import Record
from taskq.events.consumer import Consumer
from taskq.events.group_calls import Seat, beat
from taskq.events.member import BEATS
from taskq.store.scripts import run
from tests.events.ordered_kit import LONG_S, Scene, Seen
from tests.servers import RealServer

SESSION_S = 4 * BEATS * LONG_S  # a test that waited for a heartbeat would fail long before it


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace)
    yield made
    made.close()


def come_and_die(scene: Scene, session: int) -> None:
    """A member that joins and is not heard of again."""
    seat = Seat(uuid.uuid4().hex[:16], uuid.uuid4().hex[:16])
    answer = run(scene.link, beat(scene.topic.log.keys, "g", seat, "join", session=session, partitions=4))
    assert answer.code == 0


def holds(scene: Scene, consumer: Consumer, number: int) -> None:
    scene.until(lambda: len(consumer.partitions) == number)


def alone(scene: Scene) -> None:
    """Wait until all members but one are gone."""
    scene.until(lambda: len(scene.topic.group("g").members()) == 1)


def test_who_is_left_looks_when_the_session_of_a_dead_member_ends(scene: Scene) -> None:
    seen = Seen()
    with scene.consumer(lambda record: seen.add(record.value), session=SESSION_S) as consumer:
        holds(scene, consumer, 4)
        come_and_die(scene, 2_000)
        scene.publish(40, keys=40)
        alone(scene)
        holds(scene, consumer, 4)
        assert sorted(seen.count(40)) == list(range(40))


def test_of_two_deaths_each_is_found(scene: Scene) -> None:
    with scene.consumer(Seen().add, session=SESSION_S) as consumer:
        holds(scene, consumer, 4)
        come_and_die(scene, 1_500)
        come_and_die(scene, 2_500)
        alone(scene)
        holds(scene, consumer, 4)


def test_the_bell_tells_members_of_who_comes_and_who_goes(scene: Scene) -> None:
    one, two = Seen(), Seen()
    with scene.consumer(lambda record: one.add(record.value), session=SESSION_S) as stays:
        holds(scene, stays, 4)
        with scene.consumer(lambda record: two.add(record.value), session=SESSION_S) as comes:
            holds(scene, comes, 2)
            holds(scene, stays, 2)
            scene.publish(40, keys=40)
            scene.until(lambda: len(one.items) + len(two.items) == 40)
        holds(scene, stays, 4)
        scene.publish(40, begin=40, keys=40)
        scene.until(lambda: len(one.items) + len(two.items) == 80)


def test_who_ends_gives_up_at_once_what_is_free_while_a_handler_still_runs(scene: Scene) -> None:
    go, began = threading.Event(), Seen()

    def slow(record: Record) -> None:
        began.add(record.partition)
        assert go.wait(LONG_S)

    with scene.consumer(slow, session=SESSION_S) as ends:
        holds(scene, ends, 4)
        scene.publish(1, partition=0)
        began.count(1)
        with scene.consumer(Seen().add, session=SESSION_S) as stays:
            scene.until(lambda: len(ends.partitions) + len(stays.partitions) == 4 and bool(stays.partitions))
            stopping = threading.Thread(target=ends.stop, args=(LONG_S,))
            stopping.start()
            holds(scene, stays, 3)
            assert ends.partitions == [0]
            assert ends.desk.holdings[0].began
            go.set()
            stopping.join(LONG_S)
            holds(scene, stays, 4)
            alone(scene)
    assert scene.position() == 1, "what ran was committed"
