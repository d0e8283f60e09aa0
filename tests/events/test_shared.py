"""Where a shared subscription begins, what it reads, how it is iterated."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import ConfigError, NoOffset, Record, RetryPolicy, Route, TaskQ, Topic
from taskq.errors import InvalidOption, UnknownTopic
from taskq.store.topic_keys import topic_keys
from tests.events import shared_stage as stage
from tests.events.kit import QUICK, Noted, wait_until
from tests.events.shared_stage import settled

place, noted, orders = stage.place, stage.noted, stage.orders


# -- where a group begins


def test_s1_a_new_group_at_earliest_gets_every_record_of_the_log(orders: Topic, noted: Noted) -> None:
    orders.publish_many(range(100))
    with orders.subscribe(noted.value, group="mail", mode="shared", reset="earliest"):
        assert sorted(noted.wait(100)) == list(range(100))


def test_s2_a_group_at_latest_gets_what_is_published_once_it_has_begun(orders: Topic, noted: Noted) -> None:
    orders.publish_many(range(10))
    with orders.subscribe(noted.value, group="mail", mode="shared") as subscription:
        orders.publish_many(range(10, 20))
        assert sorted(noted.wait(10)) == list(range(10, 20))
        settled(subscription)
        assert len(noted.all) == 10


def test_s2_a_group_that_was_away_goes_on_where_it_was(orders: Topic, noted: Noted) -> None:
    with orders.subscribe(noted.value, group="mail", mode="shared"):
        orders.publish(1)
        noted.wait(1)
    orders.publish(2)
    with orders.subscribe(noted.value, group="mail", mode="shared"):
        assert noted.wait(2) == [1, 2]


def test_s3_a_group_without_a_position_can_refuse_to_choose(orders: Topic, noted: Noted) -> None:
    with pytest.raises(NoOffset, match="'mail' has no position in topic 'orders'"):
        orders.subscribe(noted.value, group="mail", mode="shared", reset="error").start()
    with orders.subscribe(noted.value, group="mail", mode="shared"):
        pass
    orders.publish(1)
    with orders.subscribe(noted.value, group="mail", mode="shared", reset="error"):
        assert noted.wait(1) == [1]


def test_s4_what_retention_removed_unread_is_counted_and_said(
    app: TaskQ, noted: Noted, caplog: pytest.LogCaptureFixture
) -> None:
    topic = app.topic("small", partitions=1)
    topic.properties()
    with topic.subscribe(noted.value, group="mail", mode="shared", lease=0.5):
        topic.publish(0)
        noted.wait(1)
    places = topic.publish_many(range(1, 10))
    link, keys = app.events.links().sync, topic_keys(app.namespace, "small").partition(0)
    link.execute("XTRIM", keys.log, "MINID", str(places[5].offset))
    with (
        caplog.at_level(logging.WARNING),
        topic.subscribe(noted.value, group="mail", mode="shared", lease=0.5) as subscription,
    ):
        assert noted.wait(5) == [0, 6, 7, 8, 9]
        wait_until(lambda: subscription.lag()[0].lost == 5)
        wait_until(lambda: "retention removed 5 records of small/0" in caplog.text)


def test_s5_partitions_that_are_added_begin_at_their_first_record(app: TaskQ, noted: Noted) -> None:
    app.topic("grown", partitions=2).properties()
    with app.topic("grown").subscribe(noted.value, group="mail", mode="shared"):
        pass
    link = app.events.links().sync
    groups = topic_keys(app.namespace, "grown").groups
    said = link.execute("HGET", groups, "mail")
    link.execute("HSET", groups, "mail", said.replace(b'"partitions":2', b'"partitions":1'))
    keys = topic_keys(app.namespace, "grown").partition(1)
    link.execute("XGROUP", "DESTROY", keys.log, "mail:1")
    link.execute("DEL", keys.group("mail"))
    app.topic("grown").publish("early", partition=1)
    with app.topic("grown").subscribe(noted.value, group="mail", mode="shared"):
        assert noted.wait(1) == ["early"]


def test_s6_a_seek_goes_to_an_offset_a_time_or_the_end(app: TaskQ, noted: Noted) -> None:
    topic = app.topic("one", partitions=1)
    places = [topic.publish(number) for number in range(5)]
    with topic.subscribe(noted.value, group="mail", mode="shared", reset="earliest", concurrency=1) as subscription:
        noted.wait(5)
        settled(subscription)
        subscription.seek(places[3].offset)
        assert noted.wait(7)[5:] == [3, 4]
        settled(subscription)
        subscription.seek(datetime.fromtimestamp(places[0].offset.ms / 1000, UTC))
        assert noted.wait(12)[7:] == [0, 1, 2, 3, 4]
        settled(subscription)
        subscription.seek("latest")
        topic.publish(5)
        assert noted.wait(13)[12:] == [5]


def test_s7_what_was_in_flight_at_a_seek_cannot_be_settled(app: TaskQ) -> None:
    topic = app.topic("one", partitions=1)
    topic.publish("x")
    go, begun, noted = threading.Event(), threading.Event(), Noted()

    def handler(record: Record) -> None:
        noted.add(record.attempt)
        if len(noted.all) == 1:
            begun.set()
            go.wait(60)

    with topic.subscribe(
        handler, group="mail", mode="shared", reset="earliest", lease=0.5, concurrency=2
    ) as subscription:
        assert begun.wait(60)
        subscription.seek("earliest")
        noted.wait(2)
        go.set()
        wait_until(lambda: subscription.counts.refused == 1)
        assert subscription.counts.handled == 1


def test_s10_the_position_is_behind_everything_that_is_settled(app: TaskQ) -> None:
    topic = app.topic("one", partitions=1)
    places = [topic.publish(number) for number in range(4)]
    with topic.subscribe(group="mail", mode="shared", reset="earliest", lease=0.5, ack="manual") as records:
        held = [next(records) for _ in range(4)]
        for record in (held[0], held[2], held[3]):
            records.ack(record)
        link, keys = app.events.links().sync, topic_keys(app.namespace, "one").partition(0)
        at = keys.group("mail")
        wait_until(lambda: link.execute("HGET", at, "n") == b"1")
        records.ack(held[1])
        wait_until(lambda: link.execute("HGET", at, "at") == str(places[3].offset).encode())


def test_s11_groups_do_not_touch_each_other(orders: Topic) -> None:
    one, two = Noted(), Noted()
    with (
        orders.subscribe(one.value, group="one", mode="shared"),
        orders.subscribe(two.value, group="two", mode="shared") as second,
    ):
        orders.publish_many(range(5))
        one.wait(5)
        two.wait(5)
        second.seek("earliest")
        two.wait(10)
        orders.publish(5)
        assert sorted(one.wait(6)) == [0, 1, 2, 3, 4, 5]


# -- reading


def test_s13_no_more_is_in_hand_than_was_said(orders: Topic) -> None:
    orders.publish_many(range(50))
    with orders.subscribe(
        group="mail", mode="shared", reset="earliest", max_in_flight=7, concurrency=4, ack="manual"
    ) as records:
        for _ in range(7):
            next(records)
        assert sum(one.pending for one in records.lag()) == 7
        assert sum(one.records for one in records.lag()) == 43


def test_s17_more_consumers_than_partitions_all_get_records(orders: Topic) -> None:
    turns = [Noted() for _ in range(4)]
    held = threading.Semaphore(0)

    def handler(number: int) -> Callable[[Record], None]:
        def handle(record: Record) -> None:
            turns[number].add(record.value)
            held.acquire(timeout=60)

        return handle

    running = [
        orders.subscribe(handler(number), group="mail", mode="shared", concurrency=1, max_in_flight=1).start()
        for number in range(4)
    ]
    orders.publish_many(range(4))
    for turn in turns:
        turn.wait(1)
    held.release(4)
    for one in running:
        one.close()


def test_s18_an_idle_consumer_sends_two_commands_a_second_at_most(app: TaskQ) -> None:
    topic = app.topic("idle", partitions=8)
    topic.properties()
    link = app.events.links().sync

    def commands() -> int:
        # `evalsha` and `xreadgroup` are all that a consumer sends; what runs inside of scripts is not counted there
        text = link.execute("INFO", "commandstats").decode()
        lines = [line for line in text.splitlines() if line.startswith(("cmdstat_evalsha:", "cmdstat_xreadgroup:"))]
        return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in lines)

    def calm() -> bool:
        began, sent = seconds(link), commands()
        wait_until(lambda: seconds(link) - began >= 4)
        return commands() - sent <= 2 * (seconds(link) - began + 1)

    with topic.subscribe(lambda record: None, group="mail", mode="shared"):
        assert any(calm() for _ in range(5)), "what it asks at its start may fall into the first window"


def seconds(link: Any) -> float:
    told = link.execute("TIME")
    return int(told[0]) + int(told[1]) / 1e6


def meet(together: threading.Barrier, record: Record) -> None:
    together.wait(60)


def test_s32_records_of_one_partition_are_handled_side_by_side(app: TaskQ) -> None:
    topic = app.topic("one", partitions=1)
    together = threading.Barrier(5)
    topic.publish_many(range(5))
    with topic.subscribe(
        lambda record: together.wait(60), group="mail", mode="shared", reset="earliest", concurrency=5
    ) as subscription:
        settled(subscription)
    assert subscription.counts.failed == 0


# -- iterating


def test_a_loop_settles_each_record_when_it_asks_for_the_next(app: TaskQ) -> None:
    topic = app.topic("one", partitions=1)
    topic.publish_many(range(3))
    with topic.subscribe(group="mail", mode="shared", reset="earliest") as records:
        for record in records:
            if record.value == 2:
                break
    with topic.subscribe(group="mail", mode="shared") as records:
        again = next(records)
        assert (again.value, again.attempt) == (2, 1), "it was not passed, so it was given back"


def test_a_loop_whose_body_raises_has_failed_its_record(app: TaskQ) -> None:
    topic = app.topic("one", partitions=1)
    topic.publish("x")
    records = topic.subscribe(group="mail", mode="shared", reset="earliest", retry=QUICK)
    with pytest.raises(ZeroDivisionError), records:
        raise ZeroDivisionError(next(records).value)
    with topic.subscribe(group="mail", mode="shared", retry=QUICK) as records:
        assert next(records).attempt == 2


def test_records_are_settled_by_name_in_any_order(app: TaskQ) -> None:
    topic = app.topic("one", partitions=1)
    topic.publish_many(range(4))
    with topic.subscribe(group="mail", mode="shared", reset="earliest", retry=QUICK, ack="manual") as records:
        first, second = next(records), next(records)
        assert records.nack(second, ValueError("no"), after=0)
        assert records.release(first)
        assert not records.ack(first), "once"
        seen: dict[int, int] = {}
        while len(seen) < 4:
            record = next(records)
            seen[record.value] = record.attempt
            records.ack(record)
    assert seen == {0: 1, 1: 2, 2: 1, 3: 1}


async def test_the_same_in_an_event_loop(app: TaskQ) -> None:
    topic, seen = app.topic("one", partitions=1), []
    await topic.apublish_many(range(5))
    async with topic.subscribe(group="mail", mode="shared", reset="earliest") as records:
        async for record in records:
            seen.append(record.value)
            if len(seen) == 5:
                break
    assert seen == [0, 1, 2, 3, 4]


async def test_coroutine_handlers_run_in_the_loop_that_starts_them(app: TaskQ) -> None:
    import asyncio

    topic, here, together = app.topic("one", partitions=1), asyncio.get_running_loop(), asyncio.Barrier(20)
    await topic.apublish_many(range(20))
    loops = set()

    async def handler(record: Record) -> None:
        loops.add(asyncio.get_running_loop())
        await together.wait()

    async with topic.subscribe(handler, group="mail", mode="shared", reset="earliest", concurrency=20) as subscription:
        async with asyncio.timeout(60):
            while subscription.counts.handled < 20:
                await asyncio.sleep(0.01)
    assert loops == {here}


def test_coroutine_handlers_have_a_loop_of_their_own_elsewhere(app: TaskQ, noted: Noted) -> None:
    topic = app.topic("one", partitions=1)
    topic.publish_many(range(3))

    async def handler(record: Record) -> None:
        noted.add(record.value)

    with topic.subscribe(handler, group="mail", mode="shared", reset="earliest"):
        assert sorted(noted.wait(3)) == [0, 1, 2]
    topic.publish_many(range(3, 6))
    with topic.subscribe(
        [Route(noted.value, lambda record: record.value == 3), Route(handler)], group="mail", mode="shared"
    ):
        assert sorted(noted.wait(6)) == [0, 1, 2, 3, 4, 5]


# -- what cannot be meant


def test_a_topic_that_nobody_declared_is_named(app: TaskQ) -> None:
    with pytest.raises(UnknownTopic, match="no topic 'nothing'"):
        app.topic("nothing").subscribe(group="mail", mode="shared").start()


@pytest.mark.parametrize("option", ["packed", "compact"])
def test_a_topic_whose_log_cannot_be_shared_is_refused(app: TaskQ, option: str) -> None:
    said: dict[str, Any] = {option: True}
    topic = app.topic("odd", partitions=1, **said)
    topic.properties()
    with pytest.raises(ConfigError, match=f"'odd' has {option}=True"):
        topic.subscribe(group="mail", mode="shared").start()


def test_a_group_of_another_kind_is_refused(app: TaskQ, orders: Topic) -> None:
    app.events.links().sync.execute("HSET", topic_keys(app.namespace, "orders").groups, "mail", '{"kind":"ordered"}')
    with pytest.raises(ConfigError, match="group 'mail' of topic 'orders' is ordered, not shared"):
        orders.subscribe(group="mail", mode="shared").start()


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"lease": 0.1}, "lease=0.1"),
        ({"reset": "first"}, "reset='first'"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"max_in_flight": 0}, "max_in_flight=0"),
        ({"delivery": "once"}, "delivery='once'"),
        ({"leese": 1}, "did you mean 'lease'"),
        ({"mode": "some"}, "mode='some'"),
        ({"filter": 3}, "filter="),
    ],
)
def test_what_cannot_be_meant_is_named(orders: Topic, said: Any, text: str) -> None:
    with pytest.raises(InvalidOption, match=text):
        _loose(orders).subscribe(group="mail", **{"mode": "shared", **said})


def _loose(topic: Any) -> Any:
    """A topic whose methods may be called with what its types forbid."""
    return topic


def test_retry_policy_is_taken_as_for_tasks(orders: Topic) -> None:
    assert orders.subscribe(group="m", mode="shared", retry=7).options.retry == RetryPolicy(max_attempts=7)
    assert orders.subscribe(group="m", mode="shared", retry=False).options.retry.max_attempts == 1
