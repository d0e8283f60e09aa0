"""Stream queues with real workers: declared by the app or learned, counted, drained, mended, emptied."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq import ConfigError, Queue, Retain, TaskQ
from taskq.control import Control
from taskq.errors import InvalidOption
from taskq.inspector import Inspector, StreamInfo
from taskq.tasks.lists import ListBroker
from taskq.tasks.outbox import pack_follow, relay
from tests.runtime.world import World, world
from tests.servers import RealServer

WORK = Queue("work", transport="stream", retain=Retain(count=100))


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace) as one:
        one.broker.declare(WORK)
        yield one


def stream(here: World) -> StreamInfo:
    info = Inspector(here.broker.link, here.namespace).queue("work")
    assert info.transport == "stream"
    assert info.stream is not None
    return info.stream


def test_producers_and_workers_that_declare_nothing_learn_the_transport(here: World) -> None:
    here.worker("-c", "2", "-q", "work")
    for number in range(20):
        here.enqueue("quick", f"m{number}")
    for number in range(20):
        here.hear("end", f"m{number}")
    here.until(lambda: here.counter("done") == 20, "all to be settled")
    found = stream(here)
    assert (found.entries, found.pending, found.unread, found.lost) == (20, 0, 0, 0)
    assert found.groups == ("taskq",)
    assert found.retain == WORK.kept
    assert here.broker.link.execute("LLEN", here.broker.keys("work").ready_for(0)) == 0


def test_a_worker_heals_a_stream_that_somebody_deleted_and_says_so(here: World) -> None:
    gate = here.gate("one")
    here.enqueue("gated", "held", gate)
    worker = here.worker("-c", "1", "-q", "work")
    here.hear("start", "held")
    for number in range(300):
        here.enqueue("quick", f"m{number}")
    here.until(lambda: stream(here).unread > 0, "messages to wait")
    assert here.broker.link.execute("DEL", here.broker.keys("work").stream) == 1
    here.open_gate("one")
    here.until(lambda: here.counter("done") == 301, "all to be done")
    assert all(len(here.hear("end", f"m{number}")) == 1 for number in range(300))
    found = stream(here)
    assert found.lost > 0
    assert found.healed == 1
    here.until(lambda: "appended anew" in worker.text(), "the worker to say so")


def test_a_group_that_somebody_destroyed_is_made_anew_and_nothing_runs_twice(here: World) -> None:
    gate = here.gate("one")
    here.enqueue("gated", "held", gate)
    here.worker("-c", "1", "-q", "work")
    here.hear("start", "held")
    for number in range(300):
        here.enqueue("quick", f"m{number}")
    here.until(lambda: stream(here).unread > 0, "messages to wait")
    assert here.broker.link.execute("XGROUP", "DESTROY", here.broker.keys("work").stream, "taskq") == 1
    here.until(lambda: stream(here).healed == 1, "the sweep to find out")
    assert stream(here).pending > 0, "what is held is pending again"
    here.open_gate("one")
    here.until(lambda: here.counter("done") == 301, "all to be done")
    assert all(len(here.hear("end", f"m{number}")) == 1 for number in range(300))
    assert stream(here).lost == 0


def test_history_is_trimmed_to_what_is_retained(here: World) -> None:
    here.worker("-c", "4", "-q", "work")
    for number in range(450):
        here.enqueue("quick", f"m{number}")
    here.until(lambda: here.counter("done") == 450, "all to be done")
    here.until(lambda: stream(here).entries <= 250, "the history to be trimmed")
    assert stream(here).entries >= 100


def test_a_purge_takes_what_is_unread_too(here: World) -> None:
    for number in range(600):
        here.enqueue("quick", f"m{number}")
    control = Control(ListBroker(here.server.link(), here.namespace))
    try:
        assert control.purge("work", dry_run=True) == 600
        assert control.purge("work") == 600
    finally:
        control.broker.close()
    found = stream(here)
    assert (found.pending, found.unread) == (0, 0)


def test_priorities_are_refused_before_anything_is_stored(here: World) -> None:
    with pytest.raises(InvalidOption, match=r"priority=1: queue 'work' is a stream queue, which has no priorities"):
        here.enqueue("quick", "m", priority=1)
    assert stream(here).entries == 0


def test_one_call_of_a_bulk_that_is_refused_for_its_priority_stores_none_of_the_others(here: World) -> None:
    app = TaskQ(here.namespace, url=here.server.url, queues=[WORK])
    plain = app.remote("tests.runtime.guarded.quick", queue="other")
    urgent = app.remote("tests.runtime.guarded.quick", queue="work", priority=1)
    with app, pytest.raises(InvalidOption, match="priority=1: queue 'work' is a stream queue"):
        app.enqueue_many([plain.call("a"), urgent.call("b")])
    assert here.broker.link.execute("EXISTS", here.broker.keys("other").body) == 0


def test_a_follow_up_with_a_priority_from_before_its_queue_was_a_stream_queue_is_sent_on(here: World) -> None:
    wire = {"task": "t", "queue": "work", "args": [], "kwargs": {}, "priority": 2}
    packed = pack_follow(wire, bytes(16))
    here.broker.link.execute("HSET", here.broker.keys("a").outbox, packed[:16], packed[16:])
    fresh = ListBroker(here.server.link(), here.namespace)
    try:
        assert relay(fresh, "a") == 0  # it learns the transport by that
        assert relay(fresh, "a") == 1
    finally:
        fresh.close()
    assert stream(here).unread == 1


def test_a_stream_queue_that_still_holds_messages_does_not_become_a_list_queue(here: World) -> None:
    here.enqueue("quick", "m")
    app = TaskQ(here.namespace, url=here.server.url, queues=[Queue("work")])
    sender = app.remote("tests.runtime.guarded.quick", queue="work")
    with app, pytest.raises(ConfigError, match="its stream holds 1 message; let workers"):
        sender.enqueue("n")
