"""What settling scripts count beside their queue, the last failures, and samples; on both transports."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from taskq.errors import BrokerError
from taskq.tasks.broker import Buried, Delivery, Finished, Retried
from taskq.tasks.statistics import RECENT, SLOT_MS, SLOTS, counted, sample
from tests.lua.kit import Queue, buried, done, held, message, number_of, retried
from tests.lua.stream_kit import StreamQueue
from tests.servers import RealServer

LINE = b'{"type":"E","message":"no tea"}'


@pytest.fixture(params=["list", "stream"])
def queue(request: pytest.FixtureRequest, server: RealServer, namespace: str) -> Iterator[Queue]:
    link = server.link()
    one = StreamQueue(link, namespace) if request.param == "stream" else Queue(link, namespace)
    yield one
    if isinstance(one, StreamQueue):
        one.check()
    link.close()


def fill(queue: Queue, count: int) -> list[Delivery]:
    queue.enqueue(*(message(number) for number in range(count)))
    return queue.take(count)


def stats(queue: Queue) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in queue.dump().get("stats", {}).items()}


def recent(queue: Queue) -> list[tuple[str, int, int, bytes]]:
    """Fate, number, time and line of each entry, the newest first."""
    entries: list[bytes] = queue.dump().get("recent", [])
    return [(chr(one[0]), number_of(one[1:17]), int(one[17:30]), one[30:]) for one in entries]


# -- ack


def test_what_is_done_counts_as_its_groups_say(queue: Queue) -> None:
    one, two, three, four, five = fill(queue, 5)
    quick, slow, other = counted("t", "d", 7, 9), counted("t", "d", 30, 9), counted("u", "d", 7)
    queue.ack(done(one, stats=quick), done(two, stats=slow), done(three, stats=quick), done(four, stats=other))
    queue.ack(done(five, stats=quick))
    assert stats(queue) == {"d t": 4, "R7 t": 3, "R30 t": 1, "W9 t": 4, "d u": 1, "R7 u": 1}
    assert queue.counter("done") == 5


def test_each_outcome_of_one_call_counts_as_its_own_and_all_runs_of_it_are_ended(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(6)))
    (one, two), (three, four), (five, six) = (queue.take(2) for _ in range(3))
    queue.ack(
        done(one, b"d1", stats="d t", follow=b"f" * 20),
        Finished(two.id, two.token, "c", b"c", 1000, stats="c t"),
        done(three, b"d2", stats="d t"),
        Finished(four.id, four.token, "e", stats="e u"),
        done(five, b"d3", stats="d t"),
        Finished(six.id, six.token),
    )
    assert stats(queue) == {"d t": 3, "c t": 1, "e u": 1}
    assert [queue.counter(name) for name in ("done", "cancelled", "expired")] == [4, 1, 1]
    assert len(queue.dump()["results"]) == 4
    if isinstance(queue, StreamQueue):
        assert queue.pending() == []


def test_what_is_lost_counts_nowhere(queue: Queue) -> None:
    one, two, three = fill(queue, 3)
    queue.release(held(two))
    assert queue.ack(*(done(item, stats="d t") for item in (one, two, three))) == [two.id]
    assert queue.ack(done(one, stats="d t")) == [one.id]
    assert queue.nack(retried(one, line=LINE, stats="f t")) == [one.id]
    assert queue.bury(buried(one, stats="x t")) == [one.id]
    assert (stats(queue), recent(queue)) == ({"d t": 2}, [])
    assert [queue.counter(name) for name in ("done", "failed", "dead", "retried")] == [2, 0, 0, 0]


def test_a_call_that_is_sent_again_counts_once(queue: Queue) -> None:
    one, two, three = fill(queue, 3)
    ack, nack, bury = (queue.seat.op("q", verb) for verb in ("ack", "nack", "bury"))
    for _ in range(2):
        queue.ack(done(one, stats="d t"), op=ack)
        queue.nack(retried(two, 50, line=LINE, stats="f t\nr t"), op=nack)
        queue.bury(buried(three, stats="f t\nx t"), op=bury)
    assert stats(queue) == {"d t": 1, "f t": 2, "r t": 1, "x t": 1}
    assert [one[:2] for one in recent(queue)] == [("x", 2), ("r", 1)]
    assert queue.counter("failed") == 2


def test_who_says_nothing_of_it_is_not_counted_by_task(queue: Queue) -> None:
    one, two, three = fill(queue, 3)
    queue.ack(done(one), Finished(two.id, two.token, "c", b"c", 100))
    queue.nack(retried(three))
    assert "stats" not in queue.dump()


def test_a_full_call_of_as_many_groups_as_messages_counts_each(queue: Queue) -> None:
    taken = fill(queue, 250)
    queue.ack(*(done(item, stats=f"d t{at}") for at, item in enumerate(taken)))
    assert stats(queue) == {f"d t{at}": 1 for at in range(250)}


# -- failures


def test_a_run_that_the_task_asked_for_is_no_failure(queue: Queue) -> None:
    one, two, three = fill(queue, 3)
    queue.nack(
        retried(one, 50, line=LINE, stats="f t\nr t\nR7 t"),
        Retried(two.id, two.token, 50, counts=False, line=LINE, stats="r t"),
        retried(three, 50, stats="f u\nr u"),
    )
    assert stats(queue) == {"f t": 1, "r t": 2, "R7 t": 1, "f u": 1, "r u": 1}
    assert recent(queue) == [("r", 0, queue.now, LINE)]
    assert (queue.counter("failed"), queue.counter("retried")) == (2, 3)


def test_a_burial_is_a_failure_only_if_an_attempt_failed(queue: Queue) -> None:
    one, two, three = fill(queue, 3)
    crashed = Buried(two.id, two.token, LINE, failed=False, stats="x t")
    queue.bury(buried(one, stats="f t\nx t"), crashed, buried(three, quarantine=True))
    assert stats(queue) == {"f t": 1, "x t": 2}
    assert [one[:3] for one in recent(queue)] == [("q", 2, queue.now), ("x", 1, queue.now), ("x", 0, queue.now)]
    assert [queue.counter(name) for name in ("failed", "dead", "quarantined")] == [1, 2, 1]
    assert {queue.state(item.id) for item in (one, two)} == {"x"}


def test_a_crash_counts_once_for_each_that_is_blamed(queue: Queue) -> None:
    one, two, three = fill(queue, 3)
    for _ in range(2):
        queue.reclaim(one.token, LINE, mode="crash", started=[one.id, three.id])
    assert queue.counter("crashed") == 2
    assert queue.counter("failed") == 0
    assert sorted(entry[:2] for entry in recent(queue)) == [("k", 0), ("k", 2)]
    assert recent(queue)[0][2:] == (queue.now, LINE)
    assert queue.state(two.id) == "r"


def nack_all(queue: Queue, taken: list[Delivery], line: bytes) -> None:
    queue.nack(*(retried(item, 50, line=line) for item in taken))


def bury_all(queue: Queue, taken: list[Delivery], line: bytes) -> None:
    queue.bury(*(buried(item, line) for item in taken))


def crash_all(queue: Queue, taken: list[Delivery], line: bytes) -> None:
    queue.reclaim(taken[0].token, line, mode="crash", started=[item.id for item in taken])
    queue.seat = type(queue.seat)()


@pytest.mark.parametrize("way", [nack_all, bury_all, crash_all])
def test_the_last_failures_are_capped_and_their_lines_cut(
    queue: Queue, way: Callable[[Queue, list[Delivery], bytes], None]
) -> None:
    way(queue, fill(queue, 30), b"old")
    queue.now += 1
    queue.enqueue(*(message(100 + number) for number in range(30)))
    newer = [item for item in queue.take(250) if number_of(item) >= 100]
    way(queue, newer, b"n" * 700)
    found = recent(queue)
    assert len(found) == RECENT
    assert {entry[1:] for entry in found[:30]} == {(number_of(item), queue.now, b"n" * 600) for item in newer}
    assert {entry[2:] for entry in found[30:]} == {(queue.now - 1, b"old")}


# -- samples


def samples(queue: Queue) -> dict[str, list[int]]:
    found = queue.dump().get("samples", {})
    return {name.decode(): [int(number) for number in text.split()] for name, text in found.items()}


def test_a_sample_holds_the_counters_and_what_is_ready(queue: Queue) -> None:
    one, two, three, four, five = fill(queue, 5)
    queue.ack(done(one), done(two))
    queue.nack(retried(three, 50), Retried(four.id, four.token, 50, counts=False))
    queue.bury(buried(five))
    queue.enqueue(*(message(10 + number, priority=0 if queue.keys.streamed else number - 2) for number in range(5)))
    queue.release(*map(held, queue.take(1)))
    queue.link.execute("RPUSH", queue.keys.alone, b"i" * 16)
    queue.now += 1_234
    assert queue.run(sample(queue.keys, queue.at))
    text = [queue.now, 10, 2, 2, 2, 1, 6]
    assert samples(queue) == {str(queue.now // SLOT_MS % SLOTS): text, "last": text}
    queue.link.execute("DEL", queue.keys.alone)


def test_one_sample_is_kept_of_a_slot_and_none_while_nothing_changes(queue: Queue) -> None:
    queue.now += 1_234
    assert queue.run(sample(queue.keys, queue.at))
    queue.enqueue(message(1))
    assert not queue.run(sample(queue.keys, queue.at)), "the same slot"
    queue.now += SLOT_MS
    assert queue.run(sample(queue.keys, queue.at))
    queue.now += SLOT_MS
    assert not queue.run(sample(queue.keys, queue.at)), "nothing has changed"
    queue.enqueue(message(2))
    assert queue.run(sample(queue.keys, queue.at))
    assert sorted(text[1] for text in samples(queue).values()) == [0, 1, 2, 2]
    queue.now -= 3 * SLOT_MS
    queue.enqueue(message(3))
    assert queue.run(sample(queue.keys, queue.at)), "the clock went back"


def test_a_ring_of_samples_does_not_grow(queue: Queue) -> None:
    for number in range(SLOTS + 10):
        queue.enqueue(message(number))
        queue.run(sample(queue.keys, queue.at))
        queue.now += SLOT_MS
    found = samples(queue)
    assert len(found) == SLOTS + 1
    assert min(text[1] for text in found.values()) == 11


def test_a_stream_that_others_meddled_with_has_not_less_than_nothing_ready(queue: Queue) -> None:
    queue.link.execute("HSET", queue.keys.tally, "appended", 3, "read", 5)
    queue.run(sample(queue.keys, queue.at))
    assert samples(queue)["last"][-1] == 0
    queue.link.execute("DEL", queue.keys.tally)


def test_more_groups_than_a_byte_can_name_are_refused_before_anything_is_sent(queue: Queue) -> None:
    taken = fill(queue, 250)
    items = [done(item, stats=f"d t{at}") for at, item in enumerate(taken)]
    more = [done(item, stats=f"d u{at}") for at, item in enumerate(taken[:10])]
    with pytest.raises((ValueError, BrokerError)):
        queue.ack(*items, *more)
    assert queue.counter("done") == 0
