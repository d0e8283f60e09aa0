"""Steering groups of topics from outside, whatever their kind: put them elsewhere, and deal with their dead letters."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from taskq.errors import ConfigError, GroupActive, InvalidOption
from taskq.events import reading, shared_admin, shared_calls
from taskq.events.entries import records
from taskq.events.hub import Events
from taskq.events.log import check_partition
from taskq.events.ordered_group import DeadLetter, OrderedGroup
from taskq.events.outgoing import partition_of
from taskq.events.properties import TopicProperties
from taskq.events.record import Event, Offset, Record
from taskq.events.shared_admin import DeadRecord
from taskq.events.shared_options import place
from taskq.events.topic import Topic
from taskq.names import shown
from taskq.store.scripts import run
from taskq.topics import GroupInfo, TopicInspector

Where = Offset | datetime | float | Literal["earliest", "latest"]

REDRIVES = 5
PAGE = 1_000
_ID = re.compile(r"(\d{1,4})/(\d{1,15}-\d{1,19})")


class Move(NamedTuple):
    """What a seek does to one partition: `again` records are handled once more, `skipped` ones never."""

    partition: int
    before: str
    again: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter of a group. `id` is what the commands take; `value` is the record's, decoded if it can be."""

    id: str
    topic: str
    group: str
    partition: int
    offset: str
    key: str | None
    reason: str
    attempts: int
    deaths: int
    redriven: int
    first_error: str
    last_error: str
    value: Any
    headers: dict[str, str]


class Redriven(NamedTuple):
    """How many run again; `stay` are the ids of those that were redriven too often, cannot be read, or are gone."""

    redriven: int
    stay: tuple[str, ...]


