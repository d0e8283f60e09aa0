"""From what is said of a schedule to its definition, everything checked: nothing is stored before this."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import Any, Final, TypedDict, TypeVar

from taskq import cron as crons
from taskq.checks import Duration, seconds, when, whole
from taskq.codec import JSON, encode_arguments
from taskq.cron import Cron, Every, Times
from taskq.errors import InvalidArguments, InvalidName, InvalidOption, SerializationError, TaskqError
from taskq.names import check_task_name, did_you_mean, shown
from taskq.tasks.outgoing import Call as TaskCall
from taskq.tasks.outgoing import Stamp, follow_wire
from taskq.tasks.schedule import MISSED, OVERLAP, Definition, Missed, Overlap

MOST_AT_ONCE: Final = 10_000

E = TypeVar("E", bound=TaskqError)


class Timing(TypedDict, total=False):
    """What can be said of when a schedule runs, beside its cron line.

    `every` and `jitter` are seconds or timedelta, `start` and `end` aware datetimes or seconds since 1970. `cap` bounds
    how many missed slots `missed="all"` runs.
    """

    every: Duration | None
    tz: str | tzinfo
    seconds: bool
    missed: Missed
    cap: int
    overlap: Overlap | None
    jitter: Duration
    start: datetime | float | None
    end: datetime | float | None


_TIMES: Final = frozenset({"cron", "every", "tz", "seconds"})
NAMES: Final = ("cron", *Timing.__annotations__)


def check_schedule_name(name: object) -> str:
    """The name of a schedule is made like that of a task. Raises InvalidName."""
    try:
        if isinstance(name, str) and name.startswith("-"):
            raise InvalidName(name)  # a command line would take it for an option
        return check_task_name(name)
    except InvalidName:
        rule = "1 to 255 characters: parts of ASCII letters, digits, '_', '-' or ':' joined by dots, and no '-' first"
        raise InvalidName(f"schedule name {shown(name)} is not valid: use {rule}") from None


def define(name: object, stamp: Stamp, args: object, kwargs: object, said: Mapping[str, Any]) -> Definition:
    """The definition of a new schedule. Raises InvalidOption, InvalidName, and what bad arguments raise."""
    name = check_schedule_name(name)
    try:
        check_names(said)
        times = _times(said)
        return _complete(Definition(name, times, call_wire(stamp, args, {} if kwargs is None else kwargs)), said)
    except (InvalidOption, InvalidArguments, SerializationError) as error:
        raise _of(name, error) from None


def change(old: Definition, stamp: Stamp | None, args: object, kwargs: object, said: Mapping[str, Any]) -> Definition:
    """A definition with some of it said anew; without a stamp the call stays as it is stored."""
    try:
        check_names(said)
        times = _times({**_said_of(old, said), **said}) if _TIMES & said.keys() else old.times
        call = old.call if stamp is None else call_wire(stamp, args, kwargs)
        return _complete(replace(old, times=times, call=call), said)
    except (InvalidOption, InvalidArguments, SerializationError) as error:
        raise _of(old.name, error) from None


def check_names(said: Mapping[str, Any]) -> None:
    """Refuse options that there are not."""
    for name in said:
        if name not in NAMES:
            raise InvalidOption(f"there is no option {shown(name)} of a schedule{did_you_mean(name, NAMES)}")


def call_wire(stamp: Stamp, args: object, kwargs: object) -> dict[str, Any]:
    """The call that each slot makes, as it is stored."""
    options = stamp.options
    for name in ("id", "at", "unique"):
        if getattr(options, name) is not None:
            way = "overlap= says what happens while a run goes on" if name == "unique" else "each slot has its own"
            raise InvalidOption(f"{name}= is for one call, and a schedule makes many: {way}")
    if isinstance(options.expires, int):
        raise InvalidOption("expires= of a schedule is a duration: seconds, or a timedelta")
    if not isinstance(args, list | tuple):
        raise InvalidOption(f"args={shown(args)}: give a tuple of arguments, like args=(42,)")
    if not isinstance(kwargs, Mapping):
        raise InvalidOption(f"kwargs={shown(kwargs)}: give a dict of arguments by name")
    wire = follow_wire(TaskCall(stamp, tuple(args), dict(kwargs)), "args= and kwargs=")
    call: dict[str, Any] = {name: wire[name] for name in ("task", "queue", "args", "kwargs")}
    target = stamp.target
    if target.codec is not JSON:
        if target.signature is not None:
            args, kwargs = target.signature.encode(args, kwargs)
        try:
            data = encode_arguments(list(args), dict(kwargs), target.codec, target.limit)
        except SerializationError as error:
            error.args = (f"args= and kwargs=: {target.name}: {error}",)
            raise
        call |= {"args": None, "kwargs": None, "codec": target.codec.name, "data": str(b64encode(data), "ascii")}
    more = {
        "priority": options.priority,
        "delay": round((options.delay or 0) * 1_000),
        "expires": round((options.expires or 0) * 1_000),
        "options": dict(stamp.wire),
        "headers": dict(options.headers),
    }
    return call | {key: value for key, value in more.items() if value}


def _times(said: Mapping[str, Any]) -> Times:
    cron, every = said.get("cron"), said.get("every")
    if (cron is None) == (every is None):
        which = "neither a cron line nor" if cron is None else "a cron line and"
        raise InvalidOption(f"a schedule has {which} every=: give one of them")
    start = None if said.get("start") is None else when(said["start"], "start")
    if every is not None:
        for name, usual in (("tz", "UTC"), ("seconds", False)):
            if said.get(name, usual) != usual:
                raise InvalidOption(f"{name}= belongs to a cron line; every= counts real time")
        return crons.every(every, start or 0)
    with_seconds = said.get("seconds", False)
    if not isinstance(with_seconds, bool):
        raise InvalidOption(f"seconds={shown(with_seconds)}: True for a cron line with a field of seconds, else False")
    return crons.cron(cron, said.get("tz", "UTC"), seconds=with_seconds)


def _said_of(old: Definition, said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of the times of a definition, without what something new takes the place of."""
    times = old.times
    start = None if old.start is None else old.start / 1_000
    if isinstance(times, Every):
        return {"start": start} if said.get("cron") is not None else {"every": times.ms / 1_000, "start": start}
    if said.get("every") is not None:
        return {"start": start}
    return {"cron": times.text, "tz": times.tz, "seconds": times.seconds, "start": start}


