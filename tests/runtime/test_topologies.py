"""The links through a cluster and through Sentinel: the same calls, the same replies."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from taskq.errors import (
    BrokerRefused,
    BrokerUnavailable,
)
from taskq.store.connection import AsyncLink, SyncLink
from taskq.store.facts import server_facts
from tests.servers import RealSentinel, RealServer, free_port

pytestmark = pytest.mark.each_server

SCRIPT = "return {1, KEYS[1], false, {ARGV[1]}}"
REPLY = [1, b"{q}k", None, [b"\x00\xff"]]


@pytest.mark.cluster
def test_a_cluster_is_routed_by_the_keys(start_server: Callable[..., RealServer]) -> None:
    server = start_server(cluster=True)
    link = server.link()
    sha = link.everywhere("SCRIPT", "LOAD", SCRIPT)[0]
    assert link.execute("EVALSHA", sha, 1, "{q}k", b"\x00\xff") == REPLY
    assert link.pipeline([("SET", "a", 1), ("SET", "b", 2), ("GET", "a")]) == [b"OK", b"OK", b"1"]
    assert link.blocking(0.05, "BLPOP", "{q}none", 0.05) is None
    with pytest.raises(BrokerRefused, match="slots"):
        link.execute("EVAL", "return 1", 2, "a", "b")
    assert server_facts(link).mode == "cluster"
    link.close()


@pytest.mark.cluster
async def test_a_cluster_is_routed_by_the_keys_async(start_server: Callable[..., RealServer]) -> None:
    link = AsyncLink(start_server(cluster=True).tcp_url)
    sha = (await link.everywhere("SCRIPT", "LOAD", SCRIPT))[0]
    assert await link.execute("EVALSHA", sha, 1, "{q}k", b"\x00\xff") == REPLY
    assert await link.pipeline([("SET", "a", 1), ("SET", "b", 2), ("GET", "a")]) == [b"OK", b"OK", b"1"]
    assert await link.blocking(0.05, "BLPOP", "{q}none", 0.05) is None
    ears = link.subscribe("channel")
    assert (await ears.get(30)) is not None
    await ears.aclose()
    await link.aclose()


@pytest.mark.cluster
def test_a_slot_that_moves_is_followed(start_server: Callable[..., RealServer]) -> None:
    first = start_server(cluster=True)
    second = start_server(cluster=True, slots=False)
    join(first, second)
    link = first.link()
    link.execute("SET", "{q}a", "1")
    move_all_keys(first, second, "{q}a")
    assert link.execute("GET", "{q}a") == b"1"
    assert link.pipeline([("GET", "{q}a"), ("SET", "{q}a", "2"), ("GET", "{q}a")]) == [b"1", b"OK", b"2"]
    link.close()


def join(first: RealServer, second: RealServer) -> None:
    with first.client() as one:
        one.execute_command("CLUSTER", "MEET", "127.0.0.1", second.port)
        while not all(b"state:ok" in told and b"known_nodes:2" in told for told in states(first, second)):
            one.execute_command("DEBUG", "SLEEP", "0.01")


def states(*servers: RealServer) -> list[bytes]:
    links = [SyncLink(server.url) for server in servers]
    told = [link.execute("CLUSTER", "INFO") for link in links]
    for link in links:
        link.close()
    return told


def move_all_keys(first: RealServer, second: RealServer, key: str) -> None:
    with first.client() as one, second.client() as other:
        slot = one.execute_command("CLUSTER", "KEYSLOT", key)
        here, there = (client.execute_command("CLUSTER", "MYID") for client in (one, other))
        other.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", here)
        one.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", there)
        one.execute_command("MIGRATE", "127.0.0.1", second.port, key, 0, 5000)
        for client in (other, one):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", there)


async def test_sentinels_that_are_not_there_are_named_without_objects_of_the_client() -> None:
    port = free_port()
    url = f"redis+sentinel://127.0.0.1:{port}/primary"
    said = (
        rf"the Sentinel at {re.escape(url)} names no server for the service 'primary': asking failed at"
        rf" 127\.0\.0\.1:{port} \(ConnectionError\): is a Sentinel running there[^<]*$"
    )
    with pytest.raises(BrokerUnavailable, match=said):
        SyncLink(url).execute("PING")
    alink = AsyncLink(url)
    with pytest.raises(BrokerUnavailable, match=said):
        await alink.execute("PING")
    await alink.aclose()


async def test_sentinel_leads_both_links_to_the_primary(start_server: Callable[..., RealServer]) -> None:
    server = start_server(requirepass="hush")
    sentinel = RealSentinel(server).start()
    try:
        link, alink = SyncLink(sentinel.url), AsyncLink(sentinel.url)
        sha = link.execute("SCRIPT", "LOAD", SCRIPT)
        assert link.execute("EVALSHA", sha, 1, "{q}k", b"\x00\xff") == REPLY
        assert await alink.execute("EVALSHA", sha, 1, "{q}k", b"\x00\xff") == REPLY
        link.close()
        await alink.aclose()
        unknown = SyncLink(sentinel.url.replace("/primary", "/other"))
        with pytest.raises(BrokerUnavailable, match="names no server for the service 'other': it answers, but knows"):
            unknown.execute("PING")
    finally:
        sentinel.close()
