"""Upkeep of several queues: what is wrong with one message or one queue stops nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from taskq.errors import BrokerFull
from taskq.message import new_ids
from taskq.store.connection import SyncLink
from taskq.store.scripts import run
from taskq.tasks import calls
from taskq.tasks.broker import Held, Outgoing, Seat
from taskq.tasks.calls import Limits
from taskq.tasks.failure import parse
from taskq.tasks.lists import ListBroker
from taskq.tasks.outbox import pack_follow, relay
from taskq_workers.process import Hello
from taskq_workers.sweeper import Sweeper
from taskq_workers.wires import exchange
from tests.servers import RealServer

LEASE_MS = 1000


@pytest.fixture
def broker(server: RealServer, namespace: str) -> Iterator[ListBroker]:
    one = ListBroker(SyncLink(server.url), namespace, Limits(lease=LEASE_MS))
    yield one
    one.close()


def put_follow(broker: ListBroker, **wire: object) -> None:
    packed = pack_follow({"task": "t", "queue": "target", "args": [], "kwargs": {}} | wire, os.urandom(16))
    broker.link.execute("HSET", broker.keys("a").outbox, packed[:16], packed[16:])


def test_a_follow_up_that_cannot_be_sent_on_keeps_no_other_back(broker: ListBroker) -> None:
    broker.link.execute("HSET", broker.keys("a").outbox, b"\0" * 16, b"{ no JSON")
    for codec in ("json", "of-the-app", "json"):
        put_follow(broker, codec=codec)
    put_follow(broker, queue="odd")
    broker.link.execute("SET", broker.keys("odd").body, "not a hash")
    put_follow(broker)
    assert relay(broker, "a") == 3
    assert broker.link.execute("LLEN", broker.keys("target").ready_for(0)) == 3
    assert broker.link.execute("HLEN", broker.keys("a").outbox) == 3


def test_an_outbox_full_of_refused_follow_ups_holds_nobody_up_and_hides_no_other(broker: ListBroker) -> None:
    broker.link.execute("SET", broker.keys("odd").body, "not a hash")
    for _ in range(700):
        put_follow(broker, queue="odd")
    put_follow(broker)
    asked: list[int] = []
    execute = broker.link.execute

    def counting(*args: Any, **options: Any) -> Any:
        asked[-1] += args[0] == "EVALSHA"
        return execute(*args, **options)

    broker.link.execute = counting  # type: ignore[method-assign]
    sent = 0
    for _ in range(10):
        asked.append(0)
        sent += relay(broker, "a", limit=100)
    assert sent == 1
    assert max(asked) < 300, "heartbeats wait behind this"


def test_a_full_server_is_not_asked_for_each_follow_up(broker: ListBroker) -> None:
    for _ in range(50):
        put_follow(broker)
    tried: list[str] = []

    def full(queue: str, *_: Any, **__: Any) -> Any:
        tried.append(queue)
        raise BrokerFull("no room")

    broker.enqueue = full  # type: ignore[method-assign]
    assert relay(broker, "a") == 0
    assert tried == ["target"]


def test_a_queue_with_a_key_of_another_type_leaves_the_chores_of_the_others_alone(broker: ListBroker) -> None:
    sweeper = Sweeper(broker, ["a", "b"], [], lambda: None)
    broker.enqueue("b", [Outgoing(os.urandom(16), b"body")])
    broker.enqueue("a", [Outgoing(os.urandom(16), b"body")])
    past = str(int(time.time() * 1000) - 10 * LEASE_MS)
    for queue in ("a", "b"):
        call = calls.lease(broker.keys(queue), Seat().ticket(queue), 1, broker.limits, now=past)
        assert len(run(broker.link, call).deliveries) == 1
    left = broker.keys("a").left  # no sweep looks at this key, but taking back does
    broker.link.execute("DEL", left)
    broker.link.execute("SET", left, "not a hash")
    before = time.monotonic()
    for wire, answer in exchange(broker.link, sweeper.wires(before)):
        if wire.then is not None:
            wire.then(answer)
    sweeper.follow_up(before, time.monotonic())
    assert broker.link.execute("LLEN", broker.keys("b").ready_for(0)) == 1


def test_only_tasks_that_nobody_here_knows_are_dead_lettered_after_seven_days_as_parked(broker: ListBroker) -> None:
    names = ("shop.mine", "shop.my_old_name", "layout 1", "shop.unknown")
    long_ago = str(int(time.time() * 1000) - broker.limits.parked_age)
    ids = new_ids(len(names))
    broker.enqueue("a", [Outgoing(one, b"body") for one in ids])
    taken = broker.lease("a", Seat().ticket("a"), 10).deliveries
    parked = [(Held(one.id, one.token), name) for one, name in zip(taken, names, strict=True)]
    assert run(broker.link, calls.park(broker.keys("a"), parked, long_ago)) == []
    sweeper = Sweeper(broker, ["a"], ["shop.mine", "shop.my_old_name"], lambda: None)
    for wire, answer in exchange(broker.link, sweeper.wires(0.0)):
        if wire.then is not None:
            wire.then(answer)
    sweeper.follow_up(time.monotonic(), time.monotonic())
    found = broker.lookup("a", ids)
    assert [one.state for one in found] == ["p", "p", "p", "x"]
    (line,) = parse(found[-1].lines)
    assert (line["kind"], line["task"]) == ("unknown_task", "shop.unknown")


def test_a_hello_tells_the_aliases_of_tasks() -> None:
    fields = {"app": "shop:app", "namespace": "shop", "lease": 10, "url": "x", "tasks": ["a"], "queues": ["q"]}
    assert Hello.read(fields).aliases == ()
    assert Hello.read(fields | {"aliases": ["old"]}).aliases == ("old",)
