"""Tables as lines: columns of aligned cells, of which the least important give way when the screen is narrow."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from taskq_dashboard.cells import width_of
from taskq_dashboard.paint import Line, Paint, Piece, highlighted, trim

_GAP = 2
_GUTTER = 2  # the sign of the selected row, or of a marked one, and a space


@dataclass(frozen=True, slots=True)
class Column:
    """One column. It is `least` to `most` cells wide, as its texts need; those of the highest `rank` go first.

    With `tail` the end of a text is kept when it is cut: of ids that were made at one time only the ends differ.
    """

    title: str
    least: int = 4
    most: int = 60
    right: bool = False
    rank: int = 0
    tail: bool = False


def table(
    paint: Paint,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Piece]],
    width: int,
    *,
    here: int | None = None,
    marked: Collection[int] = (),
    head: bool = True,
) -> list[Line]:
    """A head and a line for each row, each exactly `width` cells; `here` is the selected row."""
    shown = _chosen(columns, width)
    widths = _widths(paint, shown, columns, rows, width)
    lines: list[Line] = []
    if head:
        cells = [(columns[at].title, "dim") for at in shown]
        lines.append(_line(paint, columns, shown, widths, cells, "  ", width))
    for number, row in enumerate(rows):
        sign = paint.signs.mark if number in marked else " "
        gutter = (paint.signs.here if number == here else " ") + sign
        line = _line(paint, columns, shown, widths, [row[at] for at in shown], gutter, width)
        lines.append(highlighted(line) if number == here else line)
    return lines


def _chosen(columns: Sequence[Column], width: int) -> list[int]:
    """The columns for which there is room."""
    left = list(range(len(columns)))
    while len(left) > 1 and _GUTTER + sum(columns[at].least + _GAP for at in left) - _GAP > width:
        last = max(left, key=lambda at: (columns[at].rank, at))
        if columns[last].rank == 0:
            break
        left.remove(last)
    return left


def _widths(
    paint: Paint, shown: Sequence[int], columns: Sequence[Column], rows: Sequence[Sequence[Piece]], width: int
) -> list[int]:
    wanted = []
    for at in shown:
        column = columns[at]
        needed = max((width_of(paint.text(row[at][0])) for row in rows), default=0)
        wanted.append(min(max(column.least, needed, width_of(column.title)), column.most))
    over = _GUTTER + sum(wanted) + _GAP * (len(wanted) - 1) - width
    while over > 0:
        # The column with the most to give gives a cell; at the end the line is cut.
        slack = [size - columns[at].least for at, size in zip(shown, wanted, strict=True)]
        most = max(slack)
        if most <= 0:
            break
        give = min(over, max(most - sorted(slack)[-2] if len(slack) > 1 else most, 1))
        wanted[slack.index(most)] -= give
        over -= give
    return wanted


def _line(
    paint: Paint,
    columns: Sequence[Column],
    shown: Sequence[int],
    widths: Sequence[int],
    cells: Sequence[Piece],
    gutter: str,
    width: int,
) -> Line:
    pieces: list[Piece] = [(gutter, "")]
    for place, (at, size, (text, look)) in enumerate(zip(shown, widths, cells, strict=True)):
        if place:
            pieces.append((" " * _GAP, ""))
        column = columns[at]
        if column.tail and len(text) > size:
            text = paint.signs.more + text[1 - size :]
        pieces.append((paint.fit(text, size, right=column.right), look))
    return trim(pieces, width, paint.signs.more)


def window(total: int, room: int, at: int) -> tuple[int, int]:
    """Which rows of many are shown in so much room, so that one of them is among these.

    >>> window(5, 10, 0), window(100, 10, 0), window(100, 10, 50), window(100, 10, 99)
    ((0, 5), (0, 10), (45, 55), (90, 100))
    """
    room = max(room, 0)
    first = max(min(at - room // 2, total - room), 0)
    return first, min(first + room, total)
