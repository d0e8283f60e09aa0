"""lookup, examine, overview and buried: they tell what is there, in bounds, and write nothing."""

from __future__ import annotations

from typing import Any

import pytest

from taskq.store.scripts import Call
from taskq.tasks import operator_calls as ops
from taskq.tasks.broker import LEASE_BYTES, Flags, Mark
from tests.lua.kit import LEASE_MS, Queue, buried, done, held, message, number_of, retried


def read(queue: Queue, call: Call[Any]) -> Any:
    """Its answer; nothing may have been written for it."""
    before = queue.dump()
    answer = queue.run(call)
    assert queue.dump() == before
    return answer


def one_in_each_state(queue: Queue) -> dict[str, int]:
    """A message in each state, by the letter that is said of it."""
    queue.enqueue(*(message(number) for number in range(1, 7)), message(7, due=-500), message(8), message(9))
    one, two, three, four, five, six = queue.take(6)
    queue.extend([], [Mark(one.id, one.token)])
    queue.park((held(two), "t"))
    queue.bury(buried(three, result=b"x{}", result_ttl=900), buried(four, quarantine=True))
    queue.ack(done(five, b"d5", 800))
    queue.nack(retried(six, 700, line=b'{"e":6}'))
    queue.cancel(message(8).id)
    return {"l": 1, "p": 2, "x": 3, "q": 4, "o": 5, "d": 7, "c": 8, "r": 9, "?": 99}


def test_lookup_says_where_each_is(queue: Queue) -> None:
    letters = one_in_each_state(queue)
    found = queue.lookup(*(message(number).id for number in letters.values()), message(6).id)
    assert [item.state for item in found] == [*letters, "d"]
    assert [item.result for item in found] == [b"", b"", b"x{}", b"", b"d5", b"", b"c", b"", b"", b""]
    assert (found[-1].attempts, found[-1].lines) == (1, b'{"e":6}')
    assert found[-2].lines == b""


def test_a_message_that_is_there_again_wins_over_its_old_result(queue: Queue) -> None:
    queue.enqueue(message(1))
    queue.ack(done(queue.take()[0], b"d1"))
    queue.enqueue(message(1))
    assert (queue.state(message(1).id), queue.lookup(message(1).id)[0].result) == ("r", b"d1")


