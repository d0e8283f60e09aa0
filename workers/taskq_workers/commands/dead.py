"""`taskq dead ls|show|retry|rm`: what did not succeed, and what is to become of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

import click

from taskq.inspector import DeadLetter, Filter, shown_id
from taskq_workers import exits
from taskq_workers.commands.dossier import show_message
from taskq_workers.commands.message import queue_of
from taskq_workers.commands.operating import (
    Desk,
    agree,
    counted,
    duration,
    fail,
    located,
    operator_options,
    print_each,
    print_rows,
    progress_to,
    say,
    warn,
)
from taskq_workers.commands.shared import Amount, Whole, json_option, print_json
from taskq_workers.terminal import clean, moment

F = TypeVar("F", bound=Callable[..., Any])

_HEAD = ("ID", "DIED", "QUEUE", "TASK", "TRIES", "ERROR", "MESSAGE")

_FILTERS = (
    click.option("--queue", metavar="NAME", help="Only this queue; else all."),
    click.option("--task", metavar="PATTERN", help="Only this task; * and ? are wild."),
    click.option("--error", metavar="PATTERN", help="Only this exception class, with or without its module."),
    click.option("--since", type=duration, metavar="DURATION", help="Only what died within so long, like 90s or 2h."),
    click.option("--match", metavar="TEXT", help="Only with this text in task, class, error text or id."),
    click.option("--quarantined", is_flag=True, help="The quarantine instead: messages that cannot be read."),
)


def filter_options(command: F) -> F:
    """Add the options that choose dead letters."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def bulk_options(command: F) -> F:
    """Add what a bulk action asks for."""
    for option in (
        json_option,
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Only say how many are meant."),
        click.option("--all", "everything", is_flag=True, help="All of them, without any filter."),
    ):
        command = option(command)
    return filter_options(command)


@click.group()
def dead() -> None:
    """List, show, retry and remove dead letters."""


@dead.command("ls")
@filter_options
@click.option("--limit", type=Whole(1, 10_000), default=50, show_default=True, help="Show at most so many.")
@click.option("--cursor", metavar="TEXT", help="Go on where a list of one queue ended.")
@json_option
@operator_options
def list_letters(desk: Desk, queue: str | None, limit: int, cursor: str | None, as_json: bool, **filters: Any) -> None:
    """Show dead letters, the newest first."""
    if cursor and queue is None:
        raise click.UsageError("--cursor belongs to one queue; name it with --queue")
    what, total = chosen(desk, **filters), 0
    found: list[DeadLetter] = []
    more: list[tuple[str, str, bool]] = []
    for name in desk.queues(queue):
        page = desk.inspector.dead(name, what, limit=limit, cursor=cursor)
        found += page.items
        total += page.total
        if page.cursor:
            more.append((name, page.cursor, page.truncated))
    found.sort(key=lambda letter: letter.at, reverse=True)
    letters = found[:limit]
    if as_json:
        print_each(letters)
    elif letters:
        print_rows(_HEAD, [_row(letter) for letter in letters])
    kind = "message in quarantine" if what.quarantined else "dead letter"
    if not letters:
        warn(f"none of {counted(total, kind)} fits" if total else f"no {kind}s")
    _tell_more(letters, total, what.is_all, len(found) > limit, more)


def _tell_more(
    letters: list[DeadLetter], total: int, chooses_all: bool, cut: bool, more: list[tuple[str, str, bool]]
) -> None:
    for name, cursor, truncated in more:
        if truncated:
            warn(f"queue {name}: not all were looked at; go on with --queue {name} --cursor {cursor}")
    if cut or any(not truncated for _, _, truncated in more):
        way = f"--queue {more[0][0]} --cursor {more[0][1]}" if len(more) == 1 and not cut else "--queue and --limit"
        known = f", {total} in all" if chooses_all else f"; {total} in all, before the filter"
        warn(f"{len(letters)} shown{known}; more with {way}")


@dead.command()
@click.argument("id", metavar="ID")
@click.option("--queue", metavar="NAME", help="Its queue; else all are searched.")
@click.option("--data", is_flag=True, help="Show its arguments, headers and result, too.")
@json_option
@operator_options
def show(desk: Desk, id: str, queue: str | None, data: bool, as_json: bool) -> None:
    """Show one dead letter: its history, its last traceback and, with --data, its arguments."""
    info = desk.inspector.message(queue_of(desk, id, queue), id, contents=data)
    if info.status not in ("dead", "quarantined") or info.buried is None:
        fail(f"message {info.id} is no dead letter: it is {info.status}; see taskq message show")
    show_message(info, time.time() * 1000, as_json)


