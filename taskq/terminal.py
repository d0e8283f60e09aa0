"""Text for people's terminals. Stored data are written by others: nothing in them may reach a terminal as a command.

Control characters, ANSI escapes, and signs that turn the direction of text become visible escapes, as in `\\x1b`.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from datetime import datetime
from typing import TextIO

# Control, format (bidi overrides, zero-width signs), half surrogates, line and paragraph separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

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


def has_colour(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal that may be coloured: not closed, no pipe, not dumb, and NO_COLOR is not set."""
    if stream is None or not stream.isatty():
        return False
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


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
