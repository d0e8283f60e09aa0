"""What a server says about itself; what its access rules hide stays None, and nobody has to guess."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from taskq.errors import BrokerError, BrokerRefused, BrokerUnavailable
from taskq.store.binaries import OLDEST

_SETTINGS = ("save", "appendfsync", "port", "bind", "protected-mode", "requirepass", "maxmemory-policy", "maxclients")


class Executes(Protocol):
    def execute(self, *args: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One look at a server. Sizes in bytes, times in seconds; None where the server would not say."""

    kind: Literal["redis", "valkey"] | None = None
    version: tuple[int, ...] | None = None
    mode: str | None = None  # standalone, cluster, sentinel
    role: str | None = None  # master, slave
    maxmemory: int | None = None
    used_memory: int | None = None
    maxmemory_policy: str | None = None
    aof: bool | None = None
    appendfsync: str | None = None
    save: str | None = None
    last_write_ok: bool | None = None
    clients: int | None = None
    maxclients: int | None = None
    port: int | None = None  # 0: no TCP
    bind: str | None = None
    protected_mode: bool | None = None
    has_password: bool | None = None
    acl_user: str | None = None
    clock_skew: float | None = None

    @property
    def name(self) -> str:
        version = ".".join(map(str, self.version)) if self.version else "of unknown version"
        return f"{self.kind or 'server'} {version}"


def server_facts(link: Executes) -> ServerFacts:
    """Look at the server behind a link. Raises `BrokerUnavailable` if it cannot be reached."""
    info = _info(link)
    hello = _pairs(_ask(link, "HELLO")) if "redis_version" not in info else {}
    config = _config(link)
    kind, version = _identity(info, hello)
    return ServerFacts(
        kind=kind,
        version=version,
        mode=info.get("redis_mode") or info.get("server_mode") or hello.get("mode"),
        role=info.get("role") or hello.get("role"),
        maxmemory=_whole(info.get("maxmemory")),
        used_memory=_whole(info.get("used_memory")),
        maxmemory_policy=info.get("maxmemory_policy") or config.get("maxmemory-policy"),
        aof=_flag(info.get("aof_enabled")),
        appendfsync=config.get("appendfsync"),
        save=config.get("save"),
        last_write_ok=_writes_ok(info),
        clients=_whole(info.get("connected_clients")),
        maxclients=_whole(info.get("maxclients") or config.get("maxclients")),
        port=_whole(config.get("port")),
        bind=config.get("bind"),
        protected_mode=_flag(config.get("protected-mode")),
        has_password=bool(config["requirepass"]) if "requirepass" in config else None,
        acl_user=_text(_ask(link, "ACL", "WHOAMI")),
        clock_skew=_clock_skew(link),
    )


def check_server(facts: ServerFacts, url: str = "") -> None:
    """Raise `BrokerRefused` if the server is too old for taskq, or no data server at all."""
    where = f" at {url}" if url else ""
    if facts.kind and facts.version and facts.version < OLDEST[facts.kind]:
        needed = " or ".join(f"{kind.title()} {'.'.join(map(str, least))}" for kind, least in OLDEST.items())
        raise BrokerRefused(f"the server{where} is {facts.name}; taskq needs at least {needed}")
    if facts.mode == "sentinel":
        raise BrokerRefused(f"the server{where} is a Sentinel; write redis+sentinel://host:26379/service")


def _ask(link: Executes, *args: Any) -> Any:
    """Ask, and take None for an answer where the question is not allowed."""
    try:
        return link.execute(*args)
    except BrokerUnavailable:
        raise
    except BrokerError:
        return None


def _info(link: Executes) -> dict[str, str]:
    text = _text(_ask(link, "INFO")) or ""
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in pairs if colon}


def _config(link: Executes) -> dict[str, str]:
    # One by one: 6.2 takes a single name, and a proxy may forbid some of them.
    config: dict[str, str] = {}
    for name in _SETTINGS:
        config |= _pairs(_ask(link, "CONFIG", "GET", name))
    return config


def _pairs(flat: Sequence[Any] | None) -> dict[str, str]:
    texts = [_text(item) or "" for item in flat or ()]
    return dict(zip(texts[::2], texts[1::2], strict=False))


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _identity(
    info: dict[str, str], hello: dict[str, str]
) -> tuple[Literal["redis", "valkey"] | None, tuple[int, ...] | None]:
    # Valkey also tells a redis_version, the one it is compatible with; its own stands beside it.
    if "valkey_version" in info:
        return "valkey", _version(info["valkey_version"])
    if "redis_version" in info:
        return "redis", _version(info["redis_version"])
    server = hello.get("server")
    kind: Literal["redis", "valkey"] | None = "valkey" if server == "valkey" else "redis" if server == "redis" else None
    return kind, _version(hello.get("version", ""))


def _version(text: str) -> tuple[int, ...] | None:
    parts = text.split(".")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _flag(text: str | None) -> bool | None:
    return None if text is None else text in ("1", "yes")


def _writes_ok(info: dict[str, str]) -> bool | None:
    states = [info[name] for name in ("aof_last_write_status", "rdb_last_bgsave_status") if name in info]
    return all(state == "ok" for state in states) if states else None


def _clock_skew(link: Executes) -> float | None:
    before = time.time()
    told = _ask(link, "TIME")
    after = time.time()
    if not told:
        return None
    there = int(told[0]) + int(told[1]) / 1e6
    # Between the two looks at our clock any reading is right.
    return there - before if there < before else there - after if there > after else 0.0
