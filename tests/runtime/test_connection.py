"""The links against real servers: raw replies, one send per call, honest errors, no mixed-up replies."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import pytest_asyncio

from taskq.errors import (
    BrokerError,
    BrokerFull,
    BrokerRefused,
    BrokerUnavailable,
    ConfigError,
    NoScript,
)
from taskq.store.connection import AsyncLink, SyncLink
from taskq.store.facts import ServerFacts, check_server, server_facts
from tests.servers import RealServer, free_port

pytestmark = pytest.mark.each_server

PATIENCE_S = 30.0
ROOT = Path(__file__).parents[2]
SCRIPT = "return {1, KEYS[1], false, {ARGV[1]}}"
REPLY = [1, b"{q}k", None, [b"\x00\xff"]]


@pytest.fixture
def link(server: RealServer) -> Iterator[SyncLink]:
    made = server.link()
    yield made
    made.close()


@pytest_asyncio.fixture
async def alink(server: RealServer) -> AsyncIterator[AsyncLink]:
    made = AsyncLink(server.url)
    yield made
    await made.aclose()


# -- replies


def test_replies_come_back_raw(link: SyncLink) -> None:
    sha = link.execute("SCRIPT", "LOAD", SCRIPT)
    assert link.execute("EVALSHA", sha, 1, "{q}k", b"\x00\xff") == REPLY
    assert link.execute("HSET", "h", "f", b"\xff") == 1
    assert link.execute("HGETALL", "h") == [b"f", b"\xff"]
    assert link.execute("ZADD", "z", 1.5, "m") == 1
    assert link.execute("ZSCORE", "z", "m") == b"1.5"
    assert link.execute("BLPOP", "none", "0.01") is None


async def test_async_replies_come_back_raw(alink: AsyncLink) -> None:
    sha = await alink.execute("SCRIPT", "LOAD", SCRIPT)
    assert await alink.execute("EVALSHA", sha, 1, "{q}k", b"\x00\xff") == REPLY
    await alink.execute("HSET", "h", "f", b"\xff")
    assert await alink.execute("HGETALL", "h") == [b"f", b"\xff"]


def test_a_pipeline_gives_each_command_its_own_reply_or_error(link: SyncLink) -> None:
    replies = link.pipeline([("SET", "a", 1), ("LPUSH", "a", 1), ("EVALSHA", "0" * 40, 0), ("GET", "a")])
    assert (replies[0], replies[3]) == (b"OK", b"1")
    assert isinstance(replies[1], BrokerRefused)
    assert isinstance(replies[2], NoScript)


async def test_an_async_pipeline_does_the_same(alink: AsyncLink) -> None:
    replies = await alink.pipeline([("SET", "a", 1), ("LPUSH", "a", 1), ("GET", "a")])
    assert (replies[0], replies[2]) == (b"OK", b"1")
    assert isinstance(replies[1], BrokerRefused)
    assert await alink.pipeline([]) == []


def test_a_blocking_call_may_wait_longer_than_other_calls(server: RealServer) -> None:
    link = SyncLink(server.url, timeout=0.5)
    assert link.blocking(0.6, "BLPOP", "list", 0.6) is None
    link.execute("RPUSH", "list", "x", timeout=PATIENCE_S)
    assert link.blocking(PATIENCE_S, "BLPOP", "list", PATIENCE_S) == [b"list", b"x"]
    link.close()


async def test_an_async_blocking_call_may_wait_longer_too(server: RealServer) -> None:
    link = AsyncLink(server.url, timeout=0.5)
    assert await link.blocking(0.6, "BLPOP", "list", 0.6) is None
    waiting = asyncio.ensure_future(link.blocking(PATIENCE_S, "BLPOP", "list", PATIENCE_S))
    await asyncio.sleep(0)
    await link.execute("RPUSH", "list", "x", timeout=PATIENCE_S)
    assert await waiting == [b"list", b"x"]
    await link.aclose()


# -- errors


def test_each_refusal_is_its_own_error(link: SyncLink) -> None:
    link.execute("SET", "text", 1)
    with pytest.raises(NoScript):
        link.execute("EVALSHA", "0" * 40, 0)
    with pytest.raises(BrokerRefused, match="another type"):
        link.execute("LPUSH", "text", 1)
    with pytest.raises(BrokerRefused, match="another type"):
        link.execute("EVAL", "return redis.call('lpush', KEYS[1], 1)", 1, "text")
    with pytest.raises(BrokerRefused, match=r"6\.2"):
        link.execute("NOSUCHCOMMAND")
    with pytest.raises(BrokerError, match="syntax error"):
        link.execute("SET", "a", "b", "WHAT")
    assert link.execute("PING") == b"PONG"


def test_a_full_server_says_so_and_what_to_do(start_server: Callable[..., RealServer]) -> None:
    link = start_server(maxmemory="1").link()
    for command in (("SET", "a", 1), ("EVAL", "return redis.call('set', KEYS[1], 1)", 1, "a")):
        with pytest.raises(BrokerFull, match="maxmemory"):
            link.execute(*command)
    link.close()


def test_wrong_and_missing_passwords_are_told_apart(start_server: Callable[..., RealServer]) -> None:
    server = start_server(requirepass="right")
    socket = server.socket
    for url, why in ((f"unix://{socket}", "asks for a password"), (f"unix://:wrong@{socket}", "does not accept")):
        link = SyncLink(url)
        with pytest.raises(BrokerRefused, match=why) as refused:
            link.execute("PING")
        assert "wrong@" not in str(refused.value)
        link.close()


def test_a_password_for_a_server_without_one_is_refused_clearly(server: RealServer) -> None:
    link = SyncLink(f"unix://:word@{server.socket}")
    with pytest.raises(BrokerRefused, match="password"):
        link.execute("PING")
    link.close()


def test_a_missing_right_is_a_refusal_also_inside_a_script(server: RealServer) -> None:
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "low", "on", ">pw", "~*", "+@all", "-hset")
    link = SyncLink(f"unix://low:pw@{server.socket}")
    for command in (("HSET", "h", "f", 1), ("EVAL", "return redis.call('hset', KEYS[1], 'f', 1)", 1, "h")):
        with pytest.raises(BrokerRefused, match="ACL user"):
            link.execute(*command)
    link.close()
    with server.client() as admin:
        admin.execute_command("ACL", "DELUSER", "low")


def test_a_server_without_connections_left_is_not_available(start_server: Callable[..., RealServer]) -> None:
    server = start_server(config={"maxclients": "1"})
    first, second = server.link(), server.link()
    first.execute("PING")
    with pytest.raises(BrokerUnavailable):
        second.execute("PING")
    first.close()
    second.close()


def test_a_replica_takes_no_writes_and_loses_our_connections(start_server: Callable[..., RealServer]) -> None:
    server = start_server()
    link = server.link()
    before = link.execute("CLIENT", "ID")
    link.execute("REPLICAOF", "127.0.0.1", str(free_port()))
    with pytest.raises(BrokerUnavailable, match="replica"):
        link.execute("SET", "a", 1)
    assert link.execute("CLIENT", "ID") != before
    link.close()


def test_nobody_there(tmp_path: object) -> None:
    for url in (f"redis://127.0.0.1:{free_port()}", "unix:///nowhere/at/all.sock", "redis://no-such-host.invalid"):
        link = SyncLink(url)
        with pytest.raises(BrokerUnavailable, match="cannot reach the broker"):
            link.execute("PING")
        replies = link.pipeline([("PING",), ("PING",)])
        assert [type(reply) for reply in replies] == [BrokerUnavailable, BrokerUnavailable]


@pytest.mark.parametrize("url", ["memory://", "embedded://"])
def test_a_link_needs_the_address_of_a_server(url: str) -> None:
    with pytest.raises(ConfigError, match="not the address of a server"):
        SyncLink(url)


# -- one send per call


@pytest.mark.crash
def test_a_command_is_sent_once_although_its_reply_is_late(start_server: Callable[..., RealServer]) -> None:
    server = start_server()
    link = server.link(timeout=PATIENCE_S)
    link.execute("PING")
    server.sigstop()
    with pytest.raises(BrokerUnavailable, match="in time"):
        link.execute("LPUSH", "list", "x", timeout=0.2)
    lost = link.pipeline([("LPUSH", "list", "y"), ("LPUSH", "list", "z")], timeout=0.2)
    assert [type(reply) for reply in lost] == [BrokerUnavailable, BrokerUnavailable]
    server.sigcont()
    assert link.execute("LRANGE", "list", 0, -1).count(b"x") == 1
    assert link.execute("LLEN", "list") <= 3
    link.close()


@pytest.mark.crash
async def test_an_async_command_is_sent_once_although_its_reply_is_late(
    start_server: Callable[..., RealServer],
) -> None:
    server = start_server()
    link = AsyncLink(server.url, timeout=PATIENCE_S)
    await link.execute("PING")
    server.sigstop()
    with pytest.raises(BrokerUnavailable, match="in time"):
        await link.execute("LPUSH", "list", "x", timeout=0.2)
    server.sigcont()
    assert await link.execute("LLEN", "list") == 1
    await link.aclose()


def test_a_reply_that_came_too_late_is_never_given_to_the_next_call(server: RealServer) -> None:
    link = SyncLink(server.url, max_connections=1)
    for number in range(5):
        with pytest.raises(BrokerUnavailable):
            link.execute("BLPOP", "none", PATIENCE_S, timeout=0.05)
        assert link.execute("ECHO", str(number)) == str(number).encode()
    link.close()


@pytest.mark.crash
def test_idle_connections_survive_a_restart_of_the_server(start_server: Callable[..., RealServer]) -> None:
    server = start_server(aof=True)
    link = server.link()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: link.execute("PING"), range(50)))
    server.kill9()
    server.restart()
    # Every connection of before is dead; not one call may notice.
    assert [link.execute("ECHO", str(number)) for number in range(20)] == [str(n).encode() for n in range(20)]
    link.close()


@pytest.mark.crash
async def test_idle_async_connections_survive_a_restart_too(start_server: Callable[..., RealServer]) -> None:
    server = start_server(aof=True)
    link = AsyncLink(server.url)
    await asyncio.gather(*(link.execute("PING") for _ in range(50)))
    server.kill9()
    server.restart()
    await asyncio.sleep(0)  # the loop must have had a look at its sockets
    assert await asyncio.gather(*(link.execute("ECHO", str(n)) for n in range(50))) == [
        str(n).encode() for n in range(50)
    ]
    await link.aclose()


# -- many at once


async def test_thousands_of_calls_share_a_few_connections(server: RealServer) -> None:
    link = AsyncLink(server.url, max_connections=16, timeout=30.0)
    others = set(_client_ids(await link.execute("CLIENT", "LIST", "TYPE", "normal")))  # of tests before, too
    replies = await asyncio.gather(*(link.execute("ECHO", str(number)) for number in range(3000)))
    assert replies == [str(number).encode() for number in range(3000)]
    ours = set(_client_ids(await link.execute("CLIENT", "LIST", "TYPE", "normal"))) - others
    assert len(ours) <= 16
    await link.aclose()


def _client_ids(listed: bytes) -> list[bytes]:
    return [line.split()[0] for line in listed.splitlines()]


async def test_cancelled_calls_never_swap_replies_nor_use_up_the_pool(server: RealServer) -> None:
    link = AsyncLink(server.url, max_connections=8, timeout=30.0)

    async def one(number: int) -> bool:
        task = asyncio.ensure_future(link.execute("ECHO", str(number)))
        if number % 3 == 0:
            for _ in range(number % 5):
                await asyncio.sleep(0)
            task.cancel()
        try:
            return bool(await task == str(number).encode())
        except asyncio.CancelledError:
            return True

    assert all(await asyncio.gather(*(one(number) for number in range(2000))))
    # All eight places are still there: eight calls that block each other's slot would never end otherwise.
    assert await asyncio.gather(*(link.execute("ECHO", str(n)) for n in range(8))) == [
        str(n).encode() for n in range(8)
    ]
    await link.aclose()


def test_threads_share_a_link(link: SyncLink) -> None:
    def many(start: int) -> bool:
        return all(link.execute("ECHO", str(n)) == str(n).encode() for n in range(start, start + 100))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(many, range(0, 1600, 100)))


def test_an_async_link_works_in_one_event_loop_after_another(server: RealServer) -> None:
    link = AsyncLink(server.url)

    async def once() -> bytes:
        reply: bytes = await link.execute("PING")
        await link.aclose()
        return reply

    assert [asyncio.run(once()) for _ in range(3)] == [b"PONG"] * 3


def test_an_async_link_works_in_two_loops_at_once(server: RealServer) -> None:
    link = AsyncLink(server.url, timeout=30.0)

    async def many(start: int) -> bool:
        replies = await asyncio.gather(*(link.execute("ECHO", str(n)) for n in range(start, start + 200)))
        await link.aclose()
        return replies == [str(n).encode() for n in range(start, start + 200)]

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(lambda start: asyncio.run(many(start)), (0, 1000)))


# -- forks

FORKED = """
import os, sys
from taskq.store.connection import SyncLink
link = SyncLink(sys.argv[1])
link.execute("SET", "a", "parent")
mine = link.execute("CLIENT", "ID")
read, write = os.pipe()
child = os.fork()
if child == 0:
    fresh = link.execute("CLIENT", "ID") != mine
    right = all(link.execute("ECHO", str(n)) == str(n).encode() for n in range(500))
    os.write(write, b"1" if fresh and right else b"0")
    os._exit(0)
