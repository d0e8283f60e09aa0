"""Each verb of an ordered group built once, as a `Call` that either client can run.

The order of keys and arguments here is the header of the script of the same name, in `taskq/store/lua/events/`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from taskq.errors import BrokerError
from taskq.events.record import Offset
from taskq.store.scripts import Call, load, load_joined
from taskq.store.topic_keys import PartitionKeys, TopicKeys

BEGIN: Final = Offset(0)  # before the first record
MAX_MEMBERS: Final = 1_024
MAX_STEPS: Final = 250
MAX_STEP_BYTES: Final = 262_144
MAX_DEAD: Final = 100_000  # dead letters that a group keeps in one partition

How = Literal["begin", "owner", "force"]
_BEAT: Final = ("events/parts/share", "events/parts/heard", "events/beat")
Doing = Literal["join", "beat", "drain", "leave"]
# A step of a commit: its letter and two values, as the head of commit.lua lists them.
Step = tuple[str, Any, Any]


def step_bytes(step: Step) -> int:
    """How much of a script's room a step takes."""
    return sum(len(one) if isinstance(one, (bytes, str)) else 8 for one in step[1:])


def portions(steps: Iterable[Step], most: int) -> Iterator[list[Step]]:
    """Steps in order, as many together as one commit takes: so many, and so many bytes, but one at least."""
    some: list[Step] = []
    size = 0
    for step in steps:
        more = step_bytes(step)
        if some and (len(some) >= most or size + more > MAX_STEP_BYTES):
            yield some
            some, size = [], 0
        some.append(step)
        size += more
    if some:
        yield some


