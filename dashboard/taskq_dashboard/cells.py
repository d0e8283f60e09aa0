"""Figures and texts as short as a screen needs them. Widths are cells of a terminal: a Chinese sign takes two.

All text from outside goes through `plain`, and everything that is drawn through `fit`, so that a line is never longer
than the screen whatever is stored.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime

from rich.cells import cell_len, set_cell_size

from taskq.terminal import clean

NOTHING = "-"

_MOST = 4_000  # characters of one text that are looked at: nobody's screen is wider
_SIZES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BYTES = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k"))
_LONG = ((31_557_600.0, "y"), (86_400.0, "d"), (3_600.0, "h"), (60.0, "m"))
_MARKS = frozenset({"Mn", "Me"})  # signs without a width of their own; terminals do not agree on them


def count(number: float) -> str:
    """A number of things in at most five characters.

    >>> [count(one) for one in (0, 9_999, 10_000, 99_950, 123_456, 1_234_567, 10**13)]
    ['0', '9999', '10.0k', '100k', '123k', '1.23M', '10.0T']
    """
    return str(int(number)) if abs(number) < 10_000 else _short(number, _SIZES)


def rate(per_second: float) -> str:
    """A rate per second, without its unit.

    >>> [rate(one) for one in (0, 0.04, 0.44, 9.96, 84.2, 1_234, 56_000)]
    ['0', '<0.1', '0.4', '10', '84', '1.23k', '56.0k']
    """
    if per_second <= 0:
        return "0"
    if per_second < 0.05:
        return "<0.1"
    if per_second < 9.95:
        return f"{per_second:.1f}"
    return f"{per_second:.0f}" if per_second < 999.5 else _short(per_second, _SIZES)


def size(number: float) -> str:
    """Bytes in at most five characters.

    >>> [size(one) for one in (0, 900, 1_500, 18_874_368, 5 * 1024**3)]
    ['0', '900', '1.46k', '18.0M', '5.00G']
    """
    return str(int(number)) if number < 1_000 else _short(number, _BYTES)


def _short(number: float, sizes: Sequence[tuple[float, str]]) -> str:
    for at, (unit, sign) in enumerate(sizes):
        if abs(number) < unit * 0.9995 and at + 1 < len(sizes):
            continue
        share = number / unit
        text = f"{share:.2f}" if abs(share) < 9.995 else f"{share:.1f}" if abs(share) < 99.95 else f"{share:.0f}"
        return text + sign
    raise AssertionError("the last size fits everything")


def span(seconds: float | None) -> str:
    """A duration in at most six characters.

    >>> [span(one) for one in (None, 0, 0.0004, 0.34, 1.24, 12.4, 75, 7_300, 200_000, 10**8)]
    ['-', '0 ms', '<1 ms', '340 ms', '1.2 s', '12 s', '1.2 m', '2.0 h', '2.3 d', '3.2 y']
    """
    if seconds is None:
        return NOTHING
    if seconds <= 0:
        return "0 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.0005 else "<1 ms"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    unit, sign = next((one for one in _LONG if seconds >= one[0] * 0.995), _LONG[-1])
    share = seconds / unit
    return f"{share:.1f} {sign}" if share < 99.95 else f"{share:.0f} {sign}"


def clock(ms: float | None, now_ms: float | None = None) -> str:
    """A moment as local time; with its day if that is not the day of `now_ms`."""
    if ms is None:
        return NOTHING
    try:
        there = datetime.fromtimestamp(ms / 1000).astimezone()
    except (OverflowError, OSError, ValueError):  # what is stored may be any number
        return "?"
    if now_ms is not None and there.date() != datetime.fromtimestamp(now_ms / 1000).astimezone().date():
        return f"{there:%m-%d %H:%M}"
    return f"{there:%H:%M:%S}"


def spark(values: Sequence[float], width: int, steps: str) -> str:
    """The last values as little bars, the newest to the right; a value above nothing never looks like nothing.

    >>> spark([0, 1, 2, 4], 6, "_1234")
    '___124'
    """
    shown = [*([0.0] * (width - len(values))), *values[-width:]] if width > 0 else []
    top = max(shown, default=0.0)
    most = len(steps) - 1
    return "".join(steps[0] if value <= 0 else steps[max(1, round(value / top * most))] for value in shown)


def gauge(share: float, width: int, full: str, empty: str) -> str:
    """A bar that is filled so far.

    >>> gauge(0.5, 4, "#", "."), gauge(0.01, 4, "#", "."), gauge(7, 4, "#", ".")
    ('##..', '#...', '####')
    """
    done = min(max(round(share * width), 1 if share > 0 else 0), width)
    return full * done + empty * (width - done)


def plain(text: object) -> str:
    """Text from outside: nothing in it that a terminal would obey, and at most two marks above any letter.

    >>> plain("a\\x1b[31mb\\n")
    'a\\\\x1b[31mb\\\\n'
    """
    line = str(text)[:_MOST]
    if line.isascii():
        return line if line.isprintable() else clean(line)
    kept: list[str] = []
    marks = 0
    for sign in line:
        marks = marks + 1 if unicodedata.category(sign) in _MARKS else 0
        # U+FE0F asks for a picture of two cells in place of a sign of one: half of all terminals differ on it.
        if marks <= 2 and not "\ufe00" <= sign <= "\ufe0f":
            kept.append(sign)
    return clean("".join(kept))


def width_of(text: str) -> int:
    """How many cells a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def fit(text: str, width: int, *, right: bool = False, more: str = "…") -> str:
    """The text in exactly so many cells: filled with spaces, or cut with a sign that there is more.

    >>> fit("ab", 4), fit("ab", 4, right=True), fit("abcdef", 4), fit("漢字漢字", 6)
    ('ab  ', '  ab', 'abc…', '漢字 …')
    """
    if width <= 0:
        return ""
    wide = width_of(text)
    if wide <= width:
        return " " * (width - wide) + text if right else text + " " * (width - wide)
    if text.isascii():
        return text[: width - 1] + more
    return set_cell_size(text, width - 1) + more
