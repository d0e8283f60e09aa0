"""The views, each a picture of exactly `width` times `height` cells. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from taskq.inspector import QueueInfo
from taskq.snapshot import ScheduleInfo, TaskStats, TopicInfo
from taskq_dashboard import panels
from taskq_dashboard.cells import count, plain, span
from taskq_dashboard.flow import drawing
from taskq_dashboard.grid import Column, table, window
from taskq_dashboard.paint import Line, Paint, Piece, trim
from taskq_dashboard.panels import duration, figure, filled, title
from taskq_dashboard.rows import Item, Run, items, place
from taskq_dashboard.state import TABS, Row, State, View
from taskq_dashboard.topics import topic_line, topic_page

WIDE = 140  # cells from which two parts stand side by side
_LEAST_QUEUES = 4


def body(state: State, paint: Paint, width: int, height: int) -> list[Line]:
    """The view that is open."""
    if state.picture is None:
        return filled([trim([("  looking ...", "dim")], width, paint.signs.more)], width, height)
    return _PAGES[state.view](state, paint, width, height)


def overview(state: State, paint: Paint, width: int, height: int) -> list[Line]:
    """The flow, the queues, and what else there is room for."""
    picture = state.picture
    assert picture is not None
    top = [title(paint, "flow", width), *drawing(picture, paint, width), *topic_line(picture, paint, width)]
    left = height - len(top)
    chosen = panels.parts(picture.snapshot)
    rows = [one for one in items(state) if isinstance(one, QueueInfo)]
    at = place(state, list[Item](rows))
    if not rows:
        return filled([*top, title(paint, "queues 0", width), _nothing(state, paint, width)], width, height)
    if width >= WIDE and len(chosen) > 1:
        half = width * 11 // 20
        beside = width - half - 3
        under = [part for part in chosen if part.draw is panels.failures]
        right = [part for part in chosen if part.draw is not panels.failures]
        low = panels.allot(left, [(_LEAST_QUEUES, len(rows) + 2), *((part.least, part.rows + 2) for part in under)])
        column = panels.queue_panel(picture, rows, paint, half, low[0], at)
        column += panels.stacked(picture, under, paint, half, left - low[0])
        other = panels.stacked(picture, right, paint, beside, left)
        return [*top, *(_side(a, b) for a, b in zip(column, other, strict=True))]
    wanted = [(_LEAST_QUEUES, len(rows) + 2), *((part.least, part.rows + 2) for part in chosen)]
    room = panels.allot(left, wanted)
    column = panels.queue_panel(picture, rows, paint, width, room[0], at)
    return filled([*top, *column, *panels.stacked(picture, chosen, paint, width, left - room[0])], width, height)


def _side(left: Line, right: Line) -> Line:
    return (*left, ("   ", ""), *right)


def _nothing(state: State, paint: Paint, width: int) -> Line:
    text = "nothing fits the filter" if state.text else "nothing yet"
    by_queue = state.view in ("overview", "queues") or (state.view in TABS and state.tab == "failures")
    if state.text and by_queue and state.snapshot is not None and "queues" in state.snapshot.truncated:
        text += "; not all queues were read"
    return trim([(f"  {text}", "dim")], width, paint.signs.more)


# -- lists -------------------------------------------------------------------------------------------------------------


def _listed(
    paint: Paint,
    head: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Piece]],
    size: tuple[int, int],
    at: int,
) -> list[Line]:
    """A table around its selected row under a title."""
    width, height = size
    first, end = window(len(rows), height - 2, at)
    note = f"{first + 1}-{end} of {len(rows)}" if end - first < len(rows) else ""
    lines = table(paint, columns, rows[first:end], width, here=at - first if rows else None)
    return filled([title(paint, head, width, note), *lines], width, height)


TASK_COLUMNS = (
    Column("task", 12, 60),
    Column("done", 5, 6, right=True),
    Column("failed", 6, 6, right=True),
    Column("retried", 7, 7, right=True, rank=2),
    Column("dead", 5, 6, right=True),
    Column("run p50", 7, 7, right=True, rank=1),
    Column("p95", 6, 7, right=True),
    Column("p99", 6, 7, right=True, rank=3),
    Column("wait p50", 8, 8, right=True, rank=4),
    Column("p95", 6, 7, right=True, rank=1),
)


def task_row(one: TaskStats) -> list[Piece]:
    """One task of a queue, since the beginning."""
    return [
        (plain(one.task), ""),
        figure(one.done, "done"),
        figure(one.failed, "retry"),
        figure(one.retried, "retry"),
        figure(one.dead, "dead"),
        *(duration(one.run.quantile(share)) for share in (0.5, 0.95, 0.99)),
        *(duration(one.wait.quantile(share)) for share in (0.5, 0.95)),
    ]


def queues(state: State, paint: Paint, width: int, height: int) -> list[Line]:
    """All queues, and below them the tasks of the selected one."""
    picture = state.picture
    assert picture is not None
    rows = [one for one in items(state) if isinstance(one, QueueInfo)]
    if not rows:
        return filled([title(paint, "queues 0", width), _nothing(state, paint, width)], width, height)
    at = place(state, list[Item](rows))
    tasks = [task_row(one) for one in picture.snapshot.tasks if one.queue == rows[at].name]
    low = panels.allot(height, [(min(len(rows) + 2, 8), len(rows) + 2), (3 if tasks else height + 1, len(tasks) + 2)])
    lines = panels.queue_panel(picture, rows, paint, width, low[0] or height, at)
    if low[1]:
        head = f"tasks of {plain(rows[at].name)}, since the beginning"
        lines += [title(paint, head, width), *table(paint, TASK_COLUMNS, tasks[: low[1] - 2], width)]
    return filled(lines, width, height)


MESSAGE_COLUMNS = (
    Column("id", 13, 36, tail=True),
    Column("age", 6, 7, right=True),
    Column("due", 7, 9, right=True, rank=3),
    Column("task", 12, 50),
    Column("try", 3, 4, right=True, rank=2),
    Column("worker", 14, 30, rank=4),
    Column("error", 10, 30, rank=1),
    Column("text", 16, 400, rank=1),
)


def message_cells(row: Row, now: float) -> list[Piece]:
    """One message of a list."""
    age = None if row.at is None else max(now - row.at, 0) / 1000
    due = None if row.due is None else max(row.due - now, 0) / 1000
    return [
        (plain(row.id), ""),
        duration(age),
        (f"in {span(due)}" if due is not None else "-", "" if due is not None else "dim"),
        (plain(row.task) or "?", ""),
        (str(row.attempts or "-"), "dim"),
        (plain(row.worker) or "-", "dim"),
        (plain(row.error) or "-", "dead" if row.error else "dim"),
        (plain(row.note), ""),
    ]


def messages(state: State, paint: Paint, width: int, height: int) -> list[Line]:
    """Messages of a queue by their state, or the last failures."""
    snapshot = state.snapshot
    assert snapshot is not None
    tabs: list[Piece] = [(" ", "")]
    for tab in TABS[state.view]:
        look, text = ("title here", f" {tab} ") if tab == state.tab else ("dim", f" {tab} ")
        tabs += [(text, look), (" ", "")]
    found = [one for one in items(state) if isinstance(one, Row)]
    at = place(state, list[Item](found))
    if state.tab == "failures":
        rows = [panels.failure_cells(row, snapshot.now) for row in found]
        head = f"recent failures {len(rows)}"
        page = _listed(paint, head, panels.FAILURE_COLUMNS, rows, (width, height - 1), at)
        return [trim(tabs, width, paint.signs.more), *page]
    room = (width, height - 1)
    first, end = window(len(found), room[1] - 2, at)
    shown = found[first:end]
    marked = {number for number, row in enumerate(shown) if state.every or row.id in state.marked}
    columns = [column for column in MESSAGE_COLUMNS if column.title not in _empty(shown)]
    keep = [number for number, column in enumerate(MESSAGE_COLUMNS) if column in columns]
    cells = [[row[number] for number in keep] for row in (message_cells(row, snapshot.now) for row in shown)]
    here = at - first if found else None
    lines = [title(paint, f"{state.tab} in {plain(state.queue)}", width, _note(state, first, end))]
    lines += table(paint, columns, cells, width, here=here, marked=marked)
    if not found:
        lines.append(
            _nothing(state, paint, width)
            if state.listing is not None
            else trim([("  reading ...", "dim")], width, paint.signs.more)
        )
    return [trim(tabs, width, paint.signs.more), *filled(lines, width, height - 1)]


def _empty(rows: Sequence[Row]) -> set[str]:
    """Columns that would be empty."""
    names = {"due": "due", "worker": "worker", "error": "error", "text": "note"}
    return {name for name, field in names.items() if not any(getattr(row, field) for row in rows)}


def _note(state: State, first: int, end: int) -> str:
    """Which part of how many is shown; what is not complete says so."""
    listing = state.listing
    if listing is None or not listing.rows:
        return ""
    page = f"page {len(state.before) + 1}, " if state.before or listing.cursor else ""
    text = f"{page}{first + 1}-{end} of {len(listing.rows)}"
    if listing.total is not None and (listing.cursor or state.text):
        text += f" listed, {count(listing.total)} in all{' before the filter' if state.text else ''}"
    return text + (f", {count(listing.looked)} looked at" if listing.cut else "")


def workers(state: State, paint: Paint, width: int, height: int) -> list[Line]:
    """Workers, and what runs in them."""
    picture = state.picture
    assert picture is not None
    snapshot = picture.snapshot
    found = [one for one in items(state) if isinstance(one, Run)]
    low = panels.allot(height, [(min(len(found) + 3, 6), len(found) + 3), (3, len(snapshot.workers) + 2)])
    top = panels.workers(picture, paint, width, low[1])
    rows = [panels.run_row(run, paint) for run in found]
    for row, run in zip(rows, found, strict=True):
        row += [(plain(run.queue), "dim"), (plain(run.id), "dim")]
    columns = (*panels.RUN_COLUMNS, Column("queue", 8, 24, rank=3), Column("id", 13, 36, rank=4, tail=True))
    head = f"running now {len(found)}"
    lines = _listed(paint, head, columns, rows, (width, height - len(top)), place(state, list[Item](found)))
    if not found:
        lines[2:3] = [_nothing(state, paint, width)]
    return filled([*top, *lines], width, height)


def schedules(state: State, paint: Paint, width: int, height: int) -> list[Line]:
    """All schedules, the next one first."""
    snapshot = state.snapshot
    assert snapshot is not None
    found = [one for one in items(state) if isinstance(one, ScheduleInfo)]
    if not found:
        return filled([title(paint, "schedules 0", width), _nothing(state, paint, width)], width, height)
    rows = [panels.schedule_row(one, snapshot.now, paint) for one in found]
    at = place(state, list[Item](found))
    return _listed(paint, f"schedules {len(found)}", panels.SCHEDULE_COLUMNS, rows, (width, height), at)


def topics(state: State, paint: Paint, width: int, height: int) -> list[Line]:
    """All topics, and the groups of the selected one."""
    picture = state.picture
    assert picture is not None
    found = [one for one in items(state) if isinstance(one, TopicInfo)]
    if not found:
        return filled([title(paint, "topics 0", width), _nothing(state, paint, width)], width, height)
    return topic_page(picture, found, paint, width, height, place(state, list[Item](found)))


Page: TypeAlias = Callable[[State, Paint, int, int], list[Line]]
_PAGES: dict[View, Page] = {
    "overview": overview,
    "queues": queues,
    "messages": messages,
    "workers": workers,
    "dead": messages,
    "schedules": schedules,
    "topics": topics,
}
