"""Looking after a stream: history goes in time and never too soon, and what others did to it is healed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from taskq import ConfigError, Retain
from taskq.tasks.broker import Delivery
from taskq.tasks.queues import OtherTransport
from tests.lua.kit import Queue, done, held, message, number_of, retried
from tests.lua.stream_kit import GROUP, StreamQueue
from tests.servers import RealServer

BLOCK = 100


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield StreamQueue(link, namespace)
    link.close()


def fill(queue: StreamQueue, first: int, count: int, body: bytes = b"") -> None:
    for start in range(first, first + count, 250):
        queue.enqueue(*(message(number, body) for number in range(start, min(start + 250, first + count))))


def take(queue: StreamQueue, count: int) -> list[Delivery]:
    taken: list[Delivery] = []
    while len(taken) < count:
        more = queue.take(min(250, count - len(taken)))
        assert more
        taken += more
    return taken


def finish(queue: StreamQueue, count: int) -> None:
    for delivery in take(queue, count):
        queue.ack(done(delivery))


# -- history


def test_history_is_kept_by_count_in_whole_blocks(queue: StreamQueue) -> None:
    queue.declare(Retain(count=150))
    fill(queue, 0, 500)
    finish(queue, 500)
    assert queue.watch_all().trimmed == 300
    assert [entry.number for entry in queue.stream()] == list(range(300, 500))
    assert queue.watch_all().trimmed == 0


def test_history_is_kept_by_bytes(queue: StreamQueue) -> None:
    queue.declare(Retain(bytes=100_000))
    fill(queue, 0, 500, b"x" * 500)
    finish(queue, 500)
    queue.watch_all()
    assert [entry.number for entry in queue.stream()] == list(range(300, 500))


def test_history_is_kept_by_age_since_all_of_a_block_was_delivered(queue: StreamQueue) -> None:
    queue.declare(Retain(age=10))
    fill(queue, 0, 200)
    finish(queue, 100)
    queue.watch_all()
    finish(queue, 100)
    queue.now += 9_000
    queue.watch_all()
    queue.now += 1_001
    assert queue.watch_all().trimmed == 100
    queue.now += 9_000
    assert queue.watch_all().trimmed == 100


def test_trimming_never_passes_what_is_pending(queue: StreamQueue) -> None:
    queue.declare(Retain(count=0))
    fill(queue, 0, 3 * BLOCK)
    taken = take(queue, 3 * BLOCK)
    for number, delivery in enumerate(taken):
        if number != BLOCK:
            queue.ack(done(delivery))
    assert queue.watch_all().trimmed == BLOCK
    assert queue.stream()[0].number == BLOCK
    queue.release(held(taken[BLOCK]))
    assert queue.watch_all().trimmed == 0, "given back is pending too"
    finish(queue, 1)
    assert queue.watch_all().trimmed == 2 * BLOCK


def test_trimming_never_passes_what_is_unread(queue: StreamQueue) -> None:
    queue.declare(Retain(count=0))
    fill(queue, 0, 2 * BLOCK)
    finish(queue, 2 * BLOCK - 1)
    assert queue.watch_all().trimmed == BLOCK
    finish(queue, 1)
    assert queue.watch_all().trimmed == BLOCK


def test_one_call_trims_ten_blocks_and_says_that_there_is_more(queue: StreamQueue) -> None:
    queue.declare(Retain(count=0))
    fill(queue, 0, 11 * BLOCK)
    finish(queue, 11 * BLOCK)
    watched = queue.watch()
    assert (watched.trimmed, watched.more) == (10 * BLOCK, True)
    assert queue.watch().trimmed == BLOCK


def test_a_block_ends_at_64_kib_too(queue: StreamQueue) -> None:
    queue.declare(Retain(count=0))
    fill(queue, 0, 8, b"x" * 20_000)
    finish(queue, 8)
    assert queue.watch_all().trimmed == 8


def test_without_a_declaration_nothing_is_trimmed_and_watching_makes_the_transport_known(queue: StreamQueue) -> None:
    queue.link.execute("HDEL", queue.keys.meta, "transport", "retain")
    fill(queue, 0, BLOCK)
    finish(queue, BLOCK)
    queue.now += 10**9
    assert queue.watch_all().trimmed == 0
    assert queue.link.execute("HGET", queue.keys.meta, "transport") == b"stream"


# -- waking


def test_watching_rings_if_entries_wait_and_nobody_was_told(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    queue.rings()
    queue.watch()
    assert queue.rings() == 1
    queue.link.execute("HSET", queue.keys.meta, "paused", "1")
    queue.watch()
    assert queue.rings() == 0
    queue.link.execute("HDEL", queue.keys.meta, "paused")
    queue.take()
    queue.watch()
    assert queue.rings() == 0


# -- what others do

Meddling = Callable[[StreamQueue], object]


def delete_stream(queue: StreamQueue) -> object:
    return queue.link.execute("DEL", queue.keys.stream)


def trim_all(queue: StreamQueue) -> object:
    return queue.link.execute("XTRIM", queue.keys.stream, "MAXLEN", 0)


def delete_entries(queue: StreamQueue) -> object:
    return queue.link.execute("XDEL", queue.keys.stream, *(entry.id for entry in queue.stream()[3:]))


def read_as_another(queue: StreamQueue) -> object:
    return queue.link.execute("XREADGROUP", "GROUP", GROUP, "thief", "COUNT", 100, "STREAMS", queue.keys.stream, ">")


def set_forward(queue: StreamQueue) -> object:
    return queue.link.execute("XGROUP", "SETID", queue.keys.stream, GROUP, "$")


def set_back(queue: StreamQueue) -> object:
    return queue.link.execute("XGROUP", "SETID", queue.keys.stream, GROUP, "0")


def destroy_group(queue: StreamQueue) -> object:
    return queue.link.execute("XGROUP", "DESTROY", queue.keys.stream, GROUP)


TAKE_AWAY = (delete_stream, trim_all, delete_entries, read_as_another, set_forward)


@pytest.mark.parametrize("meddle", [*TAKE_AWAY, set_back, destroy_group], ids=lambda one: one.__name__)
@pytest.mark.parametrize("watched_first", [True, False], ids=["watched", "leased"])
def test_nothing_is_lost_and_nothing_is_delivered_twice(
    queue: StreamQueue, meddle: Meddling, watched_first: bool
) -> None:
    fill(queue, 0, 10)
    first, given, retry = take(queue, 3)
    queue.release(held(given))
    queue.nack(retried(retry))
    assert meddle(queue), "nothing was done to the stream"
    if watched_first:
        queue.watch_all()
    seen: list[int] = []
    for _ in range(10):
        seen += [number_of(delivery) for delivery in queue.take()]
        queue.repair()
    assert sorted(seen) == list(range(1, 10)), "all but the one that is held"
    assert queue.ack(done(first)) == []
    assert queue.tally("lost") == (0 if meddle in (set_back, destroy_group) else 8)
    assert queue.unread == 0


@pytest.mark.parametrize("meddle", TAKE_AWAY, ids=lambda one: one.__name__)
def test_what_is_missing_is_counted_once_and_told(queue: StreamQueue, meddle: Meddling) -> None:
    fill(queue, 0, 10)
    take(queue, 3)
    meddle(queue)
    assert not queue.watch_all().repair, "nobody has come to the end of the stream yet"
    assert queue.take() == []
    watched = queue.watch_all()
    assert (watched.lost, watched.repair) == (7, True)
    assert queue.repair() == 7
    watched = queue.watch_all()
    assert (watched.lost, watched.repair, queue.tally("repaired")) == (7, False, 7)


def test_a_group_made_anew_has_what_is_held_and_given_back_pending_again(queue: StreamQueue) -> None:
    fill(queue, 0, 700)
    taken = take(queue, 600)
    queue.release(*map(held, taken[:250]))
    before = queue.pending()
    destroy_group(queue)
    queue.watch_all()
    assert queue.pending() == before
    assert queue.tally("healed") == 1
    queue.check()


def test_no_history_is_trimmed_before_the_pending_list_is_whole_again(queue: StreamQueue) -> None:
    queue.declare(Retain(count=0))
    fill(queue, 0, 3 * BLOCK)
    taken = take(queue, 3 * BLOCK)
    for delivery in taken[1:]:
        queue.ack(done(delivery))
    destroy_group(queue)
    assert queue.watch_all().trimmed == 0
    assert queue.pending() == [0]


def test_repair_passes_over_what_waits_elsewhere(queue: StreamQueue) -> None:
    queue.enqueue(*(message(number) for number in range(6)), message(9, due=-50))
    for _ in range(2):
        queue.seat = type(queue.seat)()
        one = queue.take(1)[0]
        queue.reclaim(one.token, mode="crash", started=[one.id])
    queue.seat = type(queue.seat)()
    leased, parked, given = queue.take(3)
    queue.park((held(parked), "t"))
    queue.release(held(given))
    queue.link.execute("HSET", queue.keys.tally, "repair", "0")
    assert queue.repair() == 2, "only the two that are unread, which are doubled"
    assert sorted(number_of(one) for one in queue.take(50)) == sorted([number_of(given), 4, 5])
    assert queue.unread == 0
    assert [number_of(one) for one in queue.take(alone=True)] == [0]
    assert queue.ack(done(leased)) == []


def test_a_group_set_back_by_far_is_caught_up_in_steps(queue: StreamQueue) -> None:
    fill(queue, 0, 2_500)
    finish(queue, 2_500)
    set_back(queue)
    fill(queue, 3_000, 3)
    queue.rings()
    assert [len(queue.take()) for _ in range(3)] == [0, 0, 3]
    assert queue.rings() == 1, "each step that left something behind rang for the next"
    assert (queue.tally("lost"), queue.unread) == (0, 0)


def test_foreign_entries_are_counted_left_there_and_not_run(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    for fields in (
        ["task", "evil"],
        ["id", "short", "body", "x"],
        ["id", message(7).id, "payload", "x"],
        ["name", message(7).id, "body", "x"],
    ):
        queue.link.execute("XADD", queue.keys.stream, "*", *fields)
    fill(queue, 1, 1)
    assert [number_of(one) for one in queue.take()] == [0, 1]
    assert queue.watch().foreign == 4
    assert queue.pending() == [0, 1]
    assert queue.link.execute("XLEN", queue.keys.stream) == 6
    assert queue.tally("lost") == 0


def test_an_entry_copied_by_others_comes_once_under_one_token_though_more_is_unread(queue: StreamQueue) -> None:
    fill(queue, 0, 2)
    for _ in range(2):
        queue.link.execute("XADD", queue.keys.stream, "*", "id", message(0).id, "body", "other")
    fill(queue, 2, 20)
    assert [number_of(one) for one in queue.take(4)] == [0, 1, 2, 3]
    assert queue.pending() == [0, 1, 2, 3]


def test_an_entry_copied_by_others_runs_its_message_once(queue: StreamQueue) -> None:
    fill(queue, 0, 2)
    for _ in range(2):
        queue.link.execute("XADD", queue.keys.stream, "*", "id", message(0).id, "body", "other")
    assert [(number_of(one), one.body) for one in queue.take()] == [(0, b"body-0"), (1, b"body-1")]
    assert queue.pending() == [0, 1]


def test_an_entry_of_a_message_that_is_over_runs_nothing(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    queue.link.execute("XADD", queue.keys.stream, "*", "id", message(0).id, "body", "other")
    fill(queue, 1, 2)
    (one,) = queue.take(1)
    queue.ack(done(one))
    assert [number_of(one) for one in queue.take()] == [1, 2]
    assert queue.pending() == [1, 2]
    assert queue.counter("done") == 1


def test_the_groups_of_others_are_left_alone(queue: StreamQueue) -> None:
    queue.declare(Retain(count=0))
    queue.link.execute("XGROUP", "CREATE", queue.keys.stream, "audit", "0")
    fill(queue, 0, BLOCK)
    found = queue.link.execute("XREADGROUP", "GROUP", "audit", "me", "COUNT", 5, "STREAMS", queue.keys.stream, ">")
    assert len(found[0][1]) == 5
    finish(queue, BLOCK)
    queue.watch_all()
    assert queue.link.execute("XPENDING", queue.keys.stream, "audit")[0] == 5


# -- transports


def test_who_takes_it_for_a_list_queue_is_told_and_writes_nothing(queue: StreamQueue, namespace: str) -> None:
    blind = Queue(queue.link, namespace)
    before = queue.dump(without=["stream"])
    for plain in (True, False):
        with pytest.raises(OtherTransport):
            blind.enqueue(message(1, explicit=not plain), number=1)
    with pytest.raises(OtherTransport):
        blind.lease()
    assert queue.dump(without=["stream"]) == before
    assert blind.sweep().streamed
    assert not queue.sweep().skipped or queue.sweep().streamed


def test_what_waited_in_its_lists_is_run_before_the_stream(queue: StreamQueue, namespace: str) -> None:
    queue.declare(transport="list")
    blind = Queue(queue.link, namespace)
    blind.enqueue(message(1), message(2, priority=1), message(3))
    queue.declare()
    fill(queue, 4, 2)
    taken = queue.take()
    assert [number_of(one) for one in taken] == [2, 1, 3, 4, 5]
    assert queue.pending() == [4, 5]
    queue.ack(*map(done, taken))
    queue.check()


def test_it_becomes_a_list_queue_only_when_its_stream_is_drained(queue: StreamQueue) -> None:
    fill(queue, 0, 2)
    one = queue.take(1)[0]
    with pytest.raises(ConfigError, match="its stream holds 2 messages"):
        queue.declare(transport="list")
    queue.take()
    with pytest.raises(ConfigError, match="its stream holds 2 messages"):
        queue.declare(transport="list")
    queue.reclaim(one.token, mode="crash")
    assert one.id
    queue.seat = type(queue.seat)()
    for _ in range(2):
        queue.now += 20_000
        for token in queue.sweep().lapsed:
            queue.reclaim(token, mode="lapse")
    queue.ack(*map(done, queue.take()))
    queue.declare(transport="list")
    assert not queue.link.execute("HEXISTS", queue.keys.meta, "transport")
