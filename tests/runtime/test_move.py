"""Messages go to another queue: whole, once, and none is lost, whoever is stopped wherever; on every server."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from taskq import Queue
from taskq.control import MOVABLE, Control, Moved
from taskq.errors import BrokerFull, BrokerUnavailable, InvalidName, InvalidOption, UnknownQueue
from taskq.inspector import MessageFilter, Shelf
from taskq.message import id_text
from taskq.store import scripts
from taskq.store.connection import SyncLink
from taskq.tasks import transports
from taskq.tasks.broker import Held
from taskq.tasks.lists import ListBroker
from tests.runtime.shop import Shop, shop
from tests.runtime.test_operator_control import Clock
from tests.runtime.test_replay import Killed
from tests.servers import RealServer

KINDS = [("list", "list"), ("list", "stream"), ("stream", "list"), ("stream", "stream")]


def opened(one: Shop, kinds: tuple[str, str]) -> Shop:
    one.broker.declare(Queue("mail", transport=kinds[0]))  # type: ignore[arg-type]
    one.broker.declare(Queue("post", transport=kinds[1]))  # type: ignore[arg-type]
    return one


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


def texts(ids: list[bytes]) -> list[str]:
    return [id_text(one) for one in ids]


def listed(here: Shop, queue: str, state: Shelf = "ready") -> list[str]:
    return [one.id for one in here.inspector.browse(queue, state, limit=10_000).items]


def runs(here: Shop, queue: str) -> list[str]:
    """Lease and finish all that is ready; the ids in their order, each as often as it was handed out."""
    done: list[str] = []
    while items := here.hands.take(queue):
        here.hands.finish_all(items, [None] * len(items))
        done += [id_text(item.id) for item in items]
    return done


def put(here: Shop, state: Shelf, count: int) -> list[bytes]:
    """Messages of `mail` in a state, in the order in which they are listed."""
    if state in ("dead", "quarantined"):
        return sorted(here.bury(count, quarantine=state == "quarantined"), reverse=True)
    if state == "parked":
        return here.park(count, "shop.send")
    if state == "delayed":
        sender = here.app.remote("shop.send", queue="mail", delay=60)
        return [UUID(sender.enqueue(number).id).bytes for number in range(count)]
    ids = here.enqueue(count)
    if state == "retrying":
        for item in here.take(count):
            here.hands.retry(item, 60_000)
    return ids


def nothing_left(here: Shop, queue: str = "mail") -> None:
    """No trace of a message, but tombstones, counters, the history of a stream and results."""
    keys, link = here.broker.keys(queue), here.broker.link
    kept = {"meta", "wake", "tombs", "stream", "tally", "steps", "passed", "results", "results:due", "delayed"}
    found = {name.decode()[len(keys.base) :] for name in link.execute("KEYS", keys.base + "*")}
    found -= {name for name in found if name.startswith(("lane:", "worker:", "moved:"))}
    assert found - kept == set()
    assert here.broker.link.execute("ZCARD", keys.delayed) == 0


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
    if there == "ready":
        assert runs(here, "post") == ids
        assert runs(here, "mail") == []
        nothing_left(here)
        nothing_left(here, "post")


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


def test_a_unique_key_that_others_took_meanwhile_keeps_nobody_out(lists: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    mail = lists.app.remote("shop.send", queue="mail", unique="k")
    one = mail.enqueue(1)
    lists.app.remote("shop.send", queue="post", unique="k").enqueue(1)
    with pytest.raises(Killed):
        killed_after(lists, monkeypatch, "take")
    other = mail.enqueue(2)
    assert other.created
    assert lists.control.move("mail", "post", []) == Moved(0)
    assert sorted(runs(lists, "mail")) == sorted([one.id, other.id])
    assert mail.enqueue(3).created
    assert len(runs(lists, "post")) == 1
    nothing_left(lists, "post")


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


# -- whoever is stopped


def cut(here: Shop, monkeypatch: pytest.MonkeyPatch, at: int, after: bool) -> Callable[[], int]:
    """Die at a command, before it is sent or before its answer comes; what is given back ends this."""
    link = here.broker.link
    plain, sent = link.execute, 0

    def execute(*args: Any, **options: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent == at and not after:
            raise Killed
        reply = plain(*args, **options)
        if sent >= at:
            raise Killed
        return reply

    monkeypatch.setattr(link, "execute", execute)

    def restore() -> int:
        monkeypatch.setattr(link, "execute", plain)
        return sent

    return restore


def killed_after(here: Shop, monkeypatch: pytest.MonkeyPatch, script: str, count: int = 1) -> None:
    """Move all that is ready, and die when a script has run so often."""
    link = here.broker.link
    plain, seen = link.execute, 0
    names = {text: f"{one.name}." for one in _scripts() for text in (one.sha, one.text)}

    def execute(*args: Any, **options: Any) -> Any:
        nonlocal seen
        reply = plain(*args, **options)
        if args[0] in ("EVALSHA", "EVAL") and script in names.get(str(args[1]), ""):
            seen += 1
            if seen == count:
                raise Killed
        return reply

    monkeypatch.setattr(link, "execute", execute)
    try:
        here.control.move("mail", "post")
    finally:
        monkeypatch.setattr(link, "execute", plain)


def _scripts() -> list[scripts.Script]:
    names = [scripts.load(f"tasks/{name}") for name in ("take", "carried")]
    return [*names, transports.around("take"), transports.land(True), transports.land(False)]


@pytest.mark.parametrize("after", [False, True], ids=["before", "unanswered"])
@pytest.mark.parametrize("state", ["ready", "delayed", "dead"])
def test_who_is_killed_at_any_command_goes_on_and_nothing_is_lost_or_doubled(
    here: Shop, monkeypatch: pytest.MonkeyPatch, state: Shelf, after: bool
) -> None:
    finished, at = False, 0
    while not finished:
        at += 1
        ids = sorted(texts(put(here, state, 3)))
        restore = cut(here, monkeypatch, at, after)
        try:
            here.control.move("mail", "post", state, rate=8)
            finished = True
        except Killed:
            pass
        restore()
        left, there = len(listed(here, "mail", state)), len(listed(here, "post", state))
        told = here.control.move("mail", "post", state, rate=8)
        assert (told.moved, told.moved + told.resumed + there >= 3) == (left, True), f"killed at command {at}"
        assert sorted(listed(here, "post", state)) == ids, f"killed at command {at}"
        assert listed(here, "mail", state) == []
        here.control.purge("post", [state])  # type: ignore[list-item]
        assert runs(here, "mail") == []
        nothing_left(here)
    assert at > 10


def test_of_a_move_that_was_stopped_workers_see_each_message_once(lists: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for script in ("take", "land", "carried"):
        ids = sorted(texts(lists.enqueue(3)))
        with pytest.raises(Killed):
            killed_after(lists, monkeypatch, script)
        done = runs(lists, "mail") + runs(lists, "post")
        assert lists.control.move("mail", "post", []).resumed == (3 if script != "carried" else 0)
        assert sorted(done + runs(lists, "mail") + runs(lists, "post")) == ids, script


@pytest.mark.parametrize("after", [False, True], ids=["before", "unanswered"])
def test_a_process_that_is_killed_at_any_command_leaves_nothing_undone(
    here: Shop, server: RealServer, after: bool
) -> None:
    at, code = 0, -signal.SIGKILL
    while code:
        at += 1
        ids = sorted(texts(here.enqueue(3)))
        code = dying(server.url, here.app.namespace, at, after)
        assert code in (0, -signal.SIGKILL)
        # what a worker of either queue finds before anybody goes on
        seen = [*runs(here, "mail"), *runs(here, "post")]
        here.control.move("mail", "post")
        assert sorted([*seen, *runs(here, "post")]) == ids, f"killed at command {at}"
        assert runs(here, "mail") == []
        nothing_left(here)
    assert at > 10


def dying(url: str, namespace: str, at: int, after: bool) -> int:
    """Move in a process of its own that is killed at a command; its exit code, negative for a signal."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        link, sent = SyncLink(url), 0
        plain = link.execute

        def execute(*args: Any, **options: Any) -> Any:
            nonlocal sent
            sent += 1
            if sent == at and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            reply = plain(*args, **options)
            if sent >= at:  # the server may not have had the script at first
                os.kill(os.getpid(), signal.SIGKILL)
            return reply

        link.execute = execute  # type: ignore[method-assign]
        Control(ListBroker(link, namespace)).move("mail", "post", rate=1_000)
        os._exit(0)
    finally:
        os._exit(9)


