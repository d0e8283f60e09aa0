"""A schedule as a value: what it runs and when, what is stored of it, and what is to be done with it at a moment.

Pure: nothing here reads a clock or talks to a broker. All times are milliseconds since 1970.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final, Literal, TypeAlias, cast

import orjson

from taskq.cron import Cron, Every, Times, last_slots, next_slot
from taskq.errors import DecodeError
from taskq.message import encode, encode_with, id_bytes
from taskq.store.keys import PRIORITIES
from taskq.tasks.broker import Outgoing

Missed: TypeAlias = Literal["latest", "all", "skip"]
Overlap: TypeAlias = Literal["allow", "skip", "cancel_previous"]

LATE_MS: Final = 60_000
"""With `missed="skip"` a slot is still run when it is no later than this."""

JUMP_MS: Final = 5_000
"""An entry that was last changed this far in the future tells of a clock that has gone back since."""

ORPHAN_MS: Final = 90_000
"""A definition that no worker has declared for so long is not in use any more."""

ORPHAN_LOOK_MS: Final = 3_000
"""After so long somebody may have declared it again."""

RETIRE_MS: Final = 86_400_000
"""For so long an orphaned entry keeps its slot, and a definition that is not in use is remembered."""


@dataclass(frozen=True)
class Definition:
    """What an entry runs and when: all that was said of it, checked.

    `call` is the call as it is stored: `task`, `queue`, `args`, `kwargs`, and what is not the default of `priority`,
    `delay` and `expires` (ms), `options`, `headers`, and with another codec than JSON `codec` and `data` instead of the
    arguments.
    """

    name: str
    times: Times
    call: Mapping[str, Any] = field(hash=False)
    missed: Missed = "latest"
    cap: int = 100
    overlap: Overlap = "skip"
    jitter: int = 0
    start: int | None = None
    end: int | None = None

    @property
    def queue(self) -> str:
        return str(self.call["queue"])

    def following(self, after: int) -> int | None:
        """The first slot after a moment, within start and end."""
        if self.start is not None:
            after = max(after, self.start - 1)
        slot = next_slot(self.times, after)
        return slot if slot is not None and (self.end is None or slot <= self.end) else None

    def last(self, first: int, until: int, most: int) -> list[int]:
        """The last `most` slots from `first`, which is one, up to a moment."""
        if self.end is not None:
            until = min(until, self.end)
        found = last_slots(self.times, first, until, most)
        return found if len(found) == most else [first, *found]

    @cached_property
    def wire(self) -> bytes:
        """The stored form. Keys and meanings are part of the data layout."""
        times = self.times
        said: dict[str, Any] = {"name": self.name, "call": dict(self.call), "missed": self.missed, "cap": self.cap}
        said |= {"overlap": self.overlap, "jitter": self.jitter, "start": self.start, "end": self.end}
        if isinstance(times, Cron):
            said |= {"cron": times.text, "tz": times.tz, "seconds": times.seconds}
        else:
            said |= {"every": times.ms, "anchor": times.anchor}
        return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)

    @cached_property
    def digest(self) -> str:
        """Tells definitions apart: the same for the same definition in any process."""
        return blake2b(self.wire, digest_size=12).hexdigest()

    @classmethod
    def read(cls, wire: bytes) -> Definition:
        """The definition in stored bytes; raises DecodeError for what taskq did not write."""
        try:
            said = orjson.loads(wire)
            times: Times = Every(said["every"], said["anchor"]) if "every" in said else _cron(said)
            names = ("name", "call", "missed", "cap", "overlap", "jitter", "start", "end")
            return _sound(cls(times=times, **{name: said[name] for name in names}))
        except (ValueError, KeyError, TypeError) as error:
            raise DecodeError(f"a schedule cannot be read: {type(error).__name__}: {error}") from error

    def message(self, id: bytes, slot: int | None, now: int) -> Outgoing:
        """The message of a slot, or of a run by hand. Raises DecodeError."""
        call = self.call
        try:
            options, headers = call.get("options"), call.get("headers")
            if "codec" in call:
                body = encode_with(call["task"], b64decode(call["data"]), now, options, headers, call["codec"])
            else:
                body = encode(call["task"], call["args"], call["kwargs"], now, options, headers)
            delay = int(call.get("delay", 0))
            due = float(-delay)
            if slot is not None and self.jitter:
                due = float(slot + delay + int.from_bytes(blake2b(id, digest_size=6).digest()) % (self.jitter + 1))
            if (priority := int(call.get("priority", 0))) not in PRIORITIES:
                raise ValueError(f"priority={priority}")
            return Outgoing(id, body, priority, due, -float(call.get("expires", 0)), b"", True)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise DecodeError(f"a schedule cannot be read: {type(error).__name__}: {error}") from error


def _cron(said: Mapping[str, Any]) -> Cron:
    return Cron(said["cron"], said["tz"], said["seconds"])


def _sound(read: Definition) -> Definition:
    """What was read, if it can be computed with. Raises ValueError, TypeError: many schedules hang on one thread."""
    times, call = read.times, read.call
    whole: list[object] = [read.cap, read.jitter, *(at for at in (read.start, read.end) if at is not None)]
    texts: list[object] = [read.name, call["task"], call["queue"]]
    if isinstance(times, Cron):
        texts += [times.text, times.tz]
    else:
        whole += [times.ms, times.anchor]
    if not (all(type(one) is int for one in whole) and all(isinstance(one, str) for one in texts)):
        raise TypeError("a value is of the wrong type")
    if read.cap < 1 or read.jitter < 0 or (isinstance(times, Every) and times.ms < 1):
        raise ValueError("a number is out of bounds")
    if read.missed not in MISSED or read.overlap not in OVERLAP:
        raise ValueError(f"missed={read.missed!r}, overlap={read.overlap!r}")
    return read


def slot_id(namespace: str, name: str, slot: int, turn: int = 0) -> bytes:
    """The id of the message of a slot: the same whoever fires it. `turn` counts how often the clock went back."""
    return id_bytes(f"schedule {namespace} {name} {slot}" + (f" {turn}" if turn else ""))


@dataclass(frozen=True)
class Entry:
    """What is stored of a schedule. `slot` is the next one, `last` the one that was decided last.

    `rev` grows with each change, `at` is the server's time of the last change of `slot`. `known` are the digests of
    definitions in code, and when each was last declared. `moved` is the queue to which the entry is on its way.
    """

    definition: Definition
    rev: str
    slot: int | None
    last: int | None = None
    at: int = 0
    turn: int = 0
    in_code: bool = False
    known: Mapping[str, int] = field(default_factory=dict, hash=False)
    paused: bool = False
    moved: str = ""
    message: bytes = b""
    runs: int = 0
    skips: int = 0
    by: str = ""
    created: int = 0

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def seen(self) -> int:
        """When any worker last declared any definition of it."""
        return max(self.known.values(), default=0)

    def orphaned(self, now: int) -> bool:
        """Whether it comes from code, and no live worker has that code."""
        return self.in_code and now - self.seen > ORPHAN_MS

    @classmethod
    def read(cls, reply: Any) -> Entry | None:
        """The entry in the answer to HGETALL, None if there is none; raises DecodeError."""
        flat = {bytes(key): bytes(value) for key, value in zip(reply[::2], reply[1::2], strict=True)}
        if not flat:
            return None
        try:
            return cls(
                definition=Definition.read(flat[b"def"]),
                rev=str(flat[b"rev"], "ascii"),
                slot=_number(flat.get(b"slot")),
                last=_number(flat.get(b"last")),
                at=_number(flat.get(b"at")) or 0,
                turn=_number(flat.get(b"turn")) or 0,
                in_code=flat.get(b"origin") == b"code",
                known={str(key[2:], "ascii"): int(seen) for key, seen in flat.items() if key.startswith(b"d:")},
                paused=b"paused" in flat,
                moved=str(flat.get(b"moved", b""), "utf-8"),
                message=flat.get(b"message", b""),
                runs=int(flat.get(b"runs", 0)),
                skips=int(flat.get(b"skips", 0)),
                by=str(flat.get(b"by", b""), "utf-8", "replace"),
                created=_number(flat.get(b"created")) or 0,
            )
        except (KeyError, ValueError) as error:
            raise DecodeError(f"the entry of a schedule cannot be read: {type(error).__name__}: {error}") from error


def _number(text: bytes | None) -> int | None:
    return int(float(text)) if text else None


# -- what to do --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing until a moment; None: nothing until the entry changes."""

    until: int | None


