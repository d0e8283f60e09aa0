"""A primary and a replica with a Sentinel that promotes it, and slots that move between the nodes of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import redis

from taskq.store.connection import SyncLink
from tests.faults.rules import PATIENCE_S
from tests.servers import RealSentinel, RealServer

DOWN_MS = 400
"""How long the Sentinel waits for a server before it takes it for dead."""
AT_ONCE = {"repl-diskless-sync-delay": "0"}
"""Else a primary waits five seconds for more replicas."""
_STEP_S = 0.02


class Address:
    """What a stage needs of its server: where it is."""

    def __init__(self, url: str) -> None:
        self.url = url

    def link(self, **options: Any) -> SyncLink:
        return SyncLink(self.url, **options)


def at(url: str) -> RealServer:
    """A stand-in for a server, for a stage whose server changes, or is more than one."""
    return cast("RealServer", Address(url))


class Pair:
    """Two servers, of which one follows the other. Whoever comes asks the Sentinel which one to use."""

    def __init__(self, start: Callable[..., RealServer]) -> None:
        self.first = start(aof=True, config=AT_ONCE)
        self.second = start(aof=True, config=AT_ONCE)
        self.primary, self.replica = self.first, self.second
        follow(self.replica, self.primary)
        self._sentinel = RealSentinel(self.primary).start()
        with self._asked() as sentinel:
            sentinel.execute_command("SENTINEL", "SET", "primary", "down-after-milliseconds", DOWN_MS)
            sentinel.execute_command("SENTINEL", "SET", "primary", "failover-timeout", 3000)
        self.until_followed()

    @property
    def url(self) -> str:
        return self._sentinel.url

    def received(self) -> None:
        """Wait until the replica has all that was written until now."""
        with self.primary.client() as client:
            client.set("written", time.time())
            assert client.wait(1, int(PATIENCE_S * 1000)) == 1, "the replica does not follow"

    def lag(self) -> None:
        """From now on the replica receives nothing; what one that is stopped had in its socket it would still read."""
        with self.primary.client() as primary, self.replica.client() as replica:
            replica.config_set("masterauth", "wrong")
            primary.execute_command("CLIENT", "KILL", "TYPE", "replica")
            until(lambda: replica.role()[3] != b"connected", "the replica to be cut off")

    def take_over(self) -> None:
        """Kill the primary; returns when the other one has been promoted."""
        self.primary.kill9()
        self.primary, self.replica = self.replica, self.primary
        until(self._promoted, "the Sentinel to promote the replica")
        with self.primary.client() as primary:
            primary.config_set("masterauth", "")

    def come_back(self) -> None:
        """Start the one that died again, as a replica of the other."""
        self.replica.restart()
        follow(self.replica, self.primary)
        self.until_followed()

    def until_followed(self) -> None:
        """Wait until the Sentinel knows the replica, and would promote it."""
        until(self._known, "the Sentinel to know the replica")

    def close(self) -> None:
        self._sentinel.close()

    def _promoted(self) -> bool:
        with self.primary.client() as client, self._asked() as sentinel:
            told: Any = sentinel.sentinel_master("primary")
            chosen = (told["port"], told["flags"]) == (self.primary.port, "master")
            return bool(chosen and client.role()[0] == b"master")

    def _known(self) -> bool:
        with self._asked() as sentinel:
            replicas: Any = sentinel.sentinel_slaves("primary")
        return any(
            (told["port"], told["flags"], told["master-link-status"]) == (self.replica.port, "slave", "ok")
            for told in replicas
        )

    def _asked(self) -> redis.Redis:
        return redis.Redis(port=self._sentinel.port, decode_responses=True)


def follow(replica: RealServer, primary: RealServer) -> None:
    """Have one server follow another; returns when it does."""
    with replica.client() as client:
        client.replicaof("127.0.0.1", str(primary.port))
        until(lambda: client.role()[3] == b"connected", "the replica to follow")


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that a server does."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(_STEP_S)  # nobody tells


def move_slot(source: RealServer, target: RealServer, key: str) -> int:
    """Hand the slot of a key over, a few keys at a time as the tools do it; how many keys went.

    Not back again at once: within a gossip's time two nodes may end up with each naming the other as the owner.
    """
    moved = 0
    with source.client() as one, target.client() as other:
        slot: Any = one.execute_command("CLUSTER", "KEYSLOT", key)
        here, there = (client.execute_command("CLUSTER", "MYID") for client in (one, other))
        other.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", here)
        one.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", there)
        while keys := one.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 3):
            one.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            moved += len(keys)
        for client in (other, one):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", there)
        until(lambda: all(_owner(client, slot) == target.port for client in (one, other)), "both nodes to agree")
    return moved


def _owner(client: Any, slot: int) -> int:
    """The port of the node to which a node leads for this slot."""
    for first, last, primary, *_ in client.execute_command("CLUSTER", "SLOTS"):
        if first <= slot <= last:
            return int(primary[1])
    return 0
