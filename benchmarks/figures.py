"""What the benchmarks say: figures with their spread, verdicts against the budgets, the table. No measuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Spread:
    """Several readings of one thing: the median beside the lowest and the highest."""

    values: tuple[float, ...]

    @property
    def middle(self) -> float:
        return median(self.values)

    def show(self, digits: int | None = None) -> str:
        """`12,300 (11,900-13,000)`; a single reading stands alone."""
        if len(self.values) == 1:
            return number(self.middle, digits)
        low, high = number(min(self.values), digits), number(max(self.values), digits)
        return f"{number(self.middle, digits)} ({low}-{high})"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `reached` is None where there is nothing to reach."""

    line: str
    what: str
    value: str
    budget: str = ""
    reached: bool | None = None
    beside: str = ""


@dataclass(slots=True)
class Report:
    """What one line of the budgets gave: rows for people, data for the JSON."""

    rows: list[Row] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def add(self, *rows: Row) -> None:
        self.rows += rows


def spread(values: Sequence[float]) -> Spread:
    """At least one reading.

    >>> spread([3, 1, 2]).show(0)
    '2 (1-3)'
    """
    if not values:
        raise ValueError("nothing was measured")
    return Spread(tuple(float(value) for value in values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Round by round, so that a machine that was slow for one round was slow for both."""
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest reading that at least `share` of all do not exceed.

    >>> percentile([1, 2, 3, 4], 0.5), percentile([1, 2, 3, 4], 0.99)
    (2, 4)
    """
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 1)
    return ordered[max(int(rank), 1) - 1]


def number(value: float, digits: int | None = None) -> str:
    """A figure as people read it: three significant digits, thousands grouped.

    >>> number(55500.4), number(13.25), number(0.04567)
    ('55,500', '13.2', '0.046')
    """
    if digits is None:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def verdict(reached: bool | None) -> str:
    return "" if reached is None else "yes" if reached else "NO"


def table(rows: Sequence[Row]) -> str:
    """The rows in columns as wide as they need; what stands beside a row is the last column."""
    head = ("line", "what", "value", "budget", "reached", "beside")
    cells = [head] + [(r.line, r.what, r.value, r.budget, verdict(r.reached), r.beside) for r in rows]
    widths = [max(len(cell[at]) for cell in cells) for at in range(len(head))]
    lines = [_GAP.join(text.ljust(width) for text, width in zip(cell, widths, strict=True)).rstrip() for cell in cells]
    lines.insert(1, _GAP.join("-" * width for width in [*widths[:-1], len(head[-1])]))
    return "\n".join(lines)


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table for a page."""
    head = ("line", "what", "value", "budget", "reached", "beside")
    cells = [(r.line, r.what.strip(), r.value, r.budget, verdict(r.reached), r.beside) for r in rows]
    lines = [" | ".join(text.replace("|", "\\|") for text in cell) for cell in (head, ["---"] * len(head), *cells)]
    return "\n".join(f"| {line} |" for line in lines)


def as_json(reports: Mapping[str, Report], about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that was measured, as plain data."""
    return {
        **about,
        "rows": [asdict(row) for report in reports.values() for row in report.rows],
        "lines": {name: report.data for name, report in reports.items()},
    }
