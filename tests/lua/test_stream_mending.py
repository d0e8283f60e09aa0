"""What others removed beside the stream is set right: entries, the tally, and both together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskq import ConfigError, Retain
from tests.lua.kit import done, held, message, number_of, retried
from tests.lua.stream_kit import GROUP, WIDE, StreamQueue
from tests.lua.test_stream_care import destroy_group, fill, finish, take
from tests.servers import RealServer


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield (one := StreamQueue(link, namespace))
    one.check()
    link.close()


def last_of_group(queue: StreamQueue) -> str:
    (group,) = queue.link.execute("XINFO", "GROUPS", queue.keys.stream)
    return str(dict(zip(group[::2], group[1::2], strict=True))[b"last-delivered-id"], "ascii")


def numbers(found: list[Any]) -> list[int]:
    return [number_of(one) for one in found]


def test_entries_that_were_removed_are_named_again_for_what_is_held(queue: StreamQueue) -> None:
    fill(queue, 0, 5)
    one, two, _, _ = [*queue.take(1), *queue.take(3)]
    before = queue.by_token()
    queue.ack(done(two))
    queue.link.execute("DEL", queue.keys.entries)
    assert queue.watch().more
    queue.watch_all()
    assert queue.by_token() == {one.token: before[one.token], two.token: ["", *before[two.token][1:]]}
    assert (queue.pending(), queue.tally("healed")) == ([0, 2, 3], 1)
    queue.link.execute("DEL", queue.keys.entries)
    queue.watch_all()
    assert queue.tally("healed") == 2, "a second time counts again"


def test_single_entries_of_a_batch_that_were_removed_are_named_in_their_place(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    one = queue.take()[0]
    (entries,) = queue.by_token().values()
    wide = queue.link.execute("HGET", queue.keys.entries, one.token)
    queue.link.execute("HSET", queue.keys.entries, one.token, b"-" * WIDE + wide[WIDE:-WIDE] + b"-" * WIDE)
    queue.watch_all()
    assert queue.by_token() == {one.token: entries}


def test_entries_of_what_was_given_back_are_acknowledged_if_nobody_knows_them(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    queue.release(*map(held, queue.take(2)))
    queue.link.execute("DEL", queue.keys.entries)
    queue.watch_all()
    assert queue.pending() == []
    one, two, three = queue.take()
    assert queue.by_token() == {one.token: ["", "", queue.stream()[2].id]}
    assert queue.ack(done(one), done(two), done(three)) == []


def test_an_older_entry_of_a_held_message_does_not_hold_up_history(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    queue.nack(retried(queue.take()[0]))
    (one,) = queue.take()
    old, new = (entry.id for entry in queue.stream())
    queue.link.execute("XCLAIM", queue.keys.stream, GROUP, GROUP, 0, old, "FORCE", "JUSTID")
    assert queue.pending() == [0, 0]
    queue.watch_all()
    assert (queue.pending(), queue.by_token()) == ([0], {one.token: [new]})


def test_what_is_wrong_is_set_right_a_hundred_a_call_and_counted_once(queue: StreamQueue) -> None:
    fill(queue, 0, 250)
    queue.release(*map(held, take(queue, 250)))
    queue.link.execute("DEL", queue.keys.entries)
    assert queue.watch().more
    assert queue.pending() == list(range(101, 250)), "the oldest, and a page of a hundred"
    assert queue.watch_all() == queue.watch()
    assert (queue.pending(), queue.tally("healed")) == ([], 1)
    assert numbers(take(queue, 250)) == list(range(250))


def test_what_is_held_is_named_as_soon_as_it_is_the_oldest(queue: StreamQueue) -> None:
    fill(queue, 0, 150)
    taken = queue.take(150)
    (before,) = queue.by_token().values()
    queue.link.execute("DEL", queue.keys.entries)
    queue.watch_all()
    assert queue.by_token() == {taken[0].token: [*before[:100], *[""] * 50]}
    queue.ack(*map(done, taken[:120]))
    assert queue.pending() == list(range(100, 150))
    queue.watch_all()
    assert queue.pending() == list(range(120, 150))
    assert queue.by_token() == {taken[0].token: [*before[:100], *[""] * 20, *before[120:]]}


def test_the_pending_list_of_others_is_not_set_right(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    queue.take(1)
    queue.link.execute("XGROUP", "CREATECONSUMER", queue.keys.stream, GROUP, "thief")
    queue.link.execute("DEL", queue.keys.entries)
    queue.link.execute("XREADGROUP", "GROUP", GROUP, "thief", "COUNT", 1, "STREAMS", queue.keys.stream, ">")
    queue.watch_all()
    assert queue.link.execute("XPENDING", queue.keys.stream, GROUP)[0] == 2
    assert queue.link.execute("XPENDING", queue.keys.stream, GROUP, "-", "+", 9, "thief")
    queue.link.execute("XGROUP", "DELCONSUMER", queue.keys.stream, GROUP, "thief")


def test_a_tally_that_was_removed_is_counted_anew_and_everything_runs_once(queue: StreamQueue) -> None:
    fill(queue, 0, 6)
    one, given, _ = queue.take(3)
    queue.ack(done(one))
    queue.release(held(given))
    queue.link.execute("DEL", queue.keys.tally)
    queue.rings()
    queue.watch()
    assert (queue.tally("healed"), queue.unread, queue.rings()) == (1, 6, 1)
    assert queue.link.execute("HGET", queue.keys.tally, "last") == queue.stream()[2].id.encode()
    assert numbers(queue.take()) == [1, 3, 4, 5]
    assert (queue.unread, queue.tally("lost")) == (0, 0)
    assert queue.watch_all().repair
    assert queue.repair() == 0
    assert queue.watch_all().healed == 1
    assert queue.take() == []
    assert not queue.watch_all().repair, "once is enough"


def test_without_a_tally_what_was_taken_away_is_repaired(queue: StreamQueue) -> None:
    fill(queue, 0, 4)
    queue.link.execute("XDEL", queue.keys.stream, queue.stream()[1].id)
    queue.link.execute("DEL", queue.keys.tally)
    queue.watch_all()
    assert numbers(queue.take()) == [0, 2, 3]
    assert queue.repair() == 1
    assert numbers(queue.take()) == [1]
    assert (queue.unread, queue.tally("lost")) == (0, 0)


def test_a_queue_that_begins_with_what_is_not_due_is_not_healed(queue: StreamQueue) -> None:
    queue.enqueue(message(1, due=-50))
    queue.watch_all()
    queue.now += 50
    queue.promote()
    assert numbers(queue.take()) == [1]
    queue.repair()
    assert (queue.tally("healed"), queue.tally("repaired"), queue.tally("lost"), queue.unread) == (0, 0, 0, 0)


def test_without_a_tally_an_idle_queue_is_left_alone(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    finish(queue, 3)
    queue.link.execute("DEL", queue.keys.tally)
    queue.rings()
    assert queue.watch_all().healed == 0
    assert (queue.unread, queue.rings()) == (0, 0)


def test_without_a_tally_history_is_counted_from_its_blocks(queue: StreamQueue) -> None:
    queue.declare(Retain(count=250, bytes=1_000_000))
    fill(queue, 0, 401, b"x" * 10)
    finish(queue, 350)
    assert queue.watch_all().trimmed == 0
    queue.link.execute("DEL", queue.keys.tally)
    queue.link.execute("XGROUP", "CREATE", queue.keys.stream, "zebra", "0")
    queue.watch()
    assert queue.link.execute("HGET", queue.keys.tally, "last") == queue.stream()[349].id.encode()
    assert (queue.tally("passed"), queue.tally("bytes")) == (300, 3_000)
    assert len(take(queue, 51)) == 51
    assert queue.watch_all().trimmed == 0, "of four blocks the last is not delivered"


def test_without_a_tally_what_has_two_entries_runs_once(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    queue.link.execute("HSET", queue.keys.tally, "repair", "0")
    assert queue.repair() == 3
    queue.link.execute("DEL", queue.keys.tally)
    queue.watch_all()
    assert numbers(queue.take()) == [0, 1, 2]
    assert queue.pending() == [0, 1, 2]


def test_without_a_tally_bodies_may_be_large(queue: StreamQueue) -> None:
    fill(queue, 0, 6, b"x" * 100_000)
    queue.link.execute("DEL", queue.keys.tally)
    queue.watch_all()
    assert numbers(queue.take()) == [0, 1]
    assert (queue.unread, queue.pending()) == (3, [0, 1, 2])


def test_without_a_tally_what_is_delivered_becomes_history_at_once(queue: StreamQueue) -> None:
    fill(queue, 0, 201)
    finish(queue, 200)
    queue.link.execute("DEL", queue.keys.tally)
    queue.watch()
    assert queue.tally("passed") == 200


# -- the group


def test_a_group_is_made_where_it_was(queue: StreamQueue) -> None:
    fill(queue, 0, 5)
    finish(queue, 3)
    third = last_of_group(queue)
    destroy_group(queue)
    queue.watch()
    assert last_of_group(queue) == third == queue.stream()[2].id
    destroy_group(queue)
    assert numbers(queue.take(1)) == [3]
    assert last_of_group(queue) == queue.stream()[3].id


@pytest.mark.parametrize("watched", [True, False])
def test_entries_of_a_stream_that_begins_anew_are_read_however_old_they_look(queue: StreamQueue, watched: bool) -> None:
    fill(queue, 0, 4)
    finish(queue, 2)
    queue.link.execute("DEL", queue.keys.stream)
    for number in (2, 3):
        queue.link.execute("XADD", queue.keys.stream, f"1000-{number}", "id", message(number).id, "body", "x")
    if watched:
        queue.watch_all()
    two, three = queue.take()
    assert (number_of(two), queue.pending(), queue.tally("lost")) == (2, [2, 3], 0)
    assert queue.by_token() == {two.token: ["1000-2", "1000-3"]}
    queue.ack(done(three))
    assert queue.pending() == [2]
    fill(queue, 4, 1)
    assert numbers(queue.take()) == [4]


def test_where_the_group_was_stays_known_if_nothing_is_left_to_read(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    finish(queue, 2)
    second, third = (entry.id for entry in queue.stream()[1:])
    queue.link.execute("XDEL", queue.keys.stream, third)
    destroy_group(queue)
    assert queue.take() == []
    assert queue.link.execute("HGET", queue.keys.tally, "last") == second.encode()
    assert queue.repair() == 1


def test_declaring_makes_the_group_where_it_was(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    finish(queue, 2)
    second = last_of_group(queue)
    queue.declare()
    assert queue.tally("healed") == 0
    destroy_group(queue)
    queue.declare()
    assert (last_of_group(queue), queue.tally("healed")) == (second, 1)


def test_a_queue_whose_transport_was_removed_does_not_become_a_list_queue_while_its_stream_holds_messages(
    queue: StreamQueue,
) -> None:
    fill(queue, 0, 2)
    queue.link.execute("HDEL", queue.keys.meta, "transport")
    with pytest.raises(ConfigError, match="its stream holds 2 messages"):
        queue.declare(transport="list")
    queue.declare()
    with pytest.raises(ConfigError, match="its stream holds 2 messages"):
        queue.declare(transport="list")
    assert queue.link.execute("HGET", queue.keys.meta, "transport") == b"stream"


def test_the_first_message_with_a_record_makes_a_stream_queue_and_one_that_is_there_already_none(
    queue: StreamQueue,
) -> None:
    queue.enqueue(message(1, explicit=True))
    queue.link.execute("HDEL", queue.keys.meta, "transport")
    queue.enqueue(message(1, explicit=True))
    assert queue.link.execute("HGET", queue.keys.meta, "transport") is None
    queue.enqueue(message(2, explicit=True))
    assert queue.link.execute("HGET", queue.keys.meta, "transport") == b"stream"


def test_a_tally_that_is_lost_before_an_enqueue_is_counted_anew_all_the_same(queue: StreamQueue) -> None:
    fill(queue, 0, 5)
    words = ("XREADGROUP", "GROUP", GROUP, "stranger", "COUNT", 3, "STREAMS", queue.keys.stream, ">")
    assert queue.link.execute(*words)
    queue.link.execute("UNLINK", queue.keys.tally)
    queue.enqueue(message(5))
    queue.watch_all()
    got = numbers(queue.take())
    assert queue.repair() > 0
    assert sorted(got + numbers(queue.take())) == [0, 1, 2, 3, 4, 5]
    queue.link.execute("XGROUP", "DELCONSUMER", queue.keys.stream, GROUP, "stranger")


def test_a_tally_that_is_lost_with_nothing_in_the_queue_begins_anew(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    finish(queue, 3)
    queue.link.execute("UNLINK", queue.keys.tally)
    queue.enqueue(message(3))
    assert (queue.tally("appended"), numbers(queue.take())) == (1, [3])
    queue.watch_all()
    assert (queue.tally("appended"), queue.tally("read"), queue.tally("healed")) == (1, 1, 0)
