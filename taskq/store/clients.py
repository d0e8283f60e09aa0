"""Makers of redis-py connections from a broker URL; redis-py itself is imported on first use (it takes 0.26 s).

redis-py 8 would repeat a command ten times by itself, and time a blocking read out after five seconds: every client
here is built with no retries and with explicit time limits. The protocol is RESP2 on purpose: every reply is then
bytes, int, list or None on every server and behind every proxy, and no push message arrives between two replies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taskq.store.url import SENTINEL_CREDENTIALS, BrokerUrl

# Bytes of one read. Threads that handle records hold the interpreter for milliseconds at a time, and a reader waits for
# it after each read: with 64 KiB it could not keep up with them. The buffer costs memory only as far as it is used.
READ_SIZE = 262_144
NO_LIMIT = 2**31  # redis-py pools only make connections for us; the limits are in taskq.store.pools


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits in seconds, and the number of connections that one link holds open to one server."""

    timeout: float = 1.0
    connect_timeout: float = 1.0
    max_connections: int = 64
    # How long a call may wait for one of the connections; more than any caller waits, less than for ever.
    pool_timeout: float = 30.0


def sync_maker(url: BrokerUrl, limits: Limits) -> Callable[[], Any]:
    """Return a function that makes unconnected `redis.Connection` objects (tcp, unix and sentinel)."""
    import redis
    import redis.backoff
    import redis.retry
    import redis.sentinel

    options: dict[str, Any] = _options(url, limits) | {"retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0)}
    options |= {"socket_timeout": limits.timeout, "socket_read_size": READ_SIZE}
    if url.kind == "sentinel":
        asking = _sentinel_options(url, options)
        watch: Any = redis.sentinel.Sentinel(list(url.hosts), 0, asking, **options)  # type: ignore[no-untyped-call]
        client: Any = watch.master_for(url.service, max_connections=NO_LIMIT)
    else:
        client = redis.Redis(**options, **_address(url), max_connections=NO_LIMIT)
    return _maker(client)


def async_maker(url: BrokerUrl, limits: Limits) -> Callable[[], Any]:
    """Return a function that makes unconnected `redis.asyncio.Connection` objects (tcp, unix and sentinel)."""
    import redis.asyncio
    import redis.asyncio.retry
    import redis.asyncio.sentinel
    import redis.backoff

    options: dict[str, Any] = _options(url, limits) | {"retry": redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)}
    # No time limit per read and write: the link puts one around the whole exchange (wait_for costs a task each time).
    options["socket_timeout"] = None
    if url.kind == "sentinel":
        asking = _sentinel_options(url, options) | {"socket_timeout": limits.timeout}
        watch: Any = redis.asyncio.sentinel.Sentinel(list(url.hosts), 0, asking, **options)  # type: ignore[no-untyped-call]
        client: Any = watch.master_for(url.service, max_connections=NO_LIMIT)
    else:
        client = redis.asyncio.Redis(**options, **_address(url), max_connections=NO_LIMIT)
    return _maker(client)


def sync_cluster(url: BrokerUrl, limits: Limits) -> Any:
    """Return a `RedisCluster`; it talks to the cluster at once to learn its slots."""
    import redis
    import redis.backoff
    import redis.cluster
    import redis.retry

    options: dict[str, Any] = _options(url, limits) | {"retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0)}
    options |= {"socket_timeout": limits.timeout, "max_connections": NO_LIMIT, "require_full_coverage": False}
    nodes = [redis.cluster.ClusterNode(host, port) for host, port in url.hosts]  # type: ignore[no-untyped-call]
    return redis.cluster.RedisCluster(startup_nodes=nodes, **options)


def async_cluster(url: BrokerUrl, limits: Limits) -> Any:
    """Return an asyncio `RedisCluster`, not yet initialized; it belongs to the running event loop."""
    import redis.asyncio.cluster
    import redis.asyncio.retry
    import redis.backoff

    options: dict[str, Any] = _options(url, limits) | {"retry": redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)}
    options |= {"socket_timeout": limits.timeout, "max_connections": NO_LIMIT, "require_full_coverage": False}
    nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in url.hosts]
    return redis.asyncio.cluster.RedisCluster(startup_nodes=nodes, **options)


def slot_of(key: bytes) -> int:
    """Return the cluster slot of a key."""
    import redis.crc

    return redis.crc.key_slot(key)


def _options(url: BrokerUrl, limits: Limits) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": url.username,
        "password": url.password,
        "socket_connect_timeout": limits.connect_timeout,
        "socket_keepalive": True,
        "protocol": 2,
        "legacy_responses": False,
        "decode_responses": False,
        "driver_info": None,  # CLIENT SETINFO would cost every new connection two round trips
    }
    if url.kind != "cluster":
        options["db"] = url.db
    if url.tls:
        options["ssl"] = True
        options |= {name: value for name, value in url.options.items() if name not in SENTINEL_CREDENTIALS}
    return options


def _sentinel_options(url: BrokerUrl, options: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in options.items() if name not in ("db", "username", "password")}
    names = {"sentinel_username": "username", "sentinel_password": "password"}
    return kept | {names[name]: url.options[name] for name in SENTINEL_CREDENTIALS if name in url.options}


def _address(url: BrokerUrl) -> dict[str, Any]:
    if url.kind == "unix":
        return {"unix_socket_path": url.path}
    host, port = url.hosts[0]
    return {"host": host, "port": port}


def _maker(client: Any) -> Callable[[], Any]:
    # The method keeps its pool, and the pool all it needs; the pool itself never holds a connection.
    make: Callable[[], Any] = client.connection_pool.make_connection
    return make
