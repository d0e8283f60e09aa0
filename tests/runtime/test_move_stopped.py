"""A move is stopped, wherever, or shares its queues with others: nothing is lost, nothing runs twice."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq.control import MOVABLE, Control, Moved
from taskq.errors import BrokerFull, BrokerUnavailable
from taskq.inspector import MessageFilter, Shelf
from taskq.message import id_text
from taskq.store import scripts
from taskq.store.connection import SyncLink
from taskq.tasks import transports
from taskq.tasks.lists import ListBroker
from tests.runtime.moving import KINDS, listed, nothing_left, opened, put, runs, texts
from tests.runtime.shop import Shop, shop
from tests.runtime.test_operator_control import Clock
from tests.runtime.test_replay import Killed
from tests.servers import RealServer, declared_keys
from tests.thinning import STRIDES, points


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


@pytest.mark.parametrize("every", STRIDES, ids="every {}".format)
@pytest.mark.parametrize("after", [False, True], ids=["before", "unanswered"])
@pytest.mark.parametrize("state", ["ready", "delayed", "dead"])
def test_who_is_killed_at_any_command_goes_on_and_nothing_is_lost_or_doubled(
    here: Shop, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, state: Shelf, after: bool, every: int
) -> None:
    finished, at = False, 0
    for at in points(every, request.node):
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
        if finished:
            break
    assert at > 10


def test_of_a_move_that_was_stopped_workers_see_each_message_once(lists: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for script in ("take", "land", "carried"):
        ids = sorted(texts(lists.enqueue(3)))
        with pytest.raises(Killed):
            killed_after(lists, monkeypatch, script)
        done = runs(lists, "mail") + runs(lists, "post")
        assert lists.control.move("mail", "post", []).resumed == (3 if script != "carried" else 0)
        assert sorted(done + runs(lists, "mail") + runs(lists, "post")) == ids, script


@pytest.mark.parametrize("every", STRIDES, ids="every {}".format)
@pytest.mark.parametrize("after", [False, True], ids=["before", "unanswered"])
def test_a_process_that_is_killed_at_any_command_leaves_nothing_undone(
    here: Shop, request: pytest.FixtureRequest, server: RealServer, after: bool, every: int
) -> None:
    at = 0
    for at in points(every, request.node):
        ids = sorted(texts(here.enqueue(3)))
        code = dying(server.url, here.app.namespace, at, after)
        assert code in (0, -signal.SIGKILL)
        # what a worker of either queue finds before anybody goes on
        seen = [*runs(here, "mail"), *runs(here, "post")]
        here.control.move("mail", "post")
        assert sorted([*seen, *runs(here, "post")]) == ids, f"killed at command {at}"
        assert runs(here, "mail") == []
        nothing_left(here)
        if not code:
            break
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
        link.execute("CONFIG", "SET", "maxmemory", "1")
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
    with declared_keys(server), shop(server.tcp_url, namespace, Clock().pace()) as here:
        opened(here, kinds)
        for state in reversed(MOVABLE):
            ids = texts(put(here, state, 3))
            assert here.control.move("mail", "post", state).moved == 3
            there: Shelf = "ready" if state == "parked" else state
            assert set(ids) <= set(listed(here, "post", there))


def test_keys_of_another_type_are_named(lists: Shop) -> None:
    lists.enqueue(1)
    lists.broker.link.execute("SET", lists.broker.keys("mail").moves, "x")
    with pytest.raises(Exception, match="holds data of another type"):
        Control(lists.broker).move("mail", "post")


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