class TopicControl:
    """Changes groups of one namespace. Raises UnknownTopic, UnknownGroup, BrokerError and what each method names."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._link = events.links().sync
        self.inspector = TopicInspector(self._link, events.namespace)

    def topic(self, name: str) -> Topic:
        """A topic that is there. Raises UnknownTopic."""
        self.inspector.need(name)
        return self._events.topic(name)

    # -- seek -------------------------------------------------------------------------------------------------------

    def moves(self, topic: str, group: str, to: Where, partitions: Sequence[int] | None = None) -> list[Move]:
        """What a seek would do now; changes nothing. Raises InvalidOption."""
        info, properties = self.inspector.topic(topic), self.inspector.need(topic)
        chosen = self._chosen(topic, properties, to, partitions)
        positions = {one.partition: one for one in self.inspector.group(topic, group).positions}
        found: list[Move] = []
        for number in chosen:
            end = info.partitions[number]
            left = self._behind(topic, properties, number, to, end.appended)
            lag = positions[number].records
            found.append(Move(number, positions[number].offset, max(0, left - lag), max(0, lag - left)))
        return found

    def seek(
        self, topic: str, group: str, to: Where, partitions: Sequence[int] | None = None, *, force: bool = False
    ) -> None:
        """Put a group elsewhere. While it has members this is refused (GroupActive), unless it is forced.

        What members have in hand then cannot be committed any more. Raises InvalidOption.
        """
        info, properties = self.inspector.group(topic, group), self.inspector.need(topic)
        chosen = self._chosen(topic, properties, to, partitions)
        if info.kind == "ordered":
            self._ordered(topic, group).seek(to, chosen, force=force)
            return
        if not force:
            _need_idle(info)
        where, nonce = place(to), os.urandom(8).hex()
        keys = self._events.topic(topic).log.keys
        for number in chosen:
            run(self._link, shared_calls.found(keys.partition(number), group, where, move=nonce))

    def need_idle(self, topic: str, group: str) -> None:
        """Raise GroupActive if a seek would be refused because the group has members."""
        info = self.inspector.group(topic, group)
        if info.kind == "ordered":
            self._ordered(topic, group).need_idle()
        else:
            _need_idle(info)

    def _chosen(
        self, topic: str, properties: TopicProperties, to: Where, partitions: Sequence[int] | None
    ) -> Sequence[int]:
        if isinstance(to, Offset) and (partitions is None or len(partitions) != 1):
            raise InvalidOption(f"{shown(str(to))} is an offset of one partition: say which one")
        if partitions is None:
            return range(properties.partitions)
        return [check_partition(topic, number, properties.partitions) for number in partitions]

    def _behind(self, topic: str, properties: TopicProperties, number: int, to: Where, appended: int) -> int:
        """How many records there are from a place on."""
        if to == "latest":
            return 0
        log = self._events.topic(topic).log
        begin = reading.offset_at(to, "to")
        entries = self._link.execute("XRANGE", log.keys.partition(number).log, begin.entry, "+", "COUNT", 1)
        for record in records(topic, number, log.codec(properties), entries):
            if record.offset >= begin:
                return appended - record.number + 1
        return 0

    # -- dead letters -----------------------------------------------------------------------------------------------

    def dead(self, topic: str, group: str, limit: int = 100) -> list[Letter]:
        """At most so many dead letters, the oldest of each partition first."""
        info = self.inspector.group(topic, group)
        if info.kind == "ordered":
            log = self._events.topic(topic).log
            codec = log.codec(log.properties())
            return [_ordered_letter(info, one, codec.loads) for one in self._ordered(topic, group).dead(limit)]
        return [_shared_letter(info, one) for one in self._dead_records(topic, group, limit)]

    def redrive(self, topic: str, group: str, ids: Iterable[str] | None = None, most: int = REDRIVES) -> Redriven:
        """Have dead letters handled again, each at most `most` times in all; without ids all that are there now.

        Those of a shared group go to that group. Those of an ordered one are published to the topic again, under their
        keys, so every group gets them. Raises InvalidOption for what is no id.
        """
        info, wanted = self.inspector.group(topic, group), None if ids is None else {_checked(one) for one in ids}
        if info.kind == "ordered":
            letters = self._chosen_letters(topic, group, wanted)
            stay = self._ordered(topic, group).redrive(letters, most)
            return Redriven(len(letters) - len(stay), tuple(f"{one.partition}/{one.entry}" for one in stay))
        found = [one for one in self._dead_records(topic, group, 1_000_000) if wanted is None or _id(one) in wanted]
        answer = shared_admin.redrive(self._link, self._events.namespace, topic, group, found, most)
        return Redriven(answer.redriven, (*answer.capped, *answer.gone))

    def remove_dead(self, topic: str, group: str, ids: Iterable[str] | None = None) -> int:
        """Remove dead letters for good; without ids all. Answers how many there were. Raises InvalidOption."""
        info = self.inspector.group(topic, group)
        keys, removed = self._events.topic(topic).log.keys, 0
        if ids is None:
            for number in range(len(info.positions)):
                key = keys.partition(number).group(group, "dead")
                removed += int(self._link.execute("XLEN", key))
                self._link.execute("UNLINK", key)
            return removed
        for one in map(_checked, ids):
            place, _, entry = one.partition("/")
            if int(place) < len(info.positions):
                key = keys.partition(int(place)).group(group, "dead")
                removed += int(self._link.execute("XDEL", key, entry))
        return removed

    def _ordered(self, topic: str, group: str) -> OrderedGroup:
        return self._events.topic(topic).group(group)

    def _chosen_letters(self, topic: str, group: str, wanted: set[str] | None) -> list[DeadLetter]:
        letters = self._ordered(topic, group).dead(1_000_000)
        return [one for one in letters if wanted is None or f"{one.partition}/{one.entry}" in wanted]

    def _dead_records(self, topic: str, group: str, limit: int) -> list[DeadRecord]:
        return shared_admin.dead(self._link, self._events.namespace, topic, group, limit)

    # -- replay -----------------------------------------------------------------------------------------------------

    def replay(
        self,
        source: str,
        target: str,
        label: str,
        since: Where = "earliest",
        until: Offset | datetime | float | None = None,
        partitions: Sequence[int] | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> tuple[int, int]:
        """Publish a range of records to another topic, with their keys, headers and times; answers how many were
        there, and how many of them were appended now.

        Each has an id made of the label and its place, so under one label it is appended once: for as long as the
        target remembers ids (`Dedup`: an hour and 100,000 of each partition, if nothing else was said). Without `until`
        it ends where the source ends now. Raises ConfigError if source and target are one, and what a publish raises.
        """
        if source == target:
            raise ConfigError(
                f"topic {source!r} cannot be replayed into itself: its groups would get everything twice. Seek one"
                " group instead, or name another topic with --into"
            )
        origin, sink = self.topic(source), self.topic(target)
        chosen = self._chosen(source, origin.properties(), since, partitions)
        ends, count = origin.ends(), sink.properties().partitions
        found = created = 0
        for number in chosen:
            place: Where | Offset = since
            end = ends[number] if until is None else until
            while batch := origin.read(number, since=place, until=end, limit=PAGE):
                receipts = sink.publish_many([_again(one, label, count) for one in batch])
                found += len(batch)
                created += sum(one.created for one in receipts)
                if on_progress is not None:
                    on_progress(found)
                if len(batch) < PAGE:
                    break
                place = batch[-1].offset.after
        return found, created


def _need_idle(info: GroupInfo) -> None:
    if info.members:
        raise GroupActive(
            f"group {info.group!r} of topic {info.topic!r} has {len(info.members)} consumers: stop them first, or force"
            " it; then what they have in hand does not count"
        )


def _again(record: Record, label: str, partitions: int) -> Event:
    word = f"replay:{label}:{record.id}"
    # Ids are remembered by partition: what has no key must go to the same one each time.
    partition = partition_of(word, partitions) if record.key is None else None
    return Event(record.value, record.key, record.headers or None, record.time / 1000, word, partition)


def _checked(id: str) -> str:
    if _ID.fullmatch(id) is None:
        raise InvalidOption(f"{shown(id)} is no id of a dead letter: take one from the list, like 3/1700000000000-0")
    return id


def _id(one: DeadRecord) -> str:
    return f"{one.record.partition}/{one.id}"


def _ordered_letter(info: GroupInfo, one: DeadLetter, loads: Callable[[bytes], Any]) -> Letter:
    headers = dict(one.info.get("headers") or {})
    try:
        value = None if one.info.get("tombstone") else loads(one.body)
    except Exception:  # noqa: BLE001 - that it cannot be decoded may be why it is here, and codecs raise what they like
        value = repr(one.body[:1_000])
    return Letter(
        f"{one.partition}/{one.entry}",
        info.topic,
        info.group,
        one.partition,
        str(one.offset),
        one.key,
        one.reason,
        one.attempts,
        int(one.info.get("deaths", 0)),
        int(headers.get("taskq-redriven", "0")),
        one.first,
        one.last,
        value,
        headers,
    )


def _shared_letter(info: GroupInfo, one: DeadRecord) -> Letter:
    record = one.record
    first, last = (_line(error) for error in (one.first_error, one.last_error))
    reason = str(one.last_error.get("kind") or "error")
    numbers = (one.attempts, one.deaths, one.redriven)
    where = (record.partition, str(record.offset), record.key, reason)
    value = (
        record.value
        if isinstance(record.value, (dict, list, str, int, float, bool, type(None)))
        else repr(record.value)
    )
    return Letter(_id(one), info.topic, info.group, *where, *numbers, first, last, value, dict(record.headers))


def _line(error: dict[str, Any]) -> str:
    return ": ".join(str(error[name]) for name in ("type", "message") if error.get(name))
