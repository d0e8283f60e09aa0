"""Looking at topics: their partitions, and where their groups stand. Nothing here writes, and no look is long.

All topics of a namespace take four round trips, however many they are: names and properties; ends of partitions and
names of groups; members; and one short script for each partition of each group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from taskq import topic_reading as reading
from taskq.errors import TaskqError, UnknownGroup, UnknownTopic
from taskq.events.properties import TopicProperties, decode
from taskq.names import check_name, did_you_mean
from taskq.store.connection import SyncLink
from taskq.store.scripts import Call, run_many
from taskq.store.topic_keys import TopicKeys, topic_keys
from taskq.store.topic_keys import topics as topics_key
from taskq.topic_info import GroupInfo, GroupMember, PartitionInfo, PositionInfo, TopicInfo

__all__ = ["GroupInfo", "GroupMember", "PartitionInfo", "PositionInfo", "TopicInfo", "TopicInspector"]

_ROUND = 1_000  # commands in one round trip


class _Group(NamedTuple):
    topic: str
    name: str
    kind: str
    keys: TopicKeys


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
        known_groups, partitions = self._ends(chosen)
        groups = self._groups(known_groups, partitions)
        return tuple(TopicInfo.of(name, chosen[name], partitions[name], tuple(groups[name])) for name in chosen)

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
    ) -> tuple[dict[str, dict[str, str]], dict[str, tuple[PartitionInfo, ...]]]:
        every = {name: topic_keys(self.namespace, name) for name in chosen}
        commands: list[Any] = [("HGETALL", keys.groups) for keys in every.values()]
        for name, properties in chosen.items():
            commands += [reading.ends(every[name].partition(at)) for at in range(properties.partitions)]
        answers = iter(self._ask(commands))
        groups = {name: reading.groups(next(answers)) for name in chosen}
        partitions = {
            name: tuple(reading.partition(at, next(answers)) for at in range(properties.partitions))
            for name, properties in chosen.items()
        }
        return groups, partitions

    def _groups(
        self, known: dict[str, dict[str, str]], ends: dict[str, tuple[PartitionInfo, ...]]
    ) -> dict[str, list[GroupInfo]]:
        every = [
            _Group(topic, name, kind, topic_keys(self.namespace, topic))
            for topic, groups in known.items()
            for name, kind in groups.items()
        ]
        ordered = [one for one in every if one.kind == "ordered"]
        told = iter(self._ask([command for one in ordered for command in reading.about(one.keys, one.name)]))
        about = {(one.topic, one.name): (next(told), next(told), next(told)) for one in ordered}
        looks = iter(
            self._look(
                [
                    reading.look(one.keys.partition(end.partition), one.name, one.kind)
                    for one in every
                    for end in ends[one.topic]
                ]
            )
        )
        found: dict[str, list[GroupInfo]] = {topic: [] for topic in known}
        for one in every:
            places = [reading.place(end.partition, next(looks), end) for end in ends[one.topic]]
            positions = tuple(place.position for place in places)
            if one.kind == "ordered":
                info, owners, stored = about[one.topic, one.name]
                members, epoch = reading.members(info, owners), int(stored or 0)
            else:
                names = {name for place in places for name in place.consumers}
                members = tuple(map(GroupMember, sorted(names)))
                epoch = max((position.epoch for position in positions), default=0)
            found[one.topic].append(GroupInfo.of((one.topic, one.name, one.kind), epoch, members, positions))
        return found

    def _look(self, calls: Sequence[Call[Any]]) -> list[Any]:
        answers: list[Any] = []
        for at in range(0, len(calls), _ROUND):
            for answer in run_many(self.link, calls[at : at + _ROUND]):
                if isinstance(answer, TaskqError):
                    raise answer
                answers.append(answer)
        return answers

    def _ask(self, commands: Sequence[Any]) -> list[Any]:
        answers: list[Any] = []
        for at in range(0, len(commands), _ROUND):
            for answer in self.link.pipeline(list(commands[at : at + _ROUND])):
                if isinstance(answer, TaskqError):
                    raise answer
                answers.append(answer)
        return answers
