"""Messages in a list of them, as people see and choose them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from struct import Struct
from typing import Final, Literal, TypeAlias, get_args

import orjson

from taskq.errors import DecodeError, InvalidOption
from taskq.message import decode, id_text
from taskq.names import did_you_mean, match, shown
from taskq.store.keys import PRIORITIES
from taskq.tasks.broker import Flags, Found
from taskq.tasks.operator_calls import created_ms, found_of, task_in_head
from taskq.tasks.outcomes import Status, status_of
from taskq.tasks.past import HEAD_BYTES

Shelf: TypeAlias = Literal["ready", "delayed", "retrying", "leased", "running", "parked", "dead", "quarantined"]
SHELVES: Final[tuple[Shelf, ...]] = get_args(Shelf)

LOOKED_BYTES: Final = 4_096
"""So much of a body is looked at for a text, and for when it was made."""

PREVIEW_CHARS: Final = 200

_moment = Struct(">d")
_HEADED = re.compile(rb'.{5}\["[^"]{1,255}",(.*)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Brief:
    """One message in a list of them. Times are milliseconds of the epoch, None where there is none or nobody knows.

    `status` is that of `MessageInfo`: what a worker holds and has not started, as far as its last heartbeat said, is
    still `ready`. `created` is the producer's clock, the others the server's: `due` of what is delayed, `buried` since
    when it is dead or in quarantine, `deadline` of its lease, `expires` after which it is not started. `size` is that
    of the body in bytes. `worker` and `seconds` say who runs it and since how long, as that worker said last.
    `arguments` is their beginning as JSON, which is only there if it was asked for.
    """

    id: str
    queue: str
    status: Status
    task: str
    priority: int | None
    attempts: int
    crashes: int
    deliveries: int
    created: int | None
    due: float | None
    buried: float | None
    deadline: float | None
    expires: float | None
    unique: bool
    explicit: bool
    cancel_requested: bool
    size: int
    worker: str = ""
    seconds: float | None = None
    arguments: str | None = field(default=None, repr=False)

    @property
    def raw(self) -> bytes:
        """The 16 bytes of the id."""
        return bytes.fromhex(self.id.replace("-", ""))


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages of a state are meant: all that fit every part that is given.

    `task` is a name or a pattern with `*`, `?` and `[ab]`. `match` is text that the first 4 KiB of the message have in
    its arguments, as JSON, in either case; `text` may also be in the task's name or in the id. `since` and `until` are
    milliseconds: created not before and not after; a message that does not say when it was created fits neither.
    """

    task: str | None = None
    match: str | None = None
    since: float | None = None
    until: float | None = None
    text: str | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing is filtered out."""
        return (self.task, self.match, self.since, self.until, self.text) == (None,) * 5

    @property
    def head_bytes(self) -> int:
        """How much of a body has to be read to tell."""
        return HEAD_BYTES if (self.match, self.since, self.until, self.text) == (None,) * 4 else LOOKED_BYTES

    def fits(self, one: Brief, arguments: str) -> bool:
        """Whether a message is meant."""
        if self.task is not None and not match(self.task, one.task):
            return False
        if self.match is not None and self.match.casefold() not in arguments.casefold():
            return False
        if self.text is not None:
            wanted = self.text.casefold()
            if not any(wanted in place.casefold() for place in (one.task, one.id, arguments)):
                return False
        if self.since is None and self.until is None:
            return True
        made = one.created
        if made is None:
            return False
        return (self.since is None or made >= self.since) and (self.until is None or made <= self.until)


ANY: Final = MessageFilter()


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Some messages of one state, in the order in which they come up; of dead ones the newest first.

    `total` is how many there are without the filter, marks of cancelled ones included; None of states where counting
    is no single look: retrying, leased, running. `looked` is how many were looked at for this page. With a `cursor`
    there is more to look at: give it to the next call. `truncated` says that the search ended before `limit` messages
    were found, because it had looked at as many as one call may, or that there are more leases than are read.
    """

    items: tuple[Brief, ...]
    total: int | None
    looked: int
    cursor: str | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where messages of a state are: the name in a cursor, the key, and the index of the priority of a ready list.

    `before` is about how many of a list are before those that are meant.
    """

    name: str
    key: str
    index: int | None = None
    down: bool = False
    before: int = 0


@dataclass(frozen=True, slots=True)
class Slip:
    """One message as it is stored, at one moment; `after` is the cursor behind it, `place` the list or sorted set."""

    id: bytes
    after: str
    place: Place | None
    score: str
    record: bytes
    size: int
    head: bytes

    @property
    def found(self) -> Found:
        """Its record; what has none is plainly ready, if it is there."""
        return found_of(self.record or (b"r" if self.size else b"?"), b"", b"")

    @property
    def token(self) -> bytes:
        """The token under which it is leased, or nothing."""
        return self.record[8:28] if self.record[:1] == b"l" else b""

    @property
    def expires(self) -> float | None:
        """When it expires, in ms."""
        return float(_moment.unpack(self.record[-8:])[0]) if self.found.flags & Flags.EXPIRES else None


def brief_of(
    slip: Slip,
    queue: str,
    deadlines: Mapping[bytes, float] | None = None,
    running: Mapping[str, tuple[str, float]] | None = None,
) -> tuple[Brief, str]:
    """A message as people see it, and its arguments as far as they were read."""
    found, text = slip.found, id_text(slip.id)
    created, arguments = _read(slip)
    worker, seconds = (running or {}).get(text, ("", None)) if slip.token else ("", None)
    score = float(slip.score) if slip.score else None
    known = slip.place.index if slip.place is not None and found.priority is None else None
    one = Brief(
        id=text,
        queue=queue,
        status=status_of(found),
        task=task_in_head(slip.head),
        priority=found.priority if known is None else PRIORITIES[known],
        attempts=found.attempts,
        crashes=found.crashes,
        deliveries=found.deliveries,
        created=created,
        due=score if found.state == "d" else None,
        buried=score if found.state in "xq" else None,
        deadline=(deadlines or {}).get(slip.token),
        expires=slip.expires,
        unique=bool(found.flags & Flags.UNIQUE),
        explicit=bool(found.flags & Flags.EXPLICIT),
        cancel_requested=bool(found.flags & Flags.CANCEL),
        size=slip.size,
        worker=worker,
        seconds=seconds,
    )
    return one, arguments


def _read(slip: Slip) -> tuple[int | None, str]:
    """When a message was created, and its arguments: of one that was not read whole, what its id and its head say."""
    if len(slip.head) == slip.size:
        try:
            message = decode(slip.id, slip.head)
            return message.created, str(orjson.dumps([message.args, message.kwargs]), "utf-8")[1:-1]
        except (DecodeError, TypeError):  # not a message; or a codec made of it what JSON has no word for
            pass
    found = _HEADED.match(slip.head)
    text = found[1] if found is not None else b""
    return created_ms(slip.id), str(text.partition(b"\0")[0], "utf-8", "replace")


def with_arguments(one: Brief, arguments: str) -> Brief:
    """The same message with the beginning of its arguments."""
    cut = arguments if len(arguments) <= PREVIEW_CHARS else arguments[: PREVIEW_CHARS - 3] + "..."
    return replace(one, arguments=cut)


def check_shelf(shelf: object) -> Shelf:
    """A state that can be browsed. Raises InvalidOption."""
    for known in SHELVES:
        if shelf == known:
            return known
    hint = did_you_mean(shelf, SHELVES)
    raise InvalidOption(f"{shown(shelf)} is no state in which messages are listed{hint}: {', '.join(SHELVES)}")
