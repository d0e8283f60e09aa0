"""What is done to schedules at run time, as steps for either client: by the app, and by the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from taskq.cron import Cron, zone
from taskq.errors import ConfigError, DecodeError, UnknownSchedule
from taskq.message import id_text, new_ids
from taskq.names import did_you_mean, shown
from taskq.store import keys as store_keys
from taskq.store.keys import queue_keys
from taskq.tasks import schedule_calls as calls
from taskq.tasks import schedule_steps
from taskq.tasks.calls import Limits
from taskq.tasks.schedule import Definition, Entry
from taskq.tasks.schedule_steps import Steps

_TRIES = 20


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A schedule as it is stored. Moments are aware datetimes in its zone; `next` is None if none comes, or if paused.

    `state` is "active", "paused", "orphaned" (its code is in no live worker), "ended" or "unreadable" (written by a
    newer release, say; then only name and queue are known). `every` is seconds. `runs` counts messages that it
    enqueued, `skips` slots that were skipped because the last message was alive.
    """

    name: str
    task: str
    queue: str
    state: str
    cron: str | None
    every: float | None
    tz: str
    next: datetime | None
    last: datetime | None
    last_message: str | None
    in_code: bool
    missed: str
    overlap: str
    jitter: float
    start: datetime | None
    end: datetime | None
    runs: int
    skips: int

    @classmethod
    def of(cls, entry: Entry, now: int) -> ScheduleInfo:
        definition = entry.definition
        times = definition.times
        cron, tz = (times.text, times.tz) if isinstance(times, Cron) else (None, "UTC")
        where = zone(tz) or UTC
        state = "paused" if entry.paused else "orphaned" if entry.orphaned(now) else "active"
        if entry.slot is None and state == "active":
            state = "ended"
        return cls(
            name=entry.name,
            task=str(definition.call["task"]),
            queue=definition.queue,
            state=state,
            cron=cron,
            every=None if isinstance(times, Cron) else times.ms / 1_000,
            tz=tz,
            next=None if entry.paused else moment(entry.slot, where),
            last=moment(entry.last, where),
            last_message=id_text(entry.message) if entry.message else None,
            in_code=entry.in_code,
            missed=definition.missed,
            overlap=definition.overlap,
            jitter=definition.jitter / 1_000,
            start=moment(definition.start, where),
            end=moment(definition.end, where),
            runs=entry.runs,
            skips=entry.skips,
        )

    @classmethod
    def unreadable(cls, name: str, queue: str) -> ScheduleInfo:
        """One of which nothing more is known."""
        return cls(
            name=name,
            task="?",
            queue=queue,
            state="unreadable",
            cron=None,
            every=None,
            tz="UTC",
            next=None,
            last=None,
            last_message=None,
            in_code=False,
            missed="?",
            overlap="?",
            jitter=0.0,
            start=None,
            end=None,
            runs=0,
            skips=0,
        )


def moment(ms: int | None, where: tzinfo) -> datetime | None:
    """Milliseconds since 1970 as a datetime in a zone."""
    return None if ms is None else datetime.fromtimestamp(ms / 1_000, UTC).astimezone(where)


def need(namespace: str, name: str) -> Steps[Entry]:
    """The entry of that name; raises UnknownSchedule, which names the nearest."""
    if not isinstance(name, str):
        raise UnknownSchedule(f"there is no schedule {shown(name)}: its name is a text")
    entry = yield from schedule_steps.find(namespace, name)
    if entry is None:
        known = calls.names_of((yield ("HKEYS", store_keys.schedules(namespace))))
        raise UnknownSchedule(f"there is no schedule {name!r} in namespace {namespace!r}{did_you_mean(name, known)}")
    return entry


def get(namespace: str, name: str) -> Steps[ScheduleInfo]:
    """One schedule."""
    entry = yield from need(namespace, name)
    return ScheduleInfo.of(entry, (yield from schedule_steps.clock()))


def everything(namespace: str) -> Steps[list[ScheduleInfo]]:
    """All schedules, by name."""
    unreadable: list[tuple[str, str]] = []
    entries = yield from schedule_steps.every(namespace, unreadable)
    now = yield from schedule_steps.clock()
    infos = [ScheduleInfo.of(entry, now) for entry in entries]
    infos += [ScheduleInfo.unreadable(name, queue) for name, queue in unreadable]
    return sorted(infos, key=lambda info: info.name)


def add(namespace: str, definition: Definition) -> Steps[ScheduleInfo]:
    """A new schedule."""
    name = definition.name
    entry = yield from schedule_steps.find(namespace, name)
    if entry is not None or not (yield from schedule_steps.create(namespace, definition, by="", in_code=False)):
        raise ConfigError(f"there is a schedule {name!r} already; change it by update(), or remove it first")
    return (yield from get(namespace, name))


def update(namespace: str, name: str, changed: Callable[[Definition], Definition]) -> Steps[ScheduleInfo]:
    """Another definition for a schedule that was made at run time."""
    for _ in range(_TRIES):
        entry = yield from need(namespace, name)
        if entry.in_code:
            raise ConfigError(f"schedule {name!r} is declared in code: change it there, or add one of another name")
        definition = changed(entry.definition)
        if (yield from schedule_steps.replace(namespace, entry, definition, "", {})):
            return (yield from get(namespace, name))
    raise _busy(name)


def hold(namespace: str, name: str, paused: bool) -> Steps[ScheduleInfo]:
    """Paused, or going on."""
    for _ in range(_TRIES):
        entry = yield from need(namespace, name)
        if entry.paused == paused or (yield from schedule_steps.hold(namespace, entry, paused)):
            return (yield from get(namespace, name))
    raise _busy(name)


def remove(namespace: str, name: str) -> Steps[None]:
    """Gone, with its slot and its counts."""
    for _ in range(_TRIES):
        try:
            entry = yield from need(namespace, name)
        except DecodeError:
            if (yield from schedule_steps.scrap(namespace, name)):
                return
            continue
        if entry.in_code and not entry.orphaned((yield from schedule_steps.clock())):
            raise ConfigError(f"schedule {name!r} is declared by live workers: pause it, or take it out of their code")
        if (yield from schedule_steps.remove(namespace, entry)):
            return
    raise _busy(name)


def prune(namespace: str) -> Steps[list[str]]:
    """Remove what is orphaned; answers the names."""
    entries = yield from schedule_steps.every(namespace, [])
    now = yield from schedule_steps.clock()
    gone: list[str] = []
    for entry in entries:
        if entry.orphaned(now) and (yield from schedule_steps.remove(namespace, entry)):
            gone.append(entry.name)  # noqa: PERF401 - a comprehension cannot wait for an answer
    return gone


def run_now(namespace: str, name: str, limits: Limits) -> Steps[tuple[Definition, bytes]]:
    """Enqueue the call of a schedule beside its slots; answers what was run, and the id of the message."""
    raw = new_ids(1)[0]
    for _ in range(_TRIES):
        entry = yield from need(namespace, name)
        message = entry.definition.message(raw, None, (yield from schedule_steps.clock()))
        queue = entry.definition.queue
        streamed = yield ("HGET", queue_keys(namespace, queue).meta, "transport")
        keys = queue_keys(namespace, queue, bool(streamed))
        answer = yield calls.fire(keys, name, entry.rev, None, None, message, limits)
        if answer.code != calls.CHANGED:
            return entry.definition, raw
    raise _busy(name)


def _busy(name: str) -> ConfigError:
    return ConfigError(f"schedule {name!r} is changed by others all the time; please report this")
