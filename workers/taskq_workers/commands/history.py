"""`taskq queue history|replay`: what was enqueued to a stream queue, and enqueueing it again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import click

from taskq.control import OtherPlan, Replayed, new_label
from taskq.errors import BrokerError, ConfigError, DecodeError
from taskq.inspector import Entry
from taskq_workers import exits
from taskq_workers.commands.operating import (
    Desk,
    agree,
    counted,
    duration,
    operator_options,
    print_each,
    print_rows,
    say,
    warn,
)
from taskq_workers.commands.shared import Amount, Whole, json_option, print_json
from taskq_workers.terminal import clean, moment

_FLAGS = {"since": "--from", "until": "--to", "match": "--match", "to": "--into"}
_HEAD = ("ENTRY", "TIME", "PLACE", "MESSAGE", "TASK", "BYTES")


@dataclass(frozen=True)
class Instant:
    """A moment as it was typed: seconds since 1970, or so long ago by the server's clock."""

    at: float | None
    ago: float = 0.0
    typed: str = ""

    def seconds(self, desk: Desk) -> float:
        return desk.inspector.server_ms() / 1_000 - self.ago if self.at is None else self.at


def instant(value: str) -> Instant:
    """A moment with its zone, or a duration: so long ago."""
    text = str(value).strip()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            return Instant(None, duration(text.removesuffix("ago").strip()), text)
        except click.BadParameter:
            raise click.BadParameter(
                f"{clean(value)!r} is no moment: write 2026-11-24T18:30+01:00, or 2h for two hours ago"
            ) from None
    if at.tzinfo is None:
        raise click.BadParameter(f"{clean(value)!r} has no time zone: add Z or one like +01:00")
    return Instant(at.timestamp(), typed=text)


_RANGE = (
    click.option(
        "--from", "since", type=instant, metavar="TIME", help="Not before: 2026-11-24T18:30+01:00, or 2h ago."
    ),
    click.option("--to", "until", type=instant, metavar="TIME", help="Not after."),
    click.option("--match", metavar="PATTERN", help="Only this task; * and ? are wild."),
)


def range_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose entries."""
    for option in reversed(_RANGE):
        command = option(command)
    return command


@click.command()
@click.argument("name", metavar="QUEUE")
@range_options
@click.option("-n", "--limit", type=Whole(1, 10_000), default=50, show_default=True, help="Show at most so many.")
@click.option("--newest", is_flag=True, help="Begin with the newest.")
@click.option("--cursor", metavar="TEXT", help="Go on where a list ended.")
@click.option("--data", is_flag=True, help="With --json: the arguments and headers, too.")
@json_option
@operator_options
def history(
    desk: Desk,
    name: str,
    since: Instant | None,
    until: Instant | None,
    match: str | None,
    limit: int,
    newest: bool,
    cursor: str | None,
    data: bool,
    as_json: bool,
) -> None:
    """Show what was enqueued to a stream queue, the oldest first, as much of it as is retained.

    A message that was retried has several entries. PLACE says of an entry whether it is unread, pending (in the hands
    of a worker, or given back) or delivered.
    """
    if data and not as_json:
        raise click.UsageError("--data belongs to --json")
    first, last = _seconds(desk, since), _seconds(desk, until)
    page = desk.inspector.history(
        name, since=first, until=last, match=match, limit=limit, cursor=cursor, newest=newest, contents=data
    )
    if as_json:
        print_each(_object(entry, data) for entry in page.entries)
    elif page.entries:
        print_rows(_HEAD, [_row(entry) for entry in page.entries])
    else:
        warn(f"nothing fits of what was looked at: {page.looked}" if page.looked else "no history there")
    if page.cursor:
        why = "not all were looked at" if page.truncated else f"{len(page.entries)} shown"
        warn(f"{why}; more with --cursor {page.cursor}")


@click.command()
@click.argument("name", metavar="QUEUE")
@range_options
@click.option("--into", metavar="QUEUE", help="Enqueue to another queue.")
@click.option("--create", is_flag=True, help="The queue of --into may be one that was never used.")
@click.option("--label", metavar="TEXT", help="The name of this replay; one that was begun goes on.")
@click.option("--rate", type=Amount(0, min_open=True), metavar="N", help="At most so many a second.")
@click.option("--dry-run", is_flag=True, help="Only say how many are meant.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@operator_options
def replay(
    desk: Desk,
    name: str,
    since: Instant | None,
    until: Instant | None,
    match: str | None,
    into: str | None,
    create: bool,
    label: str | None,
    rate: float | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Enqueue the messages of a range of history again, each once.

    Stopped in the middle, the same label goes on with what is left: --label alone is enough.
    """
    if since is None and label is None:
        raise click.UsageError("say from when with --from, or go on with --label")
    if create and into is None:
        raise click.UsageError("--create belongs to --into")
    first, last = _seconds(desk, since), _seconds(desk, until)
    typed = {"since": since.typed if since else "", "until": until.typed if until else "", "match": match, "to": into}
    named = label or new_label()

    def work(dry: bool) -> Replayed:
        progress = None if dry else _progress()
        made: dict[str, Any] = {"match": match, "to": into, "create": create, "label": named, "rate": rate}
        try:
            done = desk.control.replay(name, first, last, **made, on_progress=progress, dry_run=dry)
        except OtherPlan as error:
            raise ConfigError(_other_plan(name, named, error, typed[error.option])) from error
        if progress is not None:
            click.echo(err=True)
        return done

    told = Replayed(named)
    if dry_run or not yes:
        told = work(True)
    if not dry_run:
        if not yes and not told.over:
            agree(f"Replay {counted(told.enqueued, 'message')} of queue {clean(name)}?", yes)
        warn(f"label {named}")
        told = _do(work, name, named)
    _tell(name, told, as_json)


