"""`taskq message show|cancel`."""

from __future__ import annotations

import time

import click

from taskq.errors import UnknownMessage
from taskq.inspector import shown_id
from taskq_workers.commands.dossier import show_message
from taskq_workers.commands.operating import Desk, counted, fail, operator_options, say, warn
from taskq_workers.commands.shared import json_option, print_json
from taskq_workers.terminal import clean

_WORDS = {
    "cancelled": "cancelled",
    "requested": "its worker was asked to cancel it",
    "too_late": "it is over already",
}


@click.group()
def message() -> None:
    """Show and cancel messages."""


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


@message.command()
@click.argument("id", metavar="ID")
@click.option("--queue", metavar="NAME", help="Its queue; else all are searched.")
@click.option("--kill", is_flag=True, help="End its process if nothing else helps.")
@json_option
@operator_options
def cancel(desk: Desk, id: str, queue: str | None, kill: bool, as_json: bool) -> None:
    """Cancel a message: at once if it waits, by asking its worker if it runs.

    Exit code 1 if it is over already, or if there is no trace of it.
    """
    where = queue_of(desk, id, queue)
    answer = desk.control.cancel(where, id, kill=kill)
    status = desk.inspector.message(where, id).status
    if as_json:
        print_json({"id": shown_id(id), "queue": where, "answer": answer, "status": status})
    if answer == "too_late":
        fail(f"message {shown_id(id)} cannot be cancelled: it is {status}")
    if not as_json:
        say(f"{shown_id(id)} in queue {clean(where)}: {_WORDS[answer]}")


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
