"""Topics in a look: exact, in the same round trip, a part of them at a time, and no trouble of one hides another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from taskq import Record, RetryPolicy, TaskQ
from taskq import topic_looks as limits
from taskq.events.consumer import Consumer
from taskq.events.subscription import Subscription
from taskq.snapshot import Snapshot, TopicInfo
from taskq.store.connection import SyncLink
from taskq.store.topic_keys import topic_keys, topics
from taskq.topics import TopicInspector
from taskq.watching import Watch
from tests.events.kit import PATIENCE_S, Noted, wait_until
from tests.servers import RealServer

pytestmark = pytest.mark.topics


@pytest.fixture
def app(server: RealServer, namespace: str) -> Iterator[TaskQ]:
    with TaskQ(namespace, url=server.url) as one:
        yield one


@pytest.fixture
def link(app: TaskQ) -> SyncLink:
    return app.events.links().sync


def furnish(app: TaskQ) -> None:
    """A topic with an ordered group that did two of its records, and a shared one that began with the first."""
    orders = app.topic("orders", partitions=2)
    for number in range(10):
        orders.publish({"order": number}, key=f"k{number}", partition=number % 2)
    with orders.subscribe(group="billing", reset="earliest", member="one") as reading:
        for _, _ in zip(range(2), reading, strict=False):
            reading.commit()
    with orders.subscribe(group="mail", mode="shared", reset="earliest", ack="manual") as records:
        assert records.ack(next(records))
    app.topic("bare", partitions=3).publish(1)


def wires(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> tuple[Snapshot, list[list[Any]]]:
    """A look, and the commands of each of its round trips."""
    sent: list[list[Any]] = []
    plain = watch.link.pipeline

    def pipeline(commands: Sequence[Any], **more: Any) -> list[Any]:
        sent.append(list(commands))
        return plain(commands, **more)

    with monkeypatch.context() as patch:
        patch.setattr(watch.link, "pipeline", pipeline)
        return watch.look(), sent


def topical(commands: Sequence[Any]) -> list[Any]:
    """Those of them that are about topics."""
    return [command for command in commands if any("topics" in str(one) or ":orders:" in str(one) for one in command)]


def same(seen: tuple[TopicInfo, ...], known: tuple[TopicInfo, ...]) -> None:
    """Equal, but for ages, which grow."""

    def still(infos: tuple[TopicInfo, ...]) -> list[Any]:
        return [
            (
                *(one.topic, one.properties, one.appended, one.records, one.bytes, one.appended_bytes, one.partitions),
                [
                    (
                        *(group.group, group.kind, group.epoch, group.records, group.bytes, group.dead, group.done),
                        *(group.members, [(at.partition, at.offset, at.records, at.owner) for at in group.positions]),
                    )
                    for group in one.groups
                ],
            )
            for one in infos
        ]

    assert still(seen) == still(known)


def test_s103_topics_are_in_the_one_round_trip_of_a_look_as_the_inspector_tells_them(
    app: TaskQ, link: SyncLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(app)
    watch = Watch(link, app.namespace)
    first, sent = wires(watch, monkeypatch)
    assert len(sent) == 3
    again, sent = wires(watch, monkeypatch)
    assert len(sent) == 1
    known = TopicInspector(link, app.namespace).topics()
    for look in (first, again):
        assert look.truncated == ()
        same(look.topics, known)
    bare, orders = again.topics
    assert (bare.appended, len(bare.partitions), bare.groups) == (1, 3, ())
    billing, mail = orders.groups
    assert (billing.kind, billing.records, billing.done, billing.lost) == ("ordered", 8, 2, 0)
    assert (mail.kind, mail.records, mail.done) == ("shared", 9, 1)
    assert billing.seconds > 0
    assert billing.bytes == 8 * (len(b'{"order":0}') + 2)


def test_a_namespace_without_topics_costs_one_command(
    app: TaskQ, link: SyncLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, sent = wires(Watch(link, app.namespace), monkeypatch)
    assert look.topics == ()
    assert [len(topical(commands)) for commands in sent] == [1, 1, 1]


def test_with_many_partitions_each_look_asks_for_a_part_of_them_and_forgets_none(
    app: TaskQ, link: SyncLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(app)
    monkeypatch.setattr(limits, "AGAIN", (3, 1))
    watch = Watch(link, app.namespace)
    watch.look()
    app.topic("orders").publish({"order": 10}, partition=1)
    app.topic("bare").publish(1, partition=2)
    seen = []
    for _ in range(4):  # eight plain units by three a look, four scripts by one; members take three commands
        look, sent = wires(watch, monkeypatch)
        assert len(sent) == 1
        assert len(topical(sent[0])) <= 1 + 4 + 2
        assert (look.truncated, len(look.topics)) == ((), 2)
        seen.append(look)
    same(seen[-1].topics, TopicInspector(link, app.namespace).topics())


def test_a_look_at_twenty_topics_stays_within_its_budget(
    app: TaskQ, link: SyncLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight partitions and two groups each: 320 places where groups stand, each asked by a script."""
    groups = {"g": b'{"kind":"ordered"}', "s": b'{"kind":"shared"}'}
    flat = [part for pair in groups.items() for part in pair]
    for number in range(20):
        app.topic(f"t{number}", partitions=8).properties()
        link.execute("HSET", topic_keys(app.namespace, f"t{number}").groups, *flat)
    watch = Watch(link, app.namespace)
    assert len(watch.look().topics) == 20
    asked: set[str] = set()
    for _ in range(7):
        look, sent = wires(watch, monkeypatch)
        scripts = [command for command in sent[0] if command[0] == "EVALSHA" and ":group:" in str(command)]
        assert len(scripts) <= 50
        assert len(sent[0]) - len(scripts) <= 200 + 2 * 20 + 10, "of the members of a group three commands are asked"
        asked |= {str(command[3]) + str(command[4]) for command in scripts}
        assert (look.truncated, sum(len(one.groups) for one in look.topics)) == ((), 40)
    assert len(asked) == 320, "and within seven looks all are asked"


