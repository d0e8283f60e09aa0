"""From a snapshot of a namespace to a page of metrics. Pure; what the names mean stands in `taskq.metric_names`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from taskq import metric_names as names
from taskq.exposition import Page
from taskq.snapshot import GroupInfo, Snapshot, TaskStats, TopicInfo, WorkerInfo
from taskq.tasks.operator_calls import QueueInfo
from taskq.tasks.schedule_admin import ScheduleInfo

WORKER_STATES: Final = ("starting", "running", "quiet", "draining", "silent")
SCHEDULE_STATES: Final = ("active", "paused", "orphaned", "ended", "unreadable")
_ENDINGS: Final = ("done", "dead", "cancelled", "expired")


def describe(snapshot: Snapshot, page: Page) -> None:
    """Put all that is known of the namespace on the page."""
    for queue in snapshot.queues:
        _queue(queue, page)
    for stats in snapshot.tasks:
        _task(stats, page)
    _workers(snapshot.workers, page)
    _schedules(snapshot.schedules, snapshot.now, page)
    for topic in snapshot.topics:
        _topic(topic, page)
    page.add(names.EXPORTER_MISSING, len(snapshot.truncated))
    page.add(names.BROKER_MEMORY, snapshot.server.memory)
    page.add(names.BROKER_MEMORY_LIMIT, snapshot.server.limit)
    page.add(names.BROKER_CLIENTS, snapshot.server.clients)


def states(queue: QueueInfo) -> dict[str, int]:
    """How many messages of a queue are in each state; a message that a worker fetched but did not start is ready."""
    return {
        "ready": queue.ready + max(queue.leased - queue.running, 0),
        "running": queue.running,
        "delayed": max(queue.delayed - queue.retrying, 0),
        "retrying": queue.retrying,
        "parked": queue.parked_total,
        "dead": queue.dead,
        "quarantined": queue.quarantined,
    }


def _queue(queue: QueueInfo, page: Page) -> None:
    name, counters = queue.name, queue.counters
    page.add(names.MESSAGES_ENQUEUED, counters.get("enqueued", 0), queue=name)
    for outcome in _ENDINGS:
        page.add(names.MESSAGES_ENDED, counters.get(outcome, 0), queue=name, outcome=outcome)
    page.add(names.MESSAGES_RECLAIMED, counters.get("reclaimed", 0), queue=name)
    page.add(names.DEAD_DROPPED, counters.get("dead_dropped", 0), queue=name)
    page.add(names.ATTEMPTS_CRASHED, counters.get("crashed", 0), queue=name)
    for state, count in states(queue).items():
        page.add(names.QUEUE_MESSAGES, count, queue=name, state=state)
    page.add(names.QUEUE_OLDEST_AGE, queue.oldest or 0, queue=name)
    page.add(names.QUEUE_PAUSED, queue.paused, queue=name)
    page.add(names.QUEUE_TRUNCATED, bool(queue.truncated), queue=name)
    stream = queue.stream
    if stream is not None:
        parts = {"unread": stream.unread, "pending": stream.pending}
        parts["history"] = max(stream.entries - stream.unread - stream.pending, 0)
        for state, count in parts.items():
            page.add(names.STREAM_ENTRIES, count, queue=name, state=state)


def _task(stats: TaskStats, page: Page) -> None:
    where = {"queue": stats.queue, "task": stats.task}
    for outcome in ("done", "retried", "dead", "cancelled", "expired"):
        page.add(names.ATTEMPTS, getattr(stats, outcome), **where, outcome=outcome)
    page.add(names.ATTEMPTS_FAILED, stats.failed, **where)
    page.add(names.RUN_SECONDS, stats.run, **where)
    page.add(names.WAIT_SECONDS, stats.wait, **where)


def _workers(workers: tuple[WorkerInfo, ...], page: Page) -> None:
    found: Counter[str] = Counter(dict.fromkeys(WORKER_STATES, 0))
    busy = slots = 0
    for worker in workers:
        state = worker.record.get("state") if worker.present else "silent"
        # A word that this release does not know is not passed on: it would be a label that others may choose.
        found[state if state in WORKER_STATES else "running"] += 1
        if worker.present:
            mine, all_of_it = slots_of(worker.record)
            busy, slots = busy + mine, slots + all_of_it
    for state, count in found.items():
        page.add(names.WORKERS, count, state=state)
    page.add(names.SLOTS, busy, state="busy")
    page.add(names.SLOTS, max(slots - busy, 0), state="free")


def slots_of(record: Mapping[str, Any]) -> tuple[int, int]:
    """How many slots of a worker are busy, and how many it has; from its record, whatever stands there."""
    children, each = record.get("children"), record.get("concurrency")
    busy = slots = 0
    for child in children if isinstance(children, list) else []:
        if isinstance(child, dict):
            running = child.get("running")
            busy += running if isinstance(running, int) else 0
            slots += 1 if child.get("alone") is True else each if isinstance(each, int) else 0
    return busy, slots


def _schedules(schedules: tuple[ScheduleInfo, ...], now: int, page: Page) -> None:
    found: Counter[str] = Counter(dict.fromkeys(SCHEDULE_STATES, 0))
    latest = 0.0
    for schedule in schedules:
        found[schedule.state if schedule.state in SCHEDULE_STATES else "unreadable"] += 1
        if schedule.state == "active" and schedule.next is not None:
            latest = max(latest, now / 1000 - schedule.next.timestamp())
    for state, count in found.items():
        page.add(names.SCHEDULES, count, state=state)
    page.add(names.SCHEDULE_DELAY, latest)


def _topic(topic: TopicInfo, page: Page) -> None:
    name = topic.topic
    page.add(names.TOPIC_RECORDS, topic.appended, topic=name)
    page.add(names.TOPIC_BYTES, topic.appended_bytes, topic=name)
    page.add(names.TOPIC_RETAINED, topic.records, topic=name)
    page.add(names.TOPIC_RETAINED_BYTES, topic.bytes, topic=name)
    for group in topic.groups:
        _group(group, page)


def _group(group: GroupInfo, page: Page) -> None:
    where = {"topic": group.topic, "group": group.group}
    page.add(names.GROUP_LAG, group.records, **where)
    page.add(names.GROUP_LAG_BYTES, group.bytes, **where)
    page.add(names.GROUP_LAG_SECONDS, group.seconds, **where)
    page.add(names.GROUP_RECORDS, group.done, **where)
    page.add(names.GROUP_RETRIED, group.retried, **where)
    page.add(names.GROUP_BURIED, group.buried, **where)
    page.add(names.GROUP_LOST, group.lost, **where)
    page.add(names.GROUP_DEAD, group.dead, **where)
    page.add(names.GROUP_WAITING, group.waiting, **where)
    page.add(names.GROUP_MEMBERS, len(group.members), **where)
    page.add(names.GROUP_EPOCH, group.epoch, **where)