@pytest.mark.parametrize("every", [3, 4, 5, 7])
def test_an_answer_that_is_lost_on_the_way_is_asked_for_again(
    here: Shop, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    ids = texts(here.enqueue(10))
    here.app.remote("shop.send", queue="post", unique="k").enqueue(1)
    clash = here.app.remote("shop.send", queue="mail", unique="k").enqueue(1)
    link = here.broker.link
    plain, sent, lost = link.execute, 0, 0

    def execute(*args: Any, **options: Any) -> Any:
        nonlocal sent, lost
        reply = plain(*args, **options)
        sent += args[0] == "EVALSHA"
        if args[0] == "EVALSHA" and sent % every == 0:
            lost += 1
            raise BrokerUnavailable("the answer got lost")
        return reply

    monkeypatch.setattr(link, "execute", execute)
    assert here.control.move("mail", "post", rate=8) == Moved(10, {"u": 1})
    monkeypatch.undo()
    assert lost >= 2
    assert listed(here, "post")[1:] == ids
    assert listed(here, "mail") == [clash.id]


def test_two_at_once_share_the_work(here: Shop, server: RealServer) -> None:
    ids = here.enqueue(2_000)
    ready = threading.Barrier(3)
    failed: list[BaseException] = []

    def work() -> None:
        with shop(server.url, here.app.namespace, Clock().pace()) as other:
            ready.wait()
            try:
                other.control.move("mail", "post", rate=400)
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    here.control.move("mail", "post")
    assert sorted(runs(here, "post")) == sorted(texts(ids))
    assert runs(here, "mail") == []
    nothing_left(here)


def test_workers_of_both_queues_and_producers_go_on_meanwhile(here: Shop, server: RealServer) -> None:
    ids = texts(here.enqueue(3_000))
    stop, done, lock = threading.Event(), list[str](), threading.Lock()

    def work(queue: str) -> None:
        with shop(server.url, here.app.namespace) as other:
            other.broker.know(queue)
            last = False
            while not last:
                last = stop.is_set()
                items = other.hands.take(queue, 20)
                if items:
                    other.hands.finish_all(items, [None] * len(items))
                with lock:
                    done.extend(id_text(item.id) for item in items)
                last = last and not items

    threads = [threading.Thread(target=work, args=[queue]) for queue in ("mail", "post")]
    for thread in threads:
        thread.start()
    more = texts(here.enqueue(200))
    here.control.move("mail", "post", rate=100_000)
    here.control.move("post", "mail", rate=100_000)
    here.control.move("mail", "post", match=MessageFilter(match="[1"))
    stop.set()
    for thread in threads:
        thread.join()
    done += runs(here, "mail") + runs(here, "post")
    assert sorted(done) == sorted(ids + more)
    nothing_left(here)
    nothing_left(here, "post")


def test_a_full_target_takes_nothing_and_the_move_goes_on(
    start_server: Callable[..., RealServer], namespace: str
) -> None:
    server = start_server()
    with shop(server.url, namespace, Clock().pace()) as here:
        opened(here, ("list", "stream"))
        ids = texts(here.enqueue(5))
        link = here.broker.link
        link.execute("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
        with pytest.raises(BrokerFull):
            here.control.move("mail", "post")
        link.execute("CONFIG", "SET", "maxmemory", "0")
        assert (listed(here, "mail"), listed(here, "post")) == ([], [])
        assert here.control.move("mail", "post") == Moved(0, resumed=5)
        assert listed(here, "post") == ids


def test_what_was_left_too_long_is_told_and_stays(lists: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    lists.enqueue(3)
    with pytest.raises(Killed):
        killed_after(lists, monkeypatch, "take")
    link, keys = lists.broker.link, lists.broker.keys("mail")
    token, text = link.execute("HGETALL", keys.moves)
    since, rest = text.split(b" ", 1)
    link.execute("HSET", keys.moves, token, b"%d %b" % (int(since) - 30 * 86_400_000, rest))
    assert [(batch.to, len(batch.ids)) for batch in lists.inspector.moves("mail")] == [("post", 3)]
    assert lists.inspector.moves("post") == ()
    assert lists.control.move("mail", "post") == Moved(0, stale=3)
    assert link.execute("HLEN", keys.parcels(token.decode())) == 3


@pytest.mark.cluster
@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_a_move_into_another_slot_of_a_cluster_with_all_keys_declared(
    start_server: Callable[..., RealServer], namespace: str, kinds: tuple[str, str]
) -> None:
    server = start_server(cluster=True)
    scripts.set_prefix("#!lua\n")
    try:
        with shop(server.tcp_url, namespace, Clock().pace()) as here:
            opened(here, kinds)
            for state in reversed(MOVABLE):
                ids = texts(put(here, state, 3))
                assert here.control.move("mail", "post", state).moved == 3
                there: Shelf = "ready" if state == "parked" else state
                assert set(ids) <= set(listed(here, "post", there))
    finally:
        scripts.set_prefix("")


def test_keys_of_another_type_are_named(lists: Shop) -> None:
    lists.enqueue(1)
    lists.broker.link.execute("SET", lists.broker.keys("mail").moves, "x")
    with pytest.raises(Exception, match="holds data of another type"):
        Control(lists.broker).move("mail", "post")
