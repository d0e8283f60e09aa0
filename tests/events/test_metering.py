"""Handlers and commits are measured where somebody wants to know, in all kinds of groups, and nowhere else (103)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from inspect import iscoroutinefunction
from typing import Any

import pytest

from taskq import Record, TaskQ
from taskq.events import metering
from taskq.events.consumer import Consumer
from taskq.events.handling import Route
from taskq.events.metering import Meter
from taskq.events.record import Offset
from taskq.events.subscription import Subscription
from tests.events.kit import PATIENCE_S, QUICK, Noted, wait_until
from tests.servers import RealServer


@pytest.fixture
def app(server: RealServer, namespace: str) -> Iterator[TaskQ]:
    with TaskQ(namespace, url=server.url) as one:
        yield one


@pytest.fixture
def meter() -> Iterator[Meter]:
    yield metering.begin()
    metering.end()


def record(value: Any = 1) -> Record:
    return Record(topic="t", partition=0, offset=Offset(1), number=1, key=None, value=value, headers={}, time=1)


def fail(_: Record) -> None:
    raise ValueError("no")


def test_a_handler_is_counted_and_does_what_it_did(meter: Meter) -> None:
    async def later(one: Record) -> Any:
        return one.value

    class Called:
        async def __call__(self, one: Record) -> Any:
            return one.value

    def plain(one: Record, more: int = 0) -> Any:
        return one.value + more

    assert meter.timed(plain)(record(2), 3) == 5
    for handler in (later, Called()):
        timed = meter.timed(handler)
        assert iscoroutinefunction(timed)
        assert Route(timed).is_async
        assert asyncio.run(timed(record(7))) == 7
    assert meter.timed(len, batch=True)([record(), record()]) == 2
    with pytest.raises(ValueError, match="no"):
        meter.timed(fail)(record())
    told = meter.told()
    assert told["records"] == {"handled": 5, "failed": 1}
    assert sum(told["handling"].values()) == 5, "a batch is one call"
    meter.committed(0.001)
    meter.refused(2)
    assert (sum(meter.told()["commits"].values()), meter.told()["refused"]) == (1, 2)


def test_nothing_is_measured_unless_somebody_wants_to_know(app: TaskQ) -> None:
    assert metering.current() is None
    seen, topic = Noted(), app.topic("orders", partitions=1)
    consumer = Consumer(topic.log, Subscription.of("g", {"reset": "earliest"}), seen.value)
    with consumer:
        assert consumer.desk.meter is None
        topic.publish(1)
        seen.wait(1)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("mode", ["partition", "key", "shared"])
def test_s103_handlers_and_commits_of_each_kind_of_group_are_measured(
    app: TaskQ, meter: Meter, mode: str, is_async: bool
) -> None:
    seen, topic = Noted(), app.topic("orders", partitions=1)

    def handle(one: Record) -> None:
        seen.add(one.value)
        if one.value == "bad":
            raise ValueError("no")

    async def later(one: Record) -> None:
        handle(one)

    handler: Callable[..., Any] = later if is_async else handle
    app.subscribe("orders", group="g", mode=mode, reset="earliest", retry=QUICK)(handler)  # type: ignore[call-overload]
    topic.properties()
    with app.consume():
        topic.publish_many(["a", "b"])
        topic.publish("bad")
        seen.wait(5)
        wait_until(lambda: meter.told()["records"] == {"handled": 2, "failed": 3})
        wait_until(lambda: sum(meter.told()["commits"].values()) > 0)
    assert sum(meter.told()["handling"].values()) == 5
    assert meter.told()["refused"] == 0


def test_s103_a_commit_that_was_refused_is_counted(app: TaskQ, meter: Meter) -> None:
    seen, topic = Noted(), app.topic("orders", partitions=1)

    def handle(one: Record) -> None:
        if not seen.all:
            topic.group("g").seek("earliest", force=True)  # what is in hand cannot commit after that
        seen.add(one.value)

    consumer = Consumer(topic.log, Subscription.of("g", {"reset": "earliest"}), handle)
    with consumer:
        assert consumer.wait_joined(PATIENCE_S)
        topic.publish("a")
        assert seen.wait(2) == ["a", "a"]
        wait_until(lambda: meter.told()["refused"] >= 1)


def test_s103_the_outcome_of_a_record_that_others_have_is_counted(app: TaskQ, meter: Meter) -> None:
    topic = app.topic("orders", partitions=1)
    topic.publish("a")
    with topic.subscribe(group="s", mode="shared", reset="earliest", ack="manual") as records:
        held = next(records)
        records.seek("earliest")
        records.ack(held)
        wait_until(lambda: meter.told()["refused"] == 1)
