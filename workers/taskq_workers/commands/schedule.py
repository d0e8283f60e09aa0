"""`taskq schedule ls|show|next|run|pause|resume|remove|prune`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, tzinfo
from typing import Any, TypeVar

import click

from taskq.cron import Cron, zone
from taskq.message import id_text
from taskq.tasks import schedule_admin as admin
from taskq.tasks import schedule_steps
from taskq.tasks.schedule import Entry
from taskq.tasks.schedule_admin import ScheduleInfo, moment
from taskq.tasks.schedule_steps import Steps, drive
from taskq_workers.commands.operating import Desk, agree, counted, operator_options, print_rows, say, warn
from taskq_workers.commands.shared import Whole, json_option, print_json
from taskq_workers.terminal import clean

T = TypeVar("T")

_HEAD = ("SCHEDULE", "WHEN", "ZONE", "TASK", "QUEUE", "NEXT", "LAST", "RUNS", "SKIPPED", "STATE")


@click.group()
def schedule() -> None:
    """List, run and pause schedules."""


@schedule.command("ls")
@json_option
@operator_options
def list_schedules(desk: Desk, as_json: bool) -> None:
    """Show all schedules; times are those of each schedule's zone.

    An orphaned one comes from code that no live worker has: it keeps its slot, and is removed after a day.
    """
    infos = _do(desk, admin.everything(desk.namespace))
    if as_json:
        for info in infos:
            print_json(_object(info))
    elif infos:
        print_rows(_HEAD, [_row(info) for info in infos])
    else:
        warn(f"namespace {desk.namespace!r} has no schedules")


@schedule.command()
@click.argument("name", metavar="ENTRY")
@json_option
@operator_options
def show(desk: Desk, name: str, as_json: bool) -> None:
    """Show one schedule with all that was said of it."""
    info = _do(desk, admin.get(desk.namespace, name))
    if as_json:
        print_json(_object(info))
        return
    facts = {
        "schedule": info.name,
        "state": info.state,
        "when": f"{_when(info)} in {info.tz}",
        "task": f"{info.task} in queue {info.queue}",
        "from": "code" if info.in_code else "a call at run time",
        "missed": info.missed,
        "overlap": info.overlap,
        "jitter": f"{info.jitter:g} s" if info.jitter else None,
        "start": _shown(info.start),
        "end": _shown(info.end),
        "next": _shown(info.next),
        "last": _shown(info.last),
        "message": info.last_message,
        "counts": f"{counted(info.runs, 'run')}, {info.skips} skipped",
    }
    for word, value in facts.items():
        if value is not None:
            say(f"{word:<9} {clean(value)}")


@schedule.command("next")
@click.argument("name", metavar="ENTRY")
@click.option("-n", "count", type=Whole(1, 1_000), default=5, show_default=True, help="How many.")
@json_option
@operator_options
def next_slots(desk: Desk, name: str, count: int, as_json: bool) -> None:
    """Show the next slots of a schedule, in its zone."""
    entry = _do(desk, admin.need(desk.namespace, name))
    found = _upcoming(entry, _do(desk, schedule_steps.clock()), count)
    where = _zone(entry)
    if as_json:
        print_json({"name": name, "tz": str(where), "paused": entry.paused, "slots": found})
        return
    for slot in found:
        say(_shown(moment(slot, where)) or "")
    if entry.paused:
        warn(f"schedule {name} is paused: these come once it is resumed")
    elif not found:
        warn(f"schedule {name} has ended")


@schedule.command()
@click.argument("name", metavar="ENTRY")
@json_option
@operator_options
def run(desk: Desk, name: str, as_json: bool) -> None:
    """Enqueue the call of a schedule now, beside its slots."""
    definition, raw = _do(desk, admin.run_now(desk.namespace, name, desk.broker.limits))
    if as_json:
        print_json({"id": id_text(raw), "task": definition.call["task"], "queue": definition.queue})
        return
    say(id_text(raw))
    warn(f"enqueued in {definition.queue}")


@schedule.command()
@click.argument("names", metavar="ENTRY...", nargs=-1, required=True)
@json_option
@operator_options
def pause(desk: Desk, names: tuple[str, ...], as_json: bool) -> None:
    """Make no messages of a schedule until it is resumed; those that are there stay."""
    for name in names:
        info = _do(desk, admin.hold(desk.namespace, name, True))
        print_json(_object(info)) if as_json else say(f"paused {clean(name)}")


@schedule.command()
@click.argument("names", metavar="ENTRY...", nargs=-1, required=True)
@json_option
@operator_options
def resume(desk: Desk, names: tuple[str, ...], as_json: bool) -> None:
    """Go on with the next slot; what came during the pause is not made up for."""
    for name in names:
        info = _do(desk, admin.hold(desk.namespace, name, False))
        print_json(_object(info)) if as_json else say(f"resumed {clean(name)}; next {_shown(info.next) or 'never'}")


@schedule.command()
@click.argument("names", metavar="ENTRY...", nargs=-1, required=True)
@json_option
@operator_options
def remove(desk: Desk, names: tuple[str, ...], as_json: bool) -> None:
    """Remove schedules that were made at run time, or that no live worker declares any more."""
    for name in names:
        _do(desk, admin.remove(desk.namespace, name))
        print_json({"name": name, "removed": True}) if as_json else say(f"removed {clean(name)}")


@schedule.command()
@click.option("--dry-run", is_flag=True, help="Only say which.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@operator_options
def prune(desk: Desk, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove all orphaned schedules."""
    found = [info.name for info in _do(desk, admin.everything(desk.namespace)) if info.state == "orphaned"]
    what = f"{counted(len(found), 'orphaned schedule')}: {', '.join(map(clean, found))}" if found else "nothing"
    removed: list[str] = []
    if found and not dry_run:
        agree(f"Remove {what}?", yes)
        removed = _do(desk, admin.prune(desk.namespace))
    if as_json:
        print_json({"found": found, "removed": removed, "dry_run": dry_run})
    elif dry_run:
        say(f"would remove {what}")
    else:
        say(f"removed {counted(len(removed), 'schedule')}")


def _do(desk: Desk, steps: Steps[T]) -> T:
    return drive(desk.broker.link, steps)


def _upcoming(entry: Entry, now: int, count: int) -> list[int]:
    slot = entry.definition.following(now) if entry.paused else entry.slot
    found: list[int] = []
    while slot is not None and len(found) < count:
        found.append(slot)
        slot = entry.definition.following(slot)
    return found


def _zone(entry: Entry) -> tzinfo:
    times = entry.definition.times
    return (zone(times.tz) if isinstance(times, Cron) else None) or UTC


def _when(info: ScheduleInfo) -> str:
    if info.cron is not None:
        return info.cron
    return "?" if info.every is None else f"every {info.every:g} s"


def _shown(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(" ", "seconds" if not at.microsecond else "milliseconds")


def _row(info: ScheduleInfo) -> list[Any]:
    times = (_shown(info.next), _shown(info.last))
    return [info.name, _when(info), info.tz, info.task, info.queue, *times, info.runs, info.skips, info.state]


def _object(info: ScheduleInfo) -> dict[str, Any]:
    """For scripts: moments in milliseconds since 1970, as everywhere."""
    fields = asdict(info)
    return {
        name: round(value.timestamp() * 1_000) if isinstance(value, datetime) else value
        for name, value in fields.items()
    }
