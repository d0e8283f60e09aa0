"""land and carried, rule by rule: what keeps a message out, what is counted, and what is told before anything lands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from taskq.errors import BrokerRefused
from taskq.store.keys import queue_keys
from taskq.store.scripts import Call
from taskq.tasks.broker import Flags
from taskq.tasks.move_calls import carried, land
from tests.lua.kit import START_MS, Queue, buried, done, held, message, retried
from tests.lua.stream_kit import StreamQueue
from tests.lua.test_moves import landed, parcels, taken
from tests.servers import RealServer

KEY = b"u" * 16
NOTHING = b"\0" * 5  # deliveries, crashes and attempts of a message that has none


@pytest.fixture
def other(queue: Queue, namespace: str) -> Queue:
    """The queue that `landed` lands in."""
    found = Queue(queue.link, namespace)
    found.keys = queue_keys(namespace, "other")
    return found


@pytest.fixture
def streamed(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield StreamQueue(link, namespace)
    link.close()


def without_answers(queue: Queue) -> dict[str, Any]:
    return {name: value for name, value in queue.dump().items() if not name.startswith("moved:")}


# -- what keeps a message out


def test_a_message_may_return_to_a_queue_where_a_move_has_left_its_tombstone(queue: Queue, other: Queue) -> None:
    queue.enqueue(message(1, explicit=True))
    taken(queue, "r", 1, token="there")
    assert landed(queue, "there") == "n"
    assert taken(other, "r", 1, token="home") == [1]
    assert landed(other, "home", keys=queue.keys) == "n"
    assert queue.ready() == [1]


def test_a_tombstone_keeps_out_only_an_explicit_id(queue: Queue, other: Queue) -> None:
    other.enqueue(message(1, explicit=True))
    other.ack(done(other.take()[0]))
    queue.enqueue(message(1))
    taken(queue, "r", 1, token="t")
    assert landed(queue, "t") == "n"
    assert other.ready() == [1]


def test_a_tombstone_that_is_over_keeps_nothing_out(queue: Queue, other: Queue) -> None:
    other.enqueue(message(1, explicit=True))
    other.ack(done(other.take()[0]))
    queue.now += queue.limits.tombstone
    queue.enqueue(message(1, explicit=True))
    taken(queue, "r", 1, token="t")
    assert landed(queue, "t") == "n"


def test_no_tombstone_keeps_out_what_comes_back(queue: Queue) -> None:
    queue.enqueue(message(1, explicit=True))
    taken(queue, "r", 1, token="t")
    queue.now += queue.limits.tombstone + 1
    assert queue.enqueue(message(1, explicit=True))[0].created, "the tombstone of the move is over"
    queue.ack(done(queue.take()[0]))
    assert float(queue.dump()["tombs"][1]) == queue.now + queue.limits.tombstone
    assert landed(queue, "t", back=True, keys=queue.keys) == "n"
    assert queue.ready() == [1]


@pytest.mark.parametrize("letter", "rx")
def test_the_mark_of_a_cancelled_id_keeps_it_out(queue: Queue, other: Queue, letter: str) -> None:
    other.enqueue(message(1))
    other.cancel(message(1).id)
    queue.enqueue(message(1))
    if letter == "x":
        queue.bury(buried(queue.take()[0]))
    taken(queue, letter, 1, token="t")
    before = other.dump()
    assert before["state"] == {message(1).id: b"c"}
    assert landed(queue, "t") == "e"
    assert without_answers(other) == before


def test_the_mark_of_a_cancelled_id_stops_all_that_comes_back_with_it(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    taken(queue, "r", 1, 2, token="t")
    queue.enqueue(message(1))
    queue.cancel(message(1).id)
    before = queue.dump()
    assert landed(queue, "t", back=True, keys=queue.keys) == "en"
    assert queue.dump() == before


# -- what arrives with a message


def test_an_id_that_was_explicit_is_so_at_the_target(queue: Queue, other: Queue) -> None:
    queue.enqueue(message(1, explicit=True))
    taken(queue, "r", 1, token="t")
    landed(queue, "t")
    record = other.dump()["state"][message(1).id]
    assert record == b"r\2" + bytes([Flags.EXPLICIT]) + NOTHING
    other.ack(done(other.take()[0]))
    assert not other.enqueue(message(1, explicit=True))[0].created


def test_a_dead_letter_whose_counts_are_zero_is_dead_at_the_target(queue: Queue, other: Queue) -> None:
    queue.enqueue(message(1))
    queue.park((held(queue.take()[0]), "t"))
    queue.now += queue.limits.parked_age
    queue.expire_parked("t")
    taken(queue, "x", 1, token="t")
    landed(queue, "t")
    assert other.dump()["state"] == {message(1).id: b"x\2\0" + NOTHING}
    assert other.state(message(1).id) == "x"


def test_a_plainly_ready_message_has_no_record_at_the_target(queue: Queue, other: Queue) -> None:
    queue.enqueue(message(1))
    taken(queue, "r", 1, token="t")
    landed(queue, "t")
    assert not {"state", "errors", "unique", "tombs"} & set(other.dump())


# -- what is counted


def test_what_arrives_is_counted_as_arrived_and_enqueued_only_at_its_first_queue(queue: Queue, other: Queue) -> None:
    other.enqueue(message(2))
    queue.enqueue(message(1), message(2), message(3), message(4))
    taken(queue, "r", 1, 2, token="ready")
    queue.bury(*(buried(item) for item in queue.take()))
    taken(queue, "x", 3, 4, token="dead")
    assert (landed(queue, "ready"), landed(queue, "dead")) == ("ne", "nn")
    assert (other.counter("arrived"), other.counter("enqueued")) == (3, 1)
    assert (queue.counter("arrived"), queue.counter("enqueued")) == (0, 4)


def test_what_comes_back_is_not_counted_again(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    before = queue.dump()["meta"]
    taken(queue, "r", 1, 2, token="t")
    assert landed(queue, "t", back=True, keys=queue.keys) == "nn"
    assert queue.dump()["meta"] == before


def test_where_nothing_is_accepted_only_the_answer_is_left(queue: Queue, other: Queue) -> None:
    other.enqueue(message(1))
    queue.enqueue(message(1))
    taken(queue, "r", 1, token="t")
    before = other.dump()
    assert landed(queue, "t") == "e"
    assert without_answers(other) == before
    assert other.dump()["moved:t"] == b"e"


def test_a_batch_that_is_forgotten_is_not_counted_again(queue: Queue) -> None:
    queue.enqueue(message(1))
    taken(queue, "r", 1, token="t")
    assert queue.run(carried(queue.keys, "t", 1)) == 1
    before = queue.dump()
    assert queue.run(carried(queue.keys, "t", 1)) == 0
    assert queue.dump() == before


# -- a key of another type


ALL = (("r", 1), ("x", 2), ("q", 3), ("d", 4))


def mixed(queue: Queue, target: Queue, which: Sequence[tuple[str, int]] = ALL) -> Call[str]:
    """Parcels of all states, with all that a message can have, on their way to a queue; or some of them."""
    queue.now = START_MS
    queue.enqueue(message(1, unique=KEY, explicit=True, expires=-9_000), message(2), message(3))
    one, two, three = queue.take()
    queue.bury(buried(two), buried(three, quarantine=True))
    queue.nack(retried(one, line=b'{"e":1}'))
    queue.enqueue(message(4, due=-5_000))
    found = []
    for letter, number in which:
        assert taken(queue, letter, number, token=letter) == [number]
        found += parcels(queue, letter)
    return land(target.keys, "t", found, queue.limits, back=False, now=queue.at)


def refused_at_each_key(queue: Queue, target: Queue, again: Callable[[], object]) -> None:
    for at in range(len(mixed(queue, target).keys)):
        queue.link.execute("FLUSHALL")
        queue.number, queue.seat = 0, type(queue.seat)()
        again()
        call = mixed(queue, target)
        queue.link.execute("DEL", call.keys[at])
        queue.link.execute("SADD", call.keys[at], "not ours")
        before = target.dump()
        with pytest.raises(BrokerRefused, match="holds data of another type"):
            queue.run(call)
        assert target.dump() == before, call.keys[at]


def test_a_wrong_type_at_any_key_is_told_before_anything_lands(queue: Queue, other: Queue) -> None:
    refused_at_each_key(queue, other, lambda: None)


def test_a_wrong_type_of_the_counters_is_told_before_dead_letters_land(queue: Queue, other: Queue) -> None:
    call = mixed(queue, other, ALL[1:3])
    other.link.execute("DEL", other.keys.meta)
    other.link.execute("SADD", other.keys.meta, "not ours")
    before = other.dump()
    with pytest.raises(BrokerRefused, match="holds data of another type"):
        queue.run(call)
    assert other.dump() == before


def test_the_same_holds_for_what_lands_in_a_stream(other: Queue, streamed: StreamQueue) -> None:
    refused_at_each_key(other, streamed, streamed.declare)


def test_parcels_of_all_states_land_together(queue: Queue, other: Queue) -> None:
    assert queue.run(mixed(queue, other)) == "nnnn"
    assert "".join(found.state for found in other.lookup(*(message(n).id for n in range(1, 5)))) == "rxqd"


# -- doubt about what lands in a stream


def test_nothing_is_doubted_where_no_message_was_taken_out_of_the_stream(streamed: StreamQueue) -> None:
    streamed.enqueue(message(1), message(2))
    streamed.park(*((held(item), "t") for item in streamed.take(1)))
    taken(streamed, "p", 1, token="t")
    assert landed(streamed, "t", back=True, keys=streamed.keys) == "n"
    assert not streamed.link.execute("HEXISTS", streamed.keys.tally, "doubt")


def test_what_is_doubted_already_stays_so_when_more_arrives_beside_the_stream(streamed: StreamQueue) -> None:
    streamed.enqueue(message(1), message(2))
    streamed.enqueue(message(3, due=-5_000))
    taken(streamed, "r", 1, token="ready")
    landed(streamed, "ready", back=True, keys=streamed.keys)
    newest = streamed.stream()[-1]
    assert newest.number == 1, "the second entry of what came back"
    taken(streamed, "d", 3, token="delayed")
    landed(streamed, "delayed", back=True, keys=streamed.keys)
    assert streamed.link.execute("HGET", streamed.keys.tally, "doubt") == newest.id.encode()
