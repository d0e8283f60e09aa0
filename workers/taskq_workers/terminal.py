"""Tables for people's terminals, made of the cleaned text of `taskq.terminal`, which commands import from here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from taskq.terminal import CELL, clean, clean_lines, cut, encodable, has_colour, moment, span

__all__ = ["CELL", "clean", "clean_lines", "cut", "encodable", "has_colour", "moment", "span", "table"]

_NUMBER = ("int", "float")


def table(head: Sequence[str], rows: Sequence[Sequence[object]], stream: TextIO | None = None) -> list[str]:
    """Lines of a table: columns two spaces apart, numbers to the right; the head in bold where `stream` shows it."""
    cells = [[cut("-" if cell is None else cell) for cell in row] for row in rows]
    widths = [max(len(line[at]) for line in [list(head), *cells]) for at in range(len(head))]
    right = [
        bool(rows) and all(type(row[at]).__name__ in _NUMBER or row[at] is None for row in rows)
        for at in range(len(head))
    ]
    lines = []
    for line in [list(head), *cells]:
        parts = [
            cell.rjust(width) if numbers else cell.ljust(width)
            for cell, width, numbers in zip(line, widths, right, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    if stream is not None and has_colour(stream):
        lines[0] = f"\x1b[1m{lines[0]}\x1b[0m"
    return lines
