"""What a watch reads of topics, in the round trip of its look: a part of them each time, by turns.

A unit is one thing that is asked: the groups of a topic, the ends of a partition, the members of a group, where a group
stands in a partition. What was never asked goes first, then what was asked longest ago. A topic is told once all its
partitions are known, a group once all its positions are: so sums never jump because a part of them came later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from taskq import topic_reading as reading
from taskq.asks import Ask, Names
from taskq.errors import ConfigError, DecodeError, InvalidName
from taskq.events.properties import TopicProperties, decode
from taskq.names import check_name
from taskq.store.topic_keys import topic_keys
from taskq.store.topic_keys import topics as topics_key
from taskq.topic_info import GroupInfo, GroupMember, PartitionInfo, TopicInfo
from taskq.topic_reading import Place

MOST_TOPICS = 100
MOST_GROUPS = 100  # of one topic
MOST_UNITS = 10_000  # of all; topics beyond are left out
NEW = 2_000  # units of one look that were never asked
# Of what was asked before, in one look: plain commands, and scripts, which cost ten times as much.
AGAIN = (200, 50)
WHOLE = (2_000, 500)  # the same, for who looks every few seconds


class Unit(NamedTuple):
    """`partition` is -1 for the topic itself, `group` '' for what belongs to no group."""

    topic: str
    partition: int = -1
    group: str = ""

    @property
    def is_script(self) -> bool:
        """Whether it is asked by a script: where a group stands in a partition."""
        return self.partition >= 0 and self.group != ""


class _Members(NamedTuple):
    members: tuple[GroupMember, ...]
    epoch: int


class TopicLooks:
    """One look: `asks` are sent, their answers come, `keep` ends it; `infos` is what is known then."""

    def __init__(self, namespace: str, *, whole: bool = False) -> None:
        self._namespace = namespace
        self._again = WHOLE if whole else AGAIN
        self._names = Names("HSCAN", topics_key(namespace), MOST_TOPICS)
        self._stored: dict[str, tuple[str, TopicProperties | None]] = {}
        self._groups: dict[str, dict[str, str]] = {}
        self._turns: dict[Unit, None] = {}  # what was asked, longest ago first
        self._asked: list[Unit] = []
        self._answers: dict[Unit, list[Any]] = {}
        self._ends: dict[Unit, PartitionInfo] = {}
        self._places: dict[Unit, Place] = {}
        self._members: dict[Unit, _Members] = {}
        self._cut = False

    def asks(self) -> list[Ask]:
        """What to send now."""
        asks = [Ask("topics", self._names.wire(), self._names.take)]
        every = dict.fromkeys(islice(self._units(), MOST_UNITS + 1))
        never = [unit for unit in every if unit not in self._turns]
        self._cut = len(never) > NEW or len(every) > MOST_UNITS
        known = [unit for unit in self._turns if unit in every]
        plain, scripts = self._again
        self._asked = never[:NEW]
        self._asked += islice((unit for unit in known if not unit.is_script), plain)
        self._asked += islice((unit for unit in known if unit.is_script), scripts)
        self._answers = {}
        for unit in self._asked:
            asks += self._of(unit)
        return asks

    def keep(self, missing: dict[str, None]) -> None:
        """End a look: read the answers, and say what is not complete."""
        for unit in self._asked:
            self._turns.pop(unit, None)
            try:
                known = self._take(unit, self._answers.get(unit, []))
            except ValueError:  # no number stands where one should be
                known, missing[f"topic {unit.topic}"] = False, None
            if known:
                self._turns[unit] = None  # else it is asked again next time
        self._learn(missing)
        every = set(islice(self._units(), MOST_UNITS + 1))
        stores: tuple[dict[Unit, Any], ...] = (self._turns, self._ends, self._places, self._members)
        for store in stores:
            for unit in [one for one in store if one not in every]:
                del store[unit]
        if self._cut or self._names.cut:
            missing["topics"] = None

    def infos(self) -> tuple[TopicInfo, ...]:
        """The topics of which all is known, by name."""
        found = []
        for topic, properties in self._properties():
            ends = [self._ends.get(Unit(topic, number)) for number in range(properties.partitions)]
            partitions = tuple(end for end in ends if end is not None)
            if len(partitions) == properties.partitions:
                groups = (self._group(topic, name, properties.partitions) for name in self._groups.get(topic, ()))
                found.append(TopicInfo.of(topic, properties, partitions, tuple(one for one in groups if one)))
        return tuple(found)

    # -- what there is to ask ----------------------------------------------------------------------------------------

    def _properties(self) -> Iterator[tuple[str, TopicProperties]]:
        for topic, (_, properties) in self._stored.items():
            if properties is not None:
                yield topic, properties

    def _units(self) -> Iterator[Unit]:
        for topic, properties in self._properties():
            yield Unit(topic)
            for number in range(properties.partitions):
                yield Unit(topic, number)
            for group, kind in self._groups.get(topic, {}).items():
                if kind == "ordered":
                    yield Unit(topic, group=group)
                for number in range(properties.partitions):
                    yield Unit(topic, number, group)

    def _of(self, unit: Unit) -> list[Ask]:
        keys, what = topic_keys(self._namespace, unit.topic), f"topic {unit.topic}"
        answers: list[Any] = []
        self._answers[unit] = answers
        wires: list[Any]
        if unit.partition < 0:
            wires = [("HGETALL", keys.groups)] if not unit.group else reading.about(keys, unit.group)
        elif not unit.group:
            wires = [reading.ends(keys.partition(unit.partition))]
        else:
            before = self._places.get(unit)
            epoch = before.position.epoch if before is not None else 0
            kind = self._groups[unit.topic][unit.group]
            wires = [reading.look(keys.partition(unit.partition), unit.group, kind, epoch)]
        take: Callable[[Any], None] = answers.append
        return [Ask(what, wire, take) for wire in wires]

    # -- what is known -----------------------------------------------------------------------------------------------

    def _take(self, unit: Unit, answers: list[Any]) -> bool:
        """Read the answers for a unit; False if they did not all come, and then nothing is known of it."""
        topic, number, group = unit
        if number < 0 and group:
            self._members.pop(unit, None)
            if len(answers) == 3:
                self._members[unit] = _Members(reading.members(answers[0], answers[1]), int(answers[2] or 0))
        elif number < 0:
            self._groups.pop(topic, None)
            if answers:
                self._groups[topic] = dict(islice(reading.groups(answers[0]).items(), MOST_GROUPS))
        elif group:
            self._places.pop(unit, None)
            if answers:
                self._places[unit] = reading.place(number, answers[0], self._ends.get(Unit(topic, number)))
        else:
            self._ends.pop(unit, None)
            if answers:
                self._ends[unit] = reading.partition(number, answers[0])
        return len(answers) == (3 if number < 0 and group else 1)

    def _learn(self, missing: dict[str, None]) -> None:
        """The topics by their stored properties; what cannot be read is named."""
        before, self._stored = self._stored, {}
        for topic, text in self._names.known.items():
            known = before.get(topic)
            if known is None or known[0] != text:
                known = text, _decoded(topic, text)
            self._stored[topic] = known
            if known[1] is None:
                missing[f"topic {topic}"] = None
        self._groups = {topic: groups for topic, groups in self._groups.items() if topic in self._stored}

    def _group(self, topic: str, name: str, partitions: int) -> GroupInfo | None:
        found = [self._places.get(Unit(topic, number, name)) for number in range(partitions)]
        places = [place for place in found if place is not None]
        if len(places) < partitions:
            return None
        kind = self._groups[topic][name]
        if kind == "ordered":
            about = self._members.get(Unit(topic, group=name))
            if about is None:
                return None
            members, epoch = about
        else:
            members = tuple(map(GroupMember, sorted({one for place in places for one in place.consumers})))
            epoch = max(place.position.epoch for place in places)
        return GroupInfo.of((topic, name, kind), epoch, members, tuple(place.position for place in places))


def _decoded(topic: str, text: str) -> TopicProperties | None:
    try:
        return decode(check_name(topic, "topic"), text.encode())
    except (DecodeError, ConfigError, InvalidName):
        return None
