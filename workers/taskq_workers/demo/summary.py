"""What the demo says at its end: a table for people, and one line for machines, the last one."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from taskq.values import count_of
from taskq_workers.demo.run import DemoReport, Kill
from taskq_workers.log import escape

REASONS_SHOWN = 12
_REASON_CHARS = 100


def show(report: DemoReport, console: Console) -> None:
    """Print the table."""
    table = Table(title="taskq demo", title_justify="left", show_header=False, min_width=60)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(report):
        table.add_row(name, Text(escape(value)))
    for number, (file, reason) in enumerate(report.failed[:REASONS_SHOWN]):
        table.add_row("" if number else "dead letters", Text(escape(f"{file}: {_short(reason)}")))
    if len(report.failed) > REASONS_SHOWN:
        table.add_row("", f"and {len(report.failed) - REASONS_SHOWN} more")
    console.print(table)


def last_line(report: DemoReport) -> str:
    """The figures, as `name=value`; lost and duplicated are counted against the ledger."""
    account = report.account
    return (
        f"demo: done={account.done} dead={account.dead} lost={account.lost} duplicated={account.duplicated} "
        f"seconds={report.seconds:.1f} rate={report.rate:.0f}"
    )


def _rows(report: DemoReport) -> list[tuple[str, str]]:
    account, figures = report.account, report.figures
    return [
        ("files", f"{account.done:,} indexed in {report.seconds:.1f} s, {report.rate:,.0f} a second"),
        ("definitions", f"{sum(figure.definitions for figure in figures):,} functions and classes"),
        ("tokens", f"{sum(figure.tokens for figure in figures):,}"),
        ("retries", f"{account.retries:,}"),
        ("killed child", _killed(report.kill)),
        ("lost", f"{account.lost:,}" + ("" if report.complete else " (the run was given up)")),
        ("run twice", _twice(account.duplicated)),
    ] + ([] if report.failed else [("dead letters", "none: each of these files parses")])


def _killed(kill: Kill | None) -> str:
    if kill is None:
        return "none: the run was over before one could be killed"
    if not kill.victims:
        return f"pid {kill.pid}, which had just finished all that it ran"
    times = sorted(kill.again.values())
    ran = f"pid {kill.pid} was running {count_of(len(kill.victims), 'message')}"
    if not times:
        return f"{ran}; none of them ran again"
    return f"{ran}; {len(times)} ran again, the first {times[0]:.2f} s and the last {times[-1]:.2f} s after the kill"


def _twice(count: int) -> str:
    if not count:
        return "0"
    return f"{count} (done when the child was killed, but not yet stored: delivery is at least once)"


def _short(reason: str) -> str:
    line = reason.split("\n", 1)[0]
    return line if len(line) <= _REASON_CHARS else line[:_REASON_CHARS] + "..."
