"""Reading a stream queue: pages of its history, and what its overview tells of the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq.tasks.operator_calls import Reading, overview
from taskq.tasks.past import PastPage, history
from tests.lua.kit import held, message, number_of, retried
from tests.lua.stream_kit import StreamQueue
from tests.lua.test_stream_care import destroy_group, fill, finish, set_back
from tests.servers import RealServer


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield StreamQueue(link, namespace)
    link.close()


def read(queue: StreamQueue, first: str = "-", last: str = "+", **more: Any) -> PastPage:
    return queue.run(history(queue.keys, first, last, **more))


def places(queue: StreamQueue, **more: Any) -> str:
    """The first letter of the place of each entry."""
    return "".join(entry.place[0] for entry in read(queue, **more).entries)


def commands(queue: StreamQueue, name: str, do: Callable[[], object]) -> int:
    """How many commands of this name were run meanwhile."""
    queue.link.execute("CONFIG", "RESETSTAT")
    do()
    found = queue.link.execute("INFO", "commandstats")
    text = found.decode() if isinstance(found, bytes) else str(found)
    counts = [line for line in text.splitlines() if line.startswith(f"cmdstat_{name}:")]
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in counts)


def test_a_lease_reads_bodies_of_middle_size_in_few_steps(queue: StreamQueue) -> None:
    fill(queue, 0, 100, b"x" * 1_100)
    assert commands(queue, "xreadgroup", lambda: queue.take(100)) == 1
    assert queue.pending() == list(range(100))


def test_what_is_not_ours_does_not_stand_for_what_is_missing(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    queue.link.execute("XADD", queue.keys.stream, "*", "not", "ours")
    queue.link.execute("XDEL", queue.keys.stream, queue.stream()[1].id)
    assert [number_of(one) for one in queue.take()] == [0, 2]
    assert (queue.tally("lost"), queue.tally("foreign"), queue.repair()) == (1, 1, 1)


def test_a_lease_does_not_read_on_and_on_through_what_is_not_ours(queue: StreamQueue) -> None:
    for _ in range(12):
        queue.link.execute("XADD", queue.keys.stream, "*", "not", "ours", "large", b"x" * 100_000)
    assert queue.take(4) == []
    assert queue.tally("foreign") == 4


def test_what_is_not_ours_is_not_run_under_the_name_of_a_message(queue: StreamQueue) -> None:
    queue.link.execute("XADD", queue.keys.stream, "*", "id", message(0).id, "payload", "evil")
    fill(queue, 0, 1)
    (one,) = queue.take()
    assert (one.body, queue.pending(), queue.tally("foreign")) == (b"body-0", [0], 1)


def test_copies_by_others_are_not_taken_for_loss(queue: StreamQueue) -> None:
    fill(queue, 0, 2)
    for _ in range(3):
        queue.link.execute("XADD", queue.keys.stream, "*", "id", message(0).id, "body", "x")
    assert [number_of(one) for one in queue.take()] == [0, 1]
    assert (queue.tally("lost"), queue.unread, queue.watch().repair) == (0, 0, False)


def test_what_is_left_to_look_up_rings_with_each_watch(queue: StreamQueue) -> None:
    fill(queue, 0, 1_200)
    finish(queue, 1_200)
    set_back(queue)
    queue.rings()
    assert queue.take() == []
    assert queue.rings() == 1
    queue.watch()
    assert queue.rings() == 1
    assert queue.take() == []
    queue.rings()
    queue.watch()
    assert queue.rings() == 0


def test_the_largest_body_stays_known_beside_smaller_ones(queue: StreamQueue) -> None:
    fill(queue, 0, 1, b"x" * 5_000)
    fill(queue, 1, 1)
    assert queue.tally("big") == 5_000


def test_large_bodies_stay_known_until_all_is_read(queue: StreamQueue) -> None:
    fill(queue, 0, 9, b"x" * 100_000)
    queue.take()
    assert queue.unread == 6
    queue.take()
    assert queue.unread >= 3


def test_messages_are_looked_up_one_by_one_only_where_there_is_doubt(queue: StreamQueue) -> None:
    fill(queue, 0, 100)
    assert commands(queue, "hget", lambda: queue.take(50)) < 10
    set_back(queue)
    assert commands(queue, "hget", lambda: queue.take(50)) >= 100
    assert queue.pending() == list(range(100))


def test_where_reading_is_moves_on_over_what_is_not_ours(queue: StreamQueue) -> None:
    assert queue.take() == []
    assert not queue.link.execute("EXISTS", queue.keys.tally), "a lease of nothing leaves nothing"
    entry = queue.link.execute("XADD", queue.keys.stream, "*", "not", "ours")
    assert queue.take() == []
    assert queue.link.execute("HGET", queue.keys.tally, "last") == entry


# -- history


def test_only_the_entry_by_which_a_message_is_held_or_waits_is_pending(queue: StreamQueue) -> None:
    fill(queue, 0, 3)
    first, second = queue.take(2)
    queue.nack(retried(first))
    queue.release(held(second))
    assert places(queue) == "dpuu"
    assert [number_of(one) for one in queue.take()] == [1, 2, 0]
    assert places(queue) == "dppp"


def test_what_was_blamed_is_pending_too(queue: StreamQueue) -> None:
    fill(queue, 0, 1)
    (one,) = queue.take()
    queue.reclaim(one.token, mode="crash", started=[one.id])
    assert places(queue) == "p"


def test_entries_with_one_field_of_another_name_are_not_ours(queue: StreamQueue) -> None:
    for fields in (["name", b"u" * 16, "body", "x"], ["id", b"u" * 16, "payload", "x"], ["id", b"u" * 15, "body", "x"]):
        queue.link.execute("XADD", queue.keys.stream, "*", *fields)
    assert [(entry.foreign, entry.id, entry.body) for entry in read(queue).entries] == [(True, "", b"")] * 3


def test_entries_are_read_by_tens_while_they_are_small(queue: StreamQueue) -> None:
    fill(queue, 0, 25)
    assert commands(queue, "xrange", lambda: read(queue)) == 1 + 3
    queue.link.execute("DEL", queue.keys.stream)
    fill(queue, 100, 5, b"x" * 1_001)
    assert commands(queue, "xrange", lambda: read(queue)) == 5 + 1


def test_a_page_has_no_more_than_it_was_asked_for(queue: StreamQueue) -> None:
    fill(queue, 0, 30)
    every = [entry.id for entry in queue.stream()]
    for newest in (False, True):
        wanted = every[::-1] if newest else every
        page = read(queue, limit=12, newest=newest)
        assert [entry.entry for entry in page.entries] == wanted[:12]
        assert page.next == wanted[12]
    assert read(queue, limit=30).next is None
    assert [entry.entry for entry in read(queue, every[3], every[5]).entries] == every[3:6]
    assert [entry.entry for entry in read(queue, every[3], every[5], newest=True).entries] == every[5:2:-1]


def test_bytes_of_a_page_are_those_of_whole_bodies_and_of_what_is_not_ours(queue: StreamQueue) -> None:
    fill(queue, 0, 5, b"x" * 400)
    assert len(read(queue, size=1_000).entries) == 2
    assert len(read(queue, size=1_200).entries) <= 3
    assert [len(entry.body) for entry in read(queue, size=10).entries] == [300]
    assert [len(entry.body) for entry in read(queue, size=10, contents=True).entries] == [400]
    for _ in range(5):
        queue.link.execute("XADD", queue.keys.stream, "*", "much", b"y" * 400)
    assert len(read(queue, queue_last(queue), size=1_000).entries) == 2


def queue_last(queue: StreamQueue) -> str:
    """The first entry that is not ours."""
    return str(queue.link.execute("XREVRANGE", queue.keys.stream, "+", "-", "COUNT", 5)[-1][0], "ascii")


# -- overview


def told(queue: StreamQueue) -> tuple[int, int, int, int]:
    """Messages listed, then entries, pending and unread of the stream."""
    reading: Reading = queue.run(overview(queue.keys))
    entries, pending, unread, _, _ = reading.stream
    return reading.counts[1], entries, pending, unread


def oldest(queue: StreamQueue) -> int | None:
    head = queue.run(overview(queue.keys)).heads[2]
    return number_of(head) if head else None


def test_an_overview_counts_what_is_unread_among_what_is_ready(queue: StreamQueue) -> None:
    assert told(queue) == (0, 0, 0, 0)
    fill(queue, 0, 6)
    assert told(queue) == (6, 6, 0, 6)
    given, _ = queue.take(2)
    queue.release(held(given))
    assert told(queue) == (5, 6, 2, 4)
    finish(queue, 2)
    assert told(queue) == (3, 6, 1, 3)
    queue.link.execute("HINCRBY", queue.keys.tally, "read", 10)
    assert told(queue) == (0, 6, 1, 0)


def test_an_overview_knows_what_has_waited_longest(queue: StreamQueue) -> None:
    assert oldest(queue) is None
    fill(queue, 0, 4)
    assert oldest(queue) == 0
    given, _ = queue.take(2)
    assert oldest(queue) == 2
    queue.release(held(given))
    assert oldest(queue) == 0
    queue.take()
    assert oldest(queue) is None
    queue.link.execute("XADD", queue.keys.stream, "*", "id", message(9).id, "body", "x")
    assert oldest(queue) is None, "what others wrote does not wait"
    queue.link.execute("XADD", queue.keys.stream, "*", "id", "short", "body", "x")


def test_an_overview_does_not_take_what_others_wrote_for_a_message(queue: StreamQueue) -> None:
    queue.link.execute("XADD", queue.keys.stream, "*", "id", "short", "body", "x")
    fill(queue, 0, 1)
    assert oldest(queue) is None


def test_an_overview_names_the_groups_at_most_twenty(queue: StreamQueue) -> None:
    queue.link.execute("XGROUP", "CREATE", queue.keys.stream, "mine", "0")
    assert sorted(queue.run(overview(queue.keys)).stream[4]) == [b"mine", b"taskq"]
    for number in range(25):
        queue.link.execute("XGROUP", "CREATE", queue.keys.stream, f"group-{number:02}", "0")
    assert len(queue.run(overview(queue.keys)).stream[4]) == 20


def test_an_overview_tells_of_a_stream_without_a_group_and_of_none(queue: StreamQueue) -> None:
    fill(queue, 0, 2)
    queue.take(1)
    destroy_group(queue)
    assert told(queue) == (1, 2, 0, 1)
    queue.link.execute("DEL", queue.keys.stream)
    assert told(queue) == (1, 0, 0, 1)
    assert queue.run(overview(queue.keys)).stream[4] == []
