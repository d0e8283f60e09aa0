"""Retention and compaction as users see them."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from taskq import Event, Retention, TaskQ
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
        lists = [
            name
            for number in range(2)
            for name in link.execute("KEYS", f"{topic.log.keys.partition(number).base}key:*")
        ]
        assert len(of_key) == sum(link.execute("LLEN", name) for name in lists), "no list has what is not there"


def test_s93_a_group_that_must_not_lose_is_named_in_the_log(app: TaskQ, caplog: pytest.LogCaptureFixture) -> None:
    topic = app.topic("t", partitions=1, retention=Retention(count=10, keep=["billing"]))  # type: ignore[arg-type]
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


def test_what_is_unlimited_is_never_trimmed(app: TaskQ) -> None:
    topic = app.topic("t", partitions=2)
    topic.publish_many(range(100))
    assert topic.trim() == []


def test_keep_is_a_list_of_names() -> None:
    with pytest.raises(InvalidOption, match="give a list of names"):
        Retention(keep="billing")  # type: ignore[arg-type]


async def test_trimming_from_an_event_loop(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1, retention=Retention(count=10))
    await topic.apublish_many(range(6_000))
    assert len(await topic.aread(0, limit=10_000)) < 110
    assert (await topic.atrim())[0].removed == 0
    await app.aclose()
