"""What a move asks of its two queues, each built once as a `Call`, and the values that come back.

The order of keys and arguments here is the header of the script of the same name, in `taskq/store/lua/tasks/`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from taskq.errors import BrokerError
from taskq.store.keys import QueueKeys
from taskq.store.scripts import Call
from taskq.tasks.briefs import Place
from taskq.tasks.broker import LEASE_BYTES
from taskq.tasks.packing import Limits
from taskq.tasks.queues import OtherTransport
from taskq.tasks.transports import build, build_land

MOVED_TTL: Final = 30 * 86_400_000
"""Milliseconds for which a queue remembers a batch that has arrived, and so for which a move may be taken up again."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages on their way: taken out of their queue at a time (ms of its server), not settled there yet."""

    token: str
    since: int
    to: str
    ids: tuple[bytes, ...]

    @classmethod
    def read(cls, token: bytes, text: bytes) -> Batch:
        """As it is stored. Raises BrokerError for what is not."""
        try:
            since, to, ids = text.split(b" ", 2)
            return cls(str(token, "ascii"), int(since), str(to, "ascii"), split(ids))
        except ValueError as error:
            raise BrokerError(f"a stored move cannot be read: {error}") from error


def take(
    keys: QueueKeys, place: Place, letter: str, token: str, to: str, ids: Sequence[bytes], limits: Limits, now: str = ""
) -> Call[tuple[bytes, ...]]:
    """Take messages of one place out of a queue; answers those that were there. `ids` are in the order of the place."""
    names = [keys.meta, keys.body, keys.state, keys.errors, keys.unique, keys.tombs, keys.none, keys.parked]
    names += [keys.moves, keys.parcels(token), place.key]
    task = place.name.removeprefix("p:") if letter == "p" else ""
    index = "" if place.index is None else place.index
    anywhere = "1" if keys.streamed and letter == "r" else ""
    args: list[Any] = [now, token, to, letter, index, task, limits.tombstone, LEASE_BYTES, place.before, anywhere, *ids]
    return build(keys, "take", names, args, split)


def land(
    keys: QueueKeys, token: str, parcels: Sequence[tuple[bytes, bytes]], limits: Limits, *, back: bool, now: str = ""
) -> Call[str]:
    """Accept parcels into a queue, once per token; answers a letter for each."""
    names = [keys.lane(os.urandom(12)), keys.meta, keys.body, keys.state, keys.delayed, keys.unique, keys.tombs]
    names += [keys.wake, *keys.landing, keys.errors, keys.dead, keys.quarantine, keys.moved(token)]
    args: list[Any] = [now, MOVED_TTL, limits.tombstone, "1" if back else ""]
    for raw, parcel in parcels:
        args += (raw, parcel)

    def decode(reply: Any) -> str:
        code, answer = reply
        if code == 4:
            raise OtherTransport
        if code:
            raise BrokerError(f"the broker has refused a move with code {code}; please report this")
        return str(answer, "ascii")

    return build_land(keys, names, args, decode)


def carried(keys: QueueKeys, token: str, count: int) -> Call[int]:
    """Forget a batch of which `count` messages went to the other queue and the others came back."""
    names = [keys.meta, keys.none, keys.moves, keys.parcels(token)]
    return build(keys, "carried", names, [token, count], int)


def split(blob: bytes) -> tuple[bytes, ...]:
    """Ids of 16 bytes one after the other."""
    return tuple(blob[at : at + 16] for at in range(0, len(blob), 16))
