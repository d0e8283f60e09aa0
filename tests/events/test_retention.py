"""Retention and compaction as users see them."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from taskq import ConfigError, Event, Retention, TaskQ
from taskq.errors import InvalidOption

Another = Callable[..., TaskQ]


@pytest.mark.parametrize("options", [{}, {"index": True}, {"packed": True}], ids=str)
def test_s92_publishers_trim_as_they_go(app: TaskQ, options: dict[str, bool]) -> None:
    topic = app.topic("t", partitions=2, retention=Retention(count=1_000), **options)  # type: ignore[arg-type]
    for _ in range(6):
        topic.publish_many([Event(number, key=f"key-{number % 50}") for number in range(4_000)])
    topic.trim()
    room = 1_000 * 100 if options.get("packed") else 100
    for number in range(2):
        left = topic.read(number, limit=100_000)
        assert 1_000 <= len(left) < 1_000 + room
    if "index" in options:
        of_key = [one.offset for key in range(50) for one in topic.of_key(f"key-{key}", limit=10_000).records]
        link = app.broker().link
        bases = [topic.log.keys.partition(number).base for number in range(2)]
        lists = [name for base in bases for name in link.execute("KEYS", f"{base}key:*")]
        assert len(of_key) == sum(link.execute("LLEN", name) for name in lists), "no list has what is not there"


def test_s93_a_group_that_must_not_lose_is_named_in_the_log(app: TaskQ, caplog: pytest.LogCaptureFixture) -> None:
    topic = app.topic("t", partitions=1, retention=Retention(count=10, keep=["billing"]))
    topic.publish_many(range(1_000))
    with caplog.at_level(logging.WARNING, "taskq.events"):
        (done,) = topic.trim()
    assert (done.removed, done.held_by) == (0, "billing")
    assert done.held_since is not None
    assert "topic t, partition 0: retention is held back by group billing" in caplog.text
    assert len(topic.read(0)) == 1_000


def test_a_group_says_itself_that_it_must_not_lose(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1, retention=Retention(count=10))
    topic.publish_many(range(1_000))
    link = app.broker().link
    link.execute("HSET", topic.log.keys.groups, "billing", b'{"kind":"ordered","keep":true}', "other", b"rubbish")
    assert topic.trim()[0].held_by == "billing"
    link.execute("HSET", topic.log.keys.groups, "billing", b'{"kind":"ordered"}')
    assert topic.trim()[0].removed > 800


def test_who_looks_after_a_namespace_trims_all_of_its_topics(app: TaskQ, another_app: Another) -> None:
    for name in ("one", "two"):
        app.topic(name, partitions=1, retention=Retention(count=10)).publish_many(range(500))
    app.topic("all", partitions=1).publish_many(range(500))
    trimmed = another_app().events.trim()
    assert {name: [one.removed > 300 for one in done] for name, done in trimmed.items()} == {
        "all": [],
        "one": [True],
        "two": [True],
    }


def test_what_is_unlimited_is_never_trimmed(app: TaskQ) -> None:
    topic = app.topic("t", partitions=2)
    topic.publish_many(range(100))
    assert topic.trim() == []


def test_keep_is_a_list_of_names() -> None:
    with pytest.raises(InvalidOption, match="give a list of names"):
        Retention(keep="billing")


async def test_trimming_from_an_event_loop(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1, retention=Retention(count=10))
    await topic.apublish_many(range(6_000))
    assert len(await topic.aread(0, limit=10_000)) < 110
    assert (await topic.atrim())[0].removed == 0
    assert (await app.events.atrim())["t"][0].removed == 0
    await app.aclose()


# -- compaction


def test_s94_readers_see_no_gap_and_no_repeat_while_a_topic_is_compacted(app: TaskQ, another_app: Another) -> None:
    topic = app.topic("t", partitions=2, compact=True)
    topic.publish_many([Event(number, key=f"key-{number % 100}") for number in range(5_000)])
    newest = {one.key: (one.value, one.offset) for number in range(2) for one in topic.read(number, limit=100_000)}
    reader = another_app().topic("t")
    seen = list(reader.read(0, limit=1_000))
    assert sum(one.removed for one in topic.compact()) == 4_900
    while some := reader.read(0, since=seen[-1].offset.after, limit=10):
        seen += some
    offsets = [one.offset for one in seen]
    assert offsets == sorted(set(offsets))
    left = {one.key: (one.value, one.offset) for number in range(2) for one in topic.read(number, limit=100_000)}
    assert left == newest
    assert {one.key for one in seen} >= {key for key, (_, offset) in newest.items() if offset in set(offsets)}
    assert sum(one.removed for one in topic.compact()) == 0


def test_s95_a_tombstone_goes_only_after_its_time(app: TaskQ, another_app: Another) -> None:
    topic = app.topic("t", partitions=1, compact=True, tombstones=3_600)
    topic.publish_many([Event("a", key="k"), Event(None, key="k"), Event("b", key="other")])
    topic.compact()
    assert [(one.key, one.value) for one in topic.read(0)] == [("k", None), ("other", "b")]
    later = another_app().topic("t", tombstones=0)
    app.broker().link.execute("DEBUG", "SLEEP", "0.002")
    later.compact()
    assert [(one.key, one.value) for one in topic.read(0)] == [("other", "b")]


def test_compaction_is_refused_where_it_would_take_from_a_group(app: TaskQ) -> None:
    with pytest.raises(ConfigError, match="declare it with compact=True"):
        app.topic("plain").compact()
    topic = app.topic("t", partitions=1, compact=True)
    topic.publish("a", key="k")
    app.broker().link.execute("HSET", topic.log.keys.groups, "mail", b'{"kind":"shared"}')
    with pytest.raises(ConfigError, match=r"has shared groups \(mail\)"):
        topic.compact()


async def test_compacting_from_an_event_loop(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1, compact=True)
    await topic.apublish_many([Event(number, key="k") for number in range(10)])
    assert [one.removed for one in await topic.acompact()] == [9]
    await app.aclose()
