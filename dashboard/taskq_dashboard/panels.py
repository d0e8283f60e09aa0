"""The parts of the overview: each draws what fits into its height, the most telling rows first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from taskq.inspector import QueueInfo
from taskq.snapshot import ScheduleInfo, Snapshot
from taskq_dashboard.cells import clock, count, gauge, plain, rate, span, spark, width_of
from taskq_dashboard.grid import Column, table, window
from taskq_dashboard.paint import Line, Paint, Piece, trim
from taskq_dashboard.picture import Pace, Picture
from taskq_dashboard.rows import Run, failure_row, number, running_of, runs, slots_of, waiting
from taskq_dashboard.state import Row


def title(paint: Paint, text: str, width: int, note: str = "") -> Line:
    """A rule with a word on it, and perhaps a note at its right end."""
    rule = paint.signs.rule
    word, note = paint.text(text), paint.text(note)
    room = width - width_of(word) - 4 - (width_of(note) + 3 if note else 0)
    tail: list[Piece] = [(f" {note} ", "dim"), (rule, "rule")] if note and room > 0 else []
    return trim(
        [(rule, "rule"), (f" {word} ", "title"), (rule * max(room + 1, 0), "rule"), *tail], width, paint.signs.more
    )


def figure(value: float, look: str = "") -> Piece:
    """A number; nothing is grey."""
    return (count(value), look if value else "dim")


def per_second(value: float, look: str = "") -> Piece:
    """A rate; nothing is grey."""
    return (rate(value), look if value else "dim")


def duration(seconds: float | None, look: str = "") -> Piece:
    """A duration; none is grey."""
    return (span(seconds), look if seconds is not None else "dim")


# -- queues ------------------------------------------------------------------------------------------------------------

QUEUE_COLUMNS = (
    Column("queue", 8, 40),
    Column("", 2, 2),
    Column("ready", 5, 6, right=True),
    Column("oldest", 6, 7, right=True),
    Column("run", 4, 6, right=True),
    Column("done/s", 6, 6, right=True),
    Column("fail/s", 6, 6, right=True),
    Column("p95", 6, 7, right=True, rank=1),
    Column("delay", 5, 6, right=True, rank=5),
    Column("retry", 5, 6, right=True, rank=4),
    Column("dead", 5, 6, right=True, rank=2),
)
GRAPH_LEAST = 8


def queue_row(info: QueueInfo, pace: Pace, paint: Paint, running: int) -> list[Piece]:
    """One queue, in the order of the columns; `running` is how many of it run."""
    old = info.oldest is not None and info.oldest >= 60
    return [
        (plain(info.name), "pause" if info.paused else ""),
        (paint.signs.pause if info.paused else "", "pause"),
        figure(waiting(info, running), "bold"),
        duration(info.oldest, "warn" if old else ""),
        figure(running, "run"),
        per_second(pace.rates.done, "done"),
        per_second(pace.rates.failed, "retry"),
        duration(pace.p95),
        figure(max(info.delayed - info.retrying, 0)),
        figure(info.retrying, "retry"),
        figure(info.dead + info.quarantined, "dead"),
    ]


def queue_table(
    picture: Picture, queues: Sequence[QueueInfo], paint: Paint, width: int, here: int | None
) -> list[Line]:
    """Queues with their little graphs, if there is room for these."""
    columns: tuple[Column, ...] = QUEUE_COLUMNS
    told = running_of(picture.snapshot)
    rows = [queue_row(info, picture.pace(info.name), paint, told[info.name]) for info in queues]
    fixed = 2 + sum(column.least + 2 for column in QUEUE_COLUMNS if column.rank < 4)
    names = max([width_of(info.name) for info in queues], default=8)
    room = min(width - fixed - max(min(names, 40) - 8, 0) - 12, 60)
    if room >= GRAPH_LEAST:
        columns = (*columns, Column(f"last {_minutes(room)}", room, room, rank=3))
        for row, info in zip(rows, queues, strict=True):
            row.append((spark(picture.pace(info.name).bars, room, paint.signs.spark), "done"))
    return table(paint, columns, rows, width, here=here)


def _minutes(bars: int) -> str:
    return span(bars * 5).replace(".0", "").replace(" ", "")


# -- the other parts ---------------------------------------------------------------------------------------------------

RUN_COLUMNS = (
    Column("task", 10, 40),
    Column("worker", 12, 40, rank=2, tail=True),
    Column("for", 6, 7, right=True),
    Column("limit", 14, 14, rank=1),
)


def run_row(run: Run, paint: Paint) -> list[Piece]:
    """One attempt that is running."""
    share = run.seconds / run.limit if run.limit else 0.0
    look = "alarm" if share > 0.8 else "run"
    bar = gauge(share, 6, paint.signs.full, paint.signs.empty) if run.limit else ""
    where = f"{plain(run.worker)} {run.slot}".rstrip()
    return [
        (plain(run.task), ""),
        (where, "dim"),
        (span(run.seconds), look),
        (f"{bar} {span(run.limit)}" if run.limit else "none", look if share > 0.8 else "dim"),
    ]


def running(picture: Picture, paint: Paint, width: int, height: int) -> list[Line]:
    """What runs now, the longest first."""
    found = runs(picture.snapshot)
    rows = [run_row(run, paint) for run in found[: max(height - 2, 0)]]
    head = title(paint, f"running now {len(found)}", width)
    return [head, *table(paint, RUN_COLUMNS, rows, width)][:height]


FAILURE_COLUMNS = (
    Column("at", 8, 11),
    Column("task", 10, 40),
    Column("error", 10, 30),
    Column("try", 3, 4, right=True, rank=1),
    Column("queue", 8, 24, rank=3),
    Column("text", 16, 400, rank=2),
)


def failure_cells(row: Row, now: float) -> list[Piece]:
    """One failed attempt."""
    return [
        (clock(row.at, now), "dim"),
        (plain(row.task), ""),
        (plain(row.error), "dead"),
        (str(row.attempts or "-"), "dim"),
        (plain(row.queue), "dim"),
        (plain(row.note), ""),
    ]


def failures(picture: Picture, paint: Paint, width: int, height: int) -> list[Line]:
    """The last failed attempts."""
    snapshot = picture.snapshot
    rows = [failure_cells(failure_row(one), snapshot.now) for one in snapshot.failures[: max(height - 2, 0)]]
    return [title(paint, "recent failures", width), *table(paint, FAILURE_COLUMNS, rows, width)][:height]


WORKER_COLUMNS = (
    Column("worker", 12, 40, tail=True),
    Column("state", 7, 9),
    Column("slots", 13, 13),
    Column("done", 5, 6, right=True, rank=1),
    Column("failed", 6, 6, right=True, rank=1),
    Column("seen", 6, 6, right=True),
    Column("queues", 8, 60, rank=2),
    Column("version", 7, 10, rank=3),
)


def worker_rows(snapshot: Snapshot, paint: Paint) -> list[list[Piece]]:
    """Every worker of the last hour."""
    rows: list[list[Piece]] = []
    for one in snapshot.workers:
        room, counters, queues = slots_of(one), one.record.get("counters"), one.record.get("queues")
        counters = counters if isinstance(counters, dict) else {}
        share = room.used / room.all if room.all else 0.0
        bar = gauge(share, 6, paint.signs.full, paint.signs.empty)
        state = str(one.record.get("state", "?")) if one.present else "gone"
        rows.append(
            [
                (plain(one.id), "" if one.present else "dim"),
                (plain(state), ("done" if state == "running" else "warn") if one.present else "dead"),
                (f"{bar} {count(room.used)}/{count(room.all)}" if one.present else "-", "run" if room.used else "dim"),
                figure(number(counters.get("done"))) if one.present else ("-", "dim"),
                figure(number(counters.get("failed")), "retry") if one.present else ("-", "dim"),
                duration(max(snapshot.now - one.beat, 0) / 1000, "" if one.present else "dim"),
                (plain(", ".join(map(str, queues))) if isinstance(queues, list) else "-", "dim"),
                (plain(one.record.get("version", "-")), "dim"),
            ]
        )
    return rows


def workers(picture: Picture, paint: Paint, width: int, height: int) -> list[Line]:
    """Workers and their slots."""
    found = picture.snapshot.workers
    there = sum(one.present for one in found)
    rows = worker_rows(picture.snapshot, paint)[: max(height - 2, 0)]
    return [title(paint, f"workers {there}", width), *table(paint, WORKER_COLUMNS, rows, width)][:height]


SCHEDULE_COLUMNS = (
    Column("schedule", 12, 40),
    Column("", 2, 2),
    Column("next", 9, 9, right=True),
    Column("when", 12, 24, rank=1),
    Column("task", 12, 40, rank=2),
    Column("queue", 8, 24, rank=3),
    Column("last", 8, 11, rank=4),
    Column("runs", 5, 6, right=True, rank=5),
    Column("state", 8, 10, rank=6),
)


def schedule_row(info: ScheduleInfo, now: int, paint: Paint) -> list[Piece]:
    """One schedule."""
    due = None if info.next is None else max(info.next.timestamp() - now / 1000, 0.0)
    paused = info.state == "paused"
    when = info.cron or (f"every {span(info.every)}" if info.every is not None else "-")
    return [
        (plain(info.name), "pause" if paused else ""),
        (paint.signs.pause if paused else "", "pause"),
        (f"in {span(due)}" if due is not None else "-", "" if due is not None else "dim"),
        (plain(when), "dim"),
        (plain(info.task), ""),
        (plain(info.queue), "dim"),
        (clock(info.last.timestamp() * 1000, now) if info.last is not None else "-", "dim"),
        figure(info.runs),
        (plain(info.state), "dim" if info.state == "active" else "warn"),
    ]


def schedules(picture: Picture, paint: Paint, width: int, height: int) -> list[Line]:
    """The next schedules."""
    snapshot = picture.snapshot
    rows = [schedule_row(one, snapshot.now, paint) for one in snapshot.schedules[: max(height - 2, 0)]]
    head = title(paint, f"next schedules {len(snapshot.schedules) or ''}".rstrip(), width)
    return [head, *table(paint, SCHEDULE_COLUMNS[:6], rows, width)][:height]


# -- room --------------------------------------------------------------------------------------------------------------

Draw: TypeAlias = Callable[[Picture, Paint, int, int], list[Line]]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the overview: `rows` is how many it would fill; `least` lines are worth having, or none."""

    draw: Draw
    rows: int
    least: int = 3


