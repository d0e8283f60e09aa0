"""browse.lua: one page of one place, the next one where it ended whatever has gone meanwhile, and bounds; no write."""

from __future__ import annotations

from taskq.tasks.briefs import Place, Slip
from taskq.tasks.broker import LEASE_BYTES
from taskq.tasks.browsing import browse
from tests.lua.kit import Queue, buried, message, number_of


def page(queue: Queue, place: Place | None, after: str = "", **more: object) -> tuple[bool, list[Slip]]:
    """A page, and nothing written for it."""
    _, at, last = after.split("/") if after else ("", "", "")
    before = queue.dump()
    over, slips = queue.run(browse(queue.keys, place, (at, bytes.fromhex(last)), **more))  # type: ignore[arg-type]
    assert queue.dump() == before
    return over, list(slips)


def numbers(slips: list[Slip]) -> list[int]:
    return [number_of(slip.id) for slip in slips]


def ready(queue: Queue) -> Place:
    return Place("r", queue.keys.ready_for(0), 2)


def test_a_list_is_read_on_behind_the_last_one_wherever_that_is_by_then(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(200)))
    queue.enqueue(*(message(number) for number in range(200, 400)))
    over, first = page(queue, ready(queue), limit=150)
    assert (over, numbers(first)) == (False, list(range(150)))
    _, second = page(queue, ready(queue), first[-1].after, limit=2)
    assert numbers(second) == [150, 151]
    queue.take(120)
    assert numbers(page(queue, ready(queue), first[-1].after, limit=2)[1]) == [150, 151]
    queue.take(100)
    assert numbers(page(queue, ready(queue), first[-1].after, limit=2)[1]) == [220, 221], "all before it has gone"


def test_far_from_where_it_was_it_is_looked_for(queue: Queue) -> None:
    for start in range(0, 1_500, 250):
        queue.enqueue(*(message(number) for number in range(start, start + 250)))
    (last,) = page(queue, ready(queue), f"r/1399/{message(1398).id.hex()}", limit=1)[1]
    assert number_of(last.id) == 1_399
    queue.link.execute("LTRIM", queue.keys.ready_for(0), 1_000, -1)
    assert numbers(page(queue, ready(queue), last.after, limit=1)[1]) == [1_400]


def test_a_full_page_may_be_followed_and_a_short_one_is_the_last(queue: Queue) -> None:
    queue.enqueue(*(message(number) for number in range(4)))
    over, slips = page(queue, ready(queue), limit=4)
    assert (over, len(slips)) == (False, 4)
    assert page(queue, ready(queue), slips[-1].after) == (True, [])
    assert page(queue, ready(queue), limit=5)[0]
    assert page(queue, Place("d", queue.keys.delayed)) == (True, [])


def test_of_one_score_each_comes_once_in_either_direction(queue: Queue) -> None:
    queue.enqueue(*(message(number, due=-5) for number in (1, 2, 3)), message(4, due=-4), message(5, due=-6))
    for down, order in ((False, [4, 1, 2, 3, 5]), (True, [5, 3, 2, 1, 4])):
        place, found, after = Place("d", queue.keys.delayed, down=down), list[int](), ""
        for _ in range(5):
            _, slips = page(queue, place, after, limit=1)
            found, after = found + numbers(slips), slips[-1].after
        assert found == order
        assert page(queue, place, after, limit=1)[1] == []
    queue.link.execute("ZREM", queue.keys.delayed, message(2).id)
    after = f"d/{queue.now + 5}/{message(2).id.hex()}"
    assert numbers(page(queue, Place("d", queue.keys.delayed), after)[1]) == [3, 5]


def test_dead_ones_come_with_their_times(queue: Queue) -> None:
    queue.enqueue(message(1), message(2))
    for delivery in queue.take():
        queue.bury(buried(delivery))
        queue.now += 1
    _, slips = page(queue, Place("x", queue.keys.dead, down=True))
    assert [(number_of(slip.id), float(slip.score)) for slip in slips] == [(2, queue.now - 1), (1, queue.now - 2)]
    assert [slip.found.state for slip in slips] == ["x", "x"]


def test_a_page_ends_at_its_bytes_after_one_row_at_least(queue: Queue) -> None:
    queue.enqueue(*(message(number, b"x" * 60_000) for number in range(7)))
    over, slips = page(queue, ready(queue))
    assert (over, len(slips)) == (False, LEASE_BYTES // 60_000 + 1)
    assert [len(slip.head) for slip in slips] == [300] * len(slips)
    over, by_id = page(queue, None, ids=[message(number).id for number in range(7)])
    assert (over, len(by_id)) == (False, len(slips))


def test_large_bodies_are_not_looked_into_and_count_nothing(queue: Queue) -> None:
    queue.enqueue(*(message(number, b"x" * 70_000) for number in range(6)))
    over, slips = page(queue, ready(queue))
    assert over
    assert [(slip.size, slip.head) for slip in slips] == [(70_000, b"")] * 6


def test_what_is_named_by_id_is_told_as_it_is(queue: Queue) -> None:
    queue.enqueue(message(1), message(2, explicit=True))
    over, slips = page(queue, None, ids=[message(number).id for number in (1, 2, 3)], head=4)
    assert over
    assert [(slip.found.state, slip.size, slip.head) for slip in slips] == [
        ("r", 6, b"body"),
        ("r", 6, b"body"),
        ("?", 0, b""),
    ]
