"""Messages go to another queue: whole, once, and none is lost, whoever is stopped wherever; on every server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest

from taskq.control import MOVABLE, Moved
from taskq.errors import InvalidName, InvalidOption, UnknownQueue
from taskq.inspector import MessageFilter, Shelf
from taskq.message import id_text
from taskq.store.keys import QueueKeys
from taskq.tasks.broker import Held, Retried
from taskq.tasks.move_calls import land
from tests.runtime.moving import KINDS, listed, nothing_left, opened, put, runs, texts
from tests.runtime.shop import Shop, shop
from tests.runtime.test_operator_control import Clock
from tests.servers import RealServer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=KINDS, ids="-".join)
def here(server: RealServer, namespace: str, clock: Clock, request: pytest.FixtureRequest) -> Iterator[Shop]:
    with shop(server.url, namespace, clock.pace()) as one:
        yield opened(one, request.param)


@pytest.fixture
def lists(server: RealServer, namespace: str, clock: Clock) -> Iterator[Shop]:
    with shop(server.url, namespace, clock.pace()) as one:
        yield opened(one, ("list", "list"))


# -- what is moved


@pytest.mark.parametrize("state", MOVABLE)
def test_all_of_a_state_goes_and_stays_in_that_state(here: Shop, state: Shelf) -> None:
    put(here, state, 5)
    ids, told = listed(here, "mail", state), list[int]()
    assert len(ids) == 5
    assert here.control.move("mail", "post", state, on_progress=told.append) == Moved(5)
    assert told[-1] == 5
    there: Shelf = "ready" if state == "parked" else state
    assert listed(here, "post", there) == ids
    assert listed(here, "mail", state) == []
    assert here.inspector.queue("mail").counters["moved"] == 5
    before, after = here.inspector.queue("mail").counters, here.inspector.queue("post").counters
    assert (after["arrived"], after.get("enqueued", 0)) == (5, 0), "they were enqueued at their first queue"
    assert before["enqueued"] == 5
    if there == "ready":
        assert runs(here, "post") == ids
        assert runs(here, "mail") == []
        nothing_left(here)
        nothing_left(here, "post")


def test_long_error_lines_make_more_batches_and_nothing_stays(here: Shop) -> None:
    ids = here.enqueue(70)
    line = b'{"e":"' + b"x" * 16_000 + b'"}'
    for item in here.take(70):
        here.broker.nack("mail", [Retried(item.id, item.token, 0, line=line)])
    assert here.control.move("mail", "post") == Moved(70)
    assert listed(here, "post") == texts(ids)
    assert here.inspector.moves("mail") == ()
    assert runs(here, "post") == texts(ids)
    nothing_left(here, "post")


def test_no_script_of_a_move_carries_more_than_a_hundred(here: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    here.enqueue(250)
    carried = list[int]()

    def counted(keys: QueueKeys, token: str, found: Sequence[tuple[bytes, bytes]], limits: Any, *, back: bool) -> Any:
        carried.append(len(found))
        return land(keys, token, found, limits, back=back)

    monkeypatch.setattr("taskq.tasks.moves.land", counted)
    assert here.control.move("mail", "post") == Moved(250)
    assert carried == [100, 100, 50]


def test_many_keep_their_order(here: Shop) -> None:
    ids = texts(here.enqueue(1_100))
    given_back = here.take(30)
    here.broker.release("mail", [Held(item.id, item.token) for item in given_back])
    assert here.control.move("mail", "post") == Moved(1_100)
    assert runs(here, "post") == ids
    assert runs(here, "mail") == []
    nothing_left(here)


def test_a_message_keeps_all_that_it_has(here: Shop) -> None:
    sender = here.app.remote(
        "shop.send", queue="mail", timeout=7, headers={"h": "1"}, then=here.app.remote("x").call(1)
    )
    handle = sender.options(unique="one", id="order-1", expires=3_600).enqueue("ö", size=2)
    here.hands.retry(here.take(1)[0], 0)
    before = here.inspector.message("mail", handle.id, contents=True)
    assert here.control.move("mail", "post") == Moved(1)
    after = here.inspector.message("post", handle.id, contents=True)
    assert (after.attempts, after.deliveries, len(after.history)) == (1, 1, 1)
    for name in (
        "status",
        "task",
        "attempts",
        "crashes",
        "deliveries",
        "created",
        "due",
        "expires",
        "unique",
        "explicit",
    ):
        assert getattr(after, name) == getattr(before, name), name
    for name in ("options", "then", "history", "contents", "bytes"):
        assert getattr(after, name) == getattr(before, name), name
    other = here.app.remote("shop.send", queue="post", unique="one").enqueue(2)
    assert (other.id, other.created) == (handle.id, False), "the unique key is held where it is"
    assert here.app.remote("shop.send", queue="mail", unique="one").enqueue(3).created, "and free where it was"
    assert not here.app.remote("shop.send", queue="mail", id="order-1").enqueue(1).created
    (item,) = here.take(1, "post")
    assert item.attempts == 1
    assert not here.app.remote("shop.send", queue="post", id="order-1").enqueue(1).created


def test_a_delayed_message_keeps_its_time_and_a_dead_one_its_reason(here: Shop) -> None:
    (later,) = put(here, "delayed", 1)
    (dead,) = here.bury(1, text="no route")
    due, buried = here.inspector.message("mail", later).due, here.inspector.message("mail", dead).buried
    here.control.move("mail", "post", "delayed")
    here.control.move("mail", "post", "dead")
    assert here.inspector.message("post", later).due == due
    info = here.inspector.message("post", dead)
    assert (info.status, info.buried, info.history[0]["message"]) == ("dead", buried, "no route")
    assert here.control.redrive("post", [dead]) == 1
    assert runs(here, "post") == texts([dead])
    assert here.inspector.message("mail", dead).status == "dead", "the result stays where it is waited for"


def test_priorities_are_kept(lists: Shop) -> None:
    for priority in (-2, 0, 2, 1, -1, 0):
        lists.app.remote("shop.send", queue="mail", priority=priority).enqueue(1)
        lists.app.remote("shop.send", queue="mail", priority=priority, delay=60).enqueue(1)
    assert lists.control.move("mail", "post") == Moved(6)
    assert lists.control.move("mail", "post", "delayed") == Moved(6)
    lines = lists.inspector.browse("post", "ready").items
    assert [one.priority for one in lines] == [2, 1, 0, 0, -1, -2]
    assert sorted(one.priority or 0 for one in lists.inspector.browse("post", "delayed").items) == [-2, -1, 0, 0, 1, 2]


def test_there_and_back_and_there_again_runs_once(here: Shop) -> None:
    plain = here.enqueue(3)
    explicit = UUID(here.app.remote("shop.send", queue="mail", id="order-1").enqueue(1).id).bytes
    later = put(here, "delayed", 2)
    for start, end in (("mail", "post"), ("post", "mail"), ("mail", "post"), ("post", "mail")):
        assert here.control.move(start, end) == Moved(4)
        assert here.control.move(start, end, "delayed") == Moved(2)
    for one in later:
        here.broker.link.execute("ZADD", here.broker.keys("mail").delayed, 1, one)
    here.broker.promote("mail")
    assert runs(here, "post") == []
    assert sorted(runs(here, "mail")) == sorted(texts([*plain, explicit, *later]))
    nothing_left(here)
    nothing_left(here, "post")


def test_a_message_that_comes_back_before_its_old_entry_is_read_is_delivered_once(here: Shop) -> None:
    ids = texts(here.enqueue(6))
    here.control.move("mail", "post", match=MessageFilter(match="[2]"))
    here.control.move("post", "mail")
    first, *rest = here.take(6)
    here.broker.release("mail", [Held(first.id, first.token)])
    here.hands.finish_all(rest, [None] * 5)
    assert sorted(id_text(item.id) for item in [first, *rest]) == sorted(ids)
    assert runs(here, "mail") == [id_text(first.id)]
    assert runs(here, "mail") == []
    nothing_left(here)


# -- which are moved


def test_a_filter_moves_what_fits_and_leaves_the_order_of_the_rest(here: Shop) -> None:
    kept, moved = [], []
    for _ in range(40):
        kept += texts(here.enqueue(9, "shop.keep"))
        moved += texts(here.enqueue(1, "shop.go"))
    assert here.control.move("mail", "post", match=MessageFilter(task="shop.g*")) == Moved(40)
    assert runs(here, "post") == moved
    assert runs(here, "mail") == kept
    nothing_left(here)


def test_a_filter_that_fits_nearly_all_finds_them_all(here: Shop) -> None:
    kept, moved = [], []
    for _ in range(60):
        moved += texts(here.enqueue(9, "shop.go"))
        kept += texts(here.enqueue(1, "shop.keep"))
    assert here.control.move("mail", "post", match=MessageFilter(task="shop.go"), rate=400) == Moved(540)
    assert runs(here, "mail") == kept
    assert runs(here, "post") == moved


def test_ids_are_moved_wherever_they_wait(here: Shop) -> None:
    delayed, parked, (dead,) = put(here, "delayed", 2), put(here, "parked", 2), here.bury(1)
    ready = here.enqueue(5)
    (held,) = here.take(1)
    chosen: list[str | bytes] = [ready[3], id_text(ready[1]), delayed[1], parked[0], dead, held.id, b"?" * 16]
    assert here.control.move("mail", "post", chosen, dry_run=True) == Moved(5, {"l": 2}, dry_run=True)
    assert here.control.move("mail", "post", chosen) == Moved(5, {"l": 2})
    assert set(listed(here, "post")) == set(texts([ready[3], ready[1], parked[0]]))
    assert (listed(here, "post", "delayed"), listed(here, "post", "dead")) == (texts(delayed[1:]), texts([dead]))
    assert listed(here, "mail") == texts([ready[2], ready[4]])
    here.hands.finish(held)


def test_what_workers_hold_stays(here: Shop) -> None:
    here.enqueue(4)
    held = here.take(2)
    assert here.control.move("mail", "post") == Moved(2)
    here.hands.finish_all(held, [None] * 2)
    nothing_left(here)


def test_a_paused_queue_is_moved_and_one_moves_into_it(here: Shop) -> None:
    ids = texts(here.enqueue(3))
    here.control.pause("mail")
    here.control.pause("post")
    assert here.control.move("mail", "post") == Moved(3)
    assert here.hands.take("post") == []
    here.control.resume("post")
    assert runs(here, "post") == ids


def test_large_bodies_are_moved_whole(here: Shop) -> None:
    sender = here.app.remote("shop.send", queue="mail")
    for size in (1, 300_000, 700_000, 2_000, 60_000):
        sender.enqueue("x" * size)
    assert here.control.move("mail", "post") == Moved(5)
    assert [len(one.args[0]) for one in here.hands.read("post")] in (
        [1, 300_000, 700_000, 2_000, 60_000],
        [1, 300_000],
        [1],
    )


def test_a_dry_run_changes_nothing(here: Shop) -> None:
    here.enqueue(300)
    here.enqueue(2, "shop.other")
    link = here.broker.link
    before = {key: link.execute("DUMP", key) for key in link.execute("KEYS", "*")}
    what = MessageFilter(task="shop.send")
    assert here.control.move("mail", "post", match=what, dry_run=True) == Moved(300, dry_run=True)
    assert here.control.move("mail", "fresh", create=True, dry_run=True) == Moved(302, dry_run=True)
    assert {key: link.execute("DUMP", key) for key in link.execute("KEYS", "*")} == before


def test_a_rate_is_kept_in_small_steps(here: Shop, clock: Clock) -> None:
    here.enqueue(30)
    assert here.control.move("mail", "post", rate=20) == Moved(30)
    assert clock.now == pytest.approx(1.5)
    assert max(clock.naps) == pytest.approx(0.25)


def test_a_new_queue_is_made_on_demand(here: Shop) -> None:
    ids = texts(here.enqueue(2))
    with pytest.raises(UnknownQueue, match=r"there is no queue 'posts'.*did you mean 'post'"):
        here.control.move("mail", "posts")
    assert listed(here, "mail") == ids
    assert here.control.move("mail", "posts", create=True) == Moved(2)
    assert runs(here, "posts") == ids


# -- what stays


def test_what_the_target_cannot_take_comes_back_and_is_told(here: Shop) -> None:
    mail, post = (here.app.remote("shop.send", queue=queue) for queue in ("mail", "post"))
    same = [mail.options(id="a").enqueue(1), mail.options(unique="k", headers={"n": "1"}).enqueue(2)]
    post.options(id="a").enqueue(1)
    post.options(unique="k").enqueue(2)
    used = post.options(id="b").enqueue(3)
    items = {id_text(item.id): item for item in here.take(3, "post")}
    here.hands.finish(items[used.id])
    same.append(mail.options(id="b").enqueue(3))
    (fine,) = here.enqueue(1)
    for _ in range(2):
        told = here.control.move("mail", "post")
        assert (told.moved, told.refused) in ((1, {"e": 1, "t": 1, "u": 1}), (0, {"e": 1, "t": 1, "u": 1}))
    assert sorted(listed(here, "mail")) == sorted(one.id for one in same)
    assert not mail.options(unique="k").enqueue(9).created, "it holds its key again"
    assert sorted(runs(here, "mail")) == sorted(one.id for one in same)
    assert here.broker.lookup("post", [fine])[0].state == "r"
    nothing_left(here)


def test_suspects_and_what_is_to_be_cancelled_stay(here: Shop) -> None:
    (suspect,) = here.enqueue(1)
    for _ in range(2):
        (item,) = here.take(1)
        here.broker.reclaim("mail", item.token, b"{}", "crash", [item.id])
        here.hands.seat = type(here.hands.seat)()
    (asked,) = here.enqueue(1)
    (item,) = here.take(1)
    assert here.broker.cancel("mail", asked) == "requested"
    here.broker.release("mail", [Held(item.id, item.token)])
    assert here.control.move("mail", "post") == Moved(0, {"c": 1, "s": 1})
    assert set(listed(here, "mail")) == set(texts([suspect, asked]))


def test_priorities_do_not_go_to_a_stream_queue(server: RealServer, namespace: str) -> None:
    with shop(server.url, namespace) as here:
        opened(here, ("list", "stream"))
        here.app.remote("shop.send", queue="mail", priority=1).enqueue(1)
        here.app.remote("shop.send", queue="mail", priority=1, unique="k").enqueue(1)
        ids = texts(here.enqueue(1))
        assert here.control.move("mail", "post", dry_run=True) == Moved(1, {"p": 2}, dry_run=True)
        assert here.control.move("mail", "post") == Moved(1, {"p": 2})
        assert listed(here, "post") == ids


def test_bad_input_is_refused_by_name_and_nothing_is_stored(here: Shop) -> None:
    here.enqueue(2)
    link = here.broker.link
    before = {key: link.execute("DUMP", key) for key in link.execute("KEYS", "*")}
    move: Any = here.control.move
    with pytest.raises(InvalidOption, match="both source and target"):
        move("mail", "mail")
    with pytest.raises(UnknownQueue, match="did you mean 'mail'"):
        move("male", "post")
    with pytest.raises(UnknownQueue, match="there is no queue 'x'"):
        move("mail", "x")
    with pytest.raises(InvalidName):
        move("mail", "a}b", create=True)
    for state in ("running", "leased", "redy"):
        with pytest.raises(InvalidOption, match=f"'{state}' is no state out of which messages are moved"):
            move("mail", "post", state)
    with pytest.raises(InvalidOption, match="ids or a filter"):
        move("mail", "post", [b"1" * 16], match=MessageFilter(task="x"))
    with pytest.raises(InvalidOption, match="rate=0"):
        move("mail", "post", rate=0)
    assert {key: link.execute("DUMP", key) for key in link.execute("KEYS", "*")} == before
