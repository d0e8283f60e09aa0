"""The scripts of schedules as calls; the order of keys and arguments is the head of the script of the same name.

They are in `taskq/store/lua/schedules/`. An entry lies in the slot of its queue, so that one script can decide a slot
and accept its message.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from taskq.store.keys import QueueKeys
from taskq.store.scripts import Call, load
from taskq.tasks.broker import Outgoing
from taskq.tasks.packing import Limits, pack_spec
from taskq.tasks.queues import OtherTransport
from taskq.tasks.transports import build

ENQUEUED, SKIPPED, CHANGED, EARLY, THERE, GIVEN_UP = range(6)
_STREAM: Final = 6

SEEN: Final = 200
"""Entries of one `seen` script: each costs two look-ups."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a call, the server's time, and the revision and slot of the entry as they are now."""

    code: int
    now: int
    rev: str
    slot: int | None


def fire(
    keys: QueueKeys,
    name: str,
    rev: str,
    slot: int | None,
    following: int | None,
    message: Outgoing | None,
    limits: Limits,
    *,
    skip: bool = False,
    now: str = "",
) -> Call[Answer]:
    """Decide a slot: without a message it is given up, without a slot the message is a run by hand beside them.

    With `skip` the message is not enqueued while the entry's last one is alive. Raises OtherTransport.
    """
    names = [keys.schedules, keys.schedule(name), keys.meta, keys.body, keys.state, keys.delayed, keys.tombs, keys.wake]
    args: list[Any] = [now, name, rev, _text(slot), _text(following), "1" if skip else "", limits.tombstone]
    args += ("", "", "") if message is None else (message.id, message.body, pack_spec(message))
    return build(keys, "fire", [*names, *keys.landing], args, _answer)


def put(
    keys: QueueKeys,
    name: str,
    rev: str,
    fields: Mapping[str, Any],
    *,
    slot: int | str | None = "",
    held: bool = False,
    nonce: bytes = b"",
    now: str = "",
) -> Call[Answer]:
    """Store an entry (`rev` is '') or change it. A `slot` of '' is left, None is no slot; `held`: not to be fired."""
    args: list[Any] = [now, name, rev, nonce or os.urandom(8), "none" if slot is None else slot, "1" if held else ""]
    for field, value in fields.items():
        args += (field, value)
    return Call(load("schedules/put"), [keys.schedules, keys.schedule(name), keys.none], args, _answer)


def seen(keys: QueueKeys, digests: Mapping[str, str], now: str = "") -> Call[list[str]]:
    """Say that the definitions with these digests are declared, by name; answers the names that are not stored so."""
    names = list(digests)

    def decode(reply: Any) -> list[str]:
        return [name for name, code in zip(names, reply[1:], strict=True) if code]

    return Call(load("schedules/seen"), [keys.schedule(name) for name in names], [now, *digests.values()], decode)


def drop(keys: QueueKeys, name: str, rev: str) -> Call[int]:
    """Remove an entry; 0 removed, 1 none there, 2 changed meanwhile."""
    return Call(load("schedules/drop"), [keys.schedules, keys.schedule(name)], [name, rev], lambda reply: int(reply[0]))


def due(keys: QueueKeys, until: float, limit: int, *, latest: bool = False) -> tuple[Any, ...]:
    """The command that lists the names whose slots come up to a moment, with these, the earliest or latest first."""
    if latest:
        return ("ZREVRANGEBYSCORE", keys.schedules, int(until), "-inf", "WITHSCORES", "LIMIT", 0, limit)
    return ("ZRANGEBYSCORE", keys.schedules, "-inf", int(until), "WITHSCORES", "LIMIT", 0, limit)


def read(keys: QueueKeys, name: str) -> tuple[Any, ...]:
    """The command whose answer `Entry.read` understands."""
    return ("HGETALL", keys.schedule(name))


def names_of(reply: Sequence[Any]) -> list[str]:
    return [str(name, "utf-8", "replace") for name in reply]


def _text(slot: int | None) -> str:
    return "" if slot is None else str(slot)


def _answer(reply: Any) -> Answer:
    code, now, rev, slot = reply
    if code == _STREAM:
        raise OtherTransport
    return Answer(code, now, str(rev, "ascii"), int(slot) if slot else None)