def _do(work: Callable[[bool], Replayed], name: str, label: str) -> Replayed:
    try:
        return work(False)
    except (KeyboardInterrupt, BrokerError):
        warn(f"stopped; go on with: taskq queue replay {name} --label {label}")
        raise


def _other_plan(queue: str, label: str, error: OtherPlan, typed: str | None) -> str:
    """The refusal in the words of the command line; `typed` is what was given now."""
    begun = error.begun
    if error.option in ("since", "until") and begun is not None:
        begun = datetime.fromtimestamp(begun / 1_000, UTC).isoformat(timespec="milliseconds")
    flag = _FLAGS[error.option]
    before = f"without {flag}" if begun is None else f"with {flag} {begun}"
    return (
        f"replay {label!r} of queue {queue!r} was begun {before}, not with {flag} {typed}: leave --from, --to, --match"
        " and --into out to go on with it, or take another --label"
    )


def _tell(name: str, told: Replayed, as_json: bool) -> None:
    if as_json:
        print_json({"queue": name, **asdict(told)})
    elif told.over and told.dry_run:
        say(f"would replay nothing of queue {clean(name)}: label {clean(told.label)} was finished before")
    elif told.over:
        before = f"label {clean(told.label)} was finished before, with {counted(told.enqueued, 'message')}"
        say(f"replayed nothing of queue {clean(name)}: {before}")
    else:
        done = "would replay" if told.dry_run else "replayed"
        say(f"{done} {counted(told.enqueued, 'message')} of queue {clean(name)} (label {clean(told.label)})")
    if told.skipped:
        warn(f"{told.skipped} of the entries are no messages that can be read; they are left out")
    if told.trimmed:
        warn("history was trimmed before it was read: messages are missing")
        raise click.exceptions.Exit(exits.FAILED)


def _progress() -> Callable[[int], None] | None:
    """A line that counts up on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        return None
    return lambda done: click.echo(f"\rreplayed {done}", nl=False, err=True)


def _seconds(desk: Desk, typed: Instant | None) -> float | None:
    return None if typed is None else typed.seconds(desk)


def _object(entry: Entry, data: bool) -> dict[str, Any]:
    told = asdict(entry)
    del told["body"]
    if not data:
        return told
    try:
        message = entry.message()
    except DecodeError as error:
        return told | {"args": None, "kwargs": None, "headers": None, "problem": str(error)}
    return told | {"args": message.args, "kwargs": message.kwargs, "headers": message.headers or {}, "problem": ""}


def _row(entry: Entry) -> list[object]:
    who = "(foreign)" if entry.foreign else entry.id
    return [entry.entry, moment(entry.at), entry.place, who, entry.task or "?", entry.size]
