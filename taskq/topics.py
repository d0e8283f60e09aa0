"""Looking at topics: their partitions, and where their groups stand. Nothing here writes, and no look is long.

All topics of a namespace take five round trips, however many they are: names and properties; ends of partitions and
names of groups; positions and members; the oldest record that is not done; and one script for each shared partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from taskq.errors import TaskqError, UnknownGroup, UnknownTopic
from taskq.events import shared_calls
from taskq.events.properties import TopicProperties, decode
from taskq.events.shared_calls import Seat
from taskq.names import check_name, did_you_mean
from taskq.store.connection import SyncLink
from taskq.store.scripts import run_many
from taskq.store.topic_keys import PartitionKeys, TopicKeys, topic_keys
from taskq.store.topic_keys import topics as topics_key
from taskq.topic_info import GroupInfo, GroupMember, PartitionInfo, PositionInfo, TopicInfo

__all__ = ["GroupInfo", "GroupMember", "PartitionInfo", "PositionInfo", "TopicInfo", "TopicInspector"]

_ROUND = 1_000  # commands in one round trip
_META = ("n", "b", "id", "gone", "gone_b", "gone_id", "version")
_PLACE = ("at", "n", "b", "owner", "epoch", "time", "dead", "deaths", "out_of_range", "truncated")


class _Group(NamedTuple):
    topic: str
    name: str
    kind: str
    keys: TopicKeys
    every: list[PartitionKeys]


class TopicInspector:
    """Reads the topics of one namespace; threads may share it. Raises BrokerError, and what each method names."""

    def __init__(self, link: SyncLink, namespace: str) -> None:
        self.link = link
        self.namespace = check_name(namespace, "namespace")

    def names(self) -> dict[str, TopicProperties]:
        """All topics that were ever used, by name."""
        flat = self.link.execute("HGETALL", topics_key(self.namespace))
        named = {str(name, "utf-8", "replace"): stored for name, stored in zip(flat[::2], flat[1::2], strict=True)}
        return {name: decode(name, named[name]) for name in sorted(named)}

    def topics(self, names: Sequence[str] | None = None) -> tuple[TopicInfo, ...]:
        """These topics, or all, with their groups. Raises UnknownTopic."""
        known = self.names()
        chosen = known if names is None else {name: self._need(name, known) for name in names}
        if not chosen:
            return ()
        stored, partitions = self._ends(chosen)
        groups = self._groups(stored, chosen, partitions)
        return tuple(self._topic(name, chosen[name], partitions[name], groups[name]) for name in chosen)

    def topic(self, name: str) -> TopicInfo:
        """One topic. Raises UnknownTopic."""
        return self.topics([name])[0]

    def group(self, topic: str, group: str) -> GroupInfo:
        """One group. Raises UnknownTopic, UnknownGroup."""
        groups = {one.group: one for one in self.topic(topic).groups}
        if group not in groups:
            hint = did_you_mean(group, groups) or (f"; it has {', '.join(groups)}" if groups else "; it has none")
            raise UnknownGroup(f"topic {topic!r} has no group {group!r}{hint}")
        return groups[group]

    def need(self, name: str) -> TopicProperties:
        """The properties of a topic. Raises UnknownTopic."""
        return self._need(name, self.names())

    def _need(self, name: str, known: dict[str, TopicProperties]) -> TopicProperties:
        if name not in known:
            some = f"; it has {', '.join(list(known)[:10])}" if known else "; it has no topics yet"
            hint = did_you_mean(name, known) or some
            raise UnknownTopic(f"there is no topic {name!r} in namespace {self.namespace!r}{hint}")
        return known[name]

    # -- round trips ------------------------------------------------------------------------------------------------

    def _ends(
        self, chosen: dict[str, TopicProperties]
    ) -> tuple[dict[str, dict[str, bytes]], dict[str, tuple[PartitionInfo, ...]]]:
        every = {name: topic_keys(self.namespace, name) for name in chosen}
        commands: list[Any] = [("HGETALL", keys.groups) for keys in every.values()]
        for name, properties in chosen.items():
            commands += [("HMGET", every[name].partition(at).meta, *_META) for at in range(properties.partitions)]
        answers = iter(self._ask(commands))
        stored = {name: _pairs(next(answers)) for name in chosen}
        partitions = {
            name: tuple(_partition(at, next(answers)) for at in range(properties.partitions))
            for name, properties in chosen.items()
        }
        return stored, partitions

    def _groups(
        self,
        stored: dict[str, dict[str, bytes]],
        chosen: dict[str, TopicProperties],
        ends: dict[str, tuple[PartitionInfo, ...]],
    ) -> dict[str, list[GroupInfo]]:
        groups: list[_Group] = []
        for name, told in stored.items():
            keys = topic_keys(self.namespace, name)
            every = [keys.partition(at) for at in range(chosen[name].partitions)]
            groups += [_Group(name, group, _kind(text), keys, every) for group, text in sorted(told.items())]
        ordered = [one for one in groups if one.kind == "ordered"]
        found = {(one.topic, one.group): one for one in self._ordered(ordered, ends)}
        shared = [one for one in groups if one.kind == "shared"]
        found |= {(one.topic, one.group): one for one in self._shared(shared, ends)}
        return {
            name: [found[name, group] for group in sorted(told) if (name, group) in found]
            for name, told in stored.items()
        }

    def _ordered(self, groups: list[_Group], ends: dict[str, tuple[PartitionInfo, ...]]) -> list[GroupInfo]:
        if not groups:
            return []
        commands: list[Any] = [("TIME",)]
        for one in groups:
            commands += [("HMGET", keys.group(one.name), *_PLACE) for keys in one.every]
            commands += [("ZCARD", keys.group(one.name, "parked")) for keys in one.every]
            commands += [("HGET", one.keys.group(one.name, "state"), "epoch")]
            commands += [("HGETALL", one.keys.group(one.name, part)) for part in ("info", "owners")]
        answers = iter(self._ask(commands))
        seconds, micros = next(answers)
        now = int(seconds) + int(micros) / 1e6
        read: list[tuple[_Group, list[Any], list[int], Any, Any, Any]] = []
        behind: list[Any] = []
        for one in groups:
            places = [next(answers) for _ in one.every]
            parked = [int(next(answers)) for _ in one.every]
            read.append((one, places, parked, next(answers), next(answers), next(answers)))
            behind += [
                ("XRANGE", keys.log, _behind(told[0]), "+", "COUNT", 1)
                for keys, told in zip(one.every, places, strict=True)
            ]
        nexts = iter(self._ask(behind))
        found: list[GroupInfo] = []
        for one, places, parked, epoch, info, owners in read:
            positions = [
                _position(end, told, waiting, next(nexts), now)
                for end, told, waiting in zip(ends[one.topic], places, parked, strict=True)
            ]
            found.append(_group(one, int(epoch or 0), _members(_pairs(info), owners), positions))
        return found

    def _shared(self, groups: list[_Group], ends: dict[str, tuple[PartitionInfo, ...]]) -> list[GroupInfo]:
        if not groups:
            return []
        heads = iter(
            self._ask([("HMGET", keys.group(one.name), "epoch", "at") for one in groups for keys in one.every])
        )
        places = [[next(heads) for _ in one.every] for one in groups]
        calls = [
            shared_calls.look(Seat(keys, one.name, int(epoch), "operator"))
            for one, told in zip(groups, places, strict=True)
            for keys, (epoch, _) in zip(one.every, told, strict=True)
            if epoch is not None
        ]
        looks: list[Any] = []
        for at in range(0, len(calls), _ROUND):
            looks += run_many(self.link, calls[at : at + _ROUND])
        answers = iter(looks)
        found: list[GroupInfo] = []
        for one, told in zip(groups, places, strict=True):
            positions: list[PositionInfo] = []
            consumers: set[str] = set()
            for number, (epoch, at) in enumerate(told):
                look = None if epoch is None else next(answers)
                if isinstance(look, TaskqError):
                    raise look
                if look is None or not look.there:
                    end = ends[one.topic][number]
                    positions.append(PositionInfo(number, "0-0", end.records, end.bytes, 0.0, "", 0, 0, 0, 0, 0))
                    continue
                oldest = int(look.oldest.partition("-")[0]) if look.oldest else look.now
                age = max(0, look.now - oldest) / 1000
                consumers |= {_text(name) for name, _, _ in look.consumers}
                rest = (look.letters, look.waiting, look.pending, int(look.counts.get("lost", 0)))
                where = _text(at or b"0-0")
                behind = look.unread + look.pending
                positions.append(
                    PositionInfo(number, where, behind, look.unread_bytes, age, "", int(epoch or 0), *rest)
                )
            epoch = max((one.epoch for one in positions), default=0)
            found.append(_group(one, epoch, tuple(map(GroupMember, sorted(consumers))), positions))
        return found

    def _ask(self, commands: Sequence[Any]) -> list[Any]:
        answers: list[Any] = []
        for at in range(0, len(commands), _ROUND):
            for answer in self.link.pipeline(list(commands[at : at + _ROUND])):
                if isinstance(answer, TaskqError):
                    raise answer
                answers.append(answer)
        return answers

    def _topic(
        self, name: str, properties: TopicProperties, partitions: tuple[PartitionInfo, ...], groups: list[GroupInfo]
    ) -> TopicInfo:
        return TopicInfo(
            name,
            properties,
            sum(one.appended for one in partitions),
            sum(one.records for one in partitions),
            sum(one.bytes for one in partitions),
            partitions,
            tuple(groups),
        )


# -- from replies to values -------------------------------------------------------------------------------------------


def _partition(number: int, told: list[bytes | None]) -> PartitionInfo:
    n, b, last, gone, gone_b, gone_id, version = told
    appended, removed = int(n or 0), int(gone or 0)
    size = max(0, int(b or 0) - int(gone_b or 0))
    ends = (_text(gone_id or b"0-0"), _text(last or b"0-0"))
    return PartitionInfo(number, appended, int(b or 0), max(0, appended - removed), size, *ends, int(version or 0))


def _position(end: PartitionInfo, told: list[Any], parked: int, entries: list[Any], now: float) -> PositionInfo:
    at, n, b, owner, epoch, _, dead, _, out_of_range, truncated = told
    records = max(0, end.appended - int(n or 0))
    size = max(0, end.appended_bytes - int(b or 0))
    age = max(0.0, now - int(entries[0][0].partition(b"-")[0]) / 1000) if records and entries else 0.0
    lost = int(out_of_range or 0) + int(truncated or 0)
    rest = (int(dead or 0), parked, 0, lost)
    return PositionInfo(
        end.partition, _text(at or b"0-0"), records, size, age, _text(owner or b""), int(epoch or 0), *rest
    )


def _group(one: _Group, epoch: int, members: tuple[GroupMember, ...], positions: Sequence[PositionInfo]) -> GroupInfo:
    records, size = sum(place.records for place in positions), sum(place.bytes for place in positions)
    age = max((place.seconds for place in positions), default=0.0)
    dead = sum(place.dead for place in positions)
    return GroupInfo(one.topic, one.name, one.kind, epoch, records, size, age, dead, members, tuple(positions))


def _members(info: dict[str, bytes], owners: list[bytes]) -> tuple[GroupMember, ...]:
    granted: dict[str, list[int]] = {}
    for number, owner in zip(owners[::2], owners[1::2], strict=True):
        granted.setdefault(_text(owner.split(b":", 2)[-1]), []).append(int(number))
    return tuple(
        GroupMember(name, _text(said[16:]), tuple(sorted(granted.get(name, ())))) for name, said in sorted(info.items())
    )


def _behind(at: bytes | None) -> str:
    # A position inside a packed entry counts as its end: the age of what follows is all that is asked here.
    return f"({_text(at or b'0-0').partition(':')[0]}"


def _kind(told: bytes) -> str:
    try:
        known = orjson.loads(told)
    except ValueError:
        return ""
    return str(known.get("kind", "")) if isinstance(known, dict) else ""


def _pairs(flat: list[bytes]) -> dict[str, bytes]:
    return {_text(name): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _text(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode("utf-8", "replace")
