"""Where an ordered group stands, where it begins, and how it is put elsewhere (statements 1 to 14)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from taskq import Offset, Record
from taskq.errors import NoOffset
from tests.events.ordered_kit import LONG_S, Scene, Seen
from tests.servers import RealServer


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(server, namespace)
    yield made
    made.close()


def test_s01_earliest_gets_every_record_of_the_log_in_order(scene: Scene) -> None:
    scene.publish(1500, keys=7)
    seen = Seen()
    with scene.consumer(seen.add):
        records: list[Record] = seen.count(1500)
    for number in range(4):
        mine = [record for record in records if record.partition == number]
        assert [record.number for record in mine] == list(range(1, len(mine) + 1))
    assert sorted(record.value for record in records) == list(range(1500))


def test_s02_latest_gets_only_what_is_published_after_it_began(scene: Scene) -> None:
    scene.publish(10)
    seen = Seen()
    with scene.consumer(seen.add, reset="latest"):
        scene.publish(3, begin=100)
        assert [record.value for record in seen.count(3)] == [100, 101, 102]
    scene.publish(2, begin=200)
    with scene.consumer(seen.add, reset="latest"):
        assert [record.value for record in seen.count(5)[3:]] == [200, 201], "where it began stays"


def test_s02_what_is_published_between_subscribing_and_the_first_fetch_is_delivered(scene: Scene) -> None:
    scene.publish(10)
    with scene.topic.subscribe(group="g", reset="latest") as reading:
        scene.publish(1, begin=100)
        assert next(reading).value == 100


def test_s03_error_says_so_and_handles_nothing(scene: Scene) -> None:
    scene.publish(10)
    seen = Seen()
    with scene.consumer(seen.add, reset="error") as consumer, pytest.raises(NoOffset, match="new to topic 't'"):
        consumer.wait(LONG_S)
    assert seen.items == []


@pytest.mark.parametrize(("reset", "expected"), [("earliest", [7, 8, 9]), ("latest", [10])])
def test_s04_a_position_that_is_not_retained_is_counted_named_and_reset(
    scene: Scene, reset: str, expected: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    scene.publish(5)
    seen = Seen()
    with scene.consumer(seen.add):
        seen.count(5)
        scene.until(lambda: scene.position() == 5)
    scene.publish(5, begin=5)
    removed = remove_until(scene, 7)
    caplog.set_level(logging.ERROR)
    again = Seen()
    with scene.consumer(again.add, reset=reset):
        if reset == "latest":
            scene.until(lambda: scene.field("out_of_range") is not None)
            scene.publish(1, begin=10)
        assert [record.value for record in again.count(len(expected))] == expected
    assert scene.field("out_of_range") == b"2"
    assert str(removed) in caplog.text
    assert "2 records" in caplog.text


def test_s04_error_stops_at_a_position_that_is_not_retained(scene: Scene) -> None:
    scene.publish(5)
    with scene.consumer(Seen().add):
        scene.until(lambda: scene.position() == 5)
    scene.publish(5, begin=5)
    remove_until(scene, 7)
    with scene.consumer(Seen().add, reset="error") as consumer, pytest.raises(NoOffset, match="removed"):
        consumer.wait(LONG_S)
    assert scene.position() == 5


def test_a_log_that_lost_its_end_is_counted_and_gone_on_from(scene: Scene) -> None:
    scene.publish(5)
    with scene.consumer(Seen().add):
        scene.until(lambda: scene.position() == 5)
    keys = scene.topic.log.keys.partition(0)
    last = scene.link.execute("XREVRANGE", keys.log, "+", "-", "COUNT", 3)
    scene.link.execute("COPY", keys.log, keys.fresh)  # as a server that was restored from before the last three
    entries = scene.link.execute("XRANGE", keys.log, "-", "(" + last[-1][0].decode())
    scene.link.execute("DEL", keys.log, keys.fresh)
    for entry, fields in entries:
        scene.link.execute("XADD", keys.log, entry, *fields)
    scene.link.execute("HSET", keys.meta, "n", 2, "b", 2, "id", entries[-1][0])
    seen = Seen()
    with scene.consumer(seen.add):
        scene.until(lambda: scene.field("truncated") == b"1")
        scene.publish(1, begin=50)
        assert seen.count(1)[0].value == 50


def test_s06_seek_by_offset_time_and_word(scene: Scene) -> None:
    scene.publish(10)
    seen = Seen()
    with scene.consumer(seen.add) as consumer:
        records: list[Record] = seen.count(10)
        scene.until(lambda: scene.position() == 10)

        def after(where: object) -> list[int]:
            before = len(seen.items)
            consumer.seek(0, where)  # type: ignore[arg-type]
            scene.until(lambda: len(consumer.partitions) == 4 and scene.position() == scene_end(scene))
            return [record.value for record in seen.items[before:]]

        assert after(records[6].offset) == [6, 7, 8, 9]
        assert after("earliest") == list(range(10))
        assert after("latest") == []
        moment = datetime.fromtimestamp(records[0].offset.ms / 1000, UTC)
        assert after(moment) == list(range(10))
        assert after(Offset(records[9].offset.ms, records[9].offset.seq + 1)) == []


def scene_end(scene: Scene) -> int:
    return int(scene.link.execute("HGET", scene.topic.log.keys.partition(0).meta, "n"))


def remove_until(scene: Scene, count: int) -> Offset:
    """As retention removes the first records of partition 0."""
    keys = scene.topic.log.keys.partition(0)
    entries = scene.link.execute("XRANGE", keys.log, "-", "+", "COUNT", count + 1)
    gone, size = entries[count - 1][1][1].split(b",")
    scene.link.execute("XTRIM", keys.log, "MINID", entries[count][0])
    scene.link.execute("HSET", keys.meta, "gone", gone, "gone_b", size, "gone_id", entries[count - 1][0])
    return Offset.parse(entries[count - 1][0].decode())


def test_s07_what_is_in_hand_at_a_seek_cannot_commit(scene: Scene) -> None:
    scene.publish(3)
    seen, go = Seen(), threading.Event()

    def handler(record: Record) -> None:
        seen.add(record.value)
        if len(seen.items) == 2:
            assert go.wait(LONG_S)

    with scene.consumer(handler) as consumer:
        seen.count(2)
        consumer.seek(0, "earliest")
        go.set()
        assert seen.count(5) == [0, 1, 0, 1, 2]
        scene.until(lambda: scene.position() == 3)


def test_s11_two_groups_never_touch_each_others_position(scene: Scene) -> None:
    scene.publish(20)
    one, two = Seen(), Seen()
    with scene.consumer(one.add, "one"), scene.consumer(two.add, "two") as second:
        one.count(20)
        two.count(20)
        scene.until(lambda: scene.position(group="one") == 20 == scene.position(group="two"))
        second.seek(0, "earliest")
        two.count(40)
        scene.until(lambda: scene.position(group="two") == 20)
        assert len(one.items) == 20
        assert scene.position(group="one") == 20


def test_s13_a_batch_has_at_most_so_many_records_and_bytes_and_a_large_one_goes_alone(scene: Scene) -> None:
    for size in (10, 10, 10, 600, 5_000, 10, 400, 400, 400):
        scene.topic.publish("x" * size, partition=0)
    seen = Seen()
    with scene.consumer(lambda records: seen.add([len(one.value) for one in records]), batch=3, max_bytes=1000):
        batches = seen.until(lambda items: sum(map(len, items)) == 9)
    assert all(len(batch) <= 3 for batch in batches)
    assert [5_000] in batches
    assert all(sum(batch) <= 1000 for batch in batches if len(batch) > 1)
    assert [size for batch in batches for size in batch] == [10, 10, 10, 600, 5_000, 10, 400, 400, 400]


def test_s14_a_paused_partition_stays_in_hand_and_goes_on_without_loss_or_repeat(scene: Scene) -> None:
    seen = Seen()
    with scene.consumer(lambda record: seen.add((record.partition, record.value))) as consumer:
        scene.until(lambda: len(consumer.partitions) == 4)
        epoch = scene.field("epoch", 1)
        consumer.pause(1)
        scene.publish(10, partition=1)
        scene.publish(10, partition=2)
        seen.count(10)
        assert {partition for partition, _ in seen.items} == {2}
        consumer.resume(1)
        seen.count(20)
        scene.until(lambda: scene.position(1) == 10)
        assert [value for partition, value in seen.items if partition == 1] == list(range(10))
        assert scene.field("epoch", 1) == epoch
