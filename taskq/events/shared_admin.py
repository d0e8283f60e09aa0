"""Looking at a shared group from outside, and steering it: lag, seek, dead letters, redrive."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from taskq.codec import get as codec_of
from taskq.errors import ConfigError, TaskqError
from taskq.events import shared_calls as calls
from taskq.events.entries import records
from taskq.events.patterns import Pattern
from taskq.events.properties import TopicProperties, decode
from taskq.events.record import Record
from taskq.events.shared_calls import Seat
from taskq.events.shared_options import place
from taskq.events.topic_watch import one_topic
from taskq.store.connection import SyncLink
from taskq.store.scripts import run, run_many
from taskq.store.topic_keys import PartitionKeys, partition_keys
from taskq.store.topic_keys import topics as topics_key


@dataclass(frozen=True, slots=True)
class GroupLag:
    """Where a group stands on one partition.

    `records` and `bytes` were not read by anybody yet; `pending` were handed out or wait for another try; `seconds` is
    the age of the oldest record that is not settled, 0 without one. `lost` left the log before they were settled.
    """

    topic: str
    partition: int
    records: int
    bytes: int
    pending: int
    waiting: int
    seconds: float
    dead: int
    lost: int
    consumers: int


@dataclass(frozen=True, slots=True)
class DeadRecord:
    """A dead letter of a group: the record, how often it was tried, and its first and last error."""

    id: str
    record: Record
    attempts: int
    deaths: int
    redriven: int
    first_error: dict[str, Any]
    last_error: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RedriveResult:
    """How many run again; `capped` were redriven too often, of `gone` the record is no longer in the log."""

    redriven: int
    capped: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def lag(link: SyncLink, namespace: str, target: str | Pattern, group: str) -> list[GroupLag]:
    """The standing of each partition on which the group has begun."""
    places = list(_seats(link, namespace, target, group))
    found: list[GroupLag] = []
    answers = run_many(link, [calls.look(seat) for _, _, seat in places])
    for (name, number, _), answer in zip(places, answers, strict=True):
        if isinstance(answer, TaskqError):
            raise answer
        if not answer.there:
            continue
        oldest = int(answer.oldest.partition("-")[0]) if answer.oldest else answer.now
        found.append(
            GroupLag(
                name,
                number,
                answer.unread,
                answer.unread_bytes,
                answer.pending,
                answer.waiting,
                max(0, answer.now - oldest) / 1000,
                answer.letters,
                int(answer.counts.get("lost", 0)),
                len(answer.consumers),
            )
        )
    return found


def seek(link: SyncLink, namespace: str, target: str | Pattern, group: str, to: object) -> None:
    """Move a group on all its partitions; consumers notice by themselves."""
    where, nonce = place(to), os.urandom(8).hex()
    for _, properties, keys in _partitions(link, namespace, target):
        _must_be_shareable(properties)
        run(link, calls.found(keys, group, where, move=nonce))


def dead(link: SyncLink, namespace: str, target: str | Pattern, group: str, limit: int) -> list[DeadRecord]:
    """At most so many dead letters."""
    found: list[DeadRecord] = []
    for name, properties, keys in _partitions(link, namespace, target):
        if len(found) >= limit:
            break
        entries = link.execute("XRANGE", calls.dead_key(keys, group), "-", "+", "COUNT", limit - len(found))
        found += [_letter(name, properties, entry) for entry in entries]
    return found


def redrive(
    link: SyncLink,
    namespace: str,
    target: str | Pattern,
    group: str,
    letters: Sequence[DeadRecord] | None,
    most: int,
) -> RedriveResult:
    """Give letters to their group again; of all letters those that are there now."""
    count = 0
    capped: list[str] = []
    gone: list[str] = []
    for name, number, seat in _seats(link, namespace, target, group):
        if letters is None:
            entries = link.execute("XRANGE", calls.dead_key(seat.keys, group), "-", "+")
            ids = [str(entry, "ascii") for entry, _ in entries]
        else:
            ids = [one.id for one in letters if (one.record.topic, one.record.partition) == (name, number)]
        for at in range(0, len(ids), calls.MOST_RECORDS):
            answer = run(link, calls.redrive(seat, ids[at : at + calls.MOST_RECORDS], most))
            count += answer.redriven
            capped += answer.capped
            gone += answer.gone
    return RedriveResult(count, tuple(capped), tuple(gone))


def _letter(topic: str, properties: TopicProperties, entry: Any) -> DeadRecord:
    letter, flat = entry
    told = {str(name, "ascii"): value for name, value in zip(flat[:16:2], flat[1:16:2], strict=True)}
    number = int(told["partition"])
    rest = flat[16:] or [b"n", b"0,0"]
    (record,) = records(
        topic, number, codec_of(properties.codec), [(told["id"], rest if rest[0] == b"n" else [b"n", b"0,0"])]
    )
    numbers = (int(told["attempts"]), int(told["deaths"]), int(told["redriven"]))
    return DeadRecord(str(letter, "ascii"), record, *numbers, _error(told["first"]), _error(told["last"]))


def _error(line: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(line) if line else {}
    except ValueError:
        return {}
    return dict(found) if isinstance(found, dict) else {}


def _partitions(
    link: SyncLink, namespace: str, target: str | Pattern
) -> Iterator[tuple[str, TopicProperties, PartitionKeys]]:
    if isinstance(target, str):
        known = {target: one_topic(link, namespace, target)}
    else:
        flat = link.execute("HGETALL", topics_key(namespace))
        pairs = ((str(name, "ascii", "replace"), stored) for name, stored in zip(flat[::2], flat[1::2], strict=True))
        known = {name: decode(name, stored) for name, stored in pairs if target.matches(name)}
    for name, properties in sorted(known.items()):
        for number in range(properties.partitions):
            yield name, properties, partition_keys(namespace, name, number)


def _seats(link: SyncLink, namespace: str, target: str | Pattern, group: str) -> Iterator[tuple[str, int, Seat]]:
    places = list(_partitions(link, namespace, target))
    epochs = link.pipeline([("HGET", keys.group(group), "epoch") for _, _, keys in places])
    for (name, _, keys), epoch in zip(places, epochs, strict=True):
        if isinstance(epoch, TaskqError):
            raise epoch
        if epoch is not None:
            number = int(keys.base.rpartition(":")[0].rpartition(":")[2].rstrip("}"))
            yield name, number, Seat(keys, group, int(epoch), "operator")


def _must_be_shareable(properties: TopicProperties) -> None:
    if properties.packed or properties.compact:
        raise ConfigError("packed and compacted topics have no shared groups")
