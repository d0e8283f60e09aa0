"""A range of history is replayed: each message once, whoever is stopped, wherever, and however many do it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from taskq import Queue
from taskq.control import Control, Replayed
from taskq.errors import (
    BrokerFull,
    BrokerRefused,
    BrokerUnavailable,
    ConfigError,
    InvalidName,
    InvalidOption,
    UnknownQueue,
)
from taskq.message import id_text
from taskq.tasks.replays import LABEL_HEADER, SOURCE_HEADER
from tests.runtime.past import EVER, Past, past
from tests.runtime.test_operator_control import Clock
from tests.servers import RealServer, declared_keys
from tests.thinning import STRIDES, points


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def here(server: RealServer, namespace: str, clock: Clock) -> Iterator[Past]:
    with past(server, namespace, clock.pace()) as one:
        yield one


class Killed(BaseException):
    """The process ends here."""


def cut(here: Past, monkeypatch: pytest.MonkeyPatch, at: int, after: bool) -> Callable[[], None]:
    """Die at a command, before it is sent or before its answer comes; the function that is given back ends this."""
    link = here.broker.link
    plain = link.execute
    sent = 0

    def execute(*args: Any, **options: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent == at and not after:
            raise Killed
        reply = plain(*args, **options)
        if sent == at:
            raise Killed
        return reply

    monkeypatch.setattr(link, "execute", execute)
    return lambda: monkeypatch.setattr(link, "execute", plain)


# -- what is replayed


@pytest.mark.parametrize("to", [None, "mail", "copies", "lists"])
def test_each_message_of_the_range_is_enqueued_once(here: Past, to: str | None) -> None:
    ids = here.enqueue(600)
    here.finish_all_of(600)
    told: list[int] = []
    done = here.control.replay("mail", EVER, to=to, label="again", on_progress=told.append)
    assert done == Replayed("again", looked=600, enqueued=600)
    assert told == [100, 200, 300, 400, 500, 600]
    target = to or "mail"
    assert here.sources("again", target) == sorted(id_text(one) for one in ids)
    assert here.inspector.queue(target).ready == 600
    assert len({item.id for item in here.take(600, target)}) == 600
    assert here.inspector.queue("mail").counters["enqueued"] == (1_200 if target == "mail" else 600)


def test_the_copy_is_the_same_call_made_now(here: Past) -> None:
    sender = here.app.remote("shop.send", queue="mail").options(
        timeout=7, headers={"trace": "t1"}, unique="one", id="order-1", expires=3_600, then=here.app.remote("x").call(1)
    )
    old = sender.enqueue(1, size="ö")
    (item,) = here.take(1)
    here.hands.finish(item)
    (message,) = here.entries()
    assert here.control.replay("mail", EVER, label="again").enqueued == 1
    (copy,) = here.copies("again")
    was = message.message()
    assert (copy.task, copy.args, copy.kwargs, copy.options) == (was.task, was.args, was.kwargs, was.options)
    assert copy.headers == {"trace": "t1", LABEL_HEADER: "again", SOURCE_HEADER: old.id}
    assert copy.created >= was.created
    assert id_text(copy.id) != old.id
    info = here.inspector.message("mail", copy.id)
    assert (info.status, info.unique, info.explicit, info.expires) == ("ready", False, False, None)


def test_a_message_with_retries_is_replayed_once_also_across_pages(here: Past) -> None:
    ids = here.enqueue(5)
    for _ in range(3):
        for item in here.take(5):
            here.hands.retry(item, 0)
    assert len(here.entries()) == 20
    done = here.control.replay("mail", EVER, label="again", rate=4)
    assert done == Replayed("again", looked=20, enqueued=5, already=15)
    assert here.sources("again") == sorted(id_text(one) for one in ids)


def test_only_what_fits_and_is_a_message_is_replayed(here: Past) -> None:
    here.enqueue(3)
    here.enqueue(2, "shop.scan")
    here.append("price", "12")
    here.append("id", b"u" * 16, "body", b"\x01 damaged")
    assert here.control.replay("mail", EVER, match="shop.sc*", label="a") == Replayed("a", 7, 2)
    assert here.control.replay("mail", EVER, label="b") == Replayed("b", 9, 5 + 2, 0, 2)


def test_only_the_range_is_meant_and_nothing_that_came_after_it_began(here: Past) -> None:
    keys, link = here.broker.keys("mail"), here.broker.link
    here.enqueue(4)
    (body,) = {entry.body for entry in here.entries()[:1]}
    link.execute("DEL", keys.stream)
    for second in range(1_000, 1_010):
        link.execute("XADD", keys.stream, f"{second}000-3", "id", b"%016d" % second, "body", body)
    assert here.control.replay("mail", 1_002, 1_004, to="copies", label="a").enqueued == 3

    def more(done: int) -> None:
        here.enqueue(1)

    assert here.control.replay("mail", EVER, label="b", rate=8, on_progress=more).looked == 10
    assert here.control.replay("mail", 2_000, 3_000, label="c") == Replayed("c")


def test_large_bodies_are_copied_whole(here: Past) -> None:
    sender = here.app.remote("shop.send", queue="mail")
    for size in (1, 300_000, 700_000, 2_000):
        sender.enqueue("x" * size)
    assert here.control.replay("mail", EVER, label="again").enqueued == 4
    assert sorted(len(one.args[0]) for one in here.copies("again")) == [1, 2_000, 300_000, 700_000]
    assert len({item.id for item in here.take(8)}) == 8


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(here: Past) -> None:
    here.enqueue(5)
    here.hands.retry(here.take(1)[0], 0)
    here.append("a", "b")
    before = here.stored()
    would = Replayed("again", looked=7, enqueued=5, already=1, skipped=1, dry_run=True)
    assert here.control.replay("mail", EVER, label="again", dry_run=True, rate=8) == would
    assert here.stored() == before


def test_a_dry_run_of_a_label_that_was_begun_tells_of_the_rest(here: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    here.enqueue(6)
    stop(here, 2)
    assert here.control.replay("mail", label="again", dry_run=True) == Replayed("again", 4, 4, dry_run=True)


# -- once


def stop(here: Past, after: int, to: str | None = None) -> None:
    """Begin the label `again`, one message a page, and be interrupted."""

    def interrupt(done: int) -> None:
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        here.control.replay("mail", EVER, to=to, label="again", rate=4, on_progress=interrupt)


@pytest.mark.parametrize("every", STRIDES, ids="every {}".format)
@pytest.mark.parametrize("after", [False, True], ids=["before", "unanswered"])
@pytest.mark.parametrize("to", [None, "copies", "lists"])
def test_who_is_killed_at_any_command_goes_on_and_nothing_is_lost_or_doubled(
    here: Past, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, to: str | None, after: bool, every: int
) -> None:
    finished, at = False, 0
    for at in points(every, request.node):
        queue, label = f"queue-{at}", f"at-{at}"
        here.broker.declare(Queue(queue, transport="stream"))
        ids = sorted(id_text(one) for one in here.enqueue(3, queue=queue))
        for item in here.take(3, queue):
            here.hands.retry(item, 0)
        restore = cut(here, monkeypatch, at, after)
        try:
            here.control.replay(queue, EVER, to=to, label=label, rate=4)
            finished = True
        except Killed:
            pass
        restore()
        done = here.control.replay(queue, EVER, to=to, label=label, rate=4)
        assert replace(done, over=False) == Replayed(label, 6, 3, 3), f"killed at command {at}"
        assert done.over or not finished
        assert here.sources(label, to or queue) == ids, f"killed at command {at}"
        if finished:
            break
    assert at > 6 * 3, "a page is three commands"


@pytest.mark.parametrize("every", [3, 4, 5])
def test_an_answer_that_is_lost_on_the_way_is_asked_for_again(
    here: Past, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    ids = here.enqueue(10)
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
    assert here.control.replay("mail", EVER, label="again", rate=8) == Replayed("again", 10, 10)
    monkeypatch.undo()
    assert lost >= 2
    assert here.sources("again") == sorted(id_text(one) for one in ids)


@pytest.mark.parametrize("to", ["mail", "copies", "lists"])
def test_two_at_once_share_one_label(here: Past, server: RealServer, to: str) -> None:
    ids = here.enqueue(3_000)
    ready = threading.Barrier(3)
    done: list[Replayed] = []

    def work() -> None:
        with past(server, here.app.namespace, Clock().pace()) as other:
            ready.wait()
            done.append(other.control.replay("mail", EVER, 4e9, to=to, label="again", rate=400))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [replace(one, over=False) for one in done] == [Replayed("again", 3_000, 3_000)] * 3
    assert here.sources("again", to) == sorted(id_text(one) for one in ids)


def test_a_label_goes_on_without_its_range_and_changes_nothing_when_it_is_over(here: Past) -> None:
    here.enqueue(6)
    stop(here, 2)
    assert here.control.replay("mail", label="again") == Replayed("again", 6, 6)
    for item in here.take(12):
        here.hands.finish(item)
    assert here.control.replay("mail", label="again") == Replayed("again", 6, 6, over=True)
    assert here.sources("again") == []
    keys = here.broker.keys("mail")
    (kept,) = here.broker.link.execute("KEYS", keys.base.replace("{", "[{]") + "replayed:*")
    assert here.broker.link.execute("HLEN", kept) == 6, "the ids of a replay that is over are not kept"
    week = 7 * 86_400_000
    assert week - 60_000 < here.broker.link.execute("PTTL", keys.replay("again")) <= week
    assert here.broker.link.execute("PTTL", kept) > week


def test_a_label_that_was_begun_with_something_else_is_refused(here: Past) -> None:
    here.enqueue(6)
    here.control.replay("mail", 5, 4e9, match="shop.*", to="copies", label="again")
    assert here.control.replay("mail", 5, 4e9, match="shop.*", to="copies", label="again").enqueued == 6
    refused: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        (("mail", 6), {}, "since=5000, not 6000"),
        (("mail", 5, 3e9), {}, "until=4000000000000, not 3000000000000"),
        (("mail",), {"match": "shop.s*"}, "match='shop.*', not 'shop.s*'"),
        (("mail",), {"to": "mail"}, "to='copies', not 'mail'"),
    ]
    before = here.stored()
    for args, options, said in refused:
        with pytest.raises(ConfigError) as caught:
            here.control.replay(*args, label="again", **options)
        assert said in str(caught.value)
        assert "take another label" in str(caught.value)
    assert here.stored() == before


def test_two_labels_are_two_replays(here: Past) -> None:
    here.enqueue(3)
    assert here.control.replay("mail", EVER, label="one", to="copies").enqueued == 3
    assert here.control.replay("mail", EVER, label="two", to="copies").enqueued == 3
    first, second = (here.control.replay("mail", EVER, to="copies").label for _ in range(2))
    assert first != second
    assert here.inspector.queue("copies").ready == 12


def test_history_that_goes_before_it_is_read_is_told(here: Past) -> None:
    here.enqueue(6)
    stop(here, 2)
    link, stream = here.broker.link, here.broker.keys("mail").stream
    fourth = here.entries()[3].entry
    link.execute("XTRIM", stream, "MINID", fourth)
    assert here.control.replay("mail", label="again") == Replayed("again", 5, 5, trimmed=True)


def test_a_full_server_takes_no_page_and_the_label_goes_on(
    start_server: Callable[..., RealServer], namespace: str
) -> None:
    server = start_server()
    with past(server, namespace, Clock().pace()) as here:
        ids = here.enqueue(6)
        stop(here, 2)
        link = here.broker.link
        link.execute("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(BrokerFull):
            here.control.replay("mail", label="again")
        link.execute("CONFIG", "SET", "maxmemory", "0")
        assert here.control.replay("mail", label="again") == Replayed("again", 6, 6)
        assert here.sources("again") == sorted(id_text(one) for one in ids)


@pytest.mark.cluster
def test_a_replay_into_another_slot_of_a_cluster(start_server: Callable[..., RealServer], namespace: str) -> None:
    server = start_server(cluster=True)
    with past(server, namespace, Clock().pace(), url=server.tcp_url) as here:
        ids = here.enqueue(6)
        stop(here, 2, to="copies")
        assert here.control.replay("mail", label="again") == Replayed("again", 6, 6)
        assert here.sources("again", "copies") == sorted(id_text(one) for one in ids)
        assert here.control.replay("mail", EVER, to="lists").enqueued == 6
        assert here.inspector.queue("lists").ready == 6


@pytest.mark.cluster
@pytest.mark.parametrize("to", ["mail", "copies", "lists"])
def test_all_keys_of_a_page_are_declared(start_server: Callable[..., RealServer], namespace: str, to: str) -> None:
    server = start_server(cluster=True)
    with declared_keys(server), past(server, namespace, Clock().pace(), url=server.tcp_url) as here:
        here.enqueue(3)
        assert here.control.replay("mail", EVER, to=to).enqueued == 3


def test_a_rate_is_kept_in_small_steps(here: Past, clock: Clock) -> None:
    here.enqueue(30)
    here.control.replay("mail", EVER, label="again", rate=20)
    assert clock.now == pytest.approx(1.5)
    assert max(clock.naps) == pytest.approx(0.25)


# -- what is refused


def test_bad_input_is_refused_by_name_and_nothing_is_stored(here: Past) -> None:
    here.enqueue(2)
    before = here.stored()
    replay = here.control.replay
    with pytest.raises(ConfigError, match="queue 'lists' is a list queue, which keeps no history"):
        replay("lists", EVER)
    with pytest.raises(UnknownQueue, match="there is no queue 'male'"):
        replay("male", EVER)
    with pytest.raises(UnknownQueue, match="there is no queue 'copy'"):
        replay("mail", EVER, to="copy")
    with pytest.raises(InvalidOption, match="has no time zone"):
        replay("mail", datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidOption, match="since=9 is after until=8"):
        replay("mail", 9, 8)
    with pytest.raises(InvalidOption, match=r"knows no replay 'new': give since= \(--from\) to begin one"):
        replay("mail", label="new")
    with pytest.raises(InvalidOption, match="rate=0"):
        replay("mail", EVER, rate=0)
    for label in ("", "a b", "a:b", "x" * 129, "\x1b[31m"):
        with pytest.raises(InvalidName, match="label name"):
            replay("mail", EVER, label=label)
    assert here.stored() == before


def test_keys_of_another_type_are_named(here: Past) -> None:
    here.enqueue(2)
    stop(here, 1)
    link, keys = here.broker.link, here.broker.keys("mail")
    (kept,) = link.execute("KEYS", keys.base.replace("{", "[{]") + "replayed:*")
    link.execute("DEL", kept)
    link.execute("SET", kept, "x")
    with pytest.raises(BrokerRefused, match="WRONGTYPE"):
        Control(here.broker).replay("mail", label="again")
    assert here.inspector.queue("mail").counters["enqueued"] == 3
