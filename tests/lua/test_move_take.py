"""take, rule by rule: whom it leaves where it is, what it searches for, and what it tells before anything leaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq.errors import BrokerRefused
from taskq.tasks.move_calls import take
from tests.lua.kit import Queue, held, message, number_of
from tests.lua.stream_kit import StreamQueue
from tests.lua.test_moves import place_of, taken
from tests.servers import RealServer

KEY = b"u" * 16


@pytest.fixture
def streamed(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield StreamQueue(link, namespace)
    link.close()


def test_what_is_held_stays_though_its_entry_is_in_the_list(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    (item,) = queue.take(1)
    queue.link.execute("LPUSH", queue.keys.ready_for(0), item.id)
    assert taken(queue, "r", 1, 2) == [2]
    assert queue.state(item.id) == "l"
    assert queue.dump()["body"] == {item.id: item.body}


def test_what_is_held_stays_though_in_a_stream_no_list_tells_what_is_ready(streamed: StreamQueue) -> None:
    streamed.enqueue(message(1), message(2), message(3, due=-5_000))
    (item,) = streamed.take(1)
    assert number_of(item) == 1
    assert taken(streamed, "r", 1, 2, 3) == [2]
    assert (streamed.state(item.id), streamed.state(message(3).id)) == ("l", "d")


def test_a_unique_key_is_given_up_only_by_its_holder(queue: Queue) -> None:
    queue.enqueue(message(1, unique=KEY))
    queue.link.execute("HSET", queue.keys.unique, KEY, message(9).id)
    assert taken(queue, "r", 1) == [1]
    assert queue.dump()["unique"] == {KEY: message(9).id}


def test_a_task_stays_among_the_parked_as_long_as_a_message_waits_for_it(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    queue.park(*((held(item), "t") for item in queue.take()))
    assert taken(queue, "p", 1) == [1]
    assert queue.dump()["parked"] == [b"t", queue.at.encode()]
    assert taken(queue, "p", 2) == [2]
    assert not {"parked", "parked:t"} & set(queue.dump())


# -- the three that are searched for in a whole list


def fill(queue: Queue, count: int) -> None:
    for start in range(0, count, 250):
        queue.enqueue(*(message(number) for number in range(start, start + 250)))


def test_what_may_not_be_taken_is_not_searched_for(queue: Queue) -> None:
    fill(queue, 2_000)
    assert [number_of(item) for item in queue.take(3)] == [0, 1, 2]
    assert taken(queue, "r", 0, 1, 2, 1_990, 1_991, 1_992, 1_993) == [1_990, 1_991, 1_992]


def test_what_lies_near_is_not_searched_for(queue: Queue) -> None:
    fill(queue, 2_000)
    near = [1, 2, 3, 4]
    assert taken(queue, "r", *near, 1_990, 1_991, 1_992, 1_993) == [*near, 1_990, 1_991, 1_992]


# -- a key of another type


@pytest.mark.parametrize("ids", [[], [message(9).id]], ids=["nothing wanted", "nothing there"])
@pytest.mark.parametrize("letter", "rdpxq")
def test_a_wrong_type_is_told_even_if_nothing_would_be_taken(queue: Queue, letter: str, ids: list[bytes]) -> None:
    call = take(queue.keys, place_of(queue.keys, letter), letter, "t", "other", ids, queue.limits, queue.at)
    for key in call.keys:
        queue.link.execute("SADD", key, "not ours")
        with pytest.raises(BrokerRefused, match="holds data of another type"):
            queue.run(call)
        queue.link.execute("DEL", key)
    assert queue.run(call) == ()
