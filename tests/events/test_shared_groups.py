"""Closing, filters and routes of shared subscriptions; many groups; lag; retention."""

from __future__ import annotations

import threading

from taskq import Record, Retention, Route, TaskQ, Topic
from taskq.store.topic_keys import topic_keys
from tests.events import shared_stage as stage
from tests.events.kit import QUICK, Noted, wait_until
from tests.events.shared_stage import settled

place, noted, orders = stage.place, stage.noted, stage.orders


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
        lease=1,
    )
    with only as subscription:
        settled(subscription)
        assert sorted(noted.all) == [0, 2, 4, 6, 8]
        wait_until(lambda: (subscription.counts.filtered, subscription.counts.handled) == (5, 5))
        wait_until(lambda: positions(orders, "mail") == 10)  # rejected ones are passed like others


def positions(topic: Topic, group: str) -> int:
    """Up to which numbers a group is done, in all partitions together."""
    hashes = [topic.log.keys.partition(number).group(group) for number in range(2)]
    return sum(int(topic.log.links().sync.execute("HGET", name, "n") or 0) for name in hashes)


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
