"""The messages of a queue, state by state and page by page, as an operator sees them, on every server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from taskq import Queue
from taskq.errors import InvalidOption, UnknownQueue
from taskq.inspector import SHELVES, Brief, MessageFilter, MessagePage, Shelf
from taskq.message import id_text
from taskq.store import keys
from taskq.tasks.broker import Held, Mark, Outgoing
from tests.runtime.shop import Shop, shop
from tests.servers import RealServer, declared_keys


@pytest.fixture(params=["list", "stream"])
def here(server: RealServer, namespace: str, request: pytest.FixtureRequest) -> Iterator[Shop]:
    with shop(server.url, namespace) as one:
        one.broker.declare(Queue("mail", transport=request.param))
        yield one


@pytest.fixture
def lists(server: RealServer, namespace: str) -> Iterator[Shop]:
    with shop(server.url, namespace) as one:
        one.enqueue(1, queue="other")
        yield one


def texts(ids: list[bytes]) -> list[str]:
    return [id_text(one) for one in ids]


def ids_of(page: MessagePage) -> list[str]:
    return [one.id for one in page.items]


def walk(here: Shop, state: Shelf, limit: int, **more: Any) -> list[Brief]:
    """All pages of a state; each but the last is full."""
    found: list[Brief] = []
    cursor: str | None = None
    while True:
        page = here.inspector.browse("mail", state, limit=limit, cursor=cursor, **more)
        assert len(page.items) <= limit
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


def fill(here: Shop) -> dict[str, list[str]]:
    """Two or three messages in every state; their ids in the order in which they are to be listed."""
    dead, quarantined = here.bury(3), here.bury(2, quarantine=True)
    parked = here.park(2, "shop.b") + here.park(1, "shop.a")
    retrying = here.enqueue(2)
    for delay, item in zip((50_000, 40_000), here.take(2), strict=True):
        here.hands.retry(item, delay)
    leased = here.enqueue(3)
    first, *_ = here.take(3)
    here.broker.extend("mail", [first.token], [Mark(first.id, first.token)])
    sender = here.app.remote("shop.send", queue="mail")
    delayed = [UUID(sender.options(delay=seconds).enqueue(seconds).id).bytes for seconds in (30, 20, 60)]
    ready = here.enqueue(3)
    return {
        "ready": texts(ready),
        "delayed": texts([delayed[1], delayed[0], retrying[1], retrying[0], delayed[2]]),
        "retrying": texts([retrying[1], retrying[0]]),
        "leased": texts(leased),
        "running": texts([first.id]),
        "parked": texts([parked[2], *parked[:2]]),
        "dead": sorted(texts(dead), reverse=True),
        "quarantined": sorted(texts(quarantined), reverse=True),
    }


def test_each_state_lists_its_messages_and_no_others(here: Shop) -> None:
    expected = fill(here)
    assert set(expected) == set(SHELVES)
    for state in SHELVES:
        page = here.inspector.browse("mail", state)
        assert (ids_of(page), page.cursor, page.truncated) == (expected[state], None, False), state
        known = None if state in ("retrying", "leased", "running") else len(expected[state])
        assert page.total == known, state


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_of_any_size_say_the_same(here: Shop, limit: int) -> None:
    expected = fill(here)
    for state in SHELVES:
        assert [one.id for one in walk(here, state, limit)] == expected[state], state


def test_a_line_says_what_is_stored_of_its_message(here: Shop) -> None:
    fill(here)
    sender = here.app.remote("shop.send", queue="mail", unique="one", id="order-1", expires=3_600, delay=10)
    handle = sender.enqueue("secret", size=2)
    one = next(one for one in here.inspector.browse("mail", "delayed").items if one.id == handle.id)
    info = here.inspector.message("mail", handle.id)
    assert (one.status, one.task, one.priority, one.unique, one.explicit) == ("delayed", "shop.send", 0, True, True)
    assert (one.created, one.due, one.expires, one.size) == (info.created, info.due, info.expires, info.bytes)
    assert one.arguments is None
    assert "secret" not in repr(one)
    (retrying,) = here.inspector.browse("mail", "retrying", limit=1).items
    assert (retrying.status, retrying.attempts, retrying.deliveries) == ("retrying", 1, 1)
    (dead,) = here.inspector.browse("mail", "dead", limit=1).items
    assert (dead.status, dead.task, dead.due) == ("dead", "shop.send", None)
    assert dead.buried == here.inspector.message("mail", dead.id).buried
    (running,) = here.inspector.browse("mail", "running").items
    assert (running.status, running.worker) == ("running", "")
    assert running.deadline == here.inspector.message("mail", running.id).deadline


@pytest.mark.parametrize("state", ["dead", "quarantined"])
def test_a_letter_is_listed_with_its_last_attempt_counted(here: Shop, state: Shelf) -> None:
    here.enqueue(1)
    (item,) = here.take(1)
    here.hands.retry(item, 0)
    here.bury_all(here.take(1), attempt=2, quarantine=state == "quarantined")
    here.bury(20, quarantine=state == "quarantined")
    listed = {one.id: one.attempts for one in here.inspector.browse("mail", state).items}
    told = {one: here.inspector.message("mail", one).attempts for one in listed}
    assert listed == told
    assert sorted(listed.values()) == [1] * 20 + [2]


def test_priorities_are_those_of_the_lists_also_of_plain_messages(lists: Shop) -> None:
    for priority in (-2, 0, 2, 1, -1):
        lists.app.remote("shop.send", queue="mail", priority=priority).enqueue(1)
    page = lists.inspector.browse("mail", "ready")
    assert [one.priority for one in page.items] == [2, 1, 0, -1, -2]
    assert page.total == 5
    assert [one.priority for one in walk(lists, "ready", 1)] == [2, 1, 0, -1, -2]


def test_what_waits_apart_comes_last(lists: Shop) -> None:
    (suspect,) = lists.enqueue(1)
    for _ in range(2):
        (item,) = lists.take(1)
        lists.broker.reclaim("mail", item.token, b"{}", "crash", [item.id])
        lists.hands.seat = type(lists.hands.seat)()
    (plain,) = lists.enqueue(1)
    page = lists.inspector.browse("mail", "ready")
    assert ids_of(page) == texts([plain, suspect])
    assert [one.crashes for one in page.items] == [0, 2]


def test_the_worker_that_runs_a_message_is_named(here: Shop) -> None:
    here.enqueue(2)
    items = here.take(2)
    here.broker.extend("mail", [items[0].token], [Mark(item.id, item.token) for item in items])
    link, space = here.broker.link, here.app.namespace
    link.execute("ZADD", keys.workers(space), here.inspector.server_ms(), "w-1")
    runs = [{"id": id_text(items[1].id), "task": "shop.send", "queue": "mail", "seconds": 4.5}, "odd"]
    link.execute("SET", keys.worker_record(space, "w-1"), json.dumps({"running": runs}))
    lines = here.inspector.browse("mail", "running").items
    assert {one.id: (one.worker, one.seconds) for one in lines} == {
        id_text(items[0].id): ("", None),
        id_text(items[1].id): ("w-1", 4.5),
    }


def test_arguments_come_only_on_demand_and_are_cut(here: Shop) -> None:
    sender = here.app.remote("shop.send", queue="mail")
    sender.enqueue("ö", size=2)
    sender.enqueue("x" * 3_000)
    sender.enqueue("y" * 70_000)
    assert [one.arguments for one in here.inspector.browse("mail", "ready").items] == [None] * 3
    first, long, large = here.inspector.browse("mail", "ready", contents=True).items
    assert first.arguments == '["ö"],{"size":2}'
    assert long.arguments == '["' + "x" * 195 + "..."
    assert (large.arguments or "")[:5] == '["yyy'
    assert len(large.arguments or "") == 200
    assert (large.task, large.size > 70_000) == ("shop.send", True)


def test_a_filter_chooses_by_task_text_and_age(here: Shop) -> None:
    one, two = here.enqueue(2)
    other = here.enqueue(1, "shop.scan")
    handle = here.app.remote("shop.send", queue="mail", id="order-7").enqueue("Tea\nTime", name="Ümit")
    browse = here.inspector.browse
    assert ids_of(browse("mail", "ready", match=MessageFilter(task="shop.s?an"))) == texts(other)
    assert ids_of(browse("mail", "ready", match=MessageFilter(task="shop.scan"))) == texts(other)
    assert ids_of(browse("mail", "ready", match=MessageFilter(task="scan"))) == []
    assert ids_of(browse("mail", "ready", match=MessageFilter(match="ümIT"))) == [handle.id]
    assert ids_of(browse("mail", "ready", match=MessageFilter(match="tea"))) == [handle.id]
    assert ids_of(browse("mail", "ready", match=MessageFilter(match="shop"))) == [], "the task is no argument"
    made = [line.created for line in browse("mail", "ready").items]
    assert None not in made
    last = max(one for one in made if one is not None)
    assert ids_of(browse("mail", "ready", match=MessageFilter(since=last + 1))) == []
    assert len(browse("mail", "ready", match=MessageFilter(until=last)).items) == 4
    assert ids_of(browse("mail", "ready", match=MessageFilter(task="shop.send", until=last), limit=2)) == texts(
        [one, two]
    )


def test_a_message_that_does_not_say_its_age_fits_no_age(lists: Shop) -> None:
    lists.app.remote("shop.send", queue="mail", id="order-1").enqueue("x" * 5_000)
    (line,) = lists.inspector.browse("mail", "ready").items
    assert line.created is None
    for what in (MessageFilter(since=0), MessageFilter(until=9e15)):
        assert lists.inspector.browse("mail", "ready", match=what).items == ()


@pytest.mark.parametrize("state", ["ready", "dead", "leased", "parked", "delayed"])
def test_a_filtered_look_ends_after_so_many_and_says_how_to_go_on(here: Shop, state: Shelf) -> None:
    for _ in range(3):
        here.enqueue(300)
        if state == "delayed":
            for item in here.take(300):
                here.hands.retry(item, 60_000)
        elif state == "dead":
            here.bury_all(here.take(300))
        elif state == "leased":
            here.take(300)
        elif state == "parked":
            here.park(300, "shop.send")
            here.take(300)
    needle = here.app.remote("shop.needle", queue="mail").enqueue(1)
    if state != "ready":
        (item,) = here.take(1)
        if state == "delayed":
            here.hands.retry(item, 70_000)
        elif state == "dead":
            here.bury_all([item])
            here.broker.link.execute("ZADD", here.broker.keys("mail").dead, 1, item.id)
        elif state == "parked":
            here.broker.park("mail", [(Held(item.id, item.token), "shop.send")])
    what = MessageFilter(task="shop.needle")
    page = here.inspector.browse("mail", state, match=what, scan=200)
    found = list(page.items)
    cuts = 0
    while page.cursor is not None:
        assert page.truncated or page.items
        cuts += page.truncated
        page = here.inspector.browse("mail", state, match=what, scan=200, cursor=page.cursor)
        found += page.items
    assert [one.id for one in found] == [needle.id]
    assert cuts >= 2


# -- what comes and goes between two pages


def test_a_list_that_is_drained_from_its_front_is_read_on_where_it_was(here: Shop) -> None:
    ids = texts(here.enqueue(20))
    page = here.inspector.browse("mail", "ready", limit=8)
    for item in here.take(5):
        here.hands.finish(item)
    here.enqueue(3)
    following = here.inspector.browse("mail", "ready", limit=8, cursor=page.cursor)
    assert ids_of(page) + ids_of(following) == ids[:16]
    for item in here.take(14):
        here.hands.finish(item)
    rest = here.inspector.browse("mail", "ready", limit=8, cursor=following.cursor)
    assert ids_of(rest)[0] == ids[19]
    assert len(rest.items) == 4


def test_the_last_of_a_page_may_be_gone(lists: Shop) -> None:
    ids = texts(lists.enqueue(10))
    page = lists.inspector.browse("mail", "ready", limit=4)
    lists.take(6)
    assert ids_of(lists.inspector.browse("mail", "ready", cursor=page.cursor)) == ids[6:]


def test_what_was_given_back_to_the_front_moves_nothing(lists: Shop) -> None:
    ids = texts(lists.enqueue(10))
    held = lists.take(2)
    page = lists.inspector.browse("mail", "ready", limit=4)
    lists.broker.release("mail", [Held(item.id, item.token) for item in held])
    assert ids_of(lists.inspector.browse("mail", "ready", cursor=page.cursor)) == ids[6:]


def test_far_inside_a_long_list_the_last_is_found_again(lists: Shop) -> None:
    link, ready = lists.broker.link, lists.broker.keys("mail").ready_for(0)
    lists.enqueue(1)
    link.execute("DEL", ready)
    ids = [number.to_bytes(16, "big") for number in range(3_000)]
    lists.broker.enqueue("mail", [Outgoing(one, b"body") for one in ids])
    page = lists.inspector.browse("mail", "ready", limit=2_500)
    assert ids_of(page) == texts(ids[:2_500])
    link.execute("LTRIM", ready, 1_200, -1)
    assert ids_of(lists.inspector.browse("mail", "ready", cursor=page.cursor, limit=1))[0] == id_text(ids[2_500])


def test_marks_and_entries_of_messages_elsewhere_are_no_lines(here: Shop) -> None:
    one, two, three = here.enqueue(3)
    here.broker.cancel("mail", two)
    page = here.inspector.browse("mail", "ready", limit=3)
    assert ids_of(page) == texts([one, three])
    assert page.total == 3


def test_delayed_messages_of_one_moment_come_each_once(here: Shop) -> None:
    link, where = here.broker.link, here.broker.keys("mail").delayed
    sender = here.app.remote("shop.send", queue="mail", delay=60)
    ids = [UUID(one.id).bytes for one in sender.enqueue_many([(1,)] * 30)]
    for one in ids:
        link.execute("ZADD", where, 4e12 + 0.5, one)
    assert [one.id for one in walk(here, "delayed", 7)] == sorted(texts(ids))
    assert here.inspector.browse("mail", "delayed", limit=1).items[0].due == 4e12 + 0.5


def test_an_entry_that_is_not_ours_is_no_line(server: RealServer, namespace: str) -> None:
    with shop(server.url, namespace) as here:
        here.broker.declare(Queue("mail", transport="stream"))
        (first,) = here.enqueue(1)
        here.broker.link.execute("XADD", here.broker.keys("mail").stream, "*", "a", "b")
        (second,) = here.enqueue(1)
        assert ids_of(here.inspector.browse("mail", "ready")) == texts([first, second])
        assert [one.id for one in walk(here, "ready", 1)] == texts([first, second])


def test_what_was_given_back_comes_before_what_is_unread(server: RealServer, namespace: str) -> None:
    with shop(server.url, namespace) as here:
        here.broker.declare(Queue("mail", transport="stream"))
        ids = here.enqueue(6)
        here.broker.release("mail", [Held(item.id, item.token) for item in here.take(2)])
        assert ids_of(here.inspector.browse("mail", "ready")) == texts(ids)
        assert [one.id for one in walk(here, "ready", 1)] == texts(ids)


# -- what is refused


def test_bad_input_is_refused_by_name(here: Shop) -> None:
    here.enqueue(1)
    browse: Any = here.inspector.browse
    with pytest.raises(InvalidOption, match=r"'redy' is no state.*did you mean 'ready'"):
        browse("mail", "redy")
    with pytest.raises(UnknownQueue, match="did you mean 'mail'"):
        browse("male", "ready")
    for state in SHELVES:
        for cursor in ("x", "r0/5", "other/1/00", "../1/00", "r0/1/zz", 7, "r0/1/" + "00" * 21):
            with pytest.raises(InvalidOption, match="cursor="):
                browse("mail", state, cursor=cursor)
    with pytest.raises(InvalidOption, match="limit"):
        browse("mail", "ready", limit=0)


def test_an_empty_queue_has_empty_pages(here: Shop) -> None:
    here.enqueue(1)
    here.hands.finish(here.take(1)[0])
    for state in SHELVES:
        page = here.inspector.browse("mail", state)
        assert (page.items, page.cursor, page.looked) == ((), None, 0), state


@pytest.mark.cluster
def test_all_keys_of_a_page_are_declared(start_server: Any, namespace: str) -> None:
    server = start_server(cluster=True)
    with declared_keys(server), shop(server.tcp_url, namespace) as here:
        expected = fill(here)
        for state in SHELVES:
            assert ids_of(here.inspector.browse("mail", state)) == expected[state], state
