"""What only stream queues have, each built once as a `Call`: declaring one, looking after it, mending it.

The order of keys and arguments here is the header of the script of the same name, in `taskq/store/lua/streams/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from taskq.errors import ConfigError
from taskq.store.keys import QueueKeys, queue_keys
from taskq.store.scripts import Call
from taskq.tasks.queues import Queue, Retain
from taskq.tasks.transports import build_own
from taskq.values import count_of

REPAIR_PAGE = 100


@dataclass(frozen=True, slots=True)
class Watched:
    """The state of a stream: groups made anew (`healed`), entries that others took away before they were read (`lost`),
    entries that are not ours (`foreign`), all counted since ever. `repair`: messages wait to be appended anew.
    """

    more: bool
    healed: int
    lost: int
    foreign: int
    repair: bool
    trimmed: int


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """The stream of a stream queue at one moment.

    `entries` are all that it holds, of that `pending` are handed out or given back and `unread` wait; the rest is
    history. `lost`, `repaired`, `foreign` and `healed` count since ever: entries that others took away before they were
    read, messages appended anew, entries that are not ours, groups made anew. `groups` are the names of its consumer
    groups, at most 20. `retain` is None if nobody has declared the queue.
    """

    entries: int
    pending: int
    unread: int
    lost: int
    repaired: int
    foreign: int
    healed: int
    groups: tuple[str, ...]
    retain: Retain | None


def stream_info(raw: Sequence[Any], retain: bytes | None) -> StreamInfo:
    """What the script `overview` tells of a stream, and the queue's `retain` as it is stored."""
    entries, pending, unread, flat, groups = raw
    tally = {str(key, "ascii", "replace"): int(value) for key, value in _counts(flat)}
    return StreamInfo(
        entries=entries,
        pending=pending,
        unread=unread,
        lost=tally.get("lost", 0),
        repaired=tally.get("repaired", 0),
        foreign=tally.get("foreign", 0),
        healed=tally.get("healed", 0),
        groups=tuple(str(name, "utf-8", "replace") for name in groups),
        retain=Retain.read(str(retain, "ascii")) if retain else None,
    )


def _counts(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return (pair for pair in zip(flat[::2], flat[1::2], strict=True) if pair[1].isdigit())


def unread(counts: Sequence[bytes | None]) -> int:
    """How many messages of a stream were not handed out yet; `counts` are `appended` and `read` of its tally."""
    appended, read = (int(count or 0) for count in counts)
    return max(appended - read, 0)


def declare(namespace: str, queue: Queue) -> Call[None]:
    """Make it known at the broker which transport a queue has.

    Raises ConfigError if it shall become a list queue while its stream holds messages.
    """
    keys = queue_keys(namespace, queue.name, True)

    def decode(reply: list[int]) -> None:
        code, held = reply
        if code:
            raise ConfigError(
                f"queue {queue.name!r} cannot become a list queue: its stream holds {count_of(held, 'message')};"
                ' let workers that declare it with transport="stream" drain it first'
            )

    return build_own(keys, "declare", [keys.meta, keys.none], [queue.transport, queue.kept.wire()], decode)


def watch(keys: QueueKeys, retained: str, now: str = "") -> Call[Watched]:
    """Mend the group, wake whoever sleeps beside waiting entries, trim what is no longer retained."""

    def decode(reply: list[int]) -> Watched:
        more, healed, lost, foreign, repair, trimmed = reply
        return Watched(bool(more), healed, lost, foreign, bool(repair), trimmed)

    return build_own(keys, "watch", [keys.meta, keys.wake, keys.none], [now, retained], decode)


def repair(keys: QueueKeys) -> Call[tuple[int, bool]]:
    """Append one page of lost messages anew; answers how many, and whether pages are left."""
    return build_own(
        keys, "repair", [keys.wake, keys.none], [REPAIR_PAGE], lambda reply: (int(reply[0]), bool(reply[1]))
    )
