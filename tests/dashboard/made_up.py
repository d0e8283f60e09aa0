"""Made-up snapshots, and a source that gives them: what the dashboard is tested and measured with."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from taskq.buckets import Histogram, bucket
from taskq.events.properties import Retention, TopicProperties
from taskq.inspector import Contents, MessageInfo, QueueInfo, WorkerInfo
from taskq.snapshot import FailureInfo, GroupInfo, Sample, ScheduleInfo, ServerInfo, Snapshot, TaskStats, TopicInfo
from taskq.topic_info import GroupMember, PartitionInfo, PositionInfo
from taskq_dashboard.source import Tell
from taskq_dashboard.state import Listing, Order, Row, Want

NOW = 1_800_000_000_000
"""A moment, ms."""


def queue(name: str, **figures: Any) -> QueueInfo:
    """A queue of which only some figures matter."""
    zero: dict[str, Any] = dict.fromkeys(
        ("ready", "delayed", "retrying", "leased", "running", "dead", "quarantined", "parked_total"), 0
    )
    zero |= {"cancelled_waiting": 0, "outbox": 0, "oldest": None, "due": None, "paused": False}
    zero |= {"name": name, "now": NOW, "parked": (), "counters": {}}
    return QueueInfo(**(zero | figures))


def counters(done: int, failed: int = 0, dead: int = 0, enqueued: int = 0) -> dict[str, int]:
    return {"enqueued": enqueued or done, "done": done, "failed": failed, "retried": failed, "dead": dead}


def worker(id: str = "host-1", *, present: bool = True, running: int = 2, **record: Any) -> WorkerInfo:
    """A worker with eight slots."""
    told = {
        "state": "running",
        "queues": ["mail"],
        "processes": 2,
        "concurrency": 4,
        "at": NOW,
        "version": "0.1.0",
        "counters": {"done": 5, "failed": 1},
        "children": [{"index": 0, "running": running}],
        "running": [
            {"id": f"id-{id}-{n}", "task": "shop.resize", "queue": "mail", "seconds": 3.0 * n, "limit": 30.0}
            | {"child": 0, "slot": n}
            for n in range(running)
        ],
    }
    return WorkerInfo(id, NOW - 400.0, present, told | record if present else {})


def failure(n: int = 0, message: str = "no route", **more: Any) -> FailureInfo:
    one = FailureInfo(
        "mail", f"fail-{n}", "shop.send", NOW - 1_000 * n, "retried", "builtins.ConnectionError", message, 1, "host-1"
    )
    return replace(one, **more)


def schedule(name: str = "nightly", state: str = "active", **more: Any) -> ScheduleInfo:
    there = datetime.fromtimestamp(NOW / 1000 + 90, UTC)
    one = ScheduleInfo.unreadable(name, "mail")
    known = {"task": "shop.report", "state": state, "cron": "0 3 * * *", "next": None if state == "paused" else there}
    return replace(one, **(known | more))


def stats(queue: str, task: str, done: int = 100, run: float = 0.04) -> TaskStats:
    durations = Histogram({bucket(int(run * 1e6)): done})
    return TaskStats(queue, task, done=done, failed=3, retried=2, dead=1, run=durations, wait=durations)


def group(name: str = "billing", topic: str = "orders", kind: str = "ordered", **figures: Any) -> GroupInfo:
    """A group that is behind in its first partition, with a member for both."""
    first = PositionInfo(0, "1800000000000-3", 1_234, 70_000, 3.0, "member-1", 7, 0, 2, 0, 0, done=5_000)
    second = PositionInfo(1, "1800000000000-9", 0, 0, 0.0, "member-1", 7, 3, 0, 0, 0, done=600, retried=4, buried=3)
    members = (GroupMember("member-1", "host:7", (0, 1)),)
    return replace(GroupInfo.of((topic, name, kind), 7, members, (first, second)), **figures)


def topic(name: str = "orders", *groups: GroupInfo, appended: int = 10_000, **said: Any) -> TopicInfo:
    """A topic of two partitions."""
    properties = TopicProperties(partitions=2, retention=Retention(count=5_000, age=60.0), created=NOW, **said)
    partitions = (
        PartitionInfo(0, appended - 2_000, 500_000, 4_000, 250_000, "1799999999999-0", "1800000000000-99", 0),
        PartitionInfo(1, 2_000, 100_000, 2_000, 100_000, "0-0", "1800000000000-42", 0),
    )
    return TopicInfo.of(name, properties, partitions, groups)


def samples(last: int, step: int = 10) -> tuple[Sample, ...]:
    """Ten minutes in which `step` messages were done in each five seconds, up to `last`."""
    return tuple(Sample(NOW - 5_000 * (120 - n), 0, max(last - step * (120 - n), 0), 0, 0, 0, 0) for n in range(120))


def snapshot(*queues: QueueInfo, now: int = NOW, **parts: Any) -> Snapshot:
    """All read at that moment."""
    read = tuple(replace(one, now=now) for one in queues)
    return Snapshot("shop", now, ServerInfo("valkey", "9.1.2", 18_874_368, 0, 12, 1), read, **parts)


def busy(count: int = 50, now: int = NOW, more: int = 0) -> Snapshot:
    """A namespace with much in it; `more` messages later."""
    names = [f"queue-{n:02}" for n in range(count)]
    return snapshot(
        *(
            queue(
                name,
                ready=137 * n,
                delayed=12 + n,
                retrying=n,
                leased=8,
                running=6,
                dead=n % 7,
                oldest=0.4 * n,
                paused=n == 3,
                counters=counters(100_000 + n * 1_000 + more, n * 10, n),
            )
            for n, name in enumerate(names)
        ),
        now=now,
        workers=tuple(worker(f"host-{n}", running=8) for n in range(10)),
        tasks=tuple(stats(name, f"shop.tasks.number_{n}", 1_000 + more) for name in names for n in range(3)),
        samples={name: samples(100_000) for name in names},
        failures=tuple(failure(n) for n in range(20)),
        schedules=tuple(schedule(f"nightly-{n}") for n in range(10)),
        topics=tuple(
            topic(f"topic-{n:02}", group(topic=f"topic-{n:02}"), group("mail", f"topic-{n:02}", "shared", records=n))
            for n in range(count)
        ),
    )


def rows(count: int, queue: str = "mail", text: str = "") -> tuple[Row, ...]:
    return tuple(
        Row(queue, f"id-{n:04}", "shop.send", NOW - 1_000.0 * n, None, 2, "host-1", "ConnectionError", text)
        for n in range(count)
    )


def message(**more: Any) -> MessageInfo:
    """A dead letter in full."""
    history = (
        {"type": "ValueError", "message": "no tea", "kind": "error", "attempt": 1, "worker": "host-1", "at": NOW + 500}
        | {"traceback": "Traceback:\n\tFile x\nValueError: no tea"},
    )
    fields: dict[str, Any] = dict.fromkeys(("due", "expires", "deadline", "result_until", "then", "progress"))
    fields |= {"id": "id-0000", "queue": "mail", "status": "dead", "task": "shop.send", "priority": 0, "attempts": 1}
    fields |= {"crashes": 0, "deliveries": 1, "created": NOW, "buried": NOW + 900.0, "cancel_requested": False}
    fields |= {"unique": False, "explicit": False, "once": False, "bytes": 40, "options": {"timeout": 9.0}}
    fields |= {"history": history, "result": "dead", "result_bytes": 10, "problem": ""}
    fields |= {"contents": Contents((42, "tea"), {"size": 3}, {"trace": "x"})}
    return MessageInfo(**(fields | more))


@dataclass
class FakeSource:
    """Gives what it is told to give, and notes what is asked of it."""

    snapshots: list[Snapshot] = field(default_factory=lambda: [busy(5)])
    listings: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    failing: BaseException | None = None
    orders: list[Order] = field(default_factory=list)
    looked: threading.Event = field(default_factory=threading.Event)
    focus: str = ""

    def look(self, focus: str = "", *, every: bool = False) -> Snapshot:
        self.looked.set()
        self.focus = focus
        if self.failing is not None:
            raise self.failing
        return self.snapshots.pop(0) if len(self.snapshots) > 1 else self.snapshots[0]

    def page(self, want: Want) -> Listing:
        found = self.listings.get(want.listed, ())
        return Listing(want, found, len(found), len(found))

    def count(self, want: Want, tell: Tell) -> int:
        return len(self.listings.get(want.listed, ()))

    def message(self, queue: str, id: str) -> MessageInfo:
        raise NotImplementedError

    def carry_out(self, order: Order, tell: Tell) -> str:
        self.orders.append(order)
        for done in range(1, (order.count or len(order.ids)) + 1):
            tell(done)
        return f"{order.verb} done"