@dataclass(frozen=True, slots=True)
class Fire:
    """Decide a slot: all before it are given up. With `run` its message is enqueued. `next` is the slot after it."""

    slot: int
    run: bool
    next: int | None


@dataclass(frozen=True, slots=True)
class Rewind:
    """The clock went back: begin again with the next slot of the time that it is now."""

    slot: int


def plan(entry: Entry, now: int) -> Wait | Fire | Rewind:
    """What whoever looks at an entry at a moment of the server's clock has to do."""
    definition = entry.definition
    if entry.paused or entry.moved:
        return Wait(None)
    if entry.at > now + JUMP_MS:
        again = definition.following(now)
        if again is not None and (entry.slot is None or again < entry.slot):
            return Rewind(again)
    if entry.slot is None:
        return Wait(None)
    if entry.slot > now:
        return Wait(entry.slot)
    if entry.orphaned(now):
        return Wait(now + ORPHAN_LOOK_MS)
    if definition.missed == "all":
        # The oldest are given up when the catching up begins; one that goes on has been advanced just now.
        begins = now - entry.at > LATE_MS
        slot = definition.last(entry.slot, now, definition.cap)[0] if begins else entry.slot
        return Fire(slot, True, definition.following(slot))
    slot = definition.last(entry.slot, now, 1)[0]
    run = definition.missed == "latest" or now - slot <= LATE_MS
    return Fire(slot, run, definition.following(slot))


MISSED: Final = cast("tuple[Missed, ...]", ("latest", "all", "skip"))
OVERLAP: Final = cast("tuple[Overlap, ...]", ("skip", "allow", "cancel_previous"))
