"""Compaction: of each key of a topic only the newest record stays. A partition is copied in pages, then swapped.

Two walks over a partition: the first learns the newest record of each key (without values, so it costs the client the
keys), the second says page by page what is not to be copied. The copy keeps ids and numbers. Records that come
meanwhile are copied as they are. A pass that dies anywhere leaves the log as it was; the next one begins anew.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

import orjson

from taskq.errors import ConfigError
from taskq.events.log import Log
from taskq.events.properties import TopicProperties
from taskq.store.links import Steps
from taskq.store.scripts import Call, Script, load, load_joined
from taskq.store.topic_keys import PartitionKeys

PAGE_RECORDS: Final = 250
PAGE_BYTES: Final = 262_144
CATCHING_UP: Final = 100  # rounds of copying what came meanwhile, before a pass gives up

Row = tuple[bytes, bytes, bytes]  # id, v t or -, key


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a pass did to one partition: records that were left out. `done` is False if it had to give up."""

    partition: int
    removed: int = 0
    done: bool = True


def begin_call(keys: PartitionKeys, nonce: bytes) -> Call[tuple[int, str]]:
    """Begin a pass; answers code and last id."""
    names = [keys.log, keys.meta, keys.fresh]
    return Call(load("events/compact_begin"), names, [nonce], lambda reply: (int(reply[0]), str(reply[1], "ascii")))


def keys_call(keys: PartitionKeys, begin: str, end: str) -> Call[list[Row]]:
    """A page without values."""
    return Call(_paged("compact_keys"), [keys.log], [begin, end, PAGE_RECORDS, PAGE_BYTES], _rows)


def copy_call(keys: PartitionKeys, nonce: bytes, begin: str, end: bytes, out: list[bytes]) -> Call[int]:
    """Copy a page."""
    names = [keys.log, keys.meta, keys.fresh]
    return Call(_paged("compact_copy"), names, [nonce, begin, end, *out], int)


def swap_call(keys: PartitionKeys, nonce: bytes, last: str) -> Call[int]:
    """End a pass."""
    names = [keys.log, keys.meta, keys.fresh, keys.old]
    return Call(_paged("compact_swap"), names, [nonce, last], int)


def _paged(name: str) -> Script:
    return load_joined(f"events/{name}", ("events/parts/page", f"events/{name}"))


def _rows(reply: Any) -> list[Row]:
    return list(zip(reply[::3], reply[1::3], reply[2::3], strict=True))


def compact(log: Log, properties: TopicProperties) -> Steps[list[Compacted]]:
    """One pass over each partition. Raises ConfigError if the topic is not compacted, or has shared groups."""
    if not properties.compact:
        raise ConfigError(f"topic {log.name!r} is not compacted: declare it with compact=True")
    stored = yield ("HGETALL", log.keys.groups)
    shared = sorted(name.decode() for name, told in zip(stored[::2], stored[1::2], strict=True) if _is_shared(told))
    if shared:
        raise ConfigError(f"topic {log.name!r} has shared groups ({', '.join(shared)}), and cannot be compacted")
    seconds, micros = yield ("TIME",)
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    found: list[Compacted] = []
    for number in range(properties.partitions):
        oldest = now_ms - round(properties.tombstones * 1000)
        found.append((yield from _partition(log.keys.partition(number), number, oldest)))
    return found


def _partition(keys: PartitionKeys, number: int, oldest: int) -> Steps[Compacted]:
    nonce = os.urandom(8).hex().encode()
    code, last = yield begin_call(keys, nonce)
    if code == 1:
        raise ConfigError(f"{keys.log} has native consumer groups, and cannot be compacted")
    if code == 2:
        return Compacted(number)
    newest: dict[bytes, bytes] = {}
    begin = "-"
    while rows := (yield keys_call(keys, begin, last)):
        newest.update((key, entry) for entry, mark, key in rows if mark != b"-")
        begin = f"({rows[-1][0].decode()}"
    if begin == "-":
        return Compacted(number)
    begin, removed = "-", 0
    while rows := (yield keys_call(keys, begin, last)):
        out = [entry for entry, mark, key in rows if mark != b"-" and _goes(entry, mark, newest[key], oldest)]
        if (yield copy_call(keys, nonce, begin, rows[-1][0], out)):
            return Compacted(number, done=False)
        removed += len(out)
        begin = f"({rows[-1][0].decode()}"
    if not removed:
        return Compacted(number)  # the copy would be the same; the next pass takes it away
    return Compacted(number, removed, (yield from _swap(keys, nonce, last)))


def _swap(keys: PartitionKeys, nonce: bytes, last: str) -> Steps[bool]:
    for _ in range(CATCHING_UP):
        code = yield swap_call(keys, nonce, last)
        if code != 2:
            return bool(code == 0)
        rows: list[Row] = yield keys_call(keys, f"({last}", "+")
        if not rows:  # retention has taken them meanwhile
            continue
        if (yield copy_call(keys, nonce, f"({last}", rows[-1][0], [])):
            return False
        last = rows[-1][0].decode()
    return False


def _goes(id: bytes, mark: bytes, newest: bytes, oldest: int) -> bool:
    """Whether a record is superseded, or a tombstone that everybody has had the time to see."""
    return id != newest or (mark == b"t" and int(id.partition(b"-")[0]) < oldest)


def _is_shared(told: bytes) -> bool:
    try:
        known = orjson.loads(told)
    except ValueError:
        return False
    return isinstance(known, dict) and known.get("kind") == "shared"
