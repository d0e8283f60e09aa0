"""Declaring topics: stored once, compared at the first use, listed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from taskq import ConfigError, Dedup, Retention, TaskQ, testing
from taskq.errors import DecodeError, InvalidName, InvalidOption
from taskq.events.properties import TopicProperties, check_version, decide, decode, encode
from taskq.store.topic_keys import topics
from tests.runtime.old_server import server_that_says

Another = Callable[..., TaskQ]


def test_a_topic_is_stored_at_its_first_use_and_found_by_others(app: TaskQ, another_app: Another) -> None:
    orders = app.topic("orders", partitions=3, retention=Retention(count=1000, age=60), index=True)
    assert app.topics() == {}
    orders.publish(1)
    found = another_app().topics()
    assert list(found) == ["orders"]
    assert (found["orders"].partitions, found["orders"].retention) == (3, Retention(count=1000, age=60))
    assert found["orders"].created > 0
    assert another_app().topic("orders").properties() == found["orders"], "who says nothing takes what is there"


def test_a_new_topic_has_eight_partitions_and_keeps_everything(app: TaskQ) -> None:
    found = app.topic("plain").properties()
    assert (found.partitions, found.codec, found.retention.unlimited, found.compact) == (8, "json", True, False)


async def test_topics_are_declared_and_listed_from_event_loops_too(app: TaskQ) -> None:
    topic = app.topic("orders", partitions=2)
    first, second = await asyncio.gather(topic.aproperties(), topic.aproperties())
    assert first == second == (await app.atopics())["orders"]
    await app.aclose()


@pytest.mark.parametrize("option", ["partitions", "packed", "codec", "index"])
def test_what_records_depend_on_is_refused_when_it_differs(app: TaskQ, another_app: Another, option: str) -> None:
    values = {"partitions": (4, 5), "packed": (False, True), "codec": ("json", "other"), "index": (True, False)}
    before, after = values[option]
    app.topic("orders", **{option: before}).properties()  # type: ignore[arg-type]
    other = another_app()
    if option == "codec":
        with pytest.raises(ConfigError, match="no codec 'other' is registered"):
            other.topic("orders", codec="other")
        return
    with pytest.raises(ConfigError, match=rf"declared here with {option}={after!r}.* made with {option}={before!r}"):
        other.topic("orders", **{option: after}).publish(1)  # type: ignore[arg-type]


@pytest.mark.parametrize("compact", [False, True])
def test_s37_another_number_of_partitions_is_refused_and_nothing_changes(
    app: TaskQ, another_app: Another, compact: bool
) -> None:
    topic = app.topic("orders", partitions=4, compact=compact)
    topic.publish(1, key="k")
    for partitions in (2, 8):
        other = another_app().topic("orders", partitions=partitions)
        with pytest.raises(ConfigError, match=rf"declared here with partitions={partitions}.* made with partitions=4"):
            other.publish(2, key="k")
    assert topic.properties().partitions == 4
    assert [one.value for number in range(4) for one in topic.read(number)] == [1]


def test_of_retention_and_such_the_last_word_counts(app: TaskQ, another_app: Another) -> None:
    app.topic("orders", retention=Retention(count=5)).properties()
    changed = another_app().topic("orders", retention=Retention(age=9), dedup=Dedup(count=7), compact=True).properties()
    assert (changed.retention, changed.dedup.count, changed.compact) == (Retention(age=9), 7, True)
    assert app.topics()["orders"] == changed
    assert another_app().topic("orders").properties() == changed


def test_one_app_has_one_topic_of_a_name(app: TaskQ) -> None:
    orders = app.topic("orders")
    assert app.topic("orders", partitions=4) is orders
    assert app.topic("orders", partitions=4) is app.topic("orders") is orders
    assert orders.properties().partitions == 4
    with pytest.raises(ConfigError, match="declared twice"):
        app.topic("orders", partitions=5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"partitions": 0}, "whole number from 1 to 1024"),
        ({"partitions": True}, "whole number"),
        ({"retention": 5}, r"give a Retention\(...\)"),
        ({"compact": 1}, "give True or False"),
        ({"packed": True, "compact": True}, "do not go together"),
        ({"packed": True, "index": True}, "do not go together"),
        ({"compact": True, "index": True}, "do not go together"),
        ({"partitons": 3}, "did you mean 'partitions'"),
        ({"tombstones": -1}, "not negative"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(options: dict[str, object], text: str) -> None:
    app = TaskQ("nowhere", url="redis://127.0.0.1:1")
    with pytest.raises(InvalidOption, match=text):
        app.topic("orders", **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidName):
        app.topic("a:b")
    for bad in ({"count": 0}, {"bytes": -1}, {"age": "x"}):
        given: dict[str, Any] = bad
        with pytest.raises(InvalidOption):
            Retention(**given)


def test_a_change_of_compact_on_a_packed_topic_is_refused(app: TaskQ, another_app: Another) -> None:
    app.topic("orders", packed=True).properties()
    with pytest.raises(InvalidOption, match="do not go together"):
        another_app().topic("orders", compact=True).properties()


def test_what_a_newer_release_has_stored_stays(app: TaskQ, another_app: Another) -> None:
    properties = app.topic("orders").properties()
    key, link = topics(app.namespace), app.broker().link
    stored = encode(properties)
    link.execute("HSET", key, "orders", stored[:-1] + b',"later":1}')
    another_app().topic("orders", retention=Retention(count=1)).properties()
    assert b'"later":1' in link.execute("HGET", key, "orders")


def test_a_hash_that_this_release_does_not_know_and_rubbish_are_told() -> None:
    with pytest.raises(ConfigError, match="places its keys by 'other'"):
        decode("t", encode(TopicProperties(hash="other")))
    with pytest.raises(DecodeError, match="'t' is not readable"):
        decode("t", b"{")
    with pytest.raises(DecodeError):
        decode("t", b'{"partitions":0}')
    with pytest.raises(ConfigError):
        decide("t", encode(TopicProperties(partitions=3)), {"partitions": 4}, 0)


def test_a_server_that_is_too_old_is_named() -> None:
    with server_that_says("redis_version:6.2.14") as url:
        app = TaskQ("old", url=url)
        with pytest.raises(ConfigError, match=r"is redis 6\.2; topics need Redis 7\.0 or Valkey 7\.2"):
            app.topic("orders").publish(1)
        app.close()
    check_version(b"redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n", "x")
    check_version(b"nothing is said", "x")


def test_an_app_in_memory_has_no_topics() -> None:
    app = TaskQ("memory")
    with testing.memory(app), pytest.raises(ConfigError, match="topics are kept by a server"):
        app.topic("orders").publish(1)
