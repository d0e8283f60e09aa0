"""Retention: what a topic does not keep is removed, by publishers as they go and by whoever looks after topics."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from taskq.events.calls import key_digest
from taskq.events.compaction import Row, keys_call
from taskq.events.log import Log
from taskq.events.properties import Retention, TopicProperties
from taskq.events.record import Offset
from taskq.store.links import Steps
from taskq.store.scripts import Call, load_joined
from taskq.store.topic_keys import PartitionKeys

logger = logging.getLogger("taskq.events")

TRIM_ENTRIES: Final = 1_000  # by one script
INDEXED_ENTRIES: Final = 250  # by one script of a topic with an index: their keys are read first
ROUNDS: Final = 20  # of one call, for one partition; the rest waits for the next call


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What retention did in one partition: records removed, and the group that holds it back, since when (in ms)."""

    partition: int
    removed: int = 0
    held_by: str = ""
    held_since: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What one script did: `first` is the id of the first entry that is left."""

    removed: int
    more: bool
    first: str
    held_by: str
    held_since: int | None


def trim_call(
    keys: PartitionKeys,
    retention: Retention,
    groups: Mapping[str, bool],
    limit: int = TRIM_ENTRIES,
    bound: str = "",
    lists: Sequence[str] = (),
    now: str = "",
) -> Call[Step]:
    """One step of removing; `groups` are those of the topic, and whether nothing may be removed before them.

    `lists` are those of the index that know of what is before the `bound`: they forget what is removed.
    """
    names = [keys.none, keys.log, keys.meta, *(keys.group(name) for name in groups), *lists]
    age = "" if retention.age is None else round(float(retention.age) * 1000)  # type: ignore[arg-type]
    limits = ("" if one is None else one for one in (retention.count, retention.bytes))
    marked = (f"!{name}" if keeps else name for name, keeps in groups.items())
    return Call(
        load_joined("events/trim", ("events/parts/unindex", "events/trim")),
        names,
        [now, *limits, age, limit, bound, *marked],
        _read,
    )


def _read(reply: Any) -> Step:
    removed, more, first, holder, since = reply
    return Step(removed, bool(more), first.decode(), holder.decode(), int(since) if since else None)


def group_marks(properties: TopicProperties, stored: list[bytes]) -> dict[str, bool]:
    """The groups of a topic, as its `groups` has them, and whether retention waits for each."""
    found = dict.fromkeys(properties.retention.keep, True)
    for name, told in zip(stored[::2], stored[1::2], strict=True):
        found.setdefault(name.decode(), _keeps(told))
    return found


def _keeps(told: bytes) -> bool:
    try:
        known = orjson.loads(told)
    except ValueError:
        return False
    return isinstance(known, dict) and known.get("keep") is True


def trim(log: Log, properties: TopicProperties, partitions: list[int] | None = None) -> Steps[list[Trimmed]]:
    """Remove what is not kept; nothing is asked if everything is. Says in the log who holds it back."""
    if properties.retention.unlimited:
        return []
    groups = group_marks(properties, (yield ("HGETALL", log.keys.groups)))
    found: list[Trimmed] = []
    for number in range(properties.partitions) if partitions is None else partitions:
        done = yield from _partition(log, properties, number, groups)
        if done.held_by:
            logger.warning(
                "topic %s, partition %d: retention is held back by group %s, which has not handled what should go",
                *(log.name, number, done.held_by),
            )
        found.append(done)
    return found


def _partition(log: Log, properties: TopicProperties, number: int, groups: dict[str, bool]) -> Steps[Trimmed]:
    keys, removed = log.keys.partition(number), 0
    for _ in range(ROUNDS):
        lists, bound, limit = list[str](), "", TRIM_ENTRIES
        if properties.index:
            head = yield from _head(keys)
            lists, bound, limit = _lists(keys, head), _behind(head), INDEXED_ENTRIES
        step: Step = yield trim_call(keys, properties.retention, groups, limit, bound, lists)
        removed += step.removed
        if not step.more or not step.removed:
            return Trimmed(number, removed, step.held_by, step.held_since)
    return Trimmed(number, removed)


def _head(keys: PartitionKeys) -> Steps[list[Row]]:
    """The keys of the first records, without values; page by page, since large records would be too much for one."""
    head: list[Row] = []
    while len(head) < INDEXED_ENTRIES:
        page: list[Row] = yield keys_call(keys, f"({head[-1][0].decode()}" if head else "-", "+")
        if not page:
            break
        head += page
    return head


def _lists(keys: PartitionKeys, head: list[Row]) -> list[str]:
    return [keys.of_key(key_digest(key)) for key in sorted({key for _, mark, key in head if mark != b"-"})]


def _behind(head: list[Row]) -> str:
    if not head:
        return ""
    last = Offset.parse(str(head[-1][0], "ascii"))
    return f"{last.ms}-{last.seq + 1}"