right = all(link.execute("ECHO", "p%d" % n) == b"p%d" % n for n in range(500))
same = link.execute("CLIENT", "ID") == mine
os.waitpid(child, 0)
print(os.read(read, 1).decode(), right, same)
"""


def test_a_forked_child_has_connections_of_its_own(server: RealServer) -> None:
    command = [sys.executable, "-c", FORKED, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    assert done.stdout.split() == ["1", "True", "True"]


# -- facts


def test_a_server_says_what_it_is(server: RealServer) -> None:
    link = server.link()
    facts = server_facts(link)
    assert (facts.kind, facts.version) == (server.binary.kind, server.binary.version)
    assert (facts.maxmemory_policy, facts.aof, facts.role, facts.port) == ("noeviction", False, "master", server.port)
    assert facts.clock_skew is not None
    assert abs(facts.clock_skew) < PATIENCE_S, "it is the same clock"
    check_server(facts)
    link.close()


def test_an_old_server_is_refused() -> None:
    with pytest.raises(BrokerRefused, match=r"redis 6\.0\.16; taskq needs at least Redis 6\.2 or Valkey 7\.2"):
        check_server(ServerFacts(kind="redis", version=(6, 0, 16)))
    with pytest.raises(BrokerRefused, match="Sentinel"):
        check_server(ServerFacts(kind="redis", version=(7, 0, 0), mode="sentinel"))
    check_server(ServerFacts())  # what is hidden is not held against it
