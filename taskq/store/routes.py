"""Where a command goes: always to the same server, or in a cluster to the node that holds the slot of its key.

In a cluster redis-py keeps the map of slots and makes the connections; the pools are ours, so that a call has the
same time limit, the same raw reply and the same fate on cancellation as on a single server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from taskq.store import clients
from taskq.store.clients import Limits
from taskq.store.pools import AsyncPool, SyncPool
from taskq.store.url import BrokerUrl

# Blocking calls have a pool of their own: they must not starve the others, and each waiter needs one connection.
BLOCKING_CONNECTIONS = 4096

_NO_KEY = frozenset(
    {"ACL", "ASKING", "AUTH", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "ECHO", "FLUSHALL", "FLUSHDB"}
    | {"HELLO", "INFO", "KEYS", "LASTSAVE", "LATENCY", "PING", "PUBLISH", "ROLE", "SCAN", "SCRIPT", "SLOWLOG"}
    | {"TIME", "WAIT", "WAITAOF"}
)
_KEY_AFTER_SUBCOMMAND = frozenset({"MEMORY", "OBJECT", "XGROUP", "XINFO"})


def key_of(args: Sequence[Any]) -> bytes | None:
    """Return the key that decides a command's slot, or None if any node will do."""
    command = str(args[0]).upper()
    if command in _NO_KEY or len(args) < 2:
        return None
    if command in ("EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"):
        key = args[3] if int(args[2]) else None
    elif command in ("XREAD", "XREADGROUP"):
        words = [str(arg).upper() for arg in args]
        key = args[words.index("STREAMS") + 1]
    else:
        key = args[2] if command in _KEY_AFTER_SUBCOMMAND else args[1]
    return key.encode() if isinstance(key, str) else key


def groups(pools: Sequence[Any]) -> list[tuple[Any, list[int]]]:
    """Return each pool once, with the places at which it stands."""
    found: dict[int, tuple[Any, list[int]]] = {}
    for index, pool in enumerate(pools):
        found.setdefault(id(pool), (pool, []))[1].append(index)
    return list(found.values())


class SyncRoutes:
    """The pools of a `SyncLink`: one pair (calls, blocking calls) for each server it talks to."""

    def __init__(self, url: BrokerUrl, limits: Limits, is_reply: Callable[[BaseException], bool]) -> None:
        self._url = url
        self._limits = limits
        self._is_reply = is_reply
        self._cluster: Any = None
        self._stale = False
        self._pools: dict[str, tuple[SyncPool, SyncPool]] = {}

    def pool(self, args: Sequence[Any], *, blocking: bool = False, ask: tuple[str, int] | None = None) -> SyncPool:
        if self._url.kind != "cluster":
            pair = self._pools.get("") or self._add("", clients.sync_maker(self._url, self._limits))
        else:
            pair = self._of_node(self._node(key_of(args), ask))
        return pair[blocking]

    def primaries(self) -> list[SyncPool]:
        """Return the pool of every server that keeps scripts and keys of its own."""
        if self._url.kind != "cluster":
            return [self.pool(("PING",))]
        return [self._of_node(node)[0] for node in self._topology().get_nodes_by_server_type("primary")]

    @property
    def made(self) -> int:
        """How many connections were opened so far."""
        return sum(pool.made for pair in list(self._pools.values()) for pool in pair)

    def forget(self) -> None:
        """Learn the slots of the cluster anew before the next call."""
        self._stale = True

    def drop_all(self) -> None:
        for pair in list(self._pools.values()):
            for pool in pair:
                pool.drop_all()

    def close(self) -> None:
        self.drop_all()
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()

    def _topology(self) -> Any:
        if self._cluster is None:
            self._cluster = clients.sync_cluster(self._url, self._limits)
        elif self._stale:
            self._cluster.nodes_manager.initialize()
        self._stale = False
        return self._cluster.nodes_manager

    def _node(self, key: bytes | None, ask: tuple[str, int] | None) -> Any:
        nodes = self._topology()
        if ask is not None:
            found = nodes.get_node(host=ask[0], port=ask[1])
            if found is not None:
                return found
        return nodes.default_node if key is None else nodes.get_node_from_slot(clients.slot_of(key))

    def _of_node(self, node: Any) -> tuple[SyncPool, SyncPool]:
        known = self._pools.get(node.name)
        if known is not None:
            return known
        return self._add(node.name, self._cluster.get_redis_connection(node).connection_pool.make_connection)

    def _add(self, name: str, make: Callable[[], Any]) -> tuple[SyncPool, SyncPool]:
        limits = self._limits
        pair = (
            SyncPool(make, self._is_reply, limits.max_connections, limits.pool_timeout),
            SyncPool(make, self._is_reply, BLOCKING_CONNECTIONS, limits.pool_timeout),
        )
        return self._pools.setdefault(name, pair)  # two threads may both make one; one of them is used


