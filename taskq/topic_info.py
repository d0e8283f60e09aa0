"""What is known of topics and their groups at one moment, as values."""

from __future__ import annotations

from dataclasses import dataclass, field

from taskq.events.properties import TopicProperties


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """One partition. `appended` counts all records that it ever had, `records` and `bytes` those that are retained
    (before compaction). `first` is the offset behind which they are, `last` that of the last entry.
    """

    partition: int
    appended: int
    appended_bytes: int
    records: int
    bytes: int
    first: str
    last: str
    compactions: int


@dataclass(frozen=True, slots=True)
class PositionInfo:
    """Where a group stands in one partition. `records`, `bytes` and `seconds` are its lag: what is not done yet, and
    the age of the oldest of it. `waiting` counts parked keys, or records that wait for another try; `pending` what
    consumers of a shared group have in hand or wait for; `dead` the dead letters that are there.

    These only grow: `lost` left the log before the group was there, `done` it was done with in one way or another,
    `retried` are runs that failed and come again, `buried` became dead letters.
    """

    partition: int
    offset: str
    records: int
    bytes: int
    seconds: float
    owner: str
    epoch: int
    dead: int
    waiting: int
    pending: int
    lost: int
    done: int = 0
    retried: int = 0
    buried: int = 0


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One member or consumer: its name, what it says of itself, and its partitions (of an ordered group)."""

    name: str
    label: str = ""
    partitions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group of one topic; `kind` is 'ordered' or 'shared'. Lag and counts are sums, `seconds` is that of the oldest.
    `epoch` grows when partitions are given out anew, or a shared group is moved.
    """

    topic: str
    group: str
    kind: str
    epoch: int
    records: int
    bytes: int
    seconds: float
    dead: int
    members: tuple[GroupMember, ...]
    positions: tuple[PositionInfo, ...]
    waiting: int = 0
    lost: int = 0
    done: int = 0
    retried: int = 0
    buried: int = 0

    @classmethod
    def of(
        cls,
        place: tuple[str, str, str],
        epoch: int,
        members: tuple[GroupMember, ...],
        positions: tuple[PositionInfo, ...],
    ) -> GroupInfo:
        """The group of topic, name and kind that stands at these positions."""

        def total(name: str) -> int:
            return sum(getattr(one, name) for one in positions)

        age = max((one.seconds for one in positions), default=0.0)
        return cls(
            *(*place, epoch, total("records"), total("bytes"), age, total("dead"), members, positions),
            *(total(name) for name in ("waiting", "lost", "done", "retried", "buried")),
        )


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic. `records` and `bytes` are retained, in all partitions; `appended` and `appended_bytes` only grow."""

    topic: str
    properties: TopicProperties
    appended: int
    records: int
    bytes: int
    partitions: tuple[PartitionInfo, ...]
    groups: tuple[GroupInfo, ...] = field(default=())
    appended_bytes: int = 0

    @classmethod
    def of(
        cls,
        name: str,
        properties: TopicProperties,
        partitions: tuple[PartitionInfo, ...],
        groups: tuple[GroupInfo, ...],
    ) -> TopicInfo:
        """The topic with these partitions."""
        return cls(
            name,
            properties,
            sum(one.appended for one in partitions),
            sum(one.records for one in partitions),
            sum(one.bytes for one in partitions),
            partitions,
            groups,
            sum(one.appended_bytes for one in partitions),
        )
