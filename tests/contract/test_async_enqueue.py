"""Thousands of enqueues from an event loop, some of them cancelled: every call that returned is one message."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from typing import Any

import pytest

from taskq.message import new_ids
from taskq.store.connection import AsyncLink
from taskq.tasks.async_lists import AsyncListBroker
from taskq.tasks.broker import Outgoing
from tests.contract.conftest import CLUSTERS, LISTS, STREAMS, Server, declared
from tests.contract.scene import LIMITS, QUEUE
from tests.servers import RealServer, declared_keys

CALLS, IN_FLIGHT = 5000, 50
EVERY = [*LISTS, *CLUSTERS, *STREAMS]
# What is tried here is our side of it. A list and a stream, a server and a cluster, are two; `make full` takes all.
transports = pytest.mark.parametrize(
    "lists", [one if one in (EVERY[0], EVERY[-1]) else pytest.param(one, marks=pytest.mark.slow) for one in EVERY]
)


async def produce(broker: AsyncListBroker, ids: list[bytes]) -> set[bytes]:
    """Enqueue each id by itself, 50 at a time; a tenth of the calls is cancelled under way. Ids that were confirmed."""
    confirmed: set[bytes] = set()
    chance = random.Random(7)
    queue = list(ids)

    async def one(message: bytes) -> None:
        (accepted,) = await broker.enqueue(QUEUE, [Outgoing(message, b"body")], 30)
        assert accepted.created
        assert accepted.id == message
        confirmed.add(message)

    async def producer() -> None:
        while queue:
            call = asyncio.ensure_future(one(queue.pop()))
            if chance.random() < 0.1:
                for _ in range(chance.randrange(12)):
                    await asyncio.sleep(0)
                call.cancel()
            try:
                await call
            except asyncio.CancelledError:
                continue

    await asyncio.gather(*(producer() for _ in range(IN_FLIGHT)))
    return confirmed


def async_broker(server: RealServer, namespace: str, transport: str) -> AsyncListBroker:
    link = AsyncLink(server.tcp_url if server.options.cluster else server.url)
    return AsyncListBroker(link, namespace, LIMITS, queues=declared(transport))


def check(server: RealServer, namespace: str, ids: list[bytes], confirmed: set[bytes]) -> None:
    """Every confirmed call is one message, no call is two, and only cancelled ones may be missing."""
    broker = AsyncListBroker(AsyncLink(server.url), namespace, LIMITS)
    with server.client() as client:
        keys = broker.keys(QUEUE)
        stored = Counter(client.lrange(keys.ready_for(0), 0, -1))
        found: Any = client.xrange(keys.stream)
        stored.update(fields[b"id"] for _, fields in found)
    assert confirmed <= stored.keys() <= set(ids)
    assert set(stored.values()) == {1}
    assert len(ids) > len(confirmed) > len(ids) * 0.8, "a tenth is cancelled, some of them too late"


@transports
def test_five_thousand_calls_and_a_tenth_of_them_cancelled(lists: str, server_of: Server, namespace: str) -> None:
    server, ids = server_of(lists), new_ids(CALLS)

    async def run() -> set[bytes]:
        broker = async_broker(server, namespace, lists)
        try:
            return await produce(broker, ids)
        finally:
            await broker.aclose()

    with declared_keys(server):
        confirmed = asyncio.run(run())
    check(server, namespace, ids, confirmed)


@transports
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_producer_goes_on_beside_its_parent(server_of: Server, namespace: str, lists: str) -> None:
    """The child inherits connections and lanes; it must use neither."""
    server = server_of(lists)
    broker = async_broker(server, namespace, lists)
    first, ours, theirs = new_ids(100), new_ids(CALLS // 2), new_ids(CALLS)
    reading, writing = os.pipe()
    with declared_keys(server):
        confirmed = asyncio.run(produce(broker, first))
        child = os.fork()
        if child == 0:
            try:
                done = asyncio.run(produce(broker, theirs))
                with os.fdopen(writing, "wb") as pipe:
                    pipe.write(b"".join(done))
            finally:
                os._exit(0)
        os.close(writing)
        confirmed |= asyncio.run(produce(broker, ours))
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    confirmed |= {told[at : at + 16] for at in range(0, len(told), 16)}
    check(server, namespace, first + ours + theirs, confirmed)
