"""What is asked of the server to know topics and groups, and what its answers mean. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from taskq.events import group_calls, shared_calls
from taskq.events.shared_calls import Seat
from taskq.store.scripts import Call
from taskq.store.topic_keys import PartitionKeys, TopicKeys
from taskq.topic_info import GroupMember, PartitionInfo, PositionInfo

KINDS = ("ordered", "shared")
_META = ("n", "b", "id", "gone", "gone_b", "gone_id", "version")


class Place(NamedTuple):
    """Where a group stands in one partition, and the names of the consumers of a shared group that are there."""

    position: PositionInfo
    consumers: tuple[str, ...] = ()


def ends(keys: PartitionKeys) -> tuple[Any, ...]:
    """Asks for a partition: `partition` reads the answer."""
    return ("HMGET", keys.meta, *_META)


def partition(number: int, told: Sequence[bytes | None]) -> PartitionInfo:
    """One partition."""
    n, b, last, gone, gone_b, gone_id, version = told
    appended, removed = int(n or 0), int(gone or 0)
    size = max(0, int(b or 0) - int(gone_b or 0))
    first_last = (text(gone_id or b"0-0"), text(last or b"0-0"))
    return PartitionInfo(
        number, appended, int(b or 0), max(0, appended - removed), size, *first_last, int(version or 0)
    )


def groups(flat: Sequence[bytes]) -> dict[str, str]:
    """Name and kind of the groups of a topic, by name; of those whose kind this release knows."""
    found = {name: _kind(told) for name, told in pairs(flat).items()}
    return {name: found[name] for name in sorted(found) if found[name] in KINDS}


def look(keys: PartitionKeys, group: str, kind: str, epoch: int = 0) -> Call[Any]:
    """Asks where a group stands in a partition: `place` reads the answer. `epoch` is a shared group's, if known."""
    if kind == "ordered":
        return group_calls.look(keys, group)
    return shared_calls.look(Seat(keys, group, epoch, "operator"))


def place(number: int, standing: Any, end: PartitionInfo | None) -> Place:
    """Where a group stands; `end` is the partition, all of which is ahead of a shared group that has not begun."""
    if isinstance(standing, group_calls.Standing):
        return Place(_ordered(number, standing))
    if not standing.there:
        records, size = (end.records, end.bytes) if end is not None else (0, 0)
        return Place(PositionInfo(number, "0-0", records, size, 0.0, "", 0, 0, 0, 0, 0))
    return Place(_shared(number, standing), tuple(name for name, _, _ in standing.consumers))


def _ordered(number: int, at: group_calls.Standing) -> PositionInfo:
    records, size = max(0, at.end - at.number), max(0, at.end_bytes - at.bytes)
    age = _age(at.now, at.oldest) if records else 0.0
    counts = (at.letters, at.parked, 0, at.lost, at.done, at.retried, at.dead)
    return PositionInfo(number, at.at, records, size, age, at.owner, at.epoch, *counts)


def _shared(number: int, at: shared_calls.Standing) -> PositionInfo:
    def count(*names: str) -> int:
        return sum(int(at.counts.get(name, 0)) for name in names)

    done = count("acked", "filtered", "dead")
    counts = (at.letters, at.waiting, at.pending, count("lost"), done, count("retried"), count("dead"))
    behind = at.unread + at.pending
    where = at.counts.get("at", "0-0")
    return PositionInfo(number, where, behind, at.unread_bytes, _age(at.now, at.oldest), "", count("epoch"), *counts)


def _age(now: int, id: str) -> float:
    return max(0, now - int(id.partition("-")[0])) / 1000 if id else 0.0


def about(keys: TopicKeys, group: str) -> list[tuple[Any, ...]]:
    """Asks who is in an ordered group: `members` and the epoch, an integer or nothing, are the answers."""
    return [("HGETALL", keys.group(group, part)) for part in ("info", "owners")] + [
        ("HGET", keys.group(group, "state"), "epoch")
    ]


def members(info: Sequence[bytes], owners: Sequence[bytes]) -> tuple[GroupMember, ...]:
    """The members of an ordered group with their partitions, by name."""
    granted: dict[str, list[int]] = {}
    for number, owner in zip(owners[::2], owners[1::2], strict=True):
        granted.setdefault(text(owner.split(b":", 2)[-1]), []).append(int(number))
    return tuple(
        GroupMember(name, text(said[16:]), tuple(sorted(granted.get(name, ()))))
        for name, said in sorted(pairs(info).items())
    )


def _kind(told: bytes) -> str:
    try:
        known = orjson.loads(told)
    except ValueError:
        return ""
    return str(known.get("kind", "")) if isinstance(known, dict) else ""


def pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    """Fields and values as they come, as a mapping."""
    return {text(name): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def text(data: bytes | str) -> str:
    """As text, whatever it is."""
    return data if isinstance(data, str) else data.decode("utf-8", "replace")
