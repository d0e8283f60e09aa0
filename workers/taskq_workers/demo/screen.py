"""What the demo shows while it runs: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from taskq_workers.demo.run import Screen
from taskq_workers.log import escape

LINE_EVERY_S = 2.0


class _Live:
    """A bar at the foot, events above it."""

    def __init__(self, progress: Progress, bar: TaskID) -> None:
        self._progress = progress
        self._bar = bar

    def event(self, text: str) -> None:
        # A Text is shown as it is: file names are full of what would otherwise be markup.
        self._progress.console.print(Text(escape(text)))

    def progress(self, done: int, dead: int, total: int) -> None:
        self._progress.update(self._bar, completed=done + dead, total=total, dead=dead)


class _Lines:
    """Plain lines, flushed at once: somebody reads them through a pipe."""

    def __init__(self) -> None:
        self._began = self._said = time.monotonic()

    def event(self, text: str) -> None:
        print(escape(text), flush=True)

    def progress(self, done: int, dead: int, total: int) -> None:
        now = time.monotonic()
        if now - self._said >= LINE_EVERY_S:
            self._said = now
            print(f"{now - self._began:5.1f} s  {done} of {total} done, {dead} dead", flush=True)


@contextmanager
def open_screen(console: Console) -> Generator[Screen]:
    """The screen that fits where the output goes."""
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn("files"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("dead {task.fields[dead]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Live(progress, progress.add_task("files", total=None, dead=0))
