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
    consumers of a shared group have in hand or wait for. `lost` left the log before the group was there.
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


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One member or consumer: its name, what it says of itself, and its partitions (of an ordered group)."""

    name: str
    label: str = ""
    partitions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group of one topic; `kind` is 'ordered' or 'shared'. Its lag is the sum, in `seconds` that of the oldest."""

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


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic. `records` and `bytes` are retained, in all partitions."""

    topic: str
    properties: TopicProperties
    appended: int
    records: int
    bytes: int
    partitions: tuple[PartitionInfo, ...]
    groups: tuple[GroupInfo, ...] = field(default=())