@pytest.mark.parametrize("what", ["results", "lines"])
def test_lookup_ends_when_its_reply_is_large(queue: Queue, what: str) -> None:
    queue.enqueue(*(message(number) for number in range(5)))
    for delivery in queue.take():
        if what == "results":
            queue.ack(done(delivery, b"d" * (LEASE_BYTES // 2)))
        else:
            queue.bury(buried(delivery, b"{}"))
            queue.link.execute("HSET", queue.keys.errors, delivery.id, b"e" * (LEASE_BYTES // 2))
    assert len(queue.lookup(*(message(number).id for number in range(5)))) == 3


def test_examine_knows_the_times_of_each_state(queue: Queue) -> None:
    one_in_each_state(queue)
    times = {}
    for number in range(1, 10):
        seen = read(queue, ops.examine(queue.keys, message(number).id))
        since = [seen.due, seen.buried, seen.deadline, seen.kept]
        times[seen.found.state + str(number)] = [None if at is None else at - queue.now for at in since]
    outcome = queue.limits.outcome_ttl
    assert times == {
        "l1": [None, None, LEASE_MS, None],
        "p2": [None, None, None, None],
        "x3": [None, 0, None, 900],
        "q4": [None, 0, None, None],
        "o5": [None, None, None, 800],
        "d6": [700, None, None, None],
        "d7": [500, None, None, None],
        "c8": [None, None, None, outcome],
        "r9": [None, None, None, None],
    }


def test_examine_tells_what_is_stored(queue: Queue) -> None:
    one_in_each_state(queue)
    queue.link.execute("SET", queue.keys.progress(message(6).id), b"half")
    seen = read(queue, ops.examine(queue.keys, message(6).id))
    assert (seen.body, seen.found.lines, seen.progress) == (b"body-6", b'{"e":6}', b"half")
    assert read(queue, ops.examine(queue.keys, message(5).id)).found.result == b"d5"
    nothing = read(queue, ops.examine(queue.keys, message(99).id))
    assert (nothing.found.state, nothing.body, nothing.progress) == ("?", b"", b"")


# -- overview


def test_overview_counts_each_place(queue: Queue) -> None:
    one_in_each_state(queue)
    queue.enqueue(message(20, priority=2), message(21, priority=-2))
    reading = read(queue, ops.overview(queue.keys, ["t", "none"]))
    bodies, listed, delayed, leases, leased, running, retrying, dead, quarantined, outbox, due = reading.counts
    assert (bodies, listed, delayed, leases, leased, running, retrying) == (9, 4, 2, 1, 1, 1, 1)
    assert (dead, quarantined, outbox, float(due)) == (1, 1, 0, queue.now + 500)
    assert reading.tasks == (("t", float(queue.now)),)
    assert reading.lengths == (1, 0)
    assert [number_of(head) for head in reading.heads if head] == [20, 9, 21]
    assert [bool(head) for head in reading.heads] == [True, False, True, False, True]
    assert reading.meta[b"enqueued"] == b"11"


@pytest.mark.parametrize("priority", [2, 1, 0, -1, -2])
def test_overview_finds_what_waits_under_one_priority_alone(queue: Queue, priority: int) -> None:
    queue.enqueue(message(7, priority=priority))
    reading = read(queue, ops.overview(queue.keys))
    assert (reading.counts[:2], reading.counts[7:10]) == ([1, 1], [0, 0, 0])
    assert [number_of(head) if head else None for head in reading.heads] == [
        7 if priority == each else None for each in (2, 1, 0, -1, -2)
    ]


@pytest.mark.parametrize(
    ("place", "write"),
    [
        ("alone", ("RPUSH", b"m")),
        ("quarantine", ("ZADD", 5, b"m")),
        ("outbox", ("HSET", b"m", b"x")),
        ("parked", ("ZADD", 5, b"t")),
        ("dead", ("ZADD", 5, b"m")),
    ],
)
def test_overview_finds_what_is_in_one_rare_place_alone(queue: Queue, place: str, write: tuple[Any, ...]) -> None:
    verb, *rest = write
    queue.link.execute(verb, getattr(queue.keys, place), *rest)
    reading = read(queue, ops.overview(queue.keys))
    _, listed, *_, dead, quarantined, outbox, _ = reading.counts
    found = {"alone": listed, "dead": dead, "quarantine": quarantined, "outbox": outbox, "parked": len(reading.tasks)}
    assert {name for name, count in found.items() if count} == {place}


def test_overview_looks_into_no_more_than_it_may(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(6)))
    for delivery in queue.take(2) + queue.take(1) + queue.take(1):
        queue.extend([], [Mark(delivery.id, delivery.token)])
    queue.nack(*(retried(delivery, 500) for delivery in queue.take()))
    assert counted(queue, 10, 10) == (4, 4, 2)
    assert counted(queue, 2, 10) == (-1, 0, 2)
    assert counted(queue, 3, 2)[1:] == (0, 2), "more leases than looks"
    assert counted(queue, 3, 3)[1] == 3
    assert counted(queue, 3, 1)[2] == 1


def counted(queue: Queue, most: int, looks: int) -> tuple[int, int, int]:
    """Leased, running, retrying, with bounds of our own."""
    call = ops.overview(queue.keys)
    call.args[:2] = [most, looks]  # type: ignore[index]
    counts = read(queue, call).counts
    return counts[4], counts[5], counts[6]


def test_overview_sees_who_has_run_before(queue: Queue) -> None:
    queue.enqueue(message(1, due=-50), message(2), message(3, due=-50, explicit=True))
    queue.nack(retried(queue.take()[0], 500, counts=False))
    queue.enqueue(message(4))
    delivery = queue.take()[0]
    assert counted(queue, 10, 10) == (1, 0, 1)
    queue.release(held(delivery))
    record = queue.dump()["state"][message(2).id]
    queue.link.execute("HSET", queue.keys.state, message(2).id, record[:3] + b"\0\0" + record[5:6] + b"\0\1")
    assert counted(queue, 10, 10) == (0, 0, 1)


def test_overview_counts_what_must_run_alone_and_bounds_the_tasks_it_names(queue: Queue) -> None:
    queue.enqueue(message(1), message(2), message(3, due=-50))
    queue.park(*((held(delivery), f"t{number_of(delivery)}") for delivery in queue.take()))
    queue.link.execute("RPUSH", queue.keys.alone, message(1).id, message(2).id)
    queue.link.execute("HDEL", queue.keys.state, message(3).id)
    call = ops.overview(queue.keys)
    assert len(read(queue, call).tasks) == 2
    call.args[2] = 1  # type: ignore[index]
    reading = read(queue, call)
    assert reading.tasks == (("t1", float(queue.now)),)
    assert reading.counts[1] == 2
    assert reading.counts[6] == 0, "a delayed one without a record has not run"


def test_overview_counts_a_batch_only_while_it_is_held(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    one, two = queue.take()
    queue.extend([], [Mark(one.id, one.token), Mark(two.id, two.token)])
    queue.ack(done(one))
    assert counted(queue, 10, 10) == (1, 1, 0)
    record = queue.dump()["state"][two.id]
    queue.link.execute("HSET", queue.keys.state, two.id, b"r" + record[1:8])
    assert counted(queue, 10, 10) == (1, 0, 0)


def test_the_oldest_is_the_first_that_is_there(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(4)))
    queue.cancel(message(0).id)
    queue.link.execute("HDEL", queue.keys.body, message(1).id)
    assert number_of(read(queue, ops.overview(queue.keys)).heads[2]) == 2
    queue.link.execute("HSET", queue.keys.state, message(2).id, b"l\2\0\0\1\0\0\0" + b"t" * 20)
    assert number_of(read(queue, ops.overview(queue.keys)).heads[2]) == 3


# -- buried


def bury(queue: Queue, *numbers: int, line: bytes = b'{"task":"t"}') -> None:
    queue.enqueue(*(message(number) for number in numbers))
    queue.bury(*(buried(delivery, line) for delivery in queue.take()))


def rows(queue: Queue, **more: Any) -> ops.Rows:
    found: ops.Rows = read(queue, ops.buried(queue.keys, quarantined=False, **more))
    return found


def test_a_page_is_the_newest_first_and_goes_on_behind_the_last_one_seen(queue: Queue) -> None:
    for numbers in ([1], [2, 3, 4], [5]):
        bury(queue, *numbers)
        queue.now += 10
    first = rows(queue)
    assert ([number_of(row.id) for row in first.rows], first.total) == ([5, 4, 3, 2, 1], 5)
    for at, row in enumerate(first.rows):
        after = rows(queue, after=(int(row.at), row.id)).rows
        assert [number_of(one.id) for one in after] == [5, 4, 3, 2, 1][at + 1 :]
    queue.discard(message(3).id)
    gone = rows(queue, after=(int(first.rows[2].at), message(3).id))
    assert [number_of(row.id) for row in gone.rows] == [2, 1], "the last one seen need not be there any more"


def test_a_row_has_its_last_line_or_what_its_body_begins_with(queue: Queue) -> None:
    body = b'\1crc!["shop.send",1]' + b"x" * 400
    queue.enqueue(message(1, body), message(2, b'\1crc!["shop.scan",1]'), message(3, body + b"y" * 65537))
    one, two, three = queue.take()
    queue.bury(buried(one, b'{"n":1}\n{"n":2}'), buried(two, b'{"task":"other"}'), buried(three, b"{}"))
    found = {number_of(row.id): (row.line, row.task, row.found.state, row.found.deliveries) for row in rows(queue).rows}
    assert found == {
        1: (b'{"n":2}', "shop.send", "x", 1),
        2: (b'{"task":"other"}', "", "x", 1),
        3: (b"{}", "", "x", 1),
    }
    brief = rows(queue, brief=True)
    assert {(row.line, row.task, row.found.state) for row in brief.rows} == {(b"", "", "?")}


def test_a_page_has_no_more_rows_than_it_may(queue: Queue) -> None:
    bury(queue, 1, 2, 3, 4)
    call = ops.buried(queue.keys, quarantined=False)
    call.args[2] = 2  # type: ignore[index]
    assert [number_of(row.id) for row in read(queue, call).rows] == [4, 3]


def test_the_quarantine_has_pages_of_its_own(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    one, two = queue.take()
    queue.bury(buried(one), buried(two, quarantine=True))
    found = read(queue, ops.buried(queue.keys, quarantined=True))
    assert [(number_of(row.id), row.found.state) for row in found.rows] == [(2, "q")]


def test_a_page_ends_early_if_it_is_large(queue: Queue) -> None:
    bury(queue, *range(5), line=b'{"task":"t"}')
    for number in range(5):
        lines = b"e" * (LEASE_BYTES // 2) + b'\n{"task":"t"}'
        queue.link.execute("HSET", queue.keys.errors, message(number).id, lines)
    assert len(rows(queue).rows) == 2
    assert len(rows(queue, brief=True).rows) == 5
    queue.discard(*(message(number).id for number in range(5)))
    queue.enqueue(*(message(number, b"y" * 65_000) for number in range(3)))
    queue.enqueue(*(message(number, b"y" * 65_000) for number in range(3, 6)))
    for delivery in queue.take(3) + queue.take(3):
        queue.bury(buried(delivery, b"{}"))
    assert len(rows(queue).rows) == 5, "bodies count as well"


def test_a_message_without_history_is_a_row_too(queue: Queue) -> None:
    bury(queue, 1)
    queue.link.execute("HDEL", queue.keys.errors, message(1).id)
    queue.link.execute("HDEL", queue.keys.body, message(1).id)
    (row,) = rows(queue).rows
    assert (row.line, row.task) == (b"", "")
    assert not row.found.flags & Flags.BIG
