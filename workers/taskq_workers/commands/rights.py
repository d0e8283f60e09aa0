"""Which rights the user of a connection has: every command of taskq is tried once, on keys made for that.

There is no other way that works for a user without rights over the ACL itself. The keys end with the try, or after a
minute.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Literal

from taskq.errors import BrokerError, BrokerRefused, BrokerUnavailable
from taskq.store.connection import SyncLink
from taskq.store.keys import queue_keys
from taskq.store.topic_keys import broadcast, topic_keys

Refusal = Literal["", "command", "key", "channel"]
"""What of a call is not allowed; empty if all of it is."""

_CALL = re.compile(r"\bp?call\(\s*['\"]([A-Za-z]+)['\"]")
_PATTERN = re.compile(r"access (?:a|one of the) (key|channel)")
_SUBSCRIBED_S = 2.0
_SHORT_BLOCK_S = "0.01"
_LEFTOVERS_MS = 60_000

# What taskq sends outside its scripts, and harmless arguments for everything; a key comes first where there is None.
DIRECT = ("EVAL", "EVALSHA", "SCRIPT", "PING", "TIME", "BLPOP", "EXISTS", "SADD", "SMEMBERS", "UNLINK")
OPERATORS = ("MGET", "SISMEMBER", "SSCAN", "ZRANGE", "ZREVRANGE")
# Outside of scripts too, and not needed by tasks: what does not work without it.
WATCHING: Mapping[str, str] = {
    "INFO": "dashboards and metrics know no memory, clients and version, and topics no version to refuse",
    "HSCAN": "dashboards and metrics find no topics and schedules",
    "LRANGE": "dashboards see no failures",
}
TOPICS: Mapping[str, str] = {
    "XREAD": "ordered groups read no records",
    "XREADGROUP": "shared groups read no records",
    "XRANGE": "nobody reads the records of a topic",
    "SUBSCRIBE": "broadcasts are not heard",
    "PSUBSCRIBE": "broadcasts to a pattern are not heard",
}
ARGUMENTS: Mapping[str, tuple[Any, ...]] = {
    "BLPOP": (None, _SHORT_BLOCK_S),
    "DEL": (None,),
    "EVAL": ("return 1", 1, None),
    "EVALSHA": ("e0e1f9fabfc9d4800c877a703b823ac0578ff8db", 1, None),
    "EXISTS": (None,),
    "EXPIRE": (None, 1),
    "GET": (None,),
    "HDEL": (None, "f"),
    "HEXISTS": (None, "f"),
    "HGET": (None, "f"),
    "HGETALL": (None,),
    "HINCRBY": (None, "n", 1),
    "HKEYS": (None,),
    "HLEN": (None,),
    "HMGET": (None, "f"),
    "HRANDFIELD": (None,),
    "HSCAN": (None, 0),
    "HSET": (None, "f", "v"),
    "HSETNX": (None, "f", "v"),
    "HSTRLEN": (None, "f"),
    "HVALS": (None,),
    "INCR": (None,),
    "INFO": ("server",),
    "INCRBY": (None, 1),
    "LINDEX": (None, 0),
    "LLEN": (None,),
    "LPOP": (None,),
    "LPOS": (None, "v"),
    "LPUSH": (None, "v"),
    "LRANGE": (None, 0, 0),
    "LREM": (None, 1, "v"),
    "LSET": (None, 0, "v"),
    "LTRIM": (None, 0, 0),
    "MGET": (None,),
    "PERSIST": (None,),
    "PEXPIRE": (None, 1),
    "PING": (),
    "PTTL": (None,),
    "RENAME": (None, None),
    "RPOP": (None,),
    "RPUSH": (None, "v"),
    "SADD": (None, "v"),
    "SCARD": (None,),
    "SCRIPT": ("LOAD", "return 1"),
    "SET": (None, "v"),
    "SISMEMBER": (None, "v"),
    "SMEMBERS": (None,),
    "SREM": (None, "v"),
    "SSCAN": (None, 0),
    "TIME": (),
    "TTL": (None,),
    "TYPE": (None,),
    "UNLINK": (None,),
    "XACK": (None, "g", "1-0"),
    "XADD": (None, "*", "f", "v"),
    "XCLAIM": (None, "g", "c", 0, "1-0"),
    "XDEL": (None, "1-0"),
    "XGROUP": ("CREATE", None, "g", "0", "MKSTREAM"),
    "XINFO": ("STREAM", None),
    "XLEN": (None,),
    "XPENDING": (None, "g"),
    "XRANGE": (None, "-", "+"),
    "XREAD": ("COUNT", 1, "STREAMS", None, "0-0"),
    "XREADGROUP": ("GROUP", "g", "c", "STREAMS", None, ">"),
    "XREVRANGE": (None, "+", "-"),
    "XSETID": (None, "1-0"),
    "XTRIM": (None, "MAXLEN", 0),
    "ZADD": (None, 1, "m"),
    "ZCARD": (None,),
    "ZCOUNT": (None, 0, 0),
    "ZINCRBY": (None, 1, "m"),
    "ZPOPMIN": (None,),
    "ZRANGE": (None, 0, 0),
    "ZRANGEBYLEX": (None, "-", "+"),
    "ZRANGEBYSCORE": (None, 0, 0),
    "ZRANK": (None, "m"),
    "ZREM": (None, "m"),
    "ZREMRANGEBYRANK": (None, 0, 0),
    "ZREMRANGEBYSCORE": (None, 0, 0),
    "ZREVRANGE": (None, 0, 0),
    "ZSCORE": (None, "m"),
}


def script_commands() -> set[str]:
    """Return every command that the Lua scripts of this release call."""
    return set(_commands_in(files("taskq.store").joinpath("lua")))


def _commands_in(folder: Traversable) -> set[str]:
    found: set[str] = set()
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= _commands_in(entry)
        elif entry.name.endswith(".lua"):
            found |= {name.upper() for name in _CALL.findall(entry.read_text("utf-8"))}
    return found


def missing_rights(link: SyncLink, namespace: str) -> dict[str, Refusal]:
    """Return what this connection may not do, like `EVALSHA` or `SUBSCRIBE`, and why; raises if the server is lost."""
    keys = queue_keys(namespace, "doctor")
    probe = f"{keys.base}doctor:{secrets.token_hex(8)}:"
    wanted = sorted((script_commands() | {*DIRECT, *OPERATORS}) & ARGUMENTS.keys())
    missing: dict[str, Refusal] = {name: _refused(link, name, f"{probe}{name.lower()}") for name in wanted}
    for name in wanted:
        _refused(link, "UNLINK", f"{probe}{name.lower()}")
    missing["PUBLISH"] = _denied(link, "PUBLISH", keys.channel, "")
    if not _hears(link, keys.channel):
        missing["SUBSCRIBE"] = "channel" if missing["PUBLISH"] == "channel" else "command"
    return {name: why for name, why in missing.items() if why}


def refused(missing: Mapping[str, Refusal]) -> str:
    """In words what is missing: commands by name, keys and channels as a whole."""
    parts = [" ".join(name for name, why in missing.items() if why == "command")]
    parts += [f"{kind}s taskq:*" for kind in ("key", "channel") if kind in missing.values()]
    return ", ".join(filter(None, parts))


def grant(user: str, missing: Mapping[str, Refusal]) -> str:
    """The command that gives these rights. It names no more than is missing: a pattern of keys or channels beside one
    that covers everything is an error.
    """
    words = [f"+{name.lower()}" for name, why in missing.items() if why == "command"]
    words += [f"{sign}taskq:*" for sign, kind in (("~", "key"), ("&", "channel")) if kind in missing.values()]
    return f"ACL SETUSER {user} {' '.join(words)}"


def missing_uses(link: SyncLink, namespace: str, uses: Mapping[str, str]) -> dict[str, str]:
    """Return those of `WATCHING` or `TOPICS` that this connection may not do; raises if the server is lost."""
    keys = topic_keys(namespace, "doctor").partition(0)
    probe = f"{keys.base}doctor:{secrets.token_hex(8)}:"
    tried = {
        "SUBSCRIBE": lambda: not _hears(link, broadcast(namespace, "doctor")),
        "PSUBSCRIBE": lambda: not _hears(link, patterns=(broadcast(namespace, "*"),)),
    }
    missing = {}
    for name, use in uses.items():
        key = f"{probe}{name.lower()}"
        if tried[name]() if name in tried else _refused(link, name, key):
            missing[name] = use
        if name in ARGUMENTS:
            _denied(link, "UNLINK", key)
    return missing


def _refused(link: SyncLink, name: str, key: str) -> Refusal:
    denied = _denied(link, name, *(key if argument is None else argument for argument in ARGUMENTS[name]))
    if name not in ("BLPOP", "DEL", "UNLINK", "PEXPIRE") and None in ARGUMENTS[name]:
        _denied(link, "PEXPIRE", key, _LEFTOVERS_MS)
    return denied


def _denied(link: SyncLink, *command: Any) -> Refusal:
    try:
        link.execute(*command)
    except BrokerUnavailable:
        raise
    except BrokerRefused as error:
        return _why(str(error))
    except BrokerError:
        return ""  # full, say, or no such script: another check tells, and the right is there
    return ""


def _why(text: str) -> Refusal:
    if "NOPERM" not in text:
        return ""
    found = _PATTERN.search(text)
    if found is None:
        return "command"
    return "key" if found[1] == "key" else "channel"


def _hears(link: SyncLink, *channels: str, patterns: Sequence[str] = ()) -> bool:
    ears = link.subscribe(*channels, patterns=patterns)
    try:
        notice = ears.get(_SUBSCRIBED_S)
        return notice is not None and notice.kind == "connected"
    finally:
        ears.close()
