"""Shared subscriptions on real servers: where they begin, what they settle, how they fail and filter."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import ConfigError, NoOffset, Record, Reject, Retention, Retry, RetryPolicy, Route, TaskQ, Topic
from taskq.codec import JsonCodec, register
from taskq.errors import InvalidOption, UnknownTopic
from taskq.events import shared_reading
from taskq.events.shared import SharedSubscription
from taskq.store.topic_keys import topic_keys
from tests.events.kit import QUICK, Noted, wait_until
from tests.servers import SERVER_NAMES


@pytest.fixture(params=SERVER_NAMES)
def place(request: pytest.FixtureRequest) -> str:
    """Plain servers; `test_shared_cluster.py` plays a part of this on clusters."""
    return request.param or ""


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a close wait for a tenth of its time, but where the rate of reading is looked at."""
    if "s18" not in request.node.name:
        monkeypatch.setattr(shared_reading, "BLOCK_S", 0.1)


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
def orders(app: TaskQ) -> Topic:
    topic = app.topic("orders", partitions=2)
    topic.properties()
    return topic


def settled(subscription: SharedSubscription) -> None:
    """Wait until nothing of the group is unread, in flight or waiting."""
    wait_until(lambda: all(one.records + one.pending == 0 for one in subscription.lag()))


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

    with topic.subscribe(lambda record: None, group="mail", mode="shared"):
        before = seconds(link), commands()
        wait_until(lambda: seconds(link) - before[0] >= 6)
        passed, sent = seconds(link) - before[0], commands() - before[1]
    assert sent <= 2 * (passed + 1)


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


# -- delivery, failing


def test_s38_at_most_once_is_settled_before_it_is_handled(app: TaskQ) -> None:
    topic, noted = app.topic("one", partitions=1), Noted()
    topic.publish_many([1, 2])

    def handler(record: Record) -> None:
        noted.add((record.value, subscription.lag()[0].pending))
        raise ValueError

    subscription = topic.subscribe(
        handler, group="m", mode="shared", reset="earliest", delivery="at_most_once", concurrency=1
    )
    with subscription:
        assert noted.wait(2) == [(1, 0), (2, 0)]
        settled(subscription)
    assert subscription.dead() == []


def test_s48_each_delivery_has_the_same_id_and_counts_its_attempts(app: TaskQ) -> None:
    topic, noted = app.topic("one", partitions=1), Noted()
    placed = topic.publish("x")

    def handler(record: Record) -> None:
        noted.add((record.id, record.attempt))
        if record.attempt < 3:
            raise ValueError("not yet")

    with topic.subscribe(handler, group="mail", mode="shared", reset="earliest", retry=QUICK):
        name = f"one/0/{placed.offset}"
        assert noted.wait(3) == [(name, 1), (name, 2), (name, 3)]


def test_s49_what_fails_too_often_is_a_dead_letter_with_all_that_is_known(app: TaskQ) -> None:
    topic = app.topic("one", partitions=1)
    placed = topic.publish({"a": 1}, key="k", headers={"trace": "t"})
    topic.publish("fine")

    def handler(record: Record) -> None:
        if record.key == "k":
            raise ValueError(f"attempt {record.attempt}")

    with topic.subscribe(handler, group="mail", mode="shared", reset="earliest", retry=QUICK) as subscription:
        settled(subscription)
        (letter,) = subscription.dead()
    record = letter.record
    assert (record.topic, record.partition, record.offset) == ("one", 0, placed.offset)
    assert (record.key, record.value, record.headers) == ("k", {"a": 1}, {"trace": "t"})
    assert (letter.attempts, letter.deaths) == (3, 0)
    assert (letter.first_error["message"], letter.last_error["message"]) == ("attempt 1", "attempt 3")
    assert letter.last_error["type"] == "ValueError"
    assert subscription.lag()[0].dead == 1


def test_a_handler_steers_by_retry_and_reject(app: TaskQ) -> None:
    topic, noted = app.topic("one", partitions=1), Noted()
    topic.publish_many(["wait", "no"])

    def handler(record: Record) -> None:
        noted.add((record.value, record.attempt))
        if record.value == "no":
            raise Reject("never")
        if len([one for one in noted.all if one[0] == "wait"]) < 3:
            raise Retry(after=0, count_attempt=False)

    with topic.subscribe(handler, group="mail", mode="shared", reset="earliest", retry=False) as subscription:
        settled(subscription)
        assert sorted(noted.all) == [("no", 1), *[("wait", 1)] * 3]
        assert [one.record.value for one in subscription.dead()] == ["no"]


class _Picky(JsonCodec):
    @property
    def name(self) -> str:
        return "picky"

    def loads(self, data: bytes, /) -> Any:
        value = super().loads(data)
        if value == "bad":
            raise ValueError("cannot read this")
        return value


