"""`taskq message ls|show|cancel|rm`."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import click

from taskq.control import CANCELLABLE, REMOVABLE, Cancels
from taskq.errors import UnknownMessage
from taskq.inspector import SHELVES, Shelf, shown_id
from taskq_workers.commands.choosing import HEAD, bulk_flags, filter_of, message_filters, row
from taskq_workers.commands.dossier import show_message
from taskq_workers.commands.operating import (
    Desk,
    agree,
    counted,
    fail,
    operator_options,
    print_each,
    print_rows,
    progress_to,
    say,
    warn,
)
from taskq_workers.commands.shared import Whole, json_option, print_json
from taskq_workers.terminal import clean

_WORDS = {
    "cancelled": "cancelled",
    "requested": "its worker was asked to cancel it",
    "too_late": "it is over already",
}


@click.group()
def message() -> None:
    """List, show, cancel and remove messages."""


@message.command()
@click.argument("id", metavar="ID")
@click.option("--queue", metavar="NAME", help="Its queue; else all are searched.")
@click.option("--data", is_flag=True, help="Show its arguments, headers and result, too.")
@json_option
@operator_options
def show(desk: Desk, id: str, queue: str | None, data: bool, as_json: bool) -> None:
    """Show all that is known of a message: where it is, how often it was tried, what went wrong.

    ID is a UUID, or the text that was given as id= when it was enqueued.
    """
    info = desk.inspector.message(queue_of(desk, id, queue), id, contents=data)
    show_message(info, time.time() * 1000, as_json)


@message.command("ls")
@click.option("--queue", metavar="NAME", required=True, help="The queue.")
@click.option("--state", type=click.Choice(SHELVES), default="ready", show_default=True, help="Which messages.")
@message_filters
@click.option("--limit", type=Whole(1, 10_000), default=50, show_default=True, help="Show at most so many.")
@click.option("--cursor", metavar="TEXT", help="Go on where a list ended.")
@click.option("--data", is_flag=True, help="Show the beginning of the arguments, too.")
@json_option
@operator_options
def list_messages(
    desk: Desk, queue: str, state: Shelf, limit: int, cursor: str | None, data: bool, as_json: bool, **filters: Any
) -> None:
    """Show the messages of a queue in one state, the next to run first; of dead ones the newest.

    WHEN is the due time, that of the death, or the deadline of the lease. AGE counts from when it was created.
    """
    page = desk.inspector.browse(
        queue, state, limit=limit, cursor=cursor, match=filter_of(desk, **filters), contents=data
    )
    if as_json:
        print_each(page.items)
    elif page.items:
        now = desk.inspector.server_ms()
        print_rows((*HEAD, "ARGUMENTS") if data else HEAD, [row(one, now, data) for one in page.items])
    if not page.items:
        none = f"queue {queue!r} has no {state} messages"
        warn(f"no {state} message of queue {queue!r} fits" if page.looked else none)
    if page.cursor:
        known = "" if page.total is None else f" of {page.total}"
        cut = f", {page.looked} looked at" if page.truncated else ""
        warn(f"{len(page.items)} shown{known}{cut}; more with --cursor {page.cursor}")


@message.command()
@click.argument("id", metavar="[ID]", required=False)
@click.option("--queue", metavar="NAME", help="Its queue; else all are searched.")
@click.option("--kill", is_flag=True, help="End its process if nothing else helps.")
@click.option("--state", type=click.Choice(CANCELLABLE), help="Without an ID: all messages of the queue in this state.")
@message_filters
@bulk_flags
@json_option
@operator_options
def cancel(
    desk: Desk,
    id: str | None,
    queue: str | None,
    kill: bool,
    state: Shelf | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """Cancel one message, or with --queue and --state all that fit: at once what waits, by asking its worker what runs.

    Exit code 1 if the one message is over already, or if there is no trace of it.
    """
    chooses = state is not None or any(value is not None for value in filters.values())
    if (id is None) == (state is None) or (id is not None and (chooses or dry_run)):
        raise click.UsageError("give an ID, or --queue and --state with filters, not both")
    if id is not None:
        _cancel_one(desk, id, queue, kill, as_json)
        return
    if queue is None or state is None or kill:
        raise click.UsageError("--state needs --queue, and does not go with --kill")
    what = filter_of(desk, **filters)
    found = desk.control.cancel_matching(queue, state, what, dry_run=True).found
    told = Cancels(found, dry_run=True)
    if found and not dry_run:
        agree(f"Cancel {counted(found, f'{state} message')} of queue {clean(queue)}?", yes)
        told = desk.control.cancel_matching(queue, state, what, on_progress=progress_to(found, "cancelled"))
    if as_json:
        print_json({"queue": queue, "state": state} | asdict(told) | {"dry_run": dry_run})
    elif dry_run:
        say(f"would cancel {counted(found, f'{state} message')} of queue {clean(queue)}")
    else:
        more = f", {told.requested} requested" if told.requested else ""
        more += f", {told.too_late} over by then" if told.too_late else ""
        say(f"cancelled {counted(told.cancelled, 'message')} of queue {clean(queue)}{more}")


def _cancel_one(desk: Desk, id: str, queue: str | None, kill: bool, as_json: bool) -> None:
    where = queue_of(desk, id, queue)
    answer = desk.control.cancel(where, id, kill=kill)
    status = desk.inspector.message(where, id).status
    if as_json:
        print_json({"id": shown_id(id), "queue": where, "answer": answer, "status": status})
    if answer == "too_late":
        fail(f"message {shown_id(id)} cannot be cancelled: it is {status}")
    if not as_json:
        say(f"{shown_id(id)} in queue {clean(where)}: {_WORDS[answer]}")


@message.command()
@click.option("--queue", metavar="NAME", required=True, help="The queue.")
@click.option("--state", type=click.Choice(REMOVABLE), required=True, help="Which messages.")
@message_filters
@bulk_flags
@json_option
@operator_options
def rm(desk: Desk, queue: str, state: Shelf, dry_run: bool, yes: bool, as_json: bool, **filters: Any) -> None:
    """Remove the waiting messages of a queue that fit, for good and without an outcome.

    For dead ones there is taskq dead rm, for all of a state taskq queue purge.
    """
    what = filter_of(desk, **filters)
    found, removed = desk.control.remove_matching(queue, state, what, dry_run=True), 0
    if found and not dry_run:
        agree(f"Remove {counted(found, f'{state} message')} of queue {clean(queue)}?", yes)
        removed = desk.control.remove_matching(queue, state, what, on_progress=progress_to(found, "removed"))
    if as_json:
        print_json({"queue": queue, "state": state, "found": found, "removed": removed, "dry_run": dry_run})
    elif dry_run:
        say(f"would remove {counted(found, f'{state} message')} of queue {clean(queue)}")
    else:
        say(f"removed {counted(removed, 'message')} of queue {clean(queue)}")


def queue_of(desk: Desk, id: str, queue: str | None) -> str:
    """The queue that was named, or the one that knows this id; raises UnknownQueue, UnknownMessage."""
    if queue is not None:
        desk.inspector.need_queue(queue)
        return queue
    found = desk.inspector.find(id)
    if not found:
        names, truncated = desk.inspector.queue_names()
        searched = "the first " if truncated else ""
        raise UnknownMessage(
            f"there is no trace of message {id} in {searched}{counted(len(names), 'queue')} of namespace "
            f"{desk.namespace!r}"
        )
    if len(found) > 1:
        warn(f"{len(found)} queues know this id ({', '.join(found)}); name one with --queue. This is {found[0]}")
    return found[0]
