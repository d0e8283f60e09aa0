"""A namespace that somebody made up, with a number of its own in each place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from taskq.buckets import Histogram, bucket
from taskq.events.properties import TopicProperties
from taskq.snapshot import GroupInfo, ServerInfo, Snapshot, TaskStats, TopicInfo, WorkerInfo
from taskq.tasks.operator_calls import Parked, QueueInfo
from taskq.tasks.schedule_admin import ScheduleInfo
from taskq.tasks.stream_calls import StreamInfo
from taskq.topic_info import GroupMember, PartitionInfo, PositionInfo

NOW = 1_800_000_000_000
HOSTILE = 'a"b\\c\nd{e="f"} 1\n# HELP x'

MAIL = QueueInfo(
    name="mail",
    now=NOW,
    ready=100,
    delayed=20,
    retrying=5,
    leased=9,
    running=7,
    dead=3,
    quarantined=2,
    parked=(Parked("gone", 1.0, 4),),
    parked_total=4,
    cancelled_waiting=1,
    outbox=0,
    oldest=12.5,
    due=None,
    paused=True,
    counters={
        "enqueued": 1000,
        "done": 850,
        "dead": 11,
        "cancelled": 13,
        "expired": 17,
        "reclaimed": 19,
        "crashed": 23,
        "dead_dropped": 29,
    },
)
LOG = replace(
    MAIL,
    name="log",
    oldest=None,
    paused=False,
    counters={},
    truncated=("running",),
    transport="stream",
    stream=StreamInfo(50, 6, 4, 0, 0, 0, 0, ("taskq",), None),
)
SCHEDULE = ScheduleInfo(
    *("report", "shop.report", "mail", "active", None, 30.0, "UTC"),
    next=datetime.fromtimestamp(NOW / 1000 - 2.5, UTC),
    last=None,
    last_message=None,
    in_code=True,
    missed="latest",
    overlap="skip",
    jitter=0.0,
    start=None,
    end=None,
    runs=1,
    skips=0,
)
PARTITIONS = (
    PartitionInfo(0, 100, 1_000, 60, 600, "3-0", "9-0", 0),
    PartitionInfo(1, 23, 345, 4, 56, "4-0", "8-0", 0),
)
BILLING = GroupInfo.of(
    ("orders", "billing", "ordered"),
    31,
    (GroupMember("one", "host:1", (0, 1)), GroupMember("two")),
    (
        PositionInfo(0, "5-0", 37, 370, 12.5, "one", 30, 1, 2, 0, 3, done=41, retried=43, buried=47),
        PositionInfo(1, "8-0", 0, 0, 0.0, "one", 31, 4, 5, 0, 6, done=400, retried=500, buried=600),
    ),
)
TOPICS = (
    TopicInfo.of("bare", TopicProperties(), PARTITIONS[1:], ()),
    TopicInfo.of("orders", TopicProperties(partitions=2), PARTITIONS, (BILLING,)),
)


def durations(*micros: int) -> Histogram:
    counts: dict[int, int] = {}
    for one in micros:
        counts[bucket(one)] = counts.get(bucket(one), 0) + 1
    return Histogram(counts)


def worker(id: str, state: str, running: int, *, present: bool = True, alone: bool = False) -> WorkerInfo:
    child = {"index": 1, "pid": 7, "state": state, "alone": alone, "running": running, "leases": 1}
    record: dict[str, Any] = {"id": id, "state": state, "concurrency": 8, "children": [child]}
    return WorkerInfo(id, NOW, present, record if present else {})


def snapshot() -> Snapshot:
    return Snapshot(
        namespace="shop",
        now=NOW,
        server=ServerInfo("redis", "7.0.15", memory=1_000_000, limit=2_000_000, clients=42),
        queues=(LOG, MAIL),
        workers=(
            worker("host-1", "running", 3),
            worker("host-2", "draining", 1, alone=True),
            worker("host-3", "running", 0, present=False),
        ),
        tasks=(
            TaskStats(
                "mail",
                "shop.send",
                done=850,
                failed=61,
                retried=50,
                dead=11,
                cancelled=13,
                expired=17,
                run=durations(1, 255, 256, 1_023, 1_024, 500_000, 10**12),
                wait=durations(0, 0, 3_000_000),
            ),
            TaskStats("mail", HOSTILE, done=1),
        ),
        schedules=(SCHEDULE, replace(SCHEDULE, name="old", state="paused", next=None)),
        topics=TOPICS,
        truncated=("queue broken",),
    )