def test_s51_what_cannot_be_read_follows_the_policy_without_the_handler(app: TaskQ, noted: Noted) -> None:
    register(_Picky())
    topic = app.topic("picky", partitions=1, codec="picky")
    topic.publish_many(["bad", "good"])
    with topic.subscribe(noted.value, group="mail", mode="shared", reset="earliest", retry=QUICK) as subscription:
        settled(subscription)
        (letter,) = subscription.dead()
    assert noted.all == ["good"]
    assert letter.attempts == 3
    assert "cannot read this" in letter.last_error["message"]


def test_an_entry_that_taskq_did_not_write_is_a_dead_letter(app: TaskQ, noted: Noted) -> None:
    topic = app.topic("one", partitions=1)
    topic.publish(1)
    app.events.links().sync.execute("XADD", topic_keys(app.namespace, "one").partition(0).log, "*", "some", "thing")
    with topic.subscribe(noted.value, group="mail", mode="shared", reset="earliest") as subscription:
        wait_until(lambda: len(subscription.dead()) == 1)
    assert noted.all == [1]


def test_s52_redriven_letters_run_again_with_a_count_and_a_cap(app: TaskQ) -> None:
    topic, noted = app.topic("one", partitions=1), Noted()
    topic.publish("x", key="k")

    def handler(record: Record) -> None:
        noted.add(record.attempt)
        raise ValueError

    with topic.subscribe(handler, group="mail", mode="shared", reset="earliest", retry=False) as subscription:
        for count in range(3):
            settled(subscription)
            (letter,) = subscription.dead()
            assert (letter.redriven, letter.record.key) == (count, "k")
            answer = subscription.redrive(most=2)
            assert (answer.redriven, len(answer.capped)) == ((1, 0) if count < 2 else (0, 1))
    assert noted.all == [1, 1, 1]


def test_s53_a_dead_letter_that_cannot_be_stored_settles_nothing(app: TaskQ) -> None:
    topic = app.topic("one", partitions=1)
    topic.publish("x")
    link, keys = app.events.links().sync, topic_keys(app.namespace, "one").partition(0)
    letters = keys.group("mail", "dead")
    noted = Noted()

    def handler(record: Record) -> None:
        link.execute("SET", letters, "not a stream")
        noted.add(record.attempt)
        raise Reject

    with topic.subscribe(handler, group="mail", mode="shared", reset="earliest") as subscription:
        noted.wait(1)
        wait_until(lambda: subscription.counts.failed == 1)
        assert link.execute("XPENDING", keys.log, "mail:1")[0] == 1
        link.execute("DEL", letters)
        settled(subscription)
        assert len(subscription.dead()) == 1


def test_s54_what_waits_for_its_backoff_holds_nobody_up(app: TaskQ, noted: Noted) -> None:
    topic = app.topic("one", partitions=1)
    topic.publish("later")
    topic.publish_many(range(20))

    def handler(record: Record) -> None:
        noted.add(record.value)
        if record.value == "later":
            raise Retry(after=3600)

    with topic.subscribe(
        handler, group="mail", mode="shared", reset="earliest", concurrency=1, max_in_flight=1
    ) as subscription:
        assert noted.wait(21) == ["later", *range(20)]
        wait_until(lambda: subscription.lag()[0].pending == 1)
        assert subscription.lag()[0].waiting == 1


# -- filters, routes, groups


def test_s57_after_close_nothing_is_delivered_and_the_rest_is_for_others(orders: Topic) -> None:
    first, second = Noted(), Noted()
    one = orders.subscribe(first.value, group="mail", mode="shared").start()
    orders.publish(1)
    first.wait(1)
    one.close()
    orders.publish_many(range(2, 12))
    with orders.subscribe(second.value, group="mail", mode="shared") as other:
        assert sorted(second.wait(10)) == list(range(2, 12))
        assert max(one.consumers for one in other.lag()) == 1, "who left has left no trace"
    assert first.all == [1]


def test_s57_what_was_in_hand_and_not_begun_is_given_back_at_once(orders: Topic, noted: Noted) -> None:
    orders.publish_many(range(10))
    go, begun = threading.Event(), threading.Event()

    def slow(record: Record) -> None:
        begun.set()
        go.wait(60)

    one = orders.subscribe(slow, group="mail", mode="shared", reset="earliest", concurrency=1, max_in_flight=10).start()
    assert begun.wait(60)
    closing = threading.Thread(target=one.close)
    closing.start()
    with orders.subscribe(noted.value, group="mail", mode="shared"):
        assert len(noted.wait(9)) == 9, "no lease has to lapse for that"
        go.set()
        closing.join(60)
        assert one.counts.handled == 1, "what had begun was let end"


