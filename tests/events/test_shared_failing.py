"""Records of shared subscriptions that fail: retries, dead letters, redrive."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq import Record, Reject, Retry, TaskQ
from taskq.codec import JSON, register
from taskq.events.handling import Route
from taskq.store.topic_keys import topic_keys
from tests.events import shared_stage as stage
from tests.events.kit import QUICK, Noted, wait_until
from tests.events.shared_stage import settled

place, noted, orders = stage.place, stage.noted, stage.orders


# -- delivery, failing


def test_s38_at_most_once_is_settled_before_it_is_handled(app: TaskQ) -> None:
    topic, noted = app.topic("one", partitions=1), Noted()
    topic.publish_many([1, 2])
    log = topic_keys(app.namespace, "one").partition(0).log

    def handler(record: Record) -> None:
        held = app.events.links().sync.execute("XPENDING", log, "m:1", str(record.offset), str(record.offset), 1)
        noted.add((record.value, len(held)))
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


def test_a_cancellation_that_the_handler_made_is_a_failed_attempt(app: TaskQ) -> None:
    topic = app.topic("one", partitions=1)
    topic.publish_many(["a", "b"])

    async def handler(record: Record) -> None:
        if record.value == "a":
            raise asyncio.CancelledError

    with topic.subscribe(handler, group="mail", mode="shared", reset="earliest", retry=QUICK) as subscription:
        settled(subscription)
        (letter,) = subscription.dead()
    assert (letter.record.value, letter.attempts) == ("a", 3)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("kind", ["plain", "coroutine", "one of each"])
def test_whatever_a_handler_raises_is_a_failed_attempt(app: TaskQ, error: BaseException, kind: str) -> None:
    topic, noted = app.topic("one", partitions=1), Noted()
    topic.publish_many([0, 1, 2, 3])

    def plain(record: Record) -> None:
        noted.add((record.value, record.attempt))
        if record.value == 1 and record.attempt < 3:
            raise error
        if record.value == 2:
            raise error

    async def coroutine(record: Record) -> None:
        await asyncio.sleep(0)
        plain(record)

    routes = {"plain": [Route(plain)], "coroutine": [Route(coroutine)]}
    both = [Route(coroutine, lambda record: record.value), Route(plain)]
    given = routes.get(kind, both)
    with topic.subscribe(given, group="mail", mode="shared", reset="earliest", retry=QUICK) as subscription:
        settled(subscription)
        topic.publish(4)
        noted.wait(lambda seen: (4, 1) in seen)
        settled(subscription)
        (letter,) = subscription.dead()
    assert (letter.record.value, letter.attempts, letter.last_error["type"]) == (2, 3, type(error).__name__)
    assert sorted(noted.all) == [(0, 1), (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1), (4, 1)]


async def test_a_coroutine_that_raises_system_exit_does_not_end_the_loop_that_runs_it(app: TaskQ) -> None:
    topic, noted = app.topic("one", partitions=1), Noted()
    await topic.apublish_many([0, 1])

    async def handler(record: Record) -> None:
        noted.add((record.value, record.attempt))
        if record.attempt < 2:
            raise SystemExit(3)

    async with topic.subscribe(handler, group="mail", mode="shared", reset="earliest", retry=QUICK):
        await asyncio.to_thread(noted.wait, 4)
    assert sorted(noted.all) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    await app.aclose()


class _Picky:
    name = "picky"

    def dumps(self, value: Any, /) -> bytes:
        return JSON.dumps(value)

    def loads(self, data: bytes, /) -> Any:
        value = JSON.loads(data)
        if value == "bad":
            raise ValueError("cannot read this")
        return value


PICKY = _Picky()


def test_s51_what_cannot_be_read_follows_the_policy_without_the_handler(app: TaskQ, noted: Noted) -> None:
    register(PICKY)
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

    said: Any = {"group": "mail", "mode": "shared", "reset": "earliest", "retry": False, "lease": 2}
    with topic.subscribe(handler, **said) as subscription:
        for count in range(3):
            settled(subscription)
            (letter,) = subscription.dead()
            assert (letter.redriven, letter.record.key) == (count, "k")
            answer = subscription.redrive(most=2)
            assert (answer.redriven, len(answer.capped)) == ((1, 0) if count < 2 else (0, 1))
    assert noted.all == [1, 1, 1]


def test_s52_a_letter_whose_record_comes_again_by_a_seek_runs_once(app: TaskQ) -> None:
    topic, noted, fails = app.topic("one", partitions=1), Noted(), [True]
    topic.publish_many(range(5))

    def handler(record: Record) -> None:
        noted.add(record.value)
        if fails[0] and record.value == 2:
            raise ValueError

    said: Any = {"group": "mail", "mode": "shared", "reset": "earliest", "retry": False, "concurrency": 1}
    with topic.subscribe(handler, **said) as subscription:
        settled(subscription)
    assert len(subscription.dead()) == 1
    subscription.seek("earliest")
    assert subscription.redrive().redriven == 1
    noted.all.clear()
    fails[0] = False
    with topic.subscribe(handler, **said) as again:
        settled(again)
        (place,) = again.lag()
    assert noted.all == [0, 1, 2, 3, 4]
    assert (place.records, again.dead()) == (0, [])


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
