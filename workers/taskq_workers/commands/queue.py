"""`taskq queue ls|pause|resume|purge`; `history`, `replay` and `move` are in modules of their own."""

from __future__ import annotations

from typing import Any

import click

from taskq.control import STATES, WAITING, State
from taskq.inspector import QueueInfo
from taskq_workers.commands.history import history, replay
from taskq_workers.commands.move import move
from taskq_workers.commands.operating import (
    Desk,
    agree,
    counted,
    operator_options,
    print_each,
    print_rows,
    progress_to,
    say,
    warn,
)
from taskq_workers.commands.shared import json_option, print_json
from taskq_workers.terminal import clean, span

_HEAD = (
    "QUEUE",
    "READY",
    "LEASED",
    "DELAYED",
    "RETRYING",
    "PARKED",
    "DEAD",
    "QUARANTINED",
    "OLDEST",
    "STATE",
    "TRANSPORT",
)


@click.group()
def queue() -> None:
    """List, pause, resume, purge and move queues; read and replay the history of stream queues."""


queue.add_command(history)
queue.add_command(replay)
queue.add_command(move)


@queue.command("ls")
@click.argument("names", metavar="[QUEUE]...", nargs=-1)
@json_option
@operator_options
def list_queues(desk: Desk, names: tuple[str, ...], as_json: bool) -> None:
    """Show what the queues hold: all, or those named.

    LEASED is in the hands of workers; RETRYING is the part of DELAYED that ran before; OLDEST is the age of the oldest
    ready message since it was created.
    """
    infos, truncated = queues_of(desk, names)
    if as_json:
        print_each(infos)
    elif infos:
        print_rows(_HEAD, [_row(info) for info in infos])
    else:
        warn(f"namespace {desk.namespace!r} has no queues yet")
    if truncated:
        warn(f"only the first {len(infos)} queues are shown; name others")


@queue.command()
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True)
@json_option
@operator_options
def pause(desk: Desk, names: tuple[str, ...], as_json: bool) -> None:
    """Hand out nothing more of a queue, until it is resumed; what workers hold goes on."""
    for name in names:
        desk.control.pause(name)
        print_json({"queue": name, "paused": True}) if as_json else say(f"paused {clean(name)}")


@queue.command()
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True)
@json_option
@operator_options
def resume(desk: Desk, names: tuple[str, ...], as_json: bool) -> None:
    """Hand out the messages of a queue again."""
    for name in names:
        desk.control.resume(name)
        print_json({"queue": name, "paused": False}) if as_json else say(f"resumed {clean(name)}")


@queue.command()
@click.argument("name", metavar="QUEUE")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES),
    help=f"Which messages; may be given again. Without it: {', '.join(WAITING)}.",
)
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@operator_options
def purge(desk: Desk, name: str, states: tuple[State, ...], dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove the messages of a queue for good, with their unique keys and results.

    What workers hold stays. Pause the queue first if its workers are busy.
    """
    chosen = states or WAITING
    info = desk.inspector.queue(name)
    counts = {state: _count(info, state) for state in chosen}
    total = sum(counts.values())
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    what = f"{counted(total, 'message')} ({told}) of queue {clean(name)}"
    removed = 0
    if dry_run:
        (say if not as_json else warn)(f"would remove {what}")
    elif total:
        agree(f"Remove {what}?", yes)
        removed = desk.control.purge(name, chosen, on_progress=progress_to(total, "removed"))
    if as_json:
        print_json({"queue": name, "found": counts, "removed": removed, "dry_run": dry_run})
    elif not dry_run:
        say(f"removed {counted(removed, 'message')} of queue {clean(name)}")


def queues_of(desk: Desk, names: tuple[str, ...]) -> tuple[list[QueueInfo], bool]:
    """The queues named, or all, and whether some are left out."""
    if names:
        return [desk.inspector.queue(name) for name in names], False
    listed = desk.inspector.queues()
    return list(listed.queues), listed.truncated


def _count(info: QueueInfo, state: State) -> int:
    return info.parked_total if state == "parked" else int(getattr(info, state))


def _row(info: QueueInfo) -> list[Any]:
    def least(name: str, value: int) -> object:
        return f">={value}" if name in info.truncated else value

    return [
        info.name,
        info.ready,
        least("leased", info.leased),
        info.delayed,
        least("retrying", info.retrying),
        least("parked", info.parked_total),
        info.dead,
        info.quarantined,
        span(info.oldest),
        "paused" if info.paused else "on",
        info.transport,
    ]