def _complete(definition: Definition, said: Mapping[str, Any]) -> Definition:
    """The rest of what is said, over what the definition has."""
    new: dict[str, Any] = {}
    if "missed" in said:
        new["missed"] = _word(said["missed"], "missed", MISSED)
    if "cap" in said:
        new["cap"] = whole(said["cap"], "cap", 1, MOST_AT_ONCE)
    missed = new.get("missed", definition.missed)
    if said.get("overlap") is not None:
        new["overlap"] = _word(said["overlap"], "overlap", OVERLAP)
    elif "missed" in said or "overlap" in said:
        new["overlap"] = "allow" if missed == "all" else "skip"
    if "jitter" in said:
        new["jitter"] = round(seconds(said["jitter"], "jitter") * 1_000)
    for name in ("start", "end"):
        if name in said:
            new[name] = None if said[name] is None else when(said[name], name)
    if "start" in said and isinstance(definition.times, Every):
        new["times"] = Every(definition.times.ms, new["start"] or 0)
    whole_one = replace(definition, **new)
    _between(whole_one)
    return whole_one


def _between(definition: Definition) -> None:
    start, end = definition.start, definition.end
    if end is None:
        return
    if start is not None and end < start:
        raise InvalidOption(f"end= is {(start - end) / 1_000:g} s before start=: it would never run")
    if start is not None and definition.following(start - 1) is None:
        raise InvalidOption("no slot lies between start= and end=: it would never run")


def _word(value: object, name: str, words: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in words:
        return value
    raise InvalidOption(f"{name}={shown(value)}: give {', '.join(map(repr, words[:-1]))} or {words[-1]!r}")


def _of(name: str, error: E) -> E:
    error.args = (f"schedule {name}: {error}",)
    return error


def timing_text(times: Times) -> str:
    """The times as a person reads them."""
    if isinstance(times, Cron):
        return times.text
    return f"every {times.ms / 1_000:g} s"
