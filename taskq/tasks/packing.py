"""The limits of the list transport, and how messages are cut and packed for its enqueue script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Literal

from taskq.message import PLAIN_BYTES
from taskq.tasks.broker import LEASE_BYTES, LEASE_MESSAGES, Flags, Outgoing

LANE_TTL = 3_600_000
"""Milliseconds for which a lane is remembered, and so for which an unconfirmed enqueue may be sent again."""

WORKER_TTL = 3_600_000
"""Milliseconds for which a worker's last call numbers are remembered after its last call."""

CRASHES = 3
SUSPECT_DELIVERIES = 10
SWEEP_LIMIT = 250

PROMOTED = 100
"""Due messages that one script moves: others come between two of them, as when a hundred thousand are due at once."""

FAILURES = 32
"""Failed messages of one script: each may have 16 KiB of history, which the script reads, cuts and writes again."""

PURGE_BYTES = 4 * 1024 * 1024
"""One script frees no more of large bodies than this, unless a single one is larger."""

EXTENDED = 500
"""Tokens of one extend script, and marks: each costs a few look-ups."""

Mode = Literal["lapse", "crash", "recall"]

_spec = Struct(">BBdd")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one app allows; times in milliseconds, sizes in bytes."""

    lease: int = 10_000
    tombstone: int = 86_400_000
    outcome_ttl: int = 3_600_000
    results: int = 100_000
    dead: int = 100_000
    dead_age: int = 30 * 86_400_000
    parked_age: int = 7 * 86_400_000
    error_bytes: int = 16_384
    sweep_gap: int = 50


def all_plain(messages: Sequence[Outgoing], priority: int) -> bool:
    """Whether no message needs a record: nothing about any of them but its place in the list of that priority."""
    for _, body, own, due, expires, unique, explicit in messages:
        if own != priority or due or expires or unique or explicit or len(body) > PLAIN_BYTES:
            return False
    return True


def pack_spec(message: Outgoing) -> bytes:
    """What the enqueue script is told of a message that is not plain."""
    flags = 0
    if message.explicit:
        flags |= Flags.EXPLICIT
    if message.unique:
        flags |= Flags.UNIQUE
    if message.expires:
        flags |= Flags.EXPIRES
    if len(message.body) > PLAIN_BYTES:
        flags |= Flags.BIG
    return _spec.pack(2 - message.priority, flags, message.due, message.expires) + message.unique


def chunks(messages: Sequence[Outgoing]) -> Iterable[Sequence[Outgoing]]:
    """Cut a bulk into what one script may carry: 250 messages and 256 KiB, one larger body alone."""
    start = size = 0
    for index, message in enumerate(messages):
        length = len(message[1])
        if index > start and (index - start >= LEASE_MESSAGES or size + length > LEASE_BYTES):
            yield messages[start:index]
            start, size = index, 0
        size += length
    if start < len(messages):
        yield messages[start:]
