"""Subscriptions to patterns of topics, now and later; handlers that are registered and run together."""

from __future__ import annotations

import asyncio

import pytest

from taskq import ConfigError, Record, TaskQ
from taskq.errors import InvalidName, InvalidOption
from taskq.events import shared_consumer, shared_reading
from taskq.events.patterns import Pattern
from taskq.events.shared import SharedSubscription, Where, subscribed
from tests.events.kit import Noted, wait_until
from tests.servers import SERVER_NAMES


@pytest.fixture(params=SERVER_NAMES)
def place(request: pytest.FixtureRequest) -> str:
    return request.param or ""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_reading, "BLOCK_S", 0.1)
    monkeypatch.setattr(shared_consumer, "LOOK_S", 0.1)


def follow(app: TaskQ, pattern: str, noted: Noted, group: str = "all") -> SharedSubscription:
    where = Where.of(app.events.links, app.namespace, pattern)
    return subscribed(where, group, "shared", {}, lambda record: noted.add((record.topic, record.value)))


def test_s56_a_topic_that_is_made_later_is_consumed_from_its_first_record(app: TaskQ) -> None:
    noted = Noted()
    app.topic("orders.eu", partitions=1).publish("old")
    app.topic("other", partitions=1).publish("never")
    with follow(app, "orders.*", noted) as subscription:
        app.topic("orders.eu").publish("new")
        app.topic("orders.us", partitions=2).publish_many(range(5))
        seen = noted.wait(6)
        wait_until(lambda: subscription.topics == ["orders.eu", "orders.us"])
    assert sorted(seen, key=str) == sorted([("orders.eu", "new"), *(("orders.us", n) for n in range(5))], key=str)


def test_s56_a_topic_that_is_made_while_nobody_runs_is_consumed_from_its_first_record(app: TaskQ) -> None:
    noted = Noted()
    app.topic("orders.eu", partitions=1).publish("old")
    with follow(app, "orders.>", noted):
        pass
    app.topic("orders.eu").publish("while away")
    app.topic("orders.us.new", partitions=1).publish("first")
    with follow(app, "orders.>", noted):
        seen = noted.wait(2)
    assert sorted(seen) == [("orders.eu", "while away"), ("orders.us.new", "first")]


def test_a_topic_of_another_form_is_said_and_left_out(app: TaskQ, caplog: pytest.LogCaptureFixture) -> None:
    noted = Noted()
    app.topic("orders.packed", partitions=1, packed=True).properties()
    app.topic("orders.plain", partitions=1).properties()
    with follow(app, "orders.*", noted) as subscription:
        app.topic("orders.plain").publish(1)
        noted.wait(1)
        assert subscription.topics == ["orders.plain"]
    assert "'orders.packed' has packed=True" in caplog.text


def test_lag_and_seek_of_a_pattern_are_those_of_its_topics(app: TaskQ) -> None:
    noted = Noted()
    for name in ("orders.eu", "orders.us", "other"):
        app.topic(name, partitions=1).publish(name)
    with follow(app, "orders.*", noted) as subscription:
        assert [(one.topic, one.records) for one in subscription.lag()] == [("orders.eu", 0), ("orders.us", 0)]
        subscription.seek("earliest")
        assert sorted(noted.wait(2)) == [("orders.eu", "orders.eu"), ("orders.us", "orders.us")]


# -- handlers by decorator


def test_handlers_of_an_app_run_together(app: TaskQ) -> None:
    noted = Noted()
    app.topic("orders.eu", partitions=1).properties()

    @app.subscribe("orders.*", group="mail", mode="shared", filter=lambda record: record.key == "a", lease=5)
    def first(record: Record) -> None:
        noted.add(("first", record.value))

    @app.subscribe("orders.*", group="mail", mode="shared", lease=5)
    def second(record: Record) -> None:
        noted.add(("second", record.value))

    @app.subscribe("orders.*", group="audit", mode="shared")
    async def audit(record: Record) -> None:
        noted.add(("audit", record.value))

    @app.subscribe("cache.*", mode="broadcast")
    def flush(heard: object) -> None:
        noted.add(("heard", 0))

    with app.consume() as running:
        assert len(running.subscriptions) == 3
        app.topic("orders.eu").publish(1, key="a")
        app.topic("orders.eu").publish(2)
        app.broadcast("cache.all").publish("now")
        seen = noted.wait(5)
    assert sorted(seen) == [("audit", 1), ("audit", 2), ("first", 1), ("heard", 0), ("second", 2)]
    assert running.wait(0)


async def test_the_same_in_an_event_loop(app: TaskQ) -> None:
    seen: list[object] = []
    await app.topic("orders", partitions=1).aproperties()

    @app.subscribe("orders", group="mail", mode="shared")
    async def mail(record: Record) -> None:
        seen.append((record.value, asyncio.get_running_loop()))

    @app.subscribe("news", mode="broadcast")
    async def news(heard: object) -> None:
        seen.append("news")

    async with app.consume():
        await app.topic("orders").apublish(1)
        await app.broadcast("news").apublish(1)
        async with asyncio.timeout(60):
            while len(seen) < 2:
                await asyncio.sleep(0.01)
    assert {"news", (1, asyncio.get_running_loop())} == set(seen)


def test_what_cannot_be_meant_is_said_when_it_is_registered(app: TaskQ) -> None:
    with pytest.raises(InvalidName, match=r"topic pattern 'a\.\.\*'"):
        app.subscribe("a..*", group="mail", mode="shared")
    with pytest.raises(InvalidOption, match=r"mode='all': .*'partition', .*'global', 'shared', 'broadcast'"):
        app.subscribe("a", group="mail", mode="all")  # type: ignore[call-overload]
    with pytest.raises(InvalidOption, match="group= is no option of a broadcast"):
        app.subscribe("a", group="mail", mode="broadcast")  # type: ignore[call-overload]
    app.subscribe("a", group="mail", mode="shared")(lambda record: None)
    with pytest.raises(ConfigError, match="without filter= already"):
        app.subscribe("a", group="mail", mode="shared")(lambda record: None)
    with pytest.raises(ConfigError, match="two sets of options"):
        app.subscribe("a", group="mail", mode="shared", lease=3)(lambda record: None)


def test_a_consumption_that_cannot_begin_ends_what_has_begun(app: TaskQ) -> None:
    app.topic("there", partitions=1).properties()
    app.subscribe("there", group="one", mode="shared")(lambda record: None)
    app.subscribe("not.there", group="two", mode="shared")(lambda record: None)
    running = app.consume()
    with pytest.raises(ConfigError, match=r"no topic 'not\.there'"):
        running.start()
    assert "not running" in repr(running.subscriptions[0])
    assert Pattern.of("a.*").matches("a.b")