@dataclass(frozen=True, slots=True)
class Seat:
    """Who takes part in a group: the member's name, the nonce of this start (16 hex digits), what it says of itself."""

    member: str
    nonce: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a heartbeat.

    `code` is 0 for a member, 1 for one that has to join (again), 2 if another start has taken its name, 3 if the group
    is full. `owned` are partitions and the epochs of their grants, `leaving` are owned but to be given up, `waiting`
    are its share but still owned by another. `moves` changes with each seek from outside. `lapse` is when the first
    session of another member ends, by the clock of `now` and in ms; 0 if there is no other.
    """

    code: int
    now: int
    epoch: int
    moves: int
    partitions: int
    members: int
    owned: dict[int, int]
    leaving: frozenset[int]
    waiting: frozenset[int]
    lapse: int


@dataclass(frozen=True, slots=True)
class Position:
    """A position: the last record that is done, its number, and the bytes up to it."""

    offset: Offset = BEGIN
    number: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """A record in trouble: whether it is being handled, how many owners died at it, how it failed."""

    running: bool = False
    deaths: int = 0
    fails: int = 0
    first: str = ""

    def text(self) -> str:
        return f"{int(self.running)} {self.deaths} {self.fails} {self.first}"

    @classmethod
    def parse(cls, text: str) -> Mark:
        running, deaths, fails, first = text.split(" ", 3)
        return cls(running == "1", int(deaths), int(fails), first)


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to a claim. With `epoch` refused or without a position, `code` is 1 or 2 and only `epoch` counts.

    `careful` is the number up to which the owner before may have begun records when it died; `last` the end of the log;
    `gone` and `gone_id` number and id of the last record that retention removed; `void` whether a seek has left parked
    records that are to be forgotten first.
    """

    code: int
    epoch: int
    place: Position = Position()
    version: int = 0
    careful: int = 0
    last: Offset = BEGIN
    gone: int = 0
    gone_id: Offset = BEGIN
    unclean: bool = False
    marks: dict[Offset, Mark] | None = None
    parked: int = 0
    void: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """The answer to a commit: code 0 done, 1 fenced (by `epoch`), 2 the position is another one."""

    code: int
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Put:
    """The answer to `place`: code 0 put, 1 fenced, 2 there was a position already."""

    code: int
    epoch: int
    place: Position


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a group stands in one partition, of which `end` and `end_bytes` are number and bytes of the last record.

    `oldest` is the id of the first entry that is not done, '' if all is; `letters` are dead letters that are there.
    `done`, `retried`, `dead`, `deaths` and `lost` only grow.
    """

    now: int
    end: int
    end_bytes: int
    parked: int
    letters: int
    oldest: str
    at: str
    number: int
    bytes: int
    owner: str
    epoch: int
    done: int
    retried: int
    dead: int
    deaths: int
    lost: int


def beat(
    keys: TopicKeys,
    group: str,
    seat: Seat,
    what: Doing,
    *,
    session: int,
    partitions: int,
    held: Sequence[int] = (),
    single: bool = False,
    above: int = 0,
    now: str = "",
) -> Call[Beat]:
    """A heartbeat; `session` in ms, `held` what this member has, `above` an epoch that grants must pass.

    Who drains keeps what it holds until it lets go of it, and is granted nothing.
    """
    parts = ("members", "info", "owners", "target", "state", "sessions", "bell", "none")
    names = [keys.group(group, part) for part in parts]
    held_text = "," + "".join(f"{partition}," for partition in held)
    args = [now, seat.member, seat.nonce, what, session, partitions, "1" if single else "", held_text, above]
    args += [seat.label, MAX_MEMBERS]
    return Call(load_joined("events/beat", _BEAT), names, args, _beat)


def _beat(reply: Any) -> Beat:
    code, now, epoch, moves, partitions, members, owned, leaving, waiting, lapse = reply
    pairs = (pair.split(b":") for pair in owned.split(b",")[:-1])
    granted = {int(partition): int(at) for partition, at in pairs}
    return Beat(code, now, epoch, moves, partitions, members, granted, _numbers(leaving), _numbers(waiting), lapse)


def claim(keys: PartitionKeys, group: str, seat: Seat, epoch: int, span: int, now: str = "") -> Call[Claimed]:
    """Become the owner; `span` is how many records this owner may have begun beyond the position at any time."""
    names = [keys.group(group), keys.log, keys.meta, keys.group(group, "marks"), keys.group(group, "parked"), keys.none]

    def decode(reply: Any) -> Claimed:
        if reply[0]:
            return Claimed(reply[0], reply[1])
        place, marks = reply[2], reply[4]
        where = Position(_offset(place[0]), place[1], place[2])
        troubles = {_offset(marks[i]): Mark.parse(marks[i + 1].decode()) for i in range(0, len(marks), 2)}
        gone, gone_id = int(place[6] or 0), _offset(place[7] or b"0-0")
        facts = (int(place[3]), int(place[4]), _offset(place[5]), gone, gone_id)
        return Claimed(0, reply[1], where, *facts, reply[3] == 1, troubles, reply[5], bool(place[9]))

    return Call(load("events/claim"), names, [now, epoch, seat.nonce, seat.member, span], decode)


def commit(
    keys: PartitionKeys,
    group: str,
    owner: tuple[int, str],
    number: int,
    places: tuple[Position, Position],
    steps: Sequence[Step] = (),
    now: str = "",
) -> Call[Committed]:
    """Move from one place to another and take `steps`; `owner` is epoch and nonce, `number` counts its calls."""
    before, after = places
    parts = ("marks", "state", "out", "dead", "parked", "tails", "bodies")
    names = [keys.group(group), *(keys.group(group, part) for part in parts), keys.none]
    grows = any(letter in "os" for letter, _, _ in steps)
    args: list[Any] = [now, *owner, number, str(before.offset), str(after.offset), after.number, after.bytes]
    args += [MAX_DEAD, "1" if grows else ""]
    for step in steps:
        args += step
    return Call(load("events/commit"), names, args, _committed)


def _committed(reply: Any) -> Committed:
    return Committed(reply[0], int(reply[1]) if reply[0] == 1 else 0)


def place(
    keys: PartitionKeys,
    group: str,
    how: How,
    where: str | Offset,
    word: str,
    *,
    owner: tuple[int, str] = (0, ""),
    counter: tuple[str, int] = ("", 0),
) -> Call[Put]:
    """Put the position: `where` is "start", "end", or the offset of the record that comes next.

    `word` tells this call from others, so that it may be sent again. A seek raises the epoch.
    """
    names = [keys.group(group), keys.log, keys.meta, keys.group(group, "marks"), keys.none]
    at, item = (where.entry, str(where.item or "")) if isinstance(where, Offset) else (where, "")

    def decode(reply: Any) -> Put:
        code, epoch, offset, number, size = reply
        return Put(code, epoch, Position(_offset(offset or b"0-0"), number, size))

    return Call(load("events/place"), names, [how, *owner, at, item, word, *counter], decode)


def look(keys: PartitionKeys, group: str, now: str = "") -> Call[Standing]:
    """Where the group stands; changes nothing, and moves no values."""
    names = [keys.group(group), keys.log, keys.meta, keys.group(group, "parked"), keys.group(group, "dead")]
    return Call(load("events/ordered_look"), names, [now], _standing)


def _standing(reply: Any) -> Standing:
    now, end, size, parked, letters, oldest, fields = reply
    at, number, done_bytes, owner, *counts = (str(text, "utf-8", "replace") for text in fields)
    try:
        epoch, done, retried, dead, deaths, out_of_range, truncated = (int(text or 0) for text in counts)
        return Standing(
            *(int(now), int(end or 0), int(size or 0), int(parked), int(letters), str(oldest, "ascii")),
            *(at or "0-0", int(number or 0), int(done_bytes or 0), owner),
            *(epoch, done, retried, dead, deaths, out_of_range + truncated),
        )
    except ValueError as error:
        raise BrokerError(f"the broker keeps something else where a number should be: {error}") from error


def unpark(keys: PartitionKeys, group: str, before: tuple[bytes, bytes] = (b"", b"")) -> Call[tuple[bytes, bytes]]:
    """Forget parked records that a seek has made void, a page of them; until the second of its answer is empty."""
    parts = ("parked", "tails", "bodies")
    names = [keys.group(group), *(keys.group(group, part) for part in parts), keys.none]
    return Call(load("events/unpark"), names, before, lambda reply: (reply[0], reply[1]))


def forget_void(keys: PartitionKeys, group: str) -> Generator[Call[Any], Any, None]:
    """All pages of `unpark`; may be done by several at once."""
    told: tuple[bytes, bytes] = yield unpark(keys, group)
    while told[1]:
        told = yield unpark(keys, group, told)


def _numbers(text: bytes) -> frozenset[int]:
    return frozenset(int(one) for one in text.split(b",")[:-1])


def _offset(text: bytes) -> Offset:
    try:
        return Offset.parse(text.decode())
    except ValueError as error:
        raise BrokerError(f"the broker keeps {text!r} where an offset should be; please report this") from error