class AsyncRoutes:
    """The pools of an `AsyncLink` in one event loop."""

    def __init__(self, url: BrokerUrl, limits: Limits, is_reply: Callable[[BaseException], bool]) -> None:
        self._url = url
        self._limits = limits
        self._is_reply = is_reply
        self._cluster: Any = None
        self._stale = False
        self._learning = asyncio.Lock()
        self._pools: dict[str, tuple[AsyncPool, AsyncPool]] = {}

    async def pool(
        self, args: Sequence[Any], *, blocking: bool = False, ask: tuple[str, int] | None = None
    ) -> AsyncPool:
        if self._url.kind != "cluster":
            pair = self._pools.get("") or self._add("", clients.async_maker(self._url, self._limits))
        else:
            pair = self._of_node(await self._node(key_of(args), ask))
        return pair[blocking]

    async def primaries(self) -> list[AsyncPool]:
        if self._url.kind != "cluster":
            return [await self.pool(("PING",))]
        nodes = await self._topology()
        return [self._of_node(node)[0] for node in nodes.get_nodes_by_server_type("primary")]

    def forget(self) -> None:
        self._stale = True

    def drop_all(self) -> None:
        for pair in list(self._pools.values()):
            for pool in pair:
                pool.drop_all()

    async def close(self) -> None:
        for pair in list(self._pools.values()):
            for pool in pair:
                await pool.close()
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            await cluster.aclose()

    async def _topology(self) -> Any:
        async with self._learning:
            if self._cluster is None:
                cluster = clients.async_cluster(self._url, self._limits)
                await cluster.initialize()
                self._cluster = cluster
            elif self._stale:
                await self._cluster.nodes_manager.initialize()
            self._stale = False
        return self._cluster.nodes_manager

    async def _node(self, key: bytes | None, ask: tuple[str, int] | None) -> Any:
        nodes = await self._topology()
        if ask is not None:
            found = nodes.get_node(host=ask[0], port=ask[1])
            if found is not None:
                return found
        return nodes.default_node if key is None else nodes.get_node_from_slot(clients.slot_of(key))

    def _of_node(self, node: Any) -> tuple[AsyncPool, AsyncPool]:
        known = self._pools.get(node.name)
        if known is not None:
            return known
        options = dict(node.connection_kwargs) | {"socket_timeout": None}
        return self._add(node.name, lambda: node.connection_class(**options))

    def _add(self, name: str, make: Callable[[], Any]) -> tuple[AsyncPool, AsyncPool]:
        limits = self._limits
        connect_s = limits.connect_timeout + limits.timeout
        pair = (
            AsyncPool(make, self._is_reply, limits.max_connections, limits.pool_timeout, connect_s),
            AsyncPool(make, self._is_reply, BLOCKING_CONNECTIONS, limits.pool_timeout, connect_s),
        )
        return self._pools.setdefault(name, pair)
