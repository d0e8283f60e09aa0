"""One message, schedule or topic in full, and the page of help: lines to be scrolled through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from taskq.inspector import MessageInfo
from taskq.snapshot import ScheduleInfo, TopicInfo
from taskq.terminal import clean_lines
from taskq_dashboard.cells import clock, plain, size, span, width_of
from taskq_dashboard.paint import Line, Paint, trim
from taskq_dashboard.panels import title
from taskq_dashboard.rows import Run, number
from taskq_dashboard.state import Detail, Message
from taskq_dashboard.topics import topic_lines

_WORD = 11
_MOST_CHARS = 16_000  # of one value
_LOOKS = {"dead": "dead", "quarantined": "dead", "retrying": "retry", "done": "done", "running": "run"}

HELP = """\
Views     1 overview  2 queues  3 messages  4 workers  5 dead letters
          6 schedules  7 topics
Moving    j k, arrows    a row         pgup pgdn    a page, and further ones
          g G, home end  first, last   enter, esc   open one, go back
          tab            next state    left right   another queue
Choosing  /      only rows with this text in task, queue, id or error
          space  mark a row
          A      mark all that the filter fits, also beyond the screen

Doing     r      retry dead letters, as if they were new
          p      pause or resume a queue or a schedule; what runs goes on
          C      cancel messages: what waits at once, what runs by asking it
          D      delete dead letters for good
          esc    stop what is being done: what was done stays, and is counted
          Capitals cannot be undone. More than one message: you are asked.

Figures   oldest  age of the message that waits longest: it grows when workers
                  fall behind;  p95  of 20 runs in the last minute, 19 were no
                  longer;  limit  how much of its time an attempt has used up
