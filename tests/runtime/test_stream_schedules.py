"""Schedules whose messages go to a stream queue: into its stream, once a slot, whoever fires."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq import Queue, TaskQ
from taskq.errors import InvalidOption
from taskq.inspector import Inspector, StreamInfo
from tests.runtime.world import World, world
from tests.servers import RealServer

AUDIT = Queue("work", transport="stream")


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace) as one:
        one.broker.declare(AUDIT)
        yield one


def stream(here: World) -> StreamInfo:
    found = Inspector(here.broker.link, here.namespace).queue("work").stream
    assert found is not None
    return found


def test_slots_fired_by_a_worker_that_learned_the_transport_are_in_the_history(here: World) -> None:
    task = "tests.runtime.guarded.quick"
    here.app.task(name=task, queue="work")(stand_in)
    here.app.schedules.add("often", task, every=1, args=("slot",))
    here.worker("-c", "1", "-q", "work")
    here.hear("end", "slot", 3)
    here.until(lambda: stream(here).pending == 0, "the last one to be settled")
    runs = here.app.schedules.get("often").runs
    here.app.schedules.pause("often")
    assert stream(here).entries >= runs >= 3
    assert here.broker.link.execute("LLEN", here.broker.keys("work").ready_for(0)) == 0


def test_a_run_by_hand_is_appended_to_the_stream(here: World) -> None:
    here.app.task(name="free", queue="work")(stand_in)
    here.app.schedules.add("often", "free", every=3600, args=("x",))
    here.app.schedules.run("often")
    assert (stream(here).entries, stream(here).unread) == (1, 1)


def test_a_schedule_with_a_priority_is_refused_on_a_declared_stream_queue(here: World) -> None:
    app = TaskQ(here.namespace, url=here.server.url, queues=[AUDIT])
    app.task(name="urgent", queue="work", priority=1)(stand_in)
    with app, pytest.raises(InvalidOption, match="priority=1: queue 'work' is a stream queue"):
        app.schedules.add("often", "urgent", every=5, args=("x",))


def stand_in(tag: str) -> None:
    """A task by another name."""
