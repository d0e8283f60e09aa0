"""From records to tasks and back, each once, whatever dies between the steps."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from taskq import Record, TaskQ, bridge
from taskq.errors import BrokerUnavailable, ConfigError, InvalidOption
from taskq.message import new_ids
from taskq.tasks.outbox import pack_record, relay
from taskq.tasks.publishes import Publishes
from taskq_workers.results_out import publisher
from tests.runtime.world import World, world
from tests.servers import RealServer

APP = "tests.events.working:app"


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace) as one:
        yield one


def records(app: TaskQ, topic: str, partitions: int = 2) -> list[Record]:
    of = app.topic(topic, partitions=partitions)
    return [record for number in range(partitions) for record in of.read(number, limit=10_000)]


def run(number: int) -> None:
    """A task that nobody runs here."""


def leave_record(here: World, tag: str, key: bool = True, then: dict[str, Any] | None = None) -> bytes:
    """What a child leaves that died after it had settled a message; answers the id of that."""
    [raw] = new_ids(1)
    wire = Publishes("receipts", (lambda value: str(value)) if key else None).wire("t", raw, tag, orjson.dumps(tag))
    packed = pack_record(wire, then, raw)
    here.broker.link.execute("HSET", here.broker.keys("receipts").outbox, packed[:16], packed[16:])
    return raw


# -- from records to tasks


def test_each_record_enqueues_one_task_in_order_and_again_means_nothing(here: World) -> None:
    app = here.app
    task = app.task(name="t", queue="bridged")(run)
    carry = bridge.carrier(app._brokers.ends)
    handle = bridge.handler("g", lambda record: task.call(record.value) if record.value % 2 else None, carry)
    app.topic("sources", partitions=1).publish_many(range(500))
    given = records(app, "sources", 1)
    handle(given)
    handle(given[:300])  # its process died before the commit
    other = bridge.handler("other", lambda record: task.call(record.value), carry)
    assert here.broker.link.execute("HLEN", here.broker.keys("bridged").body) == 250
    other(given[:10])
    assert here.broker.link.execute("HLEN", here.broker.keys("bridged").body) == 260, "each group has tasks of its own"


@pytest.mark.crash
def test_a_bridge_whose_children_are_killed_loses_no_record_and_enqueues_none_twice(here: World) -> None:
    worker = here.worker("-p", "2", app=APP)
    sources = here.app.topic("sources", partitions=8)
    for round_ in range(4):
        sources.publish_many([{"tag": f"r{round_}-{number}"} for number in range(50)])
        here.hear("bridged", f"r{round_}-0")
        for pid in worker.children:
            _kill(pid)
    tags = {f"r{round_}-{number}" for round_ in range(4) for number in range(50)}
    here.until(lambda: tags <= {one.tag for one in here.heard if one.word == "bridged"}, "all of them")
    meta = here.broker.keys("bridged").meta
    here.until(lambda: int(here.broker.link.execute("HGET", meta, "done") or 0) == 200, "each to be done once")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def test_what_cannot_be_meant_is_refused(here: World) -> None:
    with pytest.raises(InvalidOption, match="call='x': give a function"):
        here.app.bridge("sources", group="g", call="x")  # type: ignore[arg-type]
    options: list[dict[str, Any]] = [{"batch": 3}, {"delivery": "exactly_once"}]
    for said in options:
        with pytest.raises(InvalidOption, match="of its own"):
            here.app.bridge("sources", group="g", call=lambda record: None, **said)
    task = here.app.task(name="t")(run)
    here.app.publish_results(task, "a")
    with pytest.raises(ConfigError, match="go to topic 'a' already"):
        here.app.publish_results(task, "b")


# -- from tasks to records


def test_a_result_becomes_a_record_with_its_key_and_where_it_is_from(here: World) -> None:
    here.worker(app=APP)
    handle = here.app.remote("tests.events.working.receipt", queue="receipts").enqueue("a")
    here.until(lambda: len(records(here.app, "receipts")) == 1, "the record")
    [record] = records(here.app, "receipts")
    assert (record.value, record.key) == ({"tag": "a"}, "a")
    assert record.headers == {"taskq-task": "tests.events.working.receipt", "taskq-message": handle.id}
    assert handle.result(timeout=30) == {"tag": "a"}


def test_a_result_whose_key_is_no_text_is_a_dead_letter_and_publishes_nothing(here: World) -> None:
    with pytest.raises(InvalidOption, match="key=7 of a record of topic 'receipts'"):
        Publishes("receipts", lambda value: 7).wire("t", b"\0" * 16, 1, b"1")  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("key", [True, False])
def test_who_dies_between_the_topic_and_the_outbox_publishes_nothing_twice(here: World, key: bool) -> None:
    here.app.topic("receipts", partitions=2).properties()
    leave_record(here, "a", key)
    publish = here.app.record_publisher()

    def dies_after(step: Callable[[Any], None]) -> Callable[[Any], None]:
        def both(record: Any) -> None:
            step(record)
            raise BrokerUnavailable("killed here")

        return both

    for _ in range(5):
        with pytest.raises(BrokerUnavailable, match="killed here"):
            relay(here.broker, "receipts", publish=dies_after(publish))
    assert relay(here.broker, "receipts", publish=publish) == 1
    assert relay(here.broker, "receipts", publish=publish) == 0
    assert [record.value for record in records(here.app, "receipts")] == ["a"]


def test_a_follow_up_and_a_record_of_one_message_both_go_on(here: World) -> None:
    here.app.topic("receipts", partitions=2).properties()
    leave_record(here, "a", then={"task": "t", "queue": "target", "args": [], "kwargs": {}})
    assert relay(here.broker, "receipts", publish=here.app.record_publisher()) == 1
    assert here.broker.link.execute("LLEN", here.broker.keys("target").ready_for(0)) == 1
    assert len(records(here.app, "receipts")) == 1


def test_a_process_without_topics_leaves_records_to_others(here: World) -> None:
    leave_record(here, "a")
    assert relay(here.broker, "receipts") == 0
    supervisor = publisher(here.broker)
    assert relay(here.broker, "receipts", publish=supervisor) == 0, "nobody has said what that topic is like"
    here.app.topic("receipts", partitions=2).properties()
    assert relay(here.broker, "receipts", publish=supervisor) == 1
    assert [record.value for record in records(here.app, "receipts")] == ["a"]


@pytest.mark.crash
def test_results_of_workers_that_are_killed_all_the_time_become_one_record_each(here: World) -> None:
    sender = here.app.remote("tests.events.working.receipt", queue="receipts")
    here.app.topic("receipts", partitions=2).properties()
    ids = {sender.enqueue(f"r{number}").id for number in range(150)}
    worker = here.worker("-p", "2", app=APP)
    for number in (20, 60, 100):
        here.until(lambda at=number: len([one for one in here.heard if one.word == "worked"]) > at, "some")  # type: ignore[misc]
        for pid in worker.children:
            _kill(pid)
    here.until(lambda: {one.headers["taskq-message"] for one in records(here.app, "receipts")} == ids, "all records")
    assert len(records(here.app, "receipts")) == 150
