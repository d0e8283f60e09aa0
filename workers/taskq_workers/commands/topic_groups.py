"""`taskq topic groups|seek|replay`: where groups stand, and putting them elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from taskq.control import new_label
from taskq.topic_control import Move
from taskq.topics import GroupInfo
from taskq_workers.commands.operating import Desk, agree, counted, operator_options, print_rows, progress_to, say, warn
from taskq_workers.commands.shared import json_option, print_json
from taskq_workers.commands.topic_desk import Place, control_of, partition_option, place, where
from taskq_workers.terminal import clean, span

_HEAD = ("TOPIC", "GROUP", "KIND", "MEMBERS", "EPOCH", "LAG", "BYTES", "OLDEST", "WAITING", "DEAD", "LOST")
_MOVES = ("PARTITION", "BEFORE", "AGAIN", "SKIPPED")


@click.command()
@click.argument("name", metavar="[TOPIC]", required=False)
@click.option("--members", is_flag=True, help="Who is in them, with their partitions.")
@json_option
@operator_options
def groups(desk: Desk, name: str | None, members: bool, as_json: bool) -> None:
    """Show where the groups of a topic stand, or those of all topics.

    LAG counts records that are not done, OLDEST is the age of the oldest of them. WAITING are parked keys, or records
    that wait for another try. LOST records left the log before the group was there.
    """
    infos = control_of(desk).inspector.topics(None if name is None else [name])
    found = [one for info in infos for one in info.groups]
    if as_json:
        for one in found:
            print_json(asdict(one))
        return
    if not found:
        warn(f"topic {name} has no groups" if name else f"no topic of namespace {desk.namespace!r} has groups")
        return
    print_rows(_HEAD, [(one.topic, one.group, *group_row(one)) for one in found])
    if members:
        for one in found:
            for member in one.members:
                parts = ", ".join(map(str, member.partitions)) or "no partitions"
                which = f": {parts}" if one.kind == "ordered" else ""
                say(f"{clean(one.topic)} {clean(one.group)} {clean(member.name)} {clean(member.label)}{which}".rstrip())


def group_row(one: GroupInfo) -> tuple[Any, ...]:
    """What a table says of a group, after its name."""
    waiting, lost = (sum(getattr(at, name) for at in one.positions) for name in ("waiting", "lost"))
    oldest = span(one.seconds) if one.records else None
    return (one.kind, len(one.members), one.epoch, one.records, one.bytes, oldest, waiting, one.dead, lost)


@click.command()
@click.argument("name", metavar="TOPIC")
@click.argument("group", metavar="GROUP")
@click.option(
    "--to", type=place, required=True, metavar="PLACE", help="earliest, latest, an offset, or a time: 2h ago."
)
@partition_option
@click.option("--force", is_flag=True, help="Also while it has members: what they have in hand then does not count.")
@click.option("--dry-run", is_flag=True, help="Only say what it would do.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@operator_options
def seek(
    desk: Desk,
    name: str,
    group: str,
    to: Place,
    partitions: tuple[int, ...],
    force: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Put a group elsewhere: what comes from there on is handled (again), what lies before is not.

    While the group has members it is refused without --force.
    """
    control, target = control_of(desk), where(desk, to)
    chosen = partitions or None
    moves = control.moves(name, group, target, chosen)
    again, skipped = sum(one.again for one in moves), sum(one.skipped for one in moves)
    what = f"group {clean(group)} of topic {clean(name)}: {again} records come again, {skipped} are skipped"
    if not as_json:
        print_rows(_MOVES, moves)
    if not dry_run:
        if not force:
            control.need_idle(name, group)  # before anybody is asked
        agree(f"Put {what}?", yes)
        control.seek(name, group, target, chosen, force=force)
    if as_json:
        print_json({"topic": name, "group": group, "dry_run": dry_run, "moves": [_object(one) for one in moves]})
    else:
        say(f"would put {what}" if dry_run else f"put {what}")


def _object(move: Move) -> dict[str, Any]:
    return move._asdict()


@click.command()
@click.argument("name", metavar="TOPIC")
@click.option("--into", required=True, metavar="TOPIC", help="The topic that gets them; it has to be there.")
@click.option("--from", "since", type=place, metavar="PLACE", default="earliest", show_default=True, help="From there.")
@click.option("--to", "until", type=place, metavar="PLACE", help="Up to there; else where the topic ends now.")
@partition_option
@click.option("--label", metavar="TEXT", help="Go on with a replay that was stopped; else a new one.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@operator_options
def replay(
    desk: Desk,
    name: str,
    into: str,
    since: Place,
    until: Place | None,
    partitions: tuple[int, ...],
    label: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Publish a range of records to another topic, with their keys, headers and times.

    Under one label each is published once, as long as that topic remembers ids (an hour, if nothing else was said). To
    have one group handle records again, use seek.
    """
    control, word = control_of(desk), label or new_label()
    begin, end = where(desk, since), None if until is None else where(desk, until)
    for one in (name, into):
        control.topic(one)  # it has to be there, before anybody is asked
    agree(f"Publish records of topic {clean(name)} to topic {clean(into)}?", yes)
    if not label:
        warn(f"label {word}: give it with --label to go on if this is stopped")
    last = None if end == "latest" or end == "earliest" else end
    found, created = control.replay(name, into, word, begin, last, partitions or None, progress_to(0, "replayed"))
    if as_json:
        print_json({"topic": name, "into": into, "label": word, "found": found, "published": created})
    else:
        say(f"published {counted(created, 'record')} of {found} to topic {clean(into)}")
