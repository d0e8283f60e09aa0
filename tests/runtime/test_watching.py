"""A watch sees a whole namespace in one round trip, and what is wrong with one part of it hides no other."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from taskq import Queue, queue_looks
from taskq import watching as limits
from taskq.errors import BrokerUnavailable
from taskq.snapshot import Snapshot
from taskq.store import keys
from taskq.store.scripts import run
from taskq.tasks.broker import Finished, Mark, Seat
from taskq.tasks.statistics import SLOT_MS, sample
from taskq.watching import Watch
from tests.runtime.shop import Shop, shop
from tests.servers import RealServer


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[Shop]:
    with shop(server.url, namespace) as one:
        yield one


@pytest.fixture
def watch(here: Shop) -> Watch:
    return Watch(here.broker.link, here.app.namespace)


def trips(watch: Watch, monkeypatch: pytest.MonkeyPatch, **how: Any) -> tuple[Snapshot, list[str]]:
    """A look, and how it called its link."""
    called: list[str] = []
    with monkeypatch.context() as patch:
        for name in ("execute", "pipeline", "everywhere"):
            plain = getattr(watch.link, name)

            def counting(*args: Any, _name: str = name, _plain: Any = plain, **more: Any) -> Any:
                called.append(_name)
                return _plain(*args, **more)

            patch.setattr(watch.link, name, counting)
        return watch.look(**how), called


def count() -> None: ...


def furnish(here: Shop) -> None:
    """Two queues of each transport with something everywhere, a worker, a schedule."""
    here.app.declare(Queue("audit", transport="stream"))
    for queue in ("mail", "audit"):
        here.bury(2, queue=queue)
        here.park(3, "shop.unknown", queue)
        here.enqueue(4, queue=queue)
    link, space = here.broker.link, here.app.namespace
    link.execute("ZADD", keys.workers(space), 1_000, "old-1", 2_000, "new-1")
    link.execute("SET", keys.worker_record(space, "new-1"), json.dumps({"id": "new-1", "state": "running"}))
    here.app.task(name="shop.count", queue="mail")(count)
    here.app.schedules.add("yearly", "shop.count", "0 3 1 1 *", queue="mail")
    here.app.schedules.add("tick", "shop.count", every=30, queue="mail")
    here.inspector.queues()  # the server has the scripts now; a look that must send them takes longer


def test_a_look_is_one_round_trip_and_has_everything(here: Shop, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    furnish(here)
    first, called = trips(watch, monkeypatch)
    assert called.count("pipeline") == 3
    again, called = trips(watch, monkeypatch)
    assert called == ["pipeline"]
    for seen in (first, again, here.inspector.snapshot()):
        assert [one.name for one in seen.queues] == ["audit", "mail"]
        assert [(one.transport, one.ready, one.dead, one.parked_total) for one in seen.queues] == [
            ("stream", 4, 2, 3),
            ("list", 4, 2, 3),
        ]
        assert [(one.id, one.present, one.record.get("state")) for one in seen.workers] == [
            ("new-1", True, "running"),
            ("old-1", False, None),
        ]
        assert [one.name for one in seen.schedules] == ["tick", "yearly"]
        assert [(one.queue, one.fate, one.type, one.message) for one in seen.failures] == [
            (one.queue, "dead", "builtins.ValueError", "no tea") for one in seen.failures
        ]
        assert len(seen.failures) == 4
        assert (seen.namespace, seen.truncated) == (here.app.namespace, ())
        assert seen.queue_count == len(seen.queues)
        assert seen.server.kind in ("redis", "valkey")
        assert seen.server.memory > 0
        assert seen.server.clients > 0
        assert abs(seen.now - here.inspector.server_ms()) < 60_000


def test_the_figures_of_a_look_are_those_of_the_inspector(here: Shop, watch: Watch) -> None:
    furnish(here)
    running, *_ = here.take(2)
    here.hands.retry(running, 60_000)
    for seen, known in zip(watch.look().queues, here.inspector.queues().queues, strict=True):
        same = ("name", "ready", "delayed", "retrying", "leased", "dead", "parked", "counters", "transport", "due")
        assert [getattr(seen, name) for name in same] == [getattr(known, name) for name in same]


def test_what_is_new_is_seen_one_look_later(here: Shop, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch.look().queues == ()
    furnish(here)
    watch.look()
    seen, called = trips(watch, monkeypatch)
    assert [one.name for one in seen.queues] == ["audit", "mail"]
    assert len(seen.schedules) == 2
    assert len(seen.workers) == 2
    seen, more = trips(watch, monkeypatch)
    assert [(one.transport, one.ready, one.parked_total) for one in seen.queues] == [("stream", 4, 3), ("list", 4, 3)]
    assert (called, more) == (["pipeline"], ["pipeline"])


def test_samples_come_only_when_they_are_asked_for(here: Shop, watch: Watch) -> None:
    here.enqueue(3)
    link = here.broker.link
    now = here.inspector.server_ms() // SLOT_MS * SLOT_MS
    mail = here.broker.keys("mail")
    run(link, sample(mail, str(now - 4 * SLOT_MS)))
    here.enqueue(2)
    run(link, sample(mail, str(now - SLOT_MS)))
    link.execute("HSET", mail.meta, "swept", now)
    assert watch.look(samples=False).samples == {}
    found = watch.look().samples["mail"]
    assert [one.enqueued for one in found[:4]] == [3, 3, 3, 5]
    assert [one.at for one in found[:4]] == [now - back * SLOT_MS for back in (4, 3, 2, 1)]


def test_a_queue_that_cannot_be_read_is_named_and_hides_no_other(here: Shop, watch: Watch) -> None:
    here.enqueue(1, queue="mail")
    here.enqueue(1, queue="odd")
    link = here.broker.link
    link.execute("DEL", here.broker.keys("odd").body)
    link.execute("SET", here.broker.keys("odd").body, "not a hash")
    link.execute("SADD", keys.queues(here.app.namespace), "no name }")
    seen = watch.look()
    assert [one.name for one in seen.queues] == ["mail"]
    assert "queue odd" in seen.truncated


def test_many_queues_are_all_looked_into_at_first_and_then_by_turns(here: Shop, watch: Watch) -> None:
    names, seat = [f"q{number}" for number in range(7)], Seat()
    for name in names:
        here.enqueue(3, queue=name)

    def start(name: str) -> None:
        (one,) = here.broker.lease(name, seat.ticket(name), 1).deliveries
        here.broker.extend(name, [], [Mark(one.id, one.token)])

    def running(found: Snapshot) -> dict[str, int]:
        return {queue.name: queue.running for queue in found.queues}

    for name in names[:5]:
        start(name)
    assert running(watch.look()) == dict.fromkeys(names[:5], 1) | dict.fromkeys(names[5:], 0)
    for name in names[2:]:
        start(name)
    assert running(watch.look()) != dict.fromkeys(names[:2], 1) | dict.fromkeys(names[2:5], 2) | dict.fromkeys(
        names[5:], 1
    )
    seen = [running(watch.look()) for _ in range(4)]  # that two more are busy is known after one look
    assert seen[-1] == dict.fromkeys(names[:2], 1) | dict.fromkeys(names[2:5], 2) | dict.fromkeys(names[5:], 1)


def test_of_many_queues_a_look_reads_half_and_all_is_exact_two_looks_after_the_end(
    here: Shop, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_looks, "SELDOM_S", math.inf)  # however slow this machine is
    names, seat, link = [f"q{number:02}" for number in range(60)], Seat(), here.broker.link
    streams = set(names[::5])
    for name in names:
        if name in streams:
            here.app.declare(Queue(name, transport="stream"))
        here.enqueue(2, queue=name)

    def asked() -> tuple[Snapshot, int, list[str]]:
        sent: list[Any] = []
        with monkeypatch.context() as patch:
            plain = link.pipeline

            def noting(wires: Sequence[Any], **more: Any) -> list[Any]:
                sent.extend(wires)
                return plain(wires, **more)

            patch.setattr(link, "pipeline", noting)
            seen, called = trips(watch, patch)
        return seen, sum(wire[0] == "EVALSHA" for wire in sent), called

    seen, scripts, _ = asked()
    assert scripts >= 60, "the first look reads all"
    assert {one.name: one.ready for one in seen.queues} == dict.fromkeys(names, 2)
    assert {one.name for one in seen.queues if one.transport == "stream"} == streams
    for turn in range(4):
        for name in names[turn::4]:
            (one,) = here.broker.lease(name, seat.ticket(name), 1).deliveries
            assert not here.broker.ack(name, [Finished(one.id, one.token, "d", b"", 1_000)])
        seen, scripts, called = asked()
        assert (scripts, called) == (30, ["pipeline"])
        assert len(seen.queues) == 60
    for _ in range(2):
        seen, scripts, _ = asked()
        assert scripts == 30
    assert [(one.name, one.ready, one.leased, one.counters["done"]) for one in seen.queues] == [
        (name, 1, 0, 1) for name in names
    ]
    seen, every = watch.look(), watch.look(every=True)
    assert min(one.now for one in every.queues) >= max(one.now for one in seen.queues)


def test_a_look_at_everything_has_the_newest_figures_of_tasks_and_failures(here: Shop, watch: Watch) -> None:
    here.bury(1)
    watch.look()
    here.bury(2)
    assert len(watch.look().failures) == 1, "that the queue has moved is known one look later"
    here.bury(1)
    seen = watch.look(every=True)
    assert len(seen.failures) == 4


def test_odd_bytes_in_the_statistics_are_passed_over(here: Shop, watch: Watch) -> None:
    here.bury(1)
    link, mail = here.broker.link, here.broker.keys("mail")
    odd: Sequence[tuple[Any, ...]] = (
        ("HSET", mail.stats, "nonsense", "1", "d shop.a", "x", "R99999 shop.a", "-4", "d shop.b", 2, "R7 shop.b", 2),
        ("LPUSH", mail.recent, "", "x", b"\xff" * 40, b"x" + b"i" * 16 + b"1800000000000" + b"{ no JSON"),
        ("HSET", mail.samples, "3", "1 2", "last", "a b c d e f g", "x", ""),
    )
    assert not [error for error in link.pipeline(odd) if isinstance(error, Exception)]
    seen = watch.look()
    assert [(one.task, one.done, one.run.total) for one in seen.tasks] == [("shop.b", 2, 2)]
    assert [(one.type, one.at) for one in seen.failures if one.type or one.at == 1_800_000_000_000] == [
        ("", 1_800_000_000_000),
        ("builtins.ValueError", seen.failures[-1].at),
    ]
    assert seen.samples["mail"] == ()


def test_a_server_without_our_scripts_gets_them(here: Shop, watch: Watch) -> None:
    here.enqueue(1)
    watch.look()
    here.broker.link.execute("SCRIPT", "FLUSH")
    assert [one.ready for one in watch.look().queues] == [1]


def test_more_names_than_are_looked_at_are_told(here: Shop, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_QUEUES", 2)
    monkeypatch.setattr(limits, "MOST_WORKERS", 2)
    link, space = here.broker.link, here.app.namespace
    for name in ("a", "b", "c"):
        here.enqueue(1, queue=name)
        link.execute("ZADD", keys.workers(space), 1_000, name)
    seen = Watch(link, space).look()
    assert [one.name for one in seen.queues] == ["a", "b"]
    assert len(seen.workers) == 2
    assert {"queues", "workers"} <= set(seen.truncated)
    assert seen.queue_count == 3


def test_a_look_at_no_server_says_so(here: Shop, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    watch.look()

    def gone(commands: Sequence[Any], **_: Any) -> list[Any]:
        return [BrokerUnavailable("gone")] * len(commands)

    monkeypatch.setattr(watch.link, "pipeline", gone)
    with pytest.raises(BrokerUnavailable):
        watch.look()


def test_looking_writes_nothing(here: Shop, watch: Watch) -> None:
    furnish(here)
    link = here.broker.link

    def dump() -> dict[bytes, bytes]:
        return {key: link.execute("DUMP", key) for key in link.execute("KEYS", "*")}

    before = dump()
    watch.look()
    watch.look()
    assert dump() == before
