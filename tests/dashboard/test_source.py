"""What the dashboard reads and does, on a real namespace without a screen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq import queue_looks
from taskq.desk import open_desk
from taskq.errors import UnknownSchedule
from taskq.message import id_text
from taskq.settings import Settings
from taskq_dashboard.source import Live
from taskq_dashboard.state import Listed, Order, Want
from tests.runtime.shop import Shop, shop
from tests.servers import RealServer


@pytest.fixture
def store(server: RealServer, namespace: str) -> Iterator[Shop]:
    with shop(server.url, namespace) as one:
        yield one


@pytest.fixture
def live(store: Shop, server: RealServer, namespace: str, tmp_path: Path) -> Iterator[Live]:
    with open_desk(Settings(tmp_path), server.url, None, namespace) as desk:
        yield Live(desk)


def nobody(_: int) -> None:
    """Does not want to know."""


@pytest.mark.parametrize("listed", ["ready", "dead"])
def test_the_filter_looks_into_task_and_id(live: Live, store: Shop, listed: Listed) -> None:
    make = store.enqueue if listed == "ready" else store.bury
    (one,) = make(1, "shop.one")
    make(2, "shop.other")
    for text, fits in (
        ("", 3),
        ("SHOP", 3),
        ("other", 2),
        (id_text(one), 1),
        (id_text(one).upper()[-12:], 1),
        ("x", 0),
    ):
        want = Want("mail", listed, text)
        assert (len(live.page(want).rows), live.count(want, nobody)) == (fits, fits), text


def test_the_filter_of_what_waits_looks_into_arguments_and_that_of_dead_letters_into_errors(
    live: Live, store: Shop
) -> None:
    store.app.remote("shop.send", queue="mail").enqueue("customer-77")
    assert live.count(Want("mail", "ready", "customer-7"), nobody) == 1
    store.bury_all(store.take(1), error="net.Refused", text="no route to it")
    assert [live.count(Want("mail", "dead", text), nobody) for text in ("refused", "No Route", "customer")] == [1, 1, 0]


def test_a_look_takes_one_round_and_finds_new_queues_one_look_later(live: Live, store: Shop) -> None:
    store.enqueue(2)
    assert [info.name for info in live.look().queues] == ["mail"]
    store.enqueue(1, queue="news")
    live.look()
    assert [info.name for info in live.look().queues] == ["mail", "news"]


def test_of_many_queues_each_look_reads_the_one_at_hand(
    live: Live, store: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_looks, "SELDOM_S", math.inf)  # however slow this machine is
    for number in range(30):
        store.enqueue(1, queue=f"q{number}")
    live.look()
    live.look("q7")
    for count in (2, 3, 4):
        store.enqueue(1, queue="q7")
        assert [info.ready for info in live.look("q7").queues if info.name == "q7"] == [count]
    store.enqueue(1, queue="q8")
    store.enqueue(1, queue="q9")
    assert [info.ready for info in live.look(every=True).queues if info.name in ("q8", "q9")] == [2, 2]


def test_pages_of_dead_letters_go_on_without_a_gap(live: Live, store: Shop) -> None:
    ids = store.bury(450)
    found: list[str] = []
    want: Want | None = Want("mail", "dead")
    while want is not None:
        page = live.page(want)
        assert page.total == 450
        found += [row.id for row in page.rows]
        want = None if page.cursor is None else Want("mail", "dead", cursor=page.cursor)
    assert sorted(found) == sorted(id_text(one) for one in ids)


def test_orders_say_in_a_sentence_what_they_did(live: Live, store: Shop) -> None:
    dead = [id_text(one) for one in store.bury(4)]
    told: list[int] = []
    assert live.carry_out(Order("retry", "mail", ids=(dead[0],)), told.append) == "retried 1 of queue mail"
    assert live.carry_out(Order("delete", "mail", every=True), told.append) == "deleted 3 of queue mail"
    assert told == [1, 3]
    (held,) = store.enqueue(1)
    for item in store.take(2):
        if item.id == held:
            store.hands.finish(item)
    order = Order("cancel", "mail", "running", (dead[0], id_text(held), "never"))
    assert live.carry_out(order, nobody) == "asked to stop 1, too late for 2 of queue mail"
    store.enqueue(2)
    some = Order("cancel", "mail", "ready", every=True)
    assert live.carry_out(some, told.append) == "cancelled 2 of queue mail"
    assert told == [1, 3, 2]
    assert live.carry_out(Order("cancel", "mail", "ready", every=True), nobody) == "cancelled 0 of queue mail"
    with pytest.raises(UnknownSchedule):
        live.carry_out(Order("hold", "mail", ids=("nightly",)), nobody)
