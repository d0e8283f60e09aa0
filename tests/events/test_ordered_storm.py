"""A small storm: members are killed, frozen and replaced while records come in. `benchmarks storm` is a large one."""

from __future__ import annotations

import random
from functools import partial

import pytest

from benchmarks import storm
from benchmarks.bench import wait_for
from benchmarks.storm_member import GROUP, OUT, TOPIC
from taskq import TaskQ
from taskq.events.ordered_group import OrderedGroup
from tests.servers import RealServer

ROUNDS = 6


def thawed(weather: storm.Storm) -> bool:
    weather.thaw()
    return not weather.frozen


def fell(group: OrderedGroup, lag: int) -> bool:
    """Whether less is left than that."""
    return sum(one.records for one in group.lag()) < lag


@pytest.mark.crash
def test_in_a_storm_each_effect_is_committed_once_and_in_order(server: RealServer) -> None:
    app = TaskQ(storm.NAMESPACE, url=server.url)
    topic = app.topic(TOPIC, partitions=storm.PARTITIONS)
    out = app.topic(OUT, partitions=4)
    out.properties()
    weather = storm.Storm(server.url, random.Random(3))
    group = topic.group(GROUP)
    try:
        for _ in range(3):
            weather.join()
        wait_for("they work", lambda: len(group.members()) == 3, 60)
        published = 0
        for _ in range(ROUNDS):
            before = sum(one.records for one in group.lag())
            topic.publish_many(list(storm.events(published, 300)))
            published += 300
            weather.act(1)
            weather.thaw()
            wait_for("some are handled", partial(fell, group, before + 300), 60)
        wait_for("all that was frozen goes on", lambda: thawed(weather), 60)
        while len(weather.members) < 2:
            weather.join()
        wait_for("all is handled", lambda: not sum(one.records for one in group.lag()), 60)
        wait_for("all is carried", lambda: storm.count_of(out) >= published, 60)
    finally:
        weather.end()
    assert storm.judge(out, published) == []
    assert all(one.dead == 0 for one in group.lag())
    app.close()
