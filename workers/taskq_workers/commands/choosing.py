"""What the commands share that choose messages by state and filter, and the table in which those are listed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from taskq.inspector import Brief, MessageFilter
from taskq_workers.commands.operating import Desk, duration
from taskq_workers.terminal import moment, span

F = TypeVar("F", bound=Callable[..., Any])

HEAD = ("ID", "STATUS", "TASK", "PRIORITY", "TRIES", "AGE", "WHEN", "WORKER", "BYTES")

_FILTERS = (
    click.option("--task", metavar="PATTERN", help="Only this task; * and ? are wild."),
    click.option("--match", metavar="TEXT", help="Only with this text in the first 4 KiB of its arguments, as JSON."),
    click.option("--older-than", type=duration, metavar="DURATION", help="Only what was created so long ago, like 2h."),
    click.option("--newer-than", type=duration, metavar="DURATION", help="Only what was created since then."),
)
_BULK = (
    click.option("--dry-run", is_flag=True, help="Only say how many there are."),
    click.option("--yes", is_flag=True, help="Do not ask."),
)


def message_filters(command: F) -> F:
    """Add the options that choose messages."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def bulk_flags(command: F) -> F:
    """Add what a bulk action asks for."""
    for option in reversed(_BULK):
        command = option(command)
    return command


def filter_of(
    desk: Desk, task: str | None, match: str | None, older_than: float | None, newer_than: float | None
) -> MessageFilter:
    """The filter that the options say."""
    if older_than is None and newer_than is None:
        return MessageFilter(task, match)
    now = desk.inspector.server_ms()
    since = None if newer_than is None else now - newer_than * 1000
    return MessageFilter(task, match, since, None if older_than is None else now - older_than * 1000)


def row(one: Brief, now: float, data: bool) -> list[Any]:
    """One line of the table."""
    at = next((moment(at) for at in (one.due, one.buried, one.deadline) if at is not None), "")
    cells = [
        one.id,
        one.status,
        one.task or "?",
        "" if one.priority is None else one.priority,
        one.attempts + one.crashes,
        span(None if one.created is None else max((now - one.created) / 1000, 0.0)),
        at,
        one.worker,
        one.size,
    ]
    return [*cells, one.arguments or ""] if data else cells
