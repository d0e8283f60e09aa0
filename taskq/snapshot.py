"""What a namespace looks like at one moment: the values that the dashboard, the metrics and scripts read.

Counters only grow; who wants a rate takes the difference of two snapshots, or of two samples. Nothing here reads:
`taskq.inspector` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from taskq.buckets import Histogram
from taskq.tasks.operator_calls import QueueInfo as QueueInfo
from taskq.tasks.schedule_admin import ScheduleInfo as ScheduleInfo  # readers of snapshots name it
from taskq.topic_info import GroupInfo as GroupInfo
from taskq.topic_info import TopicInfo as TopicInfo

Fate: TypeAlias = Literal["retried", "dead", "quarantined", "crashed"]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The server, as it says itself; bytes. `limit` is 0 if its memory has none."""

    kind: str = "redis"
    version: str = "?"
    memory: int = 0
    limit: int = 0
    clients: int = 0
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class TaskStats:
    """What became of one task's attempts in one queue, and how long they took and had waited, since the beginning.

    `failed` counts attempts that ended in an error or a time-out; of these, and of those that asked for another run,
    `retried` ran again and `dead` did not (nor did those that crashed too often, which are `dead` but not `failed`).
    `run` is the time in the function of attempts that ended; `wait` is the time between the message's creation, by the
    producer's clock, and the start, of first attempts.
    """

    queue: str
    task: str
    done: int = 0
    failed: int = 0
    retried: int = 0
    dead: int = 0
    cancelled: int = 0
    expired: int = 0
    run: Histogram = field(default_factory=Histogram)
    wait: Histogram = field(default_factory=Histogram)


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters of a queue as they were at a moment (ms of the server's clock), taken by its sweep every 5 s.

    `waiting` are ready messages. Without a worker none are taken. While nothing changes none are stored: a reader has
    the values before them, at the beginning of each slot.
    """

    at: int
    enqueued: int
    done: int
    failed: int
    retried: int
    dead: int
    waiting: int


@dataclass(frozen=True, slots=True)
class FailureInfo:
    """One of the last failed attempts of a queue; `at` is ms of the server's clock."""

    queue: str
    id: str
    task: str
    at: int
    fate: Fate
    type: str
    message: str
    attempt: int
    worker: str


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One worker by its own last word. `present` is False if its record has lapsed: it died, or cannot reach us.

    `beat` is when it last spoke, in ms; `record` what it said (`taskq_workers.presence`), empty if that is gone.
    """

    id: str
    beat: float
    present: bool
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment; `now` is ms of the server's clock. `truncated` names what is not complete.

    `queues` are sorted by name, each as it was at its own `now`: of many a `Watch` reads half at a time. `workers` are
    those that spoke last first, `failures` newest first, `schedules` by their next slot. `samples` are by queue, oldest
    first, of the last ten minutes at most. `queue_count` is how many queues there are, also those that were not read.
    `topics` are by name, those of which all partitions were read; with many of them their figures are a few looks old.
    """

    namespace: str
    now: int
    server: ServerInfo
    queues: tuple[QueueInfo, ...] = ()
    workers: tuple[WorkerInfo, ...] = ()
    tasks: tuple[TaskStats, ...] = ()
    samples: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict, hash=False)
    failures: tuple[FailureInfo, ...] = ()
    schedules: tuple[ScheduleInfo, ...] = ()
    truncated: tuple[str, ...] = ()
    queue_count: int = 0
    topics: tuple[TopicInfo, ...] = ()
