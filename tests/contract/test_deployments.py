"""The whole protocol where it is deployed: over TLS with a restricted user, through Sentinel, in a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from taskq.errors import BrokerRefused, BrokerUnavailable
from taskq.store import layout
from taskq.store.connection import AsyncLink, SyncLink
from taskq.store.subscription import Notice
from taskq.tasks.async_lists import AsyncListBroker
from taskq.tasks.broker import Mark, Outgoing, Seat
from taskq.tasks.lists import ListBroker
from taskq.tasks.packing import Limits
from tests.contract.scene import QUEUE, buried, done, held, message, number_of, retried
from tests.servers import RealSentinel, RealServer

Start = Callable[..., RealServer]

ACL = "~taskq:* &taskq:* -@all +@read +@write +@connection +@pubsub +eval +evalsha +time -@dangerous"
"""What docs/protocol.md asks an administrator to grant; a restricted user must be able to do all of the below."""


def play(url: str, namespace: str) -> None:
    """Every call that producers and workers make, once."""
    link = SyncLink(url)
    broker = ListBroker(link, namespace, Limits(lease=60_000))
    try:
        layout.check(link, namespace)
        produce(broker)
        work(broker)
        listen(broker)
        asyncio.run(produce_in_a_loop(url, namespace))
    finally:
        broker.close()


def produce(broker: ListBroker) -> None:
    assert all(item.created for item in broker.enqueue(QUEUE, [message(number) for number in range(600)]))
    odd = [message(900, due=-1, unique=b"u" * 16), message(901, explicit=True, priority=2), message(902, expires=-1)]
    assert all(item.created for item in broker.enqueue(QUEUE, odd))
    assert broker.cancel(QUEUE, message(5).id) == "cancelled"
    assert broker.wait([QUEUE], 5) == QUEUE


def work(broker: ListBroker) -> None:
    seat = Seat()
    assert not broker.sweep(QUEUE).skipped
    leased = broker.lease(QUEUE, seat.ticket(QUEUE), 9).deliveries
    assert number_of(leased[0]) == 901
    one, two, three, four, five, six, *rest = leased
    assert broker.extend(QUEUE, [one.token], [Mark(one.id, one.token)]).lost == []
    assert broker.ack(QUEUE, [done(one, b"d1")], seat.op(QUEUE, "ack")) == []
    assert broker.nack(QUEUE, [retried(two, 50, line=b"{}")], seat.op(QUEUE, "nack")) == []
    assert broker.dead_letter(QUEUE, [buried(three)], seat.op(QUEUE, "bury")) == []
    assert broker.dead_letter(QUEUE, [buried(four, quarantine=True)]) == []
    assert broker.park(QUEUE, [(held(five), "t")]) == []
    assert broker.release(QUEUE, [held(six)]) == []
    assert broker.reclaim(QUEUE, rest[0].token, b"{}", "crash", [rest[0].id]) == []
    assert broker.unpark(QUEUE, "t") == 1
    assert broker.redrive(QUEUE, [three.id]) == 1
    assert broker.discard(QUEUE, [four.id]) == 1
    broker.pause(QUEUE)
    broker.resume(QUEUE)
    assert [item.state for item in broker.lookup(QUEUE, [one.id, two.id, rest[0].id])] == ["o", "d", "r"]


def listen(broker: ListBroker) -> None:
    ears = broker.link.subscribe(broker.keys(QUEUE).channel)
    try:
        assert ears.get(5) == Notice("connected")
        (delivery,) = broker.lease(QUEUE, Seat().ticket(QUEUE), 1).deliveries
        assert broker.ack(QUEUE, [done(delivery, b"d")]) == []
        assert ears.get(5) == Notice("message", broker.keys(QUEUE).channel, delivery.id)
    finally:
        ears.close()


async def produce_in_a_loop(url: str, namespace: str) -> None:
    broker = AsyncListBroker(AsyncLink(url), namespace)
    try:
        accepted = await broker.enqueue(QUEUE, [Outgoing(message(number).id, b"x") for number in range(1000, 1600)])
        assert all(item.created for item in accepted)
        assert await broker.cancel(QUEUE, message(1000).id) == "cancelled"
        assert [item.state for item in await broker.lookup(QUEUE, [message(1001).id])] == ["r"]
    finally:
        await broker.aclose()


@pytest.fixture
def tls_server(start_server: Start) -> RealServer:
    try:
        return start_server(tls=True, requirepass="hush")
    except BrokerUnavailable as error:
        pytest.skip(f"this server was built without TLS: {error}")


def add_user(server: RealServer, rules: str) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "taskq", "on", ">secret", "resetchannels", *rules.split())


def as_user(url: str) -> str:
    return url.replace("//:hush@", "//taskq:secret@")


@pytest.mark.tls
def test_over_tls_with_a_password(tls_server: RealServer, namespace: str) -> None:
    play(tls_server.tls_url, namespace)


@pytest.mark.tls
def test_over_tls_as_a_restricted_user(tls_server: RealServer, namespace: str) -> None:
    add_user(tls_server, ACL)
    play(as_user(tls_server.tls_url), namespace)
    link = SyncLink(as_user(tls_server.tls_url))
    for command in (("SET", "foreign", "1"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*")):
        with pytest.raises(BrokerRefused, match="lacks a right"):
            link.execute(*command)
    link.close()


def test_a_user_kept_to_one_namespace(start_server: Start, namespace: str) -> None:
    server = start_server(requirepass="hush")
    own = f"~taskq:{{{namespace}:* ~taskq:{{{namespace}}}:* &taskq:{{{namespace}:*"
    add_user(server, ACL.replace("~taskq:* &taskq:*", own))
    play(as_user(server.url), namespace)
    broker = ListBroker(SyncLink(as_user(server.url)), namespace + "x")
    with pytest.raises(BrokerRefused, match="lacks a right"):
        broker.enqueue(QUEUE, [message(1)])
    broker.close()


def test_a_missing_right_is_told_and_nothing_is_stored(start_server: Start, namespace: str) -> None:
    server = start_server(requirepass="hush")
    add_user(server, f"{ACL} -hset")
    broker = ListBroker(SyncLink(as_user(server.url)), namespace)
    with pytest.raises(BrokerRefused, match="lacks a right"):
        broker.enqueue(QUEUE, [message(1)])
    broker.close()
    with server.client() as client:
        assert client.keys("*lane*") == client.keys("*ready*") == []


@pytest.fixture
def sentinel(start_server: Start) -> Iterator[RealSentinel]:
    server = start_server(requirepass="hush")
    add_user(server, ACL)
    running = RealSentinel(server).start()
    yield running
    running.close()


def test_through_a_sentinel(sentinel: RealSentinel, namespace: str) -> None:
    play(sentinel.url, namespace)


def test_through_a_sentinel_as_a_restricted_user(sentinel: RealSentinel, namespace: str) -> None:
    play(as_user(sentinel.url), namespace)


@pytest.mark.cluster
def test_in_a_cluster_as_a_restricted_user(start_server: Start, namespace: str) -> None:
    server = start_server(cluster=True, requirepass="hush")
    add_user(server, f"{ACL} +cluster|slots +cluster|shards +cluster|nodes +readonly +asking +command|info")
    play(as_user(server.tcp_url), namespace)
