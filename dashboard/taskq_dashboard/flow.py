"""The way of messages as a picture: enqueued, ready, running, done, with what waits aside and what went wrong."""

from __future__ import annotations

from dataclasses import dataclass

from taskq_dashboard.cells import count, fit, plain, rate, span, spark, width_of
from taskq_dashboard.paint import Line, Paint, Piece, trim
from taskq_dashboard.picture import BARS, Picture
from taskq_dashboard.rows import running_of, slots, waiting

HEIGHT = 5
_GRAPH_FROM = 112  # cells; on narrower screens the graphs of the queues must do


@dataclass(frozen=True, slots=True)
class Sums:
    """All queues together."""

    enqueued: int = 0
    ready: int = 0
    delayed: int = 0
    retrying: int = 0
    running: int = 0
    parked: int = 0
    done: int = 0
    dead: int = 0
    quarantined: int = 0


def sums(picture: Picture) -> Sums:
    """The figures of the drawing."""
    queues = picture.snapshot.queues
    told = running_of(picture.snapshot)
    return Sums(
        enqueued=sum(info.counters.get("enqueued", 0) for info in queues),
        ready=sum(waiting(info, told[info.name]) for info in queues),
        delayed=sum(max(info.delayed - info.retrying, 0) for info in queues),
        retrying=sum(info.retrying for info in queues),
        running=max(told.total(), slots(picture.snapshot).used),
        parked=sum(info.parked_total for info in queues),
        done=sum(info.counters.get("done", 0) for info in queues),
        dead=sum(info.dead for info in queues),
        quarantined=sum(info.quarantined for info in queues),
    )


class _Canvas:
    """Cells that are written at places; later writing covers earlier. Only signs of one cell are drawn here."""

    def __init__(self, width: int, height: int) -> None:
        self._width = width
        self._cells: list[list[Piece]] = [[(" ", "")] * width for _ in range(height)]

    def put(self, x: int, y: int, text: str, look: str = "") -> int:
        """Write, and answer where the text ends."""
        for at, sign in enumerate(text):
            if 0 <= x + at < self._width:
                self._cells[y][x + at] = (sign, look)
        return x + len(text)

    def lines(self) -> list[Line]:
        """What was drawn, neighbours of one look together."""
        return [self._joined(row) for row in self._cells]

    def _joined(self, row: list[Piece]) -> Line:
        pieces: list[Piece] = []
        for sign, look in row:
            if pieces and pieces[-1][1] == look:
                pieces[-1] = (pieces[-1][0] + sign, look)
            else:
                pieces.append((sign, look))
        return tuple(pieces)


def drawing(picture: Picture, paint: Paint, width: int) -> list[Line]:
    """The picture in five lines."""
    told, pace, signs = sums(picture), picture.total, paint.signs
    graph = min(BARS, width // 3) if width >= _GRAPH_FROM else 0
    inner = width - graph - 3 if graph else width
    room = slots(picture.snapshot)
    canvas = _Canvas(inner, HEIGHT)
    # Four places, as far apart as the width allows; the numbers stand below their words.
    step = max((inner - 12) // 3, 18)
    x = [1, 1 + step, 1 + 2 * step, 1 + 3 * step]
    texts = [
        ("enqueued", count(told.enqueued), ""),
        ("ready", count(told.ready), "bold" if told.ready else "dim"),
        ("running", f"{count(told.running)} of {count(room.all)}", "run" if told.running else "dim"),
        ("done", count(told.done), "done" if told.done else "dim"),
    ]
    ends = []
    for at, (word, number, look) in zip(x, texts, strict=True):
        canvas.put(at, 0, word, "dim")
        ends.append(canvas.put(at, 1, number, look))
    _arrow(canvas, paint, ends[0] + 1, x[1] - 1, 1, f"{rate(pace.rates.enqueued)}/s", "")
    _arrow(canvas, paint, ends[1] + 1, x[2] - 1, 1, "", "")
    _arrow(canvas, paint, ends[2] + 1, x[3] - 1, 1, f"{rate(pace.rates.done)}/s", "done" if pace.rates.done else "dim")
    # Below ready: what will be ready. Below running: what failed.
    left, right, fork = x[1] + 1, x[1] + 3, x[2] + 1
    canvas.put(left, 2, signs.up, "rule")
    canvas.put(right, 2, signs.up, "rule")
    canvas.put(fork, 2, signs.bar, "rule")
    text = f"delayed {count(told.delayed)}"
    end = canvas.put(max(left - len(text) - 6, 1), 3, text, "" if told.delayed else "dim")
    canvas.put(end + 1, 3, signs.rule * (left - end - 1) + signs.corner_up, "rule")
    end = canvas.put(right, 3, signs.turn_up + signs.rule * 2, "rule")
    end = canvas.put(end + 1, 3, f"retry {count(told.retrying)}", "retry" if told.retrying else "dim")
    canvas.put(end + 1, 3, signs.back + signs.rule * (fork - end - 2) + signs.tee, "rule")
    failed = f"{rate(pace.rates.failed)}/s failed"
    canvas.put(fork + 2, 3, failed, "retry" if pace.rates.failed else "dim")
    canvas.put(fork, 4, signs.turn_up, "rule")
    buried = told.dead + told.quarantined
    _arrow(canvas, paint, fork + 1, x[3] - 1, 4, f"{rate(pace.rates.dead)}/s", "dead" if pace.rates.dead else "dim")
    canvas.put(x[3], 4, f"dead {count(buried)}", "dead" if buried else "dim")
    if told.parked:
        canvas.put(1, 2, f"parked {count(told.parked)}", "warn")
    lines = canvas.lines()
    if graph:
        caption = fit(f"done, last {span(graph * 5)}", graph, more=signs.more)
        lines[0] = (*lines[0], ("  ", ""), (caption, "dim"))
        lines[1] = (*lines[1], ("  ", ""), (spark(pace.bars, graph, signs.spark), "done"))
    lines[4] = _paused(lines[4], picture, paint, fork - 2, width)
    return [trim(line, width, signs.more) for line in lines]


def _arrow(canvas: _Canvas, paint: Paint, start: int, end: int, y: int, text: str, look: str) -> None:
    """A line from start to end with a rate on it."""
    signs = paint.signs
    length = end - start
    if length < 2:
        return
    canvas.put(start, y, signs.rule * (length - 1) + signs.arrow, "rule")
    if text and length >= len(text) + 4:
        canvas.put(start + (length - len(text) - 2) // 2, y, f" {text} ", look)


def _paused(line: Line, picture: Picture, paint: Paint, room: int, width: int) -> Line:
    """The names of paused queues at the left of a line that is empty there."""
    names = [info.name for info in picture.snapshot.queues if info.paused]
    if not names:
        return line
    text = paint.fit(f"{paint.signs.pause} paused: {plain(', '.join(names))}", room - 1).rstrip()
    rest = trim(line, width, paint.signs.more)
    kept: list[Piece] = []
    skipped = 0
    for part, look in rest:
        kept.append((part[max(room - skipped, 0) :], look))
        skipped += len(part)
    return trim([(" ", ""), (text, "pause"), (" " * (room - 1 - width_of(text)), ""), *kept], width, paint.signs.more)