def parts(snapshot: Snapshot) -> list[Part]:
    """Those that have something to show, the most important first."""
    found = [
        Part(running, len(runs(snapshot))),
        Part(failures, len(snapshot.failures)),
        Part(workers, len(snapshot.workers)),
        Part(schedules, len(snapshot.schedules)),
    ]
    return [part for part in found if part.rows]


def allot(height: int, wanted: Sequence[tuple[int, int]]) -> list[int]:
    """Lines for each of (least, most), the first ones first: 0 for those that have no room.

    >>> allot(10, [(3, 20), (3, 4), (3, 9)]), allot(5, [(3, 20), (3, 4)])
    ([4, 3, 3], [5, 0])
    """
    lines = [0] * len(wanted)
    left = height
    for at, (least, _) in enumerate(wanted):
        if least <= left:
            lines[at] = least
            left -= least
    while left > 0:
        grown = False
        for at, (_, most) in enumerate(wanted):
            if left and 0 < lines[at] < most:
                lines[at] += 1
                left -= 1
                grown = True
        if not grown:
            break
    return lines


def stacked(picture: Picture, chosen: Sequence[Part], paint: Paint, width: int, height: int) -> list[Line]:
    """Some parts below each other, in exactly so many lines."""
    lines: list[Line] = []
    heights = allot(height, [(part.least, part.rows + 2) for part in chosen])
    for part, room in zip(chosen, heights, strict=True):
        lines += part.draw(picture, paint, width, room) if room else []
    return filled(lines, width, height)


def filled(lines: Sequence[Line], width: int, height: int) -> list[Line]:
    """Exactly so many lines."""
    blank: Line = ((" " * width, ""),)
    return [*lines[:height], *[blank] * (height - len(lines))]


def queue_panel(
    picture: Picture, found: Sequence[QueueInfo], paint: Paint, width: int, height: int, at: int
) -> list[Line]:
    """The queues as a part of the overview, around the selected one."""
    first, end = window(len(found), height - 2, at)
    note = f"{first + 1}-{end} of {len(found)}" if end - first < len(found) else ""
    look = picture.snapshot
    every = "queues" in look.truncated and len(found) == len(look.queues)
    head = title(paint, f"queues {len(found)}" + (f" of {look.queue_count}" if every else ""), width, note)
    here = at - first if found else None
    return filled([head, *queue_table(picture, found[first:end], paint, width, here)], width, height)
