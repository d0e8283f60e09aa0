"""Delayed messages of several queues become ready in turns, few at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from taskq.tasks.broker import Outgoing
from taskq.tasks.lists import ListBroker
from taskq.tasks.packing import PROMOTED
from taskq_workers.sweeper import Sweeper
from taskq_workers.wires import exchange
from tests.servers import RealServer


@pytest.fixture
def broker(server: RealServer, namespace: str) -> Iterator[ListBroker]:
    one = ListBroker(server.link(), namespace)
    yield one
    one.close()


def delay(broker: ListBroker, queue: str, count: int, seconds: float = 0.0) -> None:
    """Delayed messages; those that are due at once were stored with a later time, which is then moved back."""
    due = time.time() * 1000 + max(seconds * 1000, 30_000)
    broker.enqueue(queue, [Outgoing(os.urandom(16), b"body", due=due) for _ in range(count)])
    if not seconds:
        name = broker.keys(queue).delayed
        broker.link.pipeline([("ZADD", name, 1, raw) for raw in broker.link.execute("ZRANGE", name, 0, -1)])


def turn(sweeper: Sweeper, broker: ListBroker) -> None:
    before = time.monotonic()
    for wire, answer in exchange(broker.link, sweeper.wires(before)):
        if wire.then is not None:
            wire.then(answer)
    sweeper.follow_up(before, time.monotonic())


def ready(broker: ListBroker, queue: str) -> int:
    return int(broker.link.execute("LLEN", broker.keys(queue).ready_for(0)))


def test_a_queue_with_many_due_messages_does_not_keep_the_others_waiting(broker: ListBroker) -> None:
    delay(broker, "flood", 2_350)
    for queue in ("a", "b", "c"):
        delay(broker, queue, 2)
    sweeper = Sweeper(broker, ["flood", "a", "b", "c"], [], lambda: None)
    turn(sweeper, broker)
    assert [ready(broker, queue) for queue in ("a", "b", "c")] == [2, 2, 2]
    assert ready(broker, "flood") == 17 * PROMOTED, "twenty scripts in all, three of them for the others"
    assert sweeper.due() <= time.monotonic() + 0.1, "the rest comes at once, after a heartbeat"
    while ready(broker, "flood") < 2_350:
        sweeper.hurry()
        turn(sweeper, broker)
    assert broker.link.execute("ZCARD", broker.keys("flood").delayed) == 0


def test_more_queues_than_scripts_take_turns(broker: ListBroker) -> None:
    queues = [f"q{number}" for number in range(25)]
    for queue in queues:
        delay(broker, queue, PROMOTED + 1)
    sweeper = Sweeper(broker, queues, [], lambda: None)
    for count in (20, 40, 50, 50):
        turn(sweeper, broker)
        done = [ready(broker, queue) for queue in queues]
        moved = sum(1 for number in done if number >= PROMOTED) + sum(1 for number in done if number > PROMOTED)
        assert moved == count
        assert all(done) or count == 20, "each had one before the first had two"
        sweeper.hurry()


def test_what_is_not_due_stays_and_its_time_is_known(broker: ListBroker) -> None:
    delay(broker, "a", 3)
    delay(broker, "later", 1, seconds=3_600)
    sweeper = Sweeper(broker, ["a", "later"], [], lambda: None)
    turn(sweeper, broker)
    assert (ready(broker, "a"), ready(broker, "later")) == (3, 0)
    assert broker.link.execute("ZCARD", broker.keys("later").delayed) == 1
