"""overview.lua reads records in bounds: few or of a large hash one by one, many of a small hash in one go, and once."""

from __future__ import annotations

import re

from taskq.tasks.broker import Mark
from taskq.tasks.operator_calls import Reading, overview
from tests.lua.kit import Queue, message, retried

SMALL = 512  # records in a hash that is read whole
MANY = 40  # records for which it is worth that


def running(queue: Queue, count: int, first: int = 0) -> None:
    """So many messages that are leased and have started."""
    queue.enqueue(*(message(first + number) for number in range(count)))
    queue.extend([], [Mark(one.id, one.token) for one in queue.take(count)])


def retrying(queue: Queue, count: int, first: int) -> None:
    """So many messages that have failed and wait for their time."""
    queue.enqueue(*(message(first + number) for number in range(count)))
    queue.nack(*(retried(one, 500) for one in queue.take(count)))


def kept(queue: Queue, count: int, first: int) -> None:
    """So many records more, of messages that wait and are looked at for nothing."""
    for start in range(0, count, 250):
        numbers = range(first + start, first + min(start + 250, count))
        queue.enqueue(*(message(number, explicit=True) for number in numbers))


def calls_of(queue: Queue, command: str) -> int:
    found = queue.link.execute("INFO", "commandstats").decode()
    line = re.search(rf"^cmdstat_{command}:calls=(\d+)", found, re.MULTILINE)
    return int(line[1]) if line else 0


def looked(queue: Queue) -> tuple[Reading, int, int]:
    """What it says, how many hashes beside meta it read whole, and how often it asked for some fields."""
    before = calls_of(queue, "hgetall"), calls_of(queue, "hmget")
    reading = queue.run(overview(queue.keys))
    return reading, calls_of(queue, "hgetall") - before[0] - 1, calls_of(queue, "hmget") - before[1]


def test_few_records_are_asked_for_by_name(queue: Queue) -> None:
    running(queue, MANY - 1)
    reading, whole, some = looked(queue)
    assert reading.counts[5] == MANY - 1
    assert (whole, some) == (0, 1)


def test_many_records_of_a_small_hash_are_read_in_one_go(queue: Queue) -> None:
    running(queue, MANY)
    kept(queue, SMALL - MANY, 1000)
    reading, whole, some = looked(queue)
    assert reading.counts[5] == MANY
    assert (whole, some) == (1, 0)


def test_a_large_hash_is_never_read_whole(queue: Queue) -> None:
    running(queue, MANY)
    kept(queue, SMALL - MANY + 1, 1000)
    reading, whole, some = looked(queue)
    assert reading.counts[5] == MANY
    assert (whole, some) == (0, 1)


def test_what_was_read_whole_is_not_asked_for_again(queue: Queue) -> None:
    running(queue, MANY)
    retrying(queue, 3, 1000)
    reading, whole, some = looked(queue)
    assert reading.counts[5:7] == [MANY, 3]
    assert (whole, some) == (1, 0)


def test_of_a_hash_that_was_read_whole_a_record_that_is_missing_counts_as_none(queue: Queue) -> None:
    running(queue, MANY)
    retrying(queue, 3, 1000)
    queue.link.execute("HDEL", queue.keys.state, message(0).id, message(1001).id)
    assert looked(queue)[0].counts[5:7] == [MANY - 1, 2]
