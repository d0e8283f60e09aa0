"""`taskq queue move`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from taskq.control import MOVABLE, REASONS, Moved
from taskq.inspector import Shelf
from taskq_workers.commands.choosing import bulk_flags, filter_of, message_filters
from taskq_workers.commands.operating import Desk, agree, counted, operator_options, progress_to, say, warn
from taskq_workers.commands.shared import Amount, json_option, print_json
from taskq_workers.terminal import clean


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("to", metavar="TO")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--state", type=click.Choice(MOVABLE), help="Which messages; without it, and without ids: ready.")
@message_filters
@click.option("--create", is_flag=True, help="TO may be a queue that was never used.")
@click.option("--rate", type=Amount(0, min_open=True), metavar="N", help="At most so many a second.")
@bulk_flags
@json_option
@operator_options
def move(
    desk: Desk,
    source: str,
    to: str,
    ids: tuple[str, ...],
    state: Shelf | None,
    create: bool,
    rate: float | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """Move messages to another queue, with all that they have: by state and filter, or by ID.

    Stopped or killed in the middle, it has lost nothing: the same command goes on, and first brings what was on its way
    where it was to go. What cannot be moved as it is stays, and is told. What workers hold stays.
    """
    if ids and (state is not None or any(value is not None for value in filters.values())):
        raise click.UsageError("give ids or a state with filters, not both")
    what, chosen = filter_of(desk, **filters), list(ids) if ids else (state or "ready")
    would = desk.control.move(source, to, chosen, match=what, create=create, dry_run=True)
    told, kind = would, counted(would.moved, "message" if ids else f"{state or 'ready'} message")
    if not dry_run:
        if would.moved and not ids:
            agree(f"Move {kind} of queue {clean(source)} to queue {clean(to)}?", yes)
        # also if there is nothing to move: something may be on its way since somebody was stopped
        progress = progress_to(would.moved, "moved")
        told = desk.control.move(source, to, chosen, match=what, create=create, rate=rate, on_progress=progress)
    if as_json:
        print_json({"queue": source, "to": to, "found": would.moved} | asdict(told))
    else:
        say(f"would move {kind}" if dry_run else f"moved {counted(told.moved, 'message')} of {source} to {to}")
    _tell(told)


def _tell(told: Moved) -> None:
    if told.resumed:
        warn(f"{counted(told.resumed, 'message')} that had been on the way before arrived")
    for letter, count in told.refused.items():
        warn(f"{counted(count, 'message')} left where they are: {REASONS[letter]}")
    if told.stale:
        what = counted(told.stale, "message")
        warn(f"{what} of a move that was stopped a month ago stay on their way: nobody knows whether they arrived")
