"""The rows of each view that fit its filter, in the order in which they stand there; the same for keys and drawing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from taskq.inspector import QueueInfo, WorkerInfo
from taskq.snapshot import FailureInfo, ScheduleInfo, Snapshot, TopicInfo
from taskq_dashboard.state import Row, State


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt that is running, as its worker told; seconds. `limit` is 0 if it has none."""

    id: str
    task: str
    queue: str
    worker: str
    slot: str
    seconds: float
    limit: float


Item: TypeAlias = QueueInfo | Run | Row | ScheduleInfo | TopicInfo


def items(state: State) -> list[Item]:
    """The rows of the view that is open, all of them."""
    snapshot, text = state.snapshot, state.text.casefold()
    if state.view in ("messages", "dead"):
        if state.tab == "failures":
            return [*fitting_failures(snapshot, text)]
        return [*state.listing.rows] if state.listing is not None else []
    if snapshot is None:
        return []
    if state.view == "workers":
        return [one for one in runs(snapshot) if has(text, one.task, one.queue, one.id, one.worker)]
    if state.view == "schedules":
        return [one for one in snapshot.schedules if has(text, one.name, one.task, one.queue, one.state)]
    if state.view == "topics":
        return [one for one in snapshot.topics if has(text, one.topic, *(group.group for group in one.groups))]
    return [one for one in snapshot.queues if has(text, one.name)]


def key_of(item: Item) -> str:
    """What tells a row from others as long as it is there."""
    if isinstance(item, (QueueInfo, ScheduleInfo)):
        return item.name
    if isinstance(item, TopicInfo):
        return item.topic
    # One message can be there several times among the failures.
    return f"{item.id} {item.at}" if isinstance(item, Row) else item.id


def has(text: str, *places: str) -> bool:
    """Whether the text stands in one of these, in either case."""
    return not text or any(text in place.casefold() for place in places)


def place(state: State, rows: list[Item]) -> int:
    """The index of the selected row; 0 as long as none is."""
    wanted = state.at.get(state.view)
    return next((at for at, item in enumerate(rows) if key_of(item) == wanted), 0)


def settled(before: State, after: State) -> State:
    """`after` with the key of its selected row: that of the first when a list is first shown, so that what comes later
    never stands under the finger. If the row has gone, the next one of `before` that is still there takes its place.
    """
    rows, wanted = [key_of(item) for item in items(after)], after.at.get(after.view)
    if not rows or wanted in rows:
        return after
    old = [key_of(item) for item in items(before)] if before.view == after.view else []
    here = old.index(wanted) if wanted in old else 0
    there = set(rows)
    near = next((key for key in (*old[here:], *reversed(old[:here])) if key in there), None)
    key = near if near is not None else rows[min(here, len(rows) - 1)]
    return replace(after, at={**after.at, after.view: key})


def selected(state: State) -> Item | None:
    """The selected row."""
    rows = items(state)
    return rows[place(state, rows)] if rows else None


def queue_at_hand(state: State) -> str:
    """The queue that is selected, or whose messages are listed; '' if there is none."""
    one = selected(state) if state.view in ("overview", "queues") else None
    return one.name if isinstance(one, QueueInfo) else state.queue


def fitting_failures(snapshot: Snapshot | None, text: str) -> Iterable[Row]:
    """The last failed attempts as rows."""
    for one in snapshot.failures if snapshot is not None else ():
        if has(text, one.task, one.queue, one.id, one.type, one.message):
            yield failure_row(one)


def failure_row(one: FailureInfo) -> Row:
    """A failed attempt as a row of a list."""
    return Row(
        one.queue,
        one.id,
        one.task,
        at=one.at,
        attempts=one.attempt,
        worker=one.worker,
        error=one.type.rpartition(".")[2],
        note=one.message,
    )


def runs(snapshot: Snapshot) -> list[Run]:
    """What runs now, the longest first."""
    found = [run for worker in snapshot.workers if worker.present for run in _runs_of(worker, snapshot.now)]
    return sorted(found, key=lambda run: -run.seconds)


def running_of(snapshot: Snapshot) -> Counter[str]:
    """How many run of each queue: what workers say of themselves is newer than what their heartbeats wrote."""
    told = Counter(run.queue for run in runs(snapshot))
    for info in snapshot.queues:
        told[info.name] = max(told[info.name], info.running)
    return told


def waiting(info: QueueInfo, running: int) -> int:
    """Messages that can run now; what a worker has fetched and not begun is among them, as far as that is known."""
    return info.ready if "running" in info.truncated else info.ready + max(info.leased - running, 0)


def _runs_of(worker: WorkerInfo, now: int) -> Iterable[Run]:
    told = worker.record.get("running")
    said = number(worker.record.get("at")) or worker.beat
    for one in told if isinstance(told, list) else ():
        if not isinstance(one, dict):
            continue
        child, slot = one.get("child"), one.get("slot")
        yield Run(
            id=str(one.get("id", "")),
            task=str(one.get("task", "")),
            queue=str(one.get("queue", "")),
            worker=worker.id,
            slot="" if child is None and slot is None else f"{child}.{slot}",
            seconds=max(number(one.get("seconds")) + max(now - said, 0) / 1000, 0.0),
            limit=number(one.get("limit")),
        )


def number(value: Any) -> float:
    """A number of a record, 0 if it is none: other releases may say other things."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value else 0.0


@dataclass(frozen=True, slots=True)
class Slots:
    """How many slots workers have, and how many of them run something."""

    used: int = 0
    all: int = 0


def slots_of(worker: WorkerInfo) -> Slots:
    """Those of one worker, by its record."""
    record = worker.record
    children = record.get("children")
    running = sum(int(number(one.get("running"))) for one in children or () if isinstance(one, dict))
    return Slots(running, int(number(record.get("processes")) * number(record.get("concurrency"))))


def slots(snapshot: Snapshot) -> Slots:
    """Those of all workers that are there."""
    each = [slots_of(one) for one in snapshot.workers if one.present]
    return Slots(sum(one.used for one in each), sum(one.all for one in each))
