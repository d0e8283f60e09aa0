"""`taskq topic dead ls|show|redrive|remove`: what a group could not handle."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from taskq.topic_control import Letter
from taskq_workers import exits
from taskq_workers.commands.operating import Desk, agree, counted, fail, operator_options, print_rows, say, warn
from taskq_workers.commands.shared import Whole, json_option, print_json
from taskq_workers.commands.topic_desk import control_of
from taskq_workers.terminal import clean, cut

_HEAD = ("ID", "OFFSET", "KEY", "REASON", "ATTEMPTS", "DEATHS", "ERROR")
_ALL = 1_000_000


@click.group()
def dead() -> None:
    """List, show, redrive and remove the dead letters of a group."""


@dead.command("ls")
@click.argument("name", metavar="TOPIC")
@click.argument("group", metavar="GROUP")
@click.option("-n", "--limit", type=Whole(1, 10_000), default=50, show_default=True, help="At most so many.")
@json_option
@operator_options
def list_letters(desk: Desk, name: str, group: str, limit: int, as_json: bool) -> None:
    """Show dead letters, the oldest of each partition first; without their values."""
    control = control_of(desk)
    letters, total = control.dead(name, group, limit), control.inspector.group(name, group).dead
    if as_json:
        for one in letters:
            print_json({word: value for word, value in asdict(one).items() if word not in ("value", "headers")})
    elif letters:
        print_rows(_HEAD, [_row(one) for one in letters])
    if not letters:
        warn(f"group {group} of topic {name} has no dead letters")
    elif total > len(letters):
        warn(f"{len(letters)} of {total} are shown; --limit shows more")


@dead.command()
@click.argument("name", metavar="TOPIC")
@click.argument("group", metavar="GROUP")
@click.argument("id", metavar="ID")
@click.option("--data", is_flag=True, help="Show the value and the headers, too.")
@json_option
@operator_options
def show(desk: Desk, name: str, group: str, id: str, data: bool, as_json: bool) -> None:
    """Show one dead letter."""
    found = [one for one in control_of(desk).dead(name, group, _ALL) if one.id == id]
    if not found:
        fail(f"group {group} of topic {name} has no dead letter {id!r}: take an id from taskq topic dead ls")
    fields = asdict(found[0])
    if not data:
        del fields["value"], fields["headers"]
    if as_json:
        print_json(json.loads(json.dumps(fields, default=repr)))
        return
    for word, value in fields.items():
        shown = json.dumps(value, default=repr, ensure_ascii=False) if word in ("value", "headers") else value
        if shown not in (None, ""):
            say(f"{word:<12} {cut(shown, 10_000)}")


@dead.command()
@click.argument("name", metavar="TOPIC")
@click.argument("group", metavar="GROUP")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that are there.")
@click.option("--most", type=Whole(1, 1_000), default=5, show_default=True, help="Times for one record in all.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@operator_options
def redrive(
    desk: Desk, name: str, group: str, ids: tuple[str, ...], everything: bool, most: int, yes: bool, as_json: bool
) -> None:
    """Have dead letters handled again, each by ID, or --all.

    Those of a shared group go to that group; those of an ordered one are published to the topic again, for all groups.
    """
    control = control_of(desk)
    total = _chosen(ids, everything, control.inspector.group(name, group).dead)
    if not total:
        warn(f"group {group} of topic {name} has no dead letters")
    else:
        agree(
            f"Redrive {counted(total, 'dead letter')} of group {clean(group)} of topic {clean(name)}?", yes or bool(ids)
        )
    done = control.redrive(name, group, ids or None, most)
    if as_json:
        print_json({"redriven": done.redriven, "stay": list(done.stay)})
    else:
        say(f"redriven {counted(done.redriven, 'dead letter')}")
        for one in done.stay:
            warn(f"{one} stays: redriven too often, not readable, or its record is gone")
    if done.redriven < len(ids):
        raise click.exceptions.Exit(exits.FAILED)


@dead.command()
@click.argument("name", metavar="TOPIC")
@click.argument("group", metavar="GROUP")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that are there.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@operator_options
def remove(desk: Desk, name: str, group: str, ids: tuple[str, ...], everything: bool, yes: bool, as_json: bool) -> None:
    """Remove dead letters for good, by ID, or --all."""
    control = control_of(desk)
    total = _chosen(ids, everything, control.inspector.group(name, group).dead)
    if total:
        agree(f"Remove {counted(total, 'dead letter')} of group {clean(group)} of topic {clean(name)} for good?", yes)
    removed = control.remove_dead(name, group, ids or None) if total else 0
    if as_json:
        print_json({"removed": removed})
    else:
        say(f"removed {counted(removed, 'dead letter')}")
    if removed < len(ids):
        raise click.exceptions.Exit(exits.FAILED)


def _chosen(ids: tuple[str, ...], everything: bool, total: int) -> int:
    if bool(ids) == everything:
        raise click.UsageError("name ids or say --all" if not ids else "give ids or --all, not both")
    return len(ids) or total


def _row(one: Letter) -> list[object]:
    return [one.id, one.offset, one.key, one.reason, one.attempts, one.deaths, one.last_error]