def test_what_is_new_beyond_what_one_look_asks_for_is_told_when_it_is_whole(
    app: TaskQ, link: SyncLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(app)
    monkeypatch.setattr(limits, "NEW", 2)
    watch = Watch(link, app.namespace)
    looks = [watch.look() for _ in range(10)]
    assert "topics" in looks[0].truncated
    assert looks[-1].truncated == ()
    same(looks[-1].topics, TopicInspector(link, app.namespace).topics())
    for look in looks:
        for info in look.topics:
            assert info.appended == (10 if info.topic == "orders" else 1), "a part of a topic is not told"


def test_of_more_topics_than_are_read_some_are_left_out_and_that_is_said(
    app: TaskQ, link: SyncLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(app)
    monkeypatch.setattr(limits, "MOST_TOPICS", 1)
    look = Watch(link, app.namespace).look()
    assert ([one.topic for one in look.topics], look.truncated) == (["bare"], ("topics",))


def test_a_topic_that_cannot_be_read_is_named_and_hides_no_other(app: TaskQ, link: SyncLink) -> None:
    furnish(app)
    watch = Watch(link, app.namespace)
    watch.look()
    keys = topic_keys(app.namespace, "orders").partition(1)
    link.execute("RENAME", keys.group("billing"), keys.group("billing") + ":aside")
    link.execute("SET", keys.group("billing"), "no hash")
    look = watch.look()
    assert look.truncated == ("topic orders",)
    assert [[group.group for group in one.groups] for one in look.topics] == [[], ["mail"]]
    link.execute("RENAME", keys.group("billing") + ":aside", keys.group("billing"))
    look = watch.look()
    assert (look.truncated, len(look.topics[1].groups)) == ((), 2)
    link.execute("HSET", keys.meta, "n", "many")
    look = watch.look()
    assert ([one.topic for one in look.topics], look.truncated) == (["bare"], ("topic orders",))
    link.execute("HSET", topics(app.namespace), "bare", "no JSON")
    assert Watch(link, app.namespace).look().topics == ()


def test_a_topic_or_group_that_is_gone_is_forgotten(app: TaskQ, link: SyncLink) -> None:
    furnish(app)
    watch = Watch(link, app.namespace)
    watch.look()
    link.execute("HDEL", topic_keys(app.namespace, "orders").groups, "mail")
    link.execute("HDEL", topics(app.namespace), "bare")
    watch.look()
    [orders] = watch.look().topics
    assert [one.group for one in orders.groups] == ["billing"]


def test_s103_retries_dead_letters_members_and_rebalances_are_told(app: TaskQ, link: SyncLink) -> None:
    orders = app.topic("orders", partitions=1)
    orders.publish(1)
    seen, watch = Noted(), Watch(link, app.namespace)

    def fail(record: Record) -> None:
        seen.add(record.attempt)
        raise ValueError("no")

    said: dict[str, Any] = {"reset": "earliest", "retry": RetryPolicy(max_attempts=3, base=0.01, cap=0.01)}
    consumer = Consumer(orders.log, Subscription.of("g", said), fail).start()
    try:
        assert consumer.wait_joined(PATIENCE_S)
        assert seen.wait(3) == [1, 2, 3]
        wait_until(lambda: any(group.buried for one in watch.look().topics for group in one.groups))
        [group] = watch.look().topics[0].groups
        assert (group.retried, group.buried, group.dead, group.records, group.done) == (2, 1, 1, 0, 1)
        assert (len(group.members), group.members[0].partitions) == (1, (0,))
        epoch = group.epoch
        assert epoch >= 1
    finally:
        consumer.stop()

    def after() -> Any:
        return watch.look().topics[0].groups[0]

    wait_until(lambda: after().members == ())
    assert after().epoch > epoch, "that it left, was a rebalance"
    orders.group("g").redrive(orders.group("g").dead())
    wait_until(lambda: (after().dead, after().buried, after().records) == (0, 1, 1))


def test_s103_what_a_shared_group_retried_buried_and_lost_is_told(app: TaskQ, link: SyncLink) -> None:
    orders, watch = app.topic("orders", partitions=1), Watch(link, app.namespace)
    orders.publish_many([1, 2, 3])
    policy = RetryPolicy(max_attempts=2, base=0.01, cap=0.01)
    with orders.subscribe(group="s", mode="shared", reset="earliest", ack="manual", retry=policy) as records:
        for _ in range(2):
            record = next(one for one in records if one.value == 1 or records.ack(one) is None)
            records.nack(record, ValueError("no"))
        wait_until(lambda: any(group.buried for one in watch.look().topics for group in one.groups))
    wait_until(lambda: watch.look().topics[0].groups[0].records == 0)
    [group] = watch.look().topics[0].groups
    assert (group.retried, group.buried, group.dead, group.done, group.members) == (1, 1, 1, 3, ())
