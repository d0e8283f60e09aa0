"""What the inspector sees of queues, messages, dead letters and workers, on every server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import UUID

import pytest

from taskq.errors import InvalidName, InvalidOption, UnknownMessage, UnknownQueue
from taskq.inspector import Filter, Inspector
from taskq.message import id_text
from taskq.store import keys
from taskq.tasks import operator_calls
from taskq.tasks.broker import Mark, Outgoing
from tests.runtime.shop import Shop, shop
from tests.servers import RealServer


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[Shop]:
    with shop(server.url, namespace) as one:
        yield one


# -- queues


def test_every_state_of_a_queue_is_counted(here: Shop) -> None:
    here.bury(3)
    here.bury(2, quarantine=True)
    here.park(4, "shop.unknown")
    here.park(1, "shop.other")
    running, waiting = here.enqueue(2)
    first, _ = here.take(2)
    here.broker.extend("mail", [first.token], [Mark(first.id, first.token)])
    here.enqueue(5)
    later = here.app.remote("shop.send", queue="mail", delay=60)
    later.enqueue(1)
    here.app.remote("shop.send", queue="mail", priority=2).enqueue(1)
    info = here.inspector.queue("mail")
    assert (info.ready, info.delayed, info.retrying, info.leased, info.running) == (6, 1, 0, 2, 1)
    assert (info.dead, info.quarantined, info.parked_total, info.paused, info.truncated) == (3, 2, 5, False, ())
    assert {one.task: one.count for one in info.parked} == {"shop.unknown": 4, "shop.other": 1}
    assert here.inspector.parked("mail") == info.parked
    assert info.due is not None
    assert 0 <= info.due - info.now <= 60_000
    assert info.counters["enqueued"] == 19
    assert (info.counters["dead"], info.counters["quarantined"], info.counters["parked"]) == (3, 2, 5)
    assert not {"fence", "paused", "swept"} & set(info.counters)
    assert here.inspector.message("mail", running).status == "running"
    assert here.inspector.message("mail", waiting).status == "ready"


def test_a_cancelled_message_is_not_counted_as_ready_though_its_mark_lies_there(here: Shop) -> None:
    one, *_ = here.enqueue(3)
    assert here.broker.cancel("mail", one) == "cancelled"
    info = here.inspector.queue("mail")
    assert (info.ready, info.cancelled_waiting, info.leased) == (2, 1, 0)


def test_retrying_is_told_from_delayed(here: Shop) -> None:
    here.enqueue(1)
    here.hands.retry(here.take(1)[0], 60_000)
    here.app.remote("shop.send", queue="mail", delay=60).enqueue(1)
    info = here.inspector.queue("mail")
    assert (info.delayed, info.retrying) == (2, 1)


def test_the_age_of_the_oldest_ready_message_comes_from_its_id(here: Shop) -> None:
    assert here.inspector.queue_names() == ([], False)
    now = here.inspector.server_ms()
    old = (now - 90_000).to_bytes(6, "big") + bytes((0x70, 0, 0x80)) + bytes(7)
    here.broker.enqueue("mail", [Outgoing(old, b"body")])
    here.enqueue(3)
    age = here.inspector.queue("mail").oldest
    assert age is not None
    assert 90 <= age < 120
    here.broker.cancel("mail", old)
    younger = here.inspector.queue("mail").oldest
    assert younger is not None
    assert younger < 60


def test_an_id_that_tells_no_time_has_no_age(here: Shop) -> None:
    here.app.remote("shop.send", queue="mail", id="order-42").enqueue(1)
    info = here.inspector.queue("mail")
    assert (info.ready, info.oldest) == (1, None)


def test_all_queues_are_listed_by_name_and_a_cut_is_told(here: Shop) -> None:
    for name in ("zebra", "ant", "mail"):
        here.enqueue(1, queue=name)
    listed = here.inspector.queues()
    assert [info.name for info in listed.queues] == ["ant", "mail", "zebra"]
    assert not listed.truncated
    cut = here.inspector.queues(limit=2)
    assert ([info.name for info in cut.queues], cut.truncated) == (["ant", "mail"], True)


def test_the_queues_that_are_read_of_very_many_are_the_first_by_name(here: Shop) -> None:
    names = [f"q-{number:05}" for number in range(4_000)]
    here.broker.link.execute("SADD", keys.queues(here.app.namespace), *names)
    assert here.inspector.queue_names() == (names[:1_000], True)
    assert here.inspector.queue_names(4_000) == (names, False)


def test_figures_that_are_too_low_are_named(here: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_calls, "MOST_LOOKS", 2)
    monkeypatch.setattr(operator_calls, "MOST_LEASES", 2)
    monkeypatch.setattr(operator_calls, "MOST_TASKS", 2)
    for _ in range(3):
        here.enqueue(1)
        here.take(1)
    for task in ("a", "b", "c"):
        here.park(1, task)
    here.app.remote("shop.send", queue="mail", delay=60).enqueue_many([(1,)] * 3)
    info = here.inspector.queue("mail")
    assert set(info.truncated) == {"leased", "running", "retrying", "parked"}
    assert (info.delayed, info.parked_total) == (3, 2)


def test_an_unknown_queue_is_named_with_the_nearest(here: Shop) -> None:
    here.enqueue(1)
    with pytest.raises(UnknownQueue, match=r"no queue 'mial'.*did you mean 'mail'"):
        here.inspector.queue("mial")
    with pytest.raises(InvalidName):
        here.inspector.queue("a}b")


# -- messages


def test_a_message_is_shown_with_all_that_is_known_and_its_data_only_on_demand(here: Shop) -> None:
    here.app.remote("shop.next")
    sender = here.app.remote(
        "shop.send", queue="mail", priority=1, unique="order-1", expires=600, timeout=5, retry=7, headers={"h": "1"}
    )
    handle = sender.options(then=here.app.remote("shop.next", queue="later").call(1)).enqueue("secret", size=2)
    info = here.inspector.message("mail", handle.id)
    assert (info.id, info.status, info.task, info.priority) == (handle.id, "ready", "shop.send", 1)
    assert (info.unique, info.explicit, info.then, info.contents) == (True, False, "shop.next in later", None)
    assert info.options["timeout"] == 5.0
    assert info.options["retry"]["max_attempts"] == 7
    assert info.expires is not None
    assert info.created is not None
    assert 500_000 < info.expires - info.created < 700_000
    assert "secret" not in repr(info)
    asked = here.inspector.message("mail", handle.id, contents=True).contents
    assert asked is not None
    assert (asked.args, asked.kwargs, asked.headers) == (("secret",), {"size": 2}, {"h": "1"})


def test_a_dead_message_tells_its_history_result_and_tries(here: Shop) -> None:
    here.enqueue(1)
    (item,) = here.take(1)
    here.hands.retry(item, 0)
    (item,) = here.take(1)
    here.hands.bury(item)
    info = here.inspector.message("mail", item.id, contents=True)
    assert (info.status, info.attempts, info.deliveries, info.crashes) == ("dead", 1, 2, 0)
    assert [entry["message"] for entry in info.history] == ["not yet", "no more tea"]
    assert (info.result, info.contents is not None) == ("dead", True)
    assert info.contents is not None
    assert info.contents.result["type"] == "shop.OutOfStock"
    assert info.buried is not None
    assert info.result_until is not None
    assert info.result_until - info.buried == 3_600_000


def test_a_done_message_is_known_by_its_result_alone(here: Shop) -> None:
    here.enqueue(1)
    (item,) = here.take(1)
    here.broker.link.execute("SET", here.broker.keys("mail").progress(item.id), b'{"done": 3, "total": 9}')
    running = here.inspector.message("mail", item.id)
    assert running.progress == {"done": 3, "total": 9}
    assert running.deadline is not None
    here.hands.finish(item, {"sent": 1})
    info = here.inspector.message("mail", item.id, contents=True)
    assert (info.status, info.task, info.bytes, info.result) == ("done", "", 0, "done")
    assert info.contents is not None
    assert info.contents.result == {"sent": 1}


def test_bytes_that_are_no_message_are_shown_as_they_are(here: Shop) -> None:
    odd = UUID(int=7).bytes
    here.broker.enqueue("mail", [Outgoing(odd, b"\xff\x00garbage")])
    info = here.inspector.message("mail", odd, contents=True)
    assert "unknown layout byte" in info.problem
    assert info.contents is not None
    assert info.contents.raw == b"\xff\x00garbage"


def test_a_message_is_found_in_whatever_queue_it_is(here: Shop) -> None:
    here.enqueue(1, queue="ant")
    (raw,) = here.enqueue(1, queue="mail")
    assert here.inspector.find(raw) == ["mail"]
    assert here.inspector.find(id_text(raw)) == ["mail"]
    assert here.inspector.find("never") == []
    with pytest.raises(UnknownMessage, match="no trace"):
        here.inspector.message("ant", raw)


# -- dead letters


def test_dead_letters_are_listed_newest_first_and_filtered(here: Shop) -> None:
    here.bury(2, "shop.send", "smtp.Refused", "no route to Oslo")
    here.bury(1, "shop.scan", "builtins.ValueError", "bad scan")
    here.bury(1, queue="other")
    page = here.inspector.dead("mail")
    assert (page.items[0].task, page.items[0].error) == ("shop.scan", "builtins.ValueError")
    assert (len(page.items), page.total, page.cursor, page.truncated) == (3, 3, None, False)
    one = page.items[-1]
    assert (one.message, one.kind, one.worker, one.attempts) == ("no route to Oslo", "error", "worker-1", 1)

    def count(what: Filter) -> int:
        return len(here.inspector.dead("mail", what).items)

    assert count(Filter(task="shop.send")) == 2
    assert count(Filter(task="shop.s*", error="ValueError")) == 1
    assert count(Filter(error="smtp.*")) == 2
    assert count(Filter(match="OSLO")) == 2
    assert count(Filter(since=here.inspector.server_ms() + 60_000)) == 0
    assert count(Filter(until=one.at)) >= 2
    assert count(Filter(until=0)) == 0
    assert here.inspector.count_dead("mail", Filter()) == 3
    assert here.inspector.count_dead("mail", Filter(task="shop.scan")) == 1


def test_pages_give_each_dead_letter_once_even_if_all_died_at_once(here: Shop) -> None:
    ids = here.bury(700)
    index = here.broker.keys("mail").dead
    for raw in ids:
        here.broker.link.execute("ZADD", index, 1_800_000_000_000, raw)
    seen, cursor = [], None
    while True:
        page = here.inspector.dead("mail", limit=90, cursor=cursor)
        seen += [item.id for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(id_text(raw) for raw in ids)


def test_a_page_goes_on_though_its_last_letter_is_gone(here: Shop) -> None:
    ids = here.bury(10)
    page = here.inspector.dead("mail", limit=4)
    here.broker.discard("mail", [UUID(item.id).bytes for item in page.items])
    rest = here.inspector.dead("mail", cursor=page.cursor)
    assert len(rest.items) == 6
    assert {item.id for item in page.items} | {item.id for item in rest.items} == {id_text(raw) for raw in ids}


def test_a_search_that_looked_at_enough_says_that_it_is_not_complete(here: Shop) -> None:
    here.bury(1, "shop.rare")
    here.bury(600)
    page = here.inspector.dead("mail", Filter(task="shop.rare"), scan=250)
    assert (page.items, page.truncated, page.looked) == ((), True, 250)
    rest = here.inspector.dead("mail", Filter(task="shop.rare"), cursor=page.cursor)
    assert ([item.task for item in rest.items], rest.truncated) == (["shop.rare"], False)


@pytest.mark.parametrize("size", [10, 100_000])
def test_the_task_of_a_message_whose_worker_died_is_read_from_its_body(here: Shop, size: int) -> None:
    here.app.remote("shop.crash", queue="mail").enqueue("x" * size)
    line = b'{"kind":"lapse","type":"LeaseLapsed","message":"says \\"task\\":\\"fake\\"","at":1}'
    here.bury_all(here.take(1), line=line)
    (letter,) = here.inspector.dead("mail").items
    assert (letter.task, letter.error) == ("shop.crash", "LeaseLapsed")


def test_long_histories_make_short_pages_and_all_of_them_come(here: Shop) -> None:
    line = json.dumps({"kind": "error", "type": "E", "task": "t", "message": "m" * 15_000}).encode()
    here.enqueue(40)
    here.bury_all(here.take(40), line=line)
    pages = list(here.inspector.walk("mail", Filter()))
    assert len(pages) > 1
    assert sum(len(page.items) for page in pages) == 40


def test_the_quarantine_is_listed_apart(here: Shop) -> None:
    here.bury(2, quarantine=True)
    here.bury(3)
    page = here.inspector.quarantined("mail")
    assert (len(page.items), page.total) == (2, 2)
    assert all(item.quarantined for item in page.items)


@pytest.mark.parametrize("cursor", ["x", "1-zz", "1", "-", "1-" + "00" * 15])
def test_a_cursor_that_no_page_gave_is_refused(here: Shop, cursor: str) -> None:
    here.bury(1)
    with pytest.raises(InvalidOption, match="cursor"):
        here.inspector.dead("mail", cursor=cursor)


# -- workers


def test_workers_are_listed_by_their_last_word_and_the_silent_ones_too(here: Shop) -> None:
    link, space = here.broker.link, here.app.namespace
    link.execute("ZADD", keys.workers(space), 1_000, "old-1", 2_000, "new-1", 1_500, "odd-1")
    link.execute("SET", keys.worker_record(space, "new-1"), json.dumps({"id": "new-1", "state": "running"}))
    link.execute("SET", keys.worker_record(space, "odd-1"), b"[1]")
    found = here.inspector.workers()
    assert [(one.id, one.present) for one in found.workers] == [("new-1", True), ("odd-1", True), ("old-1", False)]
    assert [one.record.get("state") for one in found.workers] == ["running", None, None]
    cut = here.inspector.workers(limit=1)
    assert ([one.id for one in cut.workers], cut.truncated) == (["new-1"], True)


def test_looking_writes_nothing(here: Shop) -> None:
    here.bury(3)
    here.park(2, "shop.unknown")
    (raw,) = here.enqueue(1)
    link = here.broker.link

    def dump() -> dict[bytes, bytes]:
        return {key: link.execute("DUMP", key) for key in link.execute("KEYS", "*")}

    before = dump()
    inspector = Inspector(link, here.app.namespace)
    inspector.queues()
    inspector.message("mail", raw, contents=True)
    inspector.find(raw)
    inspector.dead("mail")
    inspector.workers()
    assert dump() == before