def test_s58_a_record_that_a_filter_rejects_is_settled_without_the_handler(orders: Topic, noted: Noted) -> None:
    for number in range(10):
        orders.publish(number, key=f"k{number % 2}", headers={"kind": "even" if number % 2 == 0 else "odd"})
    only = orders.subscribe(
        noted.value,
        group="mail",
        mode="shared",
        reset="earliest",
        filter=lambda record: record.headers["kind"] == "even",
    )
    with only as subscription:
        settled(subscription)
        assert sorted(noted.all) == [0, 2, 4, 6, 8]
        wait_until(lambda: (subscription.counts.filtered, subscription.counts.handled) == (5, 5))


def test_s58_a_filter_that_raises_follows_the_error_policy(app: TaskQ, noted: Noted) -> None:
    topic = app.topic("one", partitions=1)
    topic.publish(1)

    def broken(record: Record) -> bool:
        raise KeyError("kind")

    with topic.subscribe(
        noted.value, group="mail", mode="shared", reset="earliest", filter=broken, retry=QUICK
    ) as subscription:
        settled(subscription)
        (letter,) = subscription.dead()
    assert (noted.all, letter.attempts, letter.last_error["type"]) == ([], 3, "KeyError")


def test_several_handlers_of_a_group_share_its_records_by_their_filters(orders: Topic) -> None:
    small, large = Noted(), Noted()
    orders.publish_many(range(10))
    routes = [Route(small.value, lambda record: record.value < 3), Route(large.value)]
    with orders.subscribe(routes, group="mail", mode="shared", reset="earliest") as subscription:
        settled(subscription)
    assert (sorted(small.all), sorted(large.all)) == ([0, 1, 2], [3, 4, 5, 6, 7, 8, 9])


def test_s60_many_groups_cost_one_record(app: TaskQ) -> None:
    topic = app.topic("one", partitions=1)
    topic.properties()
    groups = [Noted() for _ in range(5)]
    running = [
        topic.subscribe(group.value, group=f"g{number}", mode="shared").start() for number, group in enumerate(groups)
    ]
    topic.publish("x")
    for group in groups:
        assert group.wait(1) == ["x"]
    assert app.events.links().sync.execute("XLEN", topic_keys(app.namespace, "one").partition(0).log) == 1
    for one in running:
        one.close()


def test_s102_lag_is_exact_in_records_bytes_and_seconds(app: TaskQ, noted: Noted) -> None:
    topic = app.topic("one", partitions=1)
    topic.properties()
    topic.subscribe(group="mail", mode="shared").start().close()
    places = [topic.publish("x" * 98, key="12") for _ in range(10)]  # with its quotes a value has 100 bytes
    subscription = topic.subscribe(noted.value, group="mail", mode="shared")
    (lag,) = subscription.lag()
    assert (lag.records, lag.bytes, lag.pending, lag.lost) == (10, 1020, 0, 0)
    assert lag.seconds >= 0
    app.events.links().sync.execute(
        "XTRIM", topic_keys(app.namespace, "one").partition(0).log, "MINID", str(places[3].offset)
    )
    (lag,) = subscription.lag()
    assert (lag.records, lag.bytes) == (7, 714)
    with subscription:
        settled(subscription)
        wait_until(lambda: subscription.lag()[0].lost == 3)
        assert subscription.lag()[0].seconds == 0


def test_s93_retention_waits_for_a_shared_group_that_it_is_to_keep_records_for(app: TaskQ, noted: Noted) -> None:
    topic = app.topic("one", partitions=1, retention=Retention(count=1, keep=("mail",)))
    link, keys = app.events.links().sync, topic_keys(app.namespace, "one").partition(0)
    topic.properties()
    with topic.subscribe(group="mail", mode="shared", lease=0.5, ack="manual") as records:
        topic.publish_many(range(1000))
        held = [next(records) for _ in range(50)]
        for record in held[1:]:
            records.ack(record)
        topic.trim()
        assert link.execute("XLEN", keys.log) == 1000, "the first of them is still in hand"
        records.ack(held[0])
    with topic.subscribe(noted.value, group="mail", mode="shared", lease=0.5) as subscription:
        noted.wait(950)
        wait_until(lambda: link.execute("HGET", keys.group("mail"), "n") == b"1000")
        topic.trim()
        assert link.execute("XLEN", keys.log) < 200
        assert subscription.lag()[0].lost == 0


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
        seen: dict[Any, Any] = {}
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
        orders.subscribe(group="mail", mode="shared", **said)


def test_retry_policy_is_taken_as_for_tasks(orders: Topic) -> None:
    assert orders.subscribe(group="m", mode="shared", retry=7).options.retry == RetryPolicy(max_attempts=7)
    assert orders.subscribe(group="m", mode="shared", retry=False).options.retry.max_attempts == 1