@dead.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@bulk_options
@click.option("--rate", type=Amount(0, min_open=True), metavar="N", help="At most so many a second.")
@operator_options
def retry(
    desk: Desk,
    ids: tuple[str, ...],
    queue: str | None,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    rate: float | None,
    **filters: Any,
) -> None:
    """Send dead letters back to their queues, as if they were new: by ID, by filter, or --all.

    Stopped in the middle, it has lost nothing: the same command goes on with what is left.
    """

    def work(name: str, what: Filter | Iterable[bytes], progress: Callable[[int], None] | None) -> int:
        return desk.control.redrive(name, what, rate=rate, on_progress=progress)

    bulk = Bulk(desk, "retry", "retried", work, queue, dry_run, yes)
    bulk.run(ids, everything, chosen(desk, **filters), as_json)


@dead.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@bulk_options
@operator_options
def rm(
    desk: Desk,
    ids: tuple[str, ...],
    queue: str | None,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """Remove dead letters for good: by ID, by filter, or --all."""

    def work(name: str, what: Filter | Iterable[bytes], progress: Callable[[int], None] | None) -> int:
        return desk.control.discard(name, what, on_progress=progress)

    bulk = Bulk(desk, "remove", "removed", work, queue, dry_run, yes)
    bulk.run(ids, everything, chosen(desk, **filters), as_json)


class Bulk:
    """One verb over many dead letters: count, ask, do, tell."""

    def __init__(
        self,
        desk: Desk,
        verb: str,
        past: str,
        work: Callable[[str, Filter | Iterable[bytes], Callable[[int], None] | None], int],
        queue: str | None,
        dry_run: bool,
        yes: bool,
    ) -> None:
        self._desk = desk
        self._verb = verb
        self._past = past
        self._work = work
        self._queue = queue
        self._dry_run = dry_run
        self._yes = yes

    def run(self, ids: tuple[str, ...], everything: bool, what: Filter, as_json: bool) -> None:
        """Do it for ids, or for what a filter chooses; ends with exit code 1 if an id is no dead letter."""
        chooses = not replace(what, quarantined=False).is_all
        if ids and (chooses or everything):
            raise click.UsageError("give ids or a filter, not both")
        if not (ids or chooses or everything):
            raise click.UsageError("name ids, give a filter, or say --all")
        if everything and chooses:
            raise click.UsageError("--all leaves no room for a filter; give one of them")
        missing: list[str] = []
        done = self._ids(ids, missing) if ids else self._filtered(what)
        if as_json:
            print_json({self._past: 0 if self._dry_run else done, "found": done, "dry_run": self._dry_run})
        elif self._dry_run:
            say(f"would {self._verb} {counted(done, 'dead letter')}")
        else:
            say(f"{self._past} {counted(done, 'dead letter')}")
        for given in missing:
            warn(f"no dead letter has the id {given}")
        if missing:
            raise click.exceptions.Exit(exits.FAILED)

    def _ids(self, ids: tuple[str, ...], missing: list[str]) -> int:
        found, unknown = located(self._desk, ids, self._queue, "xq")
        missing += unknown
        if self._dry_run:
            return sum(len(here) for here in found.values())
        return sum(self._work(name, here, None) for name, here in found.items())

    def _filtered(self, what: Filter) -> int:
        """By filter, after asking: what was counted is what is meant, so nothing that dies later."""
        now = self._desk.inspector.server_ms()
        names = self._desk.queues(self._queue)
        counts = {name: self._desk.inspector.count_dead(name, what) for name in names}
        total = sum(counts.values())
        if self._dry_run or not total:
            return total
        kind = "message in quarantine" if what.quarantined else "dead letter"
        where = ", ".join(f"{count} in {clean(name)}" for name, count in counts.items() if count)
        agree(f"{self._verb.capitalize()} {counted(total, kind)} ({where})?", self._yes)
        what = replace(what, until=now)
        return sum(
            self._work(name, what, progress_to(count, f"{name}: {self._past}"))
            for name, count in counts.items()
            if count
        )


def chosen(
    desk: Desk, task: str | None, error: str | None, since: float | None, match: str | None, quarantined: bool
) -> Filter:
    """The filter that the options say."""
    first = None if since is None else desk.inspector.server_ms() - since * 1000
    return Filter(task, error, match, first, None, quarantined)


def _row(letter: DeadLetter) -> list[object]:
    return [
        shown_id(letter.id),
        moment(letter.at),
        letter.queue,
        letter.task or "?",
        letter.attempts + letter.crashes,
        letter.error or letter.kind,
        letter.message.split("\n", 1)[0],
    ]
