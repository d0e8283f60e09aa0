"""Text for people's terminals. Stored data are written by others: nothing in them may reach a terminal as a command.

Control characters, ANSI escapes, and signs that turn the direction of text become visible escapes, as in `\\x1b`.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import TextIO

# Control, format (bidi overrides, zero-width signs), half surrogates, line and paragraph separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NUMBER = ("int", "float")

CELL = 80
"""The widest that a cell of a table becomes: people look at lists, scripts take `--json`."""


def clean(text: object) -> str:
    """One line of text with nothing in it but what is seen.

    >>> clean("a\\x1b[31m\\n\\u202eb")
    'a\\\\x1b[31m\\\\n\\\\u202eb'
    """
    line = str(text)
    if line.isascii() and line.isprintable():
        return line
    return "".join(_escaped(sign) if unicodedata.category(sign) in _UNSEEN else sign for sign in line)


def clean_lines(text: str) -> list[str]:
    """The same for text of several lines, like a traceback."""
    return [clean(line.replace("\t", "    ")) for line in text.split("\n")]


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


def cut(text: object, width: int = CELL) -> str:
    """The beginning of a text, cleaned, at most so many characters."""
    line = str(text)
    shown = clean(line[: width + 1])  # cut before and after: escapes are longer than what they stand for
    return shown if len(shown) <= width else shown[: width - 3] + "..."


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


def has_colour(stream: TextIO) -> bool:
    """Whether a stream is a terminal that may be coloured: not a pipe, not dumb, and NO_COLOR is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def encodable(text: str, stream: TextIO | None = None) -> str:
    """The text with escapes for what the encoding of `stream` (standard output) does not have."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def moment(ms: float | None) -> str:
    """A moment as local time; empty for none."""
    if ms is None:
        return ""
    return datetime.fromtimestamp(ms / 1000).astimezone().isoformat(" ", "seconds")


def span(seconds: float | None) -> str:
    """A duration in its largest units.

    >>> span(0.2), span(75), span(7300), span(200_000), span(None)
    ('0.2 s', '1 m 15 s', '2 h 1 m', '2 d 7 h', '-')
    """
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = int(seconds)
    for size, name, small, less in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // small} {less}"
    raise AssertionError("60 seconds are a minute")
