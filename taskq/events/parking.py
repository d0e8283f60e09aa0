"""Parked keys: a record that failed waits aside, and all later ones of its key behind it, while other keys go on."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final

import orjson

from taskq.codec import Codec
from taskq.events.group_calls import MAX_STEP_BYTES, Mark, Step
from taskq.events.holding import Holding
from taskq.events.record import Offset, Record, Undecodable

MOST: Final = 1_000  # parked keys of one partition; one more blocks the partition instead
TAIL: Final = 100  # records of a parked key that are handled in one turn


def digest_of(record: Record) -> str:
    """What a record is parked under: its key, or itself if it has none."""
    name = f"\0{record.number}" if record.key is None else record.key
    return blake2b(name.encode(), digest_size=16).hexdigest()


def member_of(digest: str, number: int) -> str:
    """How a record is found among the tails: those of one key sort by number."""
    return f"{digest}:{number:020}"


def body_of(record: Record, codec: Codec) -> bytes:
    """A record as it waits: what is known of it as JSON, a line end, its value."""
    head: dict[str, Any] = {"offset": str(record.offset), "number": record.number, "key": record.key}
    head |= {"headers": dict(record.headers), "time": record.time, "none": record.value is None}
    if isinstance(record.value, Undecodable):
        return orjson.dumps(head) + b"\n" + record.value.data
    return orjson.dumps(head) + b"\n" + (b"" if record.value is None else codec.dumps(record.value))


def record_of(topic: str, partition: int, body: bytes, codec: Codec) -> Record:
    """What `body_of` kept."""
    line, _, data = body.partition(b"\n")
    head: dict[str, Any] = orjson.loads(line)
    value: Any = None
    if not head["none"]:
        try:
            value = codec.loads(data)
        except Exception as error:  # noqa: BLE001 - a codec may raise anything; the record says what it was
            value = Undecodable(data, f"{type(error).__name__}: {error}")
    offset = Offset.parse(head["offset"])
    return Record(topic, partition, offset, head["number"], head["key"], value, head["headers"], head["time"])


def park(record: Record, codec: Codec) -> Step:
    """The step that puts a record behind its parked key."""
    return ("t", member_of(digest_of(record), record.number), body_of(record, codec))


def bodies(key: str, members: Sequence[bytes]) -> Generator[Any, Any, list[bytes]]:
    """The bodies of some records in order, as many as are not too large together, but one at least: a turn's steps."""
    found: list[bytes] = []
    size = 0
    while len(found) < len(members) and size < MAX_STEP_BYTES:
        at = len(found)
        more = (MAX_STEP_BYTES - size) * at // size if size else 1
        got: list[bytes | None] = yield ("HMGET", key, *members[at : at + max(1, more)])
        there = [body for body in got if body is not None]
        found += there
        if len(there) < len(got):  # a seek from outside has forgotten them: the next commit shows it
            break
        size = sum(map(len, found))
    return found


def before_parked(holding: Holding, records: Sequence[Record]) -> int:
    """How many records there are in front of the first one whose key is parked."""
    return next((at for at, one in enumerate(records) if digest_of(one) in holding.parked_keys), len(records))


def due(holding: Holding) -> str | None:
    """A parked key whose time has come."""
    now = time.monotonic()
    return next((digest for digest, at in holding.parked_keys.items() if at <= now), None)


def learned(holding: Holding, reply: Sequence[bytes], moment: Sequence[bytes]) -> None:
    """What is parked, as an owner before has left it: keys and when they are due, and the time of the server."""
    now_ms, now = int(moment[0]) * 1000 + int(moment[1]) // 1000, time.monotonic()
    for at in range(0, len(reply), 2):
        holding.parked_keys[reply[at].decode()] = now + (float(reply[at + 1]) - now_ms) / 1000


def again(holding: Holding, digest: str, seconds: float) -> Step:
    """The step that says when a parked key is due next."""
    holding.parked_keys[digest] = time.monotonic() + seconds
    return ("h", digest, round(seconds * 1000))


def numbered(record: Record, mark: Mark) -> Record:
    """The record with the number of its attempt."""
    return replace(record, attempt=mark.fails + 1)
