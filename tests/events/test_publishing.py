"""Publishing: where records land, what comes back, and what happens when an answer does not."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from taskq import Event, PublishUnconfirmed, Record, TaskQ, Topic
from taskq.codec import MAX_ARGUMENTS
from taskq.errors import (
    BrokerFull,
    BrokerUnavailable,
    InvalidOption,
    OutOfOrder,
    PayloadTooLarge,
    PublisherFenced,
    SerializationError,
)
from taskq.events.outgoing import partition_of
from taskq.names import shown

Another = Callable[..., TaskQ]
packings = pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])


def everything(topic: Topic) -> dict[int, list[Any]]:
    """The values of each partition, in order."""
    return {
        number: [one.value for one in topic.read(number, limit=100_000)]
        for number in range(topic.properties().partitions)
    }


def test_the_partition_of_a_key_is_the_same_for_ever() -> None:
    keys = ["a", "customer-7", "größe", "x" * 1000]
    assert [partition_of(key, 1024) for key in keys] == [559, 90, 745, 535]


@packings
def test_a_publish_says_where_its_record_is(app: TaskQ, packed: bool) -> None:
    topic = app.topic("t", partitions=4, packed=packed)
    told = topic.publish({"id": 1}, key="k", headers={"trace": "1"}, time=12.5)
    assert told.created
    assert told.partition == partition_of("k", 4)
    (record,) = topic.read(told.partition)
    assert (record.offset, record.value, record.key) == (told.offset, {"id": 1}, "k")
    assert (dict(record.headers), record.time, record.number) == ({"trace": "1"}, 12_500, 1)
    assert record.id == f"t/{told.partition}/{told.offset}"


@packings
def test_many_are_told_in_the_order_in_which_they_were_given(app: TaskQ, packed: bool) -> None:
    topic = app.topic("t", partitions=4, packed=packed)
    events = [Event(number, key=f"key-{number % 7}") for number in range(2_500)]
    told = topic.publish_many(events)
    assert len(told) == 2_500
    where = {(number, one.offset): one.value for number in range(4) for one in topic.read(number, limit=100_000)}
    assert [where[one.partition, one.offset] for one in told] == list(range(2_500))
    for values in everything(topic).values():
        for key in range(7):
            mine = [value for value in values if value % 7 == key]
            assert mine == sorted(mine), "the records of a key stay in order"
    numbers = [one.number for one in topic.read(told[0].partition, limit=100_000)]
    assert numbers == list(range(1, len(numbers) + 1))


@packings
def test_records_without_a_key_are_spread_by_batches(app: TaskQ, packed: bool) -> None:
    topic = app.topic("t", partitions=4, packed=packed)
    topic.publish_many(range(4_000))
    counts = [len(values) for values in everything(topic).values()]
    assert sorted(counts) == [1_000] * 4
    assert topic.publish("here", partition=3).partition == 3


async def test_the_same_from_an_event_loop(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.loops._warned", set())
    topic = app.topic("t", partitions=2)
    one = await topic.apublish("a", key="k")
    many = await topic.apublish_many([Event("b", "k"), Event("c", "k")])
    assert [one.offset, *(told.offset for told in many)] == [
        record.offset for record in await topic.aread(one.partition)
    ]
    assert [record.value for record in (await topic.aof_key("k")).records] == ["a", "b", "c"]
    with pytest.warns(RuntimeWarning, match="await apublish"):
        topic.publish("d")
    await app.aclose()


@packings
@pytest.mark.parametrize(
    ("event", "error", "text"),
    [
        (Event({1, 2}), SerializationError, r"event 1: value is a set"),
        (Event({"a": [float("nan")]}), SerializationError, r"event 1: value\.a\[0\] is nan"),
        (Event({"a": 2**64}), SerializationError, r"event 1: value\.a is an int beyond 64 bits"),
        (Event("x" * MAX_ARGUMENTS), PayloadTooLarge, "event 1 takes 1,048,578 bytes"),
        (Event(1, key=""), InvalidOption, "key=''"),
        (Event(1, key="\ud800"), InvalidOption, "key="),
        (Event(1, key=7), InvalidOption, "key=7"),  # type: ignore[arg-type]
        (Event(1, headers={"a": 1}), InvalidOption, "give a dict of texts"),  # type: ignore[dict-item]
        (Event(1, time="now"), InvalidOption, "time='now'"),  # type: ignore[arg-type]
        (Event(1, partition=2), InvalidOption, "has 2 partitions, 0 to 1"),
        (Event(None), InvalidOption, "neither a value nor a key"),
        (Event(1, id=""), InvalidOption, "id="),
    ],
)
def test_one_bad_event_is_named_and_nothing_is_stored(
    app: TaskQ, packed: bool, event: Event, error: type[Exception], text: str
) -> None:
    topic = app.topic("t", partitions=2, packed=packed)
    with pytest.raises(error, match=text):
        topic.publish_many([Event("good", "k"), event])
    assert everything(topic) == {0: [], 1: []}


@packings
@pytest.mark.parametrize("one", [5, "text", b"bytes", bytearray(b"bytes"), {"a": 1}, Event("x", "k")], ids=str)
def test_one_value_is_not_many(app: TaskQ, packed: bool, one: Any) -> None:
    topic = app.topic("t", partitions=2, packed=packed)
    said = re.escape(f"events={shown(one)}: give a list of events or values; one alone is for `publish`")
    for publisher in (topic.publisher(), topic.publisher("name")):
        with pytest.raises(InvalidOption, match=said):
            publisher.publish_many(one)
        with pytest.raises(InvalidOption, match=said):
            publisher.publish_many(one, partition=0)
    with pytest.raises(InvalidOption, match=said):
        topic.publish_many(one)
    assert everything(topic) == {0: [], 1: []}


async def test_one_value_is_not_many_in_an_event_loop_either(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1)
    for publish in (topic.apublish_many, topic.publisher(linger=1).apublish_many):
        with pytest.raises(InvalidOption, match="events='text': give a list"):
            await publish("text")
    await app.aclose()


def test_large_records_go_alone(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1)
    sizes = [300_000, 10, 200_000, 200_000, 1_000_000]
    topic.publish_many(["x" * size for size in sizes])
    assert [len(one.value) for one in topic.read(0)] == sizes


def test_s60_one_append_however_many_look(app: TaskQ, another_app: Another) -> None:
    topic = app.topic("t", partitions=1)
    topic.publish("once")
    for _ in range(3):
        assert [one.value for one in another_app().topic("t").read(0)] == ["once"]
    assert app.broker().link.execute("XLEN", topic.log.keys.partition(0).log) == 1


def test_s45_what_has_an_id_is_appended_once(app: TaskQ, another_app: Another) -> None:
    topic = app.topic("t", partitions=1)
    first = topic.publish("a", id="order-1")
    again = another_app().topic("t").publish("a", id="order-1")
    assert (first.created, again.created, again.offset) == (True, False, first.offset)
    assert everything(topic) == {0: ["a"]}


def test_threads_share_a_topic(app: TaskQ) -> None:
    topic = app.topic("t", partitions=2)
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda number: topic.publish(number, key=str(number)), range(200)))
    assert len({(one.partition, one.offset) for one in told}) == 200
    assert sorted(value for values in everything(topic).values() for value in values) == list(range(200))


def test_a_fork_publishes_on_lanes_of_its_own(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1)
    topic.publish("parent")
    if not (child := os.fork()):
        code = 1
        try:
            topic.publish_many(["child", "child"])
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    topic.publish("parent")
    assert everything(topic) == {0: ["parent", "child", "child", "parent"]}


# -- named publishers


def test_s42_a_number_is_appended_once_also_by_the_next_incarnation(app: TaskQ, another_app: Another) -> None:
    topic = app.topic("t", partitions=2)
    one = topic.publisher(id="billing-1")
    first = one.publish_many(["a", "b"], partition=1, number=1)
    again = another_app().topic("t").publisher(id="billing-1")
    assert again.numbers() == {0: 0, 1: 1}
    assert list(again.publish_many(["a", "b"], partition=1, number=1)) == list(first)
    assert everything(topic) == {0: [], 1: ["a", "b"]}


def test_s43_a_number_that_is_not_the_next_is_refused(app: TaskQ) -> None:
    publisher = app.topic("t", partitions=1).publisher(id="billing-1")
    publisher.publish_many(["a"], partition=0, number=1)
    with pytest.raises(OutOfOrder, match="number 3 for partition 0"):
        publisher.publish_many(["c"], partition=0, number=3)
    for number in range(2, 12):
        publisher.publish_many([number], partition=0, number=number)
    with pytest.raises(OutOfOrder, match="long over"):
        publisher.publish_many(["a"], partition=0, number=1)
    publisher.publish("next")
    assert publisher.numbers() == {0: 12}


def test_s44_a_newer_publisher_of_the_name_fences_the_older_everywhere(app: TaskQ, another_app: Another) -> None:
    topic = app.topic("t", partitions=2)
    older = topic.publisher(id="billing-1")
    older.publish_many(["a"], partition=0)
    newer = another_app().topic("t").publisher(id="billing-1")
    newer.publish_many(["b"], partition=0)
    for partition in (0, 1):
        with pytest.raises(PublisherFenced, match="'billing-1' has begun anew"):
            older.publish_many(["c"], partition=partition)
    newer.publish_many(["d"], partition=1)
    assert everything(topic) == {0: ["a", "b"], 1: ["d"]}


def test_numbers_are_for_one_batch_of_one_partition_and_for_names(app: TaskQ) -> None:
    topic = app.topic("t", partitions=2)
    with pytest.raises(InvalidOption, match="give partition="):
        topic.publisher(id="p").publish_many(["a"], number=1)
    with pytest.raises(InvalidOption, match="give partition="):
        topic.publisher(id="p").publish_many(range(251), partition=0, number=1)
    with pytest.raises(InvalidOption, match="with a name"):
        topic.publisher().publish_many(["a"], partition=0, number=1)


# -- gathering


async def test_what_is_published_at_the_same_time_goes_together_and_in_order(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1)
    async with topic.publisher(linger=0.5, batch=50) as publisher:
        told = await asyncio.gather(*(publisher.apublish(number) for number in range(120)))
    assert everything_of(await topic.aread(0)) == list(range(120))
    assert [one.offset for one in told] == [record.offset for record in await topic.aread(0)]
    stamps = {one.offset.ms for one in told}
    assert len(stamps) <= 3, "three batches, each of one moment"
    await app.aclose()


async def test_closing_sends_what_lingers(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1)
    publisher = topic.publisher(linger=60)
    waiting = asyncio.ensure_future(publisher.apublish("a"))
    await asyncio.sleep(0)
    await publisher.aclose()
    assert (await waiting).partition == 0
    assert everything_of(await topic.aread(0)) == ["a"]
    await app.aclose()


async def test_one_bad_event_among_those_that_wait_fails_alone(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1)
    async with topic.publisher(linger=0.001) as publisher:
        told = await asyncio.gather(*map(publisher.apublish, (1, {2}, 3)), return_exceptions=True)
    assert isinstance(told[1], SerializationError)
    assert everything_of(await topic.aread(0)) == [1, 3]
    await app.aclose()


async def test_who_gave_up_before_it_was_sent_published_nothing(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1)
    await topic.aproperties()
    publisher = topic.publisher(linger=60)
    given_up, kept = (asyncio.ensure_future(publisher.apublish(value)) for value in ("no", "yes"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    await publisher.aclose()
    assert (await kept).created
    assert everything_of(await topic.aread(0)) == ["yes"]
    await app.aclose()


def everything_of(records: Sequence[Record]) -> list[object]:
    return [one.value for one in records]


# -- answers that get lost


class Losing:
    """The link of an app, some of whose answers get lost after the server has carried the calls out, or before."""

    def __init__(self, app: TaskQ) -> None:
        self.link = app.events.links().sync
        self._pipeline = self.link.pipeline
        self.link.pipeline = self.pipeline  # type: ignore[method-assign]
        self.plan: list[str] = []

    def pipeline(self, commands: Sequence[Sequence[Any]], *, timeout: float | None = None) -> list[Any]:
        what = self.plan.pop(0) if self.plan else "answer"
        lost = BrokerUnavailable("the answer got lost")
        if what == "full":
            return [BrokerFull("full")] * len(commands)
        if what == "never sent":
            lost.sent = False
            return [lost] * len(commands)
        if what == "not there":
            return [lost] * len(commands)
        replies = self._pipeline(commands, timeout=timeout)
        if what == "answer":
            return replies
        keep = int(what)
        return replies[:keep] + [lost] * (len(replies) - keep)


@packings
@pytest.mark.parametrize("plan", [["0"], ["1", "0", "2"], ["not there", "1"], ["never sent", "0"]], ids=str)
def test_answers_that_got_lost_are_asked_for_again_and_nothing_is_appended_twice(
    app: TaskQ, packed: bool, plan: list[str]
) -> None:
    topic = app.topic("t", partitions=1, packed=packed)
    topic.publish("first")
    Losing(app).plan = list(plan)
    told = topic.publish_many(range(5_000))
    assert everything(topic) == {0: ["first", *range(5_000)]}
    assert [one.offset for one in told] == [one.offset for one in topic.read(0, limit=100_000)][1:]


def test_what_stays_unconfirmed_can_be_sent_again_until_it_is_clear(app: TaskQ, another_app: Another) -> None:
    hasty = another_app(enqueue_timeout=0.001)
    topic = hasty.topic("t", partitions=1)
    topic.publish("first")
    losing = Losing(hasty)
    losing.plan = ["1", "1"]
    with pytest.raises(PublishUnconfirmed, match=r"750 records for topic 't' were not confirmed") as refused:
        topic.publish_many(range(1_000))
    assert refused.value.count == 750
    assert len(refused.value.accepted) == 250
    with pytest.raises(PublishUnconfirmed, match="500 records"):
        topic.confirm(refused.value)
    assert len(topic.confirm(refused.value)) == 1_000
    assert len(topic.confirm(refused.value)) == 1_000, "as often as one likes"
    assert everything(topic) == {0: ["first", *range(1_000)]}


def test_when_nothing_could_be_sent_nothing_is_in_doubt(another_app: Another) -> None:
    hasty = another_app(enqueue_timeout=0.001)
    topic = hasty.topic("t", partitions=1)
    topic.properties()
    Losing(hasty).plan = ["never sent"] * 100
    with pytest.raises(BrokerUnavailable, match="nothing was published") as refused:
        topic.publish(1)
    assert not isinstance(refused.value, PublishUnconfirmed)


def test_a_full_broker_refuses_and_says_what_was_appended(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1)
    topic.properties()
    Losing(app).plan = ["answer", "full"]
    with pytest.raises(BrokerFull) as refused:
        topic.publish_many(range(2_500))
    assert len(refused.value.accepted) == len(everything(topic)[0]) == 2_000


def test_after_the_server_has_lost_its_data_a_publisher_goes_on(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1)
    topic.publish_many(range(10))
    keys = topic.log.keys.partition(0)
    app.broker().link.execute("DEL", keys.log, keys.meta, *app.broker().link.execute("KEYS", keys.base + "lane:*"))
    topic.publish_many(range(3))
    assert everything(topic) == {0: [0, 1, 2]}


def test_a_named_publisher_sends_what_is_in_doubt_before_anything_else(another_app: Another) -> None:
    hasty = another_app(enqueue_timeout=0.001)
    topic = hasty.topic("t", partitions=1)
    publisher = topic.publisher(id="billing-1")
    publisher.publish("a")
    losing = Losing(hasty)
    losing.plan = ["not there"] * 2
    with pytest.raises(PublishUnconfirmed) as refused:
        publisher.publish("b")
    losing.plan = []
    publisher.publish("c")
    assert everything(topic) == {0: ["a", "b", "c"]}
    assert publisher.confirm(refused.value)[0].offset == topic.read(0)[1].offset
    assert everything(topic) == {0: ["a", "b", "c"]}