"""


def help_lines(paint: Paint, width: int) -> list[Line]:
    """The keys, and what signs mean."""
    lines = [title(paint, "help", width)]
    for text in HELP.splitlines():
        lines.append(trim([(f" {text[:10]}", "bold"), (text[10:], "")], width, paint.signs.more))  # noqa: PERF401
    return lines


def detail_lines(detail: Detail, now: float, paint: Paint, width: int, run: Run | None = None) -> list[Line]:
    """All that is known, wrapped to the width; `run` is its attempt, if it runs now."""
    if isinstance(detail, TopicInfo):
        return topic_lines(detail, now, paint, width)
    if isinstance(detail, ScheduleInfo):
        lines = [title(paint, f"schedule {plain(detail.name)}", width)]
        for word, text in _schedule(detail):
            lines += _fact(word, text, "", paint, width)
        return lines
    lines = [title(paint, f"message {plain(detail.id)}", width)]
    if detail.info is None:
        text, look = (plain(detail.problem), "dead") if detail.problem else ("reading ...", "dim")
        return [*lines, *_fact("", text, look, paint, width)]
    if detail.problem:
        lines += _fact("now", plain(detail.problem), "warn", paint, width)
    if run is not None:
        limit = f" of {span(run.limit)}" if run.limit else ""
        lines += _fact("runs", f"on {plain(run.worker)} {run.slot} for {span(run.seconds)}{limit}", "run", paint, width)
    for word, text, look in _facts(detail.info, now):
        lines += _fact(word, text, look, paint, width)
    for head, found in (
        ("arguments", _arguments(detail.info)),
        ("timeline", _timeline(detail.info)),
        ("traceback of the last failure", _traceback(detail.info)),
    ):
        rows = [line for text, look in found for line in _wrapped(text, look, 2, paint, width)]
        if rows:
            lines += [title(paint, head, width), *rows]
    return [*lines, *_shell(detail, paint, width)]


def _fact(word: str, text: str, look: str, paint: Paint, width: int) -> list[Line]:
    """A word and what is to be said of it; long texts go on below themselves."""
    lines = []
    for at, part in enumerate(_pieces(paint.text(text), max(width - _WORD - 2, 8))):
        lines.append(trim([(f" {word if not at else '':<{_WORD}}", "dim"), (part, look)], width, paint.signs.more))
    return lines


def _wrapped(text: str, look: str, indent: int, paint: Paint, width: int) -> Iterator[Line]:
    for part in _pieces(paint.text(text), max(width - indent, 8)):
        yield trim([(" " * indent, ""), (part, look)], width, paint.signs.more)


def _pieces(text: str, width: int) -> Iterator[str]:
    """The text in pieces of at most so many cells."""
    while width_of(text) > width:
        cut = min(width, len(text))
        while width_of(text[:cut]) > width:
            cut -= 1
        yield text[:cut]
        text = text[cut:]
    yield text


def _facts(info: MessageInfo, now: float) -> Iterator[tuple[str, str, str]]:
    status: str = info.status
    if info.buried is not None:
        status += f" since {clock(info.buried, now)}, {span(max(now - info.buried, 0) / 1000)} ago"
    if info.due is not None:
        status += f" until {clock(info.due, now)}, in {span(max(info.due - now, 0) / 1000)}"
    yield "status", status + (", cancel requested" if info.cancel_requested else ""), _LOOKS.get(info.status, "bold")
    yield "task", plain(info.task or "?"), "bold"
    yield "queue", plain(info.queue) + ("" if info.priority is None else f", priority {info.priority}"), ""
    if info.attempts is not None:
        yield "tried", f"attempts {info.attempts}, crashes {info.crashes}, deliveries {info.deliveries}", ""
    if info.options:
        yield "options", plain(", ".join(f"{name}={_json(value)}" for name, value in info.options.items())), ""
    if info.then:
        yield "then", plain(info.then), ""
    marks = [name for name in ("unique", "explicit", "once") if getattr(info, name)]
    if marks:
        said = {"unique": "holds a unique key", "explicit": "has an explicit id", "once": "may run only once"}
        yield "marks", ", ".join(said[name] for name in marks), ""
    if info.progress:
        yield "progress", plain(_json(info.progress)), ""
    if info.result is not None:
        yield "result", f"{info.result}, {size(info.result_bytes)} {'byte' if info.result_bytes == 1 else 'bytes'}", ""
    if info.problem:
        yield "problem", plain(info.problem), "dead"


def _arguments(info: MessageInfo) -> Iterator[tuple[str, str]]:
    contents = info.contents
    if contents is None:
        return
    if contents.raw:
        yield f"raw {contents.raw.hex(' ', 4)}", ""
    for value in contents.args:
        yield plain(_json(value)), ""
    for name, value in contents.kwargs.items():
        yield plain(f"{name} = {_json(value)}"), ""
    if not contents.args and not contents.kwargs and not contents.raw and info.bytes:
        yield "none", "dim"
    if contents.headers:
        yield plain(f"headers {_json(dict(contents.headers))}"), "dim"
    if contents.result is not None and info.result == "done":
        yield plain(f"returned {_json(contents.result)}"), "done"


def _timeline(info: MessageInfo) -> Iterator[tuple[str, str]]:
    """What happened to it, oldest first, each with the time since the one before."""
    told: list[tuple[float, str, str]] = []
    if info.created is not None:
        told.append((float(info.created), "enqueued", ""))
    for entry in info.history:
        attempt = f"attempt {int(number(entry.get('attempt')))} " if entry.get("attempt") else ""
        error = ": ".join(part for part in (str(entry.get("type", "")), str(entry.get("message", ""))) if part)
        where = f" on {entry['worker']}" if entry.get("worker") else ""
        told.append((number(entry.get("at")), f"{attempt}{entry.get('kind', '?')}{where}: {error}", "retry"))
    if info.buried is not None:
        told.append((info.buried, info.status, "dead"))
    if info.due is not None:
        told.append((info.due, "due", ""))
    last: float | None = None
    for at, text, look in told:
        gap = f"+{span(max(at - last, 0) / 1000)}" if last is not None else ""
        yield f"{_moment(at)}  {gap:>8}  {plain(text)}", look
        last = at


def _traceback(info: MessageInfo) -> Iterator[tuple[str, str]]:
    text = str(info.history[-1].get("traceback", "")) if info.history else ""
    for line in clean_lines(text.strip("\n")[:_MOST_CHARS]) if text.strip() else ():
        yield line, ""


def _shell(detail: Message, paint: Paint, width: int) -> list[Line]:
    """The command that does the same, for who wants to copy it."""
    info = detail.info
    if info is None:
        return []
    verb = {"dead": "dead retry", "quarantined": "dead retry"}.get(info.status, "message show")
    text = f"taskq {verb} {plain(info.id)} --queue {plain(info.queue)}"
    return [title(paint, "in a shell", width), *_wrapped(text, "dim", 2, paint, width)]


def _schedule(info: ScheduleInfo) -> Iterator[tuple[str, str]]:
    yield "state", plain(info.state)
    when = plain(info.cron) if info.cron else f"every {span(info.every)}" if info.every is not None else "-"
    yield "when", f"{when} in {plain(info.tz)}"
    yield "task", f"{plain(info.task)} in queue {plain(info.queue)}"
    yield "from", "code" if info.in_code else "a call at run time"
    yield "missed", plain(info.missed)
    yield "overlap", plain(info.overlap)
    for word, moment in (("start", info.start), ("end", info.end), ("next", info.next), ("last", info.last)):
        if moment is not None:
            yield word, moment.isoformat(" ", "seconds")
    if info.last_message:
        yield "message", plain(info.last_message)
    yield "counts", f"runs {info.runs}, skipped {info.skips}"


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]} ... ({len(text)} characters)"


def _moment(ms: float) -> str:
    try:
        there = datetime.fromtimestamp(ms / 1000).astimezone()
    except (OverflowError, OSError, ValueError):
        return "?"
    return f"{there:%Y-%m-%d %H:%M:%S}.{there.microsecond // 1000:03d}"
