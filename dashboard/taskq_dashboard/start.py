"""From what was asked for to a screen: live on a terminal, one look elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import click
from rich.color import ColorSystem

from taskq.terminal import encodable, has_colour
from taskq_dashboard import loop, still
from taskq_dashboard.paint import ASCII, FULL, Paint
from taskq_dashboard.source import Source
from taskq_dashboard.state import State
from taskq_dashboard.terminal import Screen
from taskq_dashboard.view import plain_view


@dataclass(frozen=True, slots=True)
class Wishes:
    """The options of the command."""

    once: bool = False
    json: bool = False
    svg: Path | None = None
    interval: float = 0.5
    read_only: bool = False
    no_color: bool = False
    ascii: bool = False


def start(source: Source, wishes: Wishes) -> int:
    """Show it; answers the exit code."""
    if wishes.json:
        # All that a terminal could obey is escaped by JSON itself, but for DEL.
        print(json.dumps(still.as_json(source.look(every=True))).replace("\x7f", "\\u007f"))
        return 0
    paint = paint_for(sys.stdout, wishes)
    screen = _terminal()
    if screen is None or wishes.once or wishes.svg is not None:
        return _once(source, wishes, paint)
    return loop.run(source, State(read_only=wishes.read_only), paint, wishes.interval, screen)


def paint_for(stream: TextIO | None, wishes: Wishes) -> Paint:
    """What may be shown there: ASCII only without UTF-8, and no colours where nobody wants or sees any."""
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "").replace("_", "")
    signs = FULL if encoding == "utf8" and not wishes.ascii else ASCII
    return Paint(signs, None if wishes.no_color or not has_colour(stream) else ColorSystem.STANDARD)


def _terminal() -> Screen | None:
    """The terminal of this process, if keys come from it and it can be drawn on."""
    drawn = os.isatty(0) and os.isatty(1) and os.environ.get("TERM", "dumb") != "dumb"
    return Screen(0, 1) if drawn else None


def _once(source: Source, wishes: Wishes, paint: Paint) -> int:
    columns, lines = shutil.get_terminal_size((120, still.HEIGHT))
    width = min(max(columns, still.LEAST_WIDTH), still.MOST_WIDTH)
    picture = still.two_looks(source, wishes.interval)
    state = State(picture=picture, width=width, height=max(lines, still.HEIGHT), now=float(picture.snapshot.now))
    if wishes.svg is not None:
        frame = plain_view(state, Paint(ASCII if wishes.ascii else FULL))
        image = still.svg(frame, f"taskq dashboard, {picture.snapshot.namespace}").encode("utf-8")
        if str(wishes.svg) == "-":
            click.echo(image, nl=False)  # as bytes: the encoding is the picture's, not the terminal's
        else:
            wishes.svg.write_bytes(image)
        return 0
    for line in plain_view(state, paint).lines:
        text = paint.ansi(line) if has_colour(sys.stdout) else "".join(part for part, _ in line)
        print(encodable(text.rstrip()))
    return 0
