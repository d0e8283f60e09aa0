"""Each verb of a shared group as a call: its script, keys, arguments, and what its reply means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from taskq.store.scripts import Call, Script, load_joined
from taskq.store.topic_keys import PartitionKeys

Verb = Literal["a", "f", "r", "n", "d", "g"]

MOST_RECORDS = 250
MOST_BYTES = 262_144
FORGET_MS = 60_000

_PART = "events/parts/shared"


@dataclass(frozen=True, slots=True)
class Seat:
    """Who acts, on which partition: its keys, the native group of one epoch, and the consumer."""

    keys: PartitionKeys
    group: str
    epoch: int
    consumer: str

    @property
    def native(self) -> str:
        """The name of the consumer group on the server."""
        return f"{self.group}:{self.epoch}"


@dataclass(frozen=True, slots=True)
class Settled:
    """What becomes of one record: see shared_settle.lua for the verbs; `delay` is milliseconds."""

    id: bytes
    verb: Verb = "a"
    delay: int = 0
    line: bytes = b""


@dataclass(frozen=True, slots=True)
class Found:
    """A group is there; `healed`: somebody had removed it, `cut`: the log ends before its position."""

    epoch: int
    healed: bool = False
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Handed:
    """A record that was tried before, or that a dead consumer held."""

    id: bytes
    attempts: int
    deaths: int
    redriven: int
    alone: bool
    fields: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Taken:
    """What was handed out; `next` is milliseconds until more will be due, None if nothing waits for a time."""

    there: bool
    next: int | None
    alone: bool
    lost: int
    rows: tuple[Handed, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a group stands on one partition; `unread` and `unread_bytes` are behind the last record that it read."""

    there: bool
    unread: int
    unread_bytes: int
    oldest: str
    pending: int
    waiting: int
    letters: int
    counts: Mapping[str, str]
    consumers: tuple[tuple[str, int, int], ...]
    now: int = 0


@dataclass(frozen=True, slots=True)
class Redriven:
    """How many dead letters run again, and the ids of those that cannot."""

    there: bool
    redriven: int
    capped: tuple[str, ...]
    gone: tuple[str, ...]


def found(keys: PartitionKeys, group: str, where: str, *, move: str = "", now: str = "") -> Call[Found]:
    """See that the group is there; with `move`, a nonce, it goes to `where` whatever it was at."""
    return Call(_script("found"), _keys(keys, group), (group, now, where, move), _found)


def settle(seat: Seat, items: Iterable[Settled], *, now: str = "") -> Call[tuple[bool, frozenset[bytes]]]:
    """Settle at most `MOST_RECORDS`; answers whether the group is there, and the ids that were not this consumer's."""
    args: list[Any] = [seat.native, now, seat.consumer]
    for item in items:
        args += (item.id, item.verb, item.delay, item.line)
    return Call(_script("settle"), _keys(seat.keys, seat.group), args, _lost)


def take(
    seat: Seat, lease: int, room: int, line: bytes, *, alone: bool, forget: int = FORGET_MS, now: str = ""
) -> Call[Taken]:
    """Take what is due again or was left; `line` is the error of those whose consumer died."""
    room = min(room, MOST_RECORDS)
    args = (seat.native, now, seat.consumer, lease, room, MOST_BYTES, "1" if alone else "", forget, line)
    return Call(_script("take"), _keys(seat.keys, seat.group), args, _taken)


def extend(seat: Seat, ids: Iterable[bytes], *, now: str = "") -> Call[tuple[bool, frozenset[bytes]]]:
    """Keep records for one more lease; answers as `settle` does."""
    return Call(_script("extend"), _keys(seat.keys, seat.group), (seat.native, now, seat.consumer, *ids), _lost)


def disown(seat: Seat, keep: Iterable[bytes] = (), *, leave: bool = False, now: str = "") -> Call[tuple[int, bool]]:
    """Give back what is pending but not in `keep`; answers how many, and whether there is more."""
    args = (seat.native, now, seat.consumer, "1" if leave else "", *keep)
    return Call(_script("disown"), _keys(seat.keys, seat.group), args, lambda reply: (int(reply[2]), reply[3] == 1))


def redrive(seat: Seat, letters: Iterable[str], most: int, *, now: str = "") -> Call[Redriven]:
    """Give at most `MOST_RECORDS` dead letters to the group again, each at most `most` times."""
    return Call(_script("redrive"), _keys(seat.keys, seat.group), (seat.native, now, most, *letters), _redriven)


def look(seat: Seat, *, now: str = "") -> Call[Standing]:
    """Where the group stands; changes nothing."""
    return Call(_script("look"), _keys(seat.keys, seat.group), (seat.native, now), _standing)


def dead_key(keys: PartitionKeys, group: str) -> str:
    """The stream of a group's dead letters."""
    return keys.group(group, "dead")


def _keys(keys: PartitionKeys, group: str) -> tuple[str, ...]:
    parts = (keys.group(group, part) for part in ("retry", "alone", "notes", "dead"))
    return (keys.log, keys.group(group), *parts, keys.none, keys.meta)


def _script(verb: str) -> Script:
    tail = ("events/parts/shared_account",) if verb == "take" else ()
    return load_joined(f"events/shared_{verb}", (_PART, f"events/shared_{verb}", *tail))


def _found(reply: Any) -> Found:
    return Found(int(reply[0]), reply[1] == 1, reply[2] == 1)


def _lost(reply: Any) -> tuple[bool, frozenset[bytes]]:
    return reply[0] == 0, frozenset(reply[2])


def _taken(reply: Any) -> Taken:
    code, _, next_ms, alone, lost, rows = reply
    handed = tuple(Handed(row[0], row[1], row[2], row[3], row[4] == 1, row[5]) for row in rows)
    return Taken(code == 0, None if next_ms < 0 else int(next_ms), alone == 1, int(lost), handed)


def _redriven(reply: Any) -> Redriven:
    code, _, count, capped, gone = reply
    return Redriven(code == 0, int(count), _texts(capped), _texts(gone))


def _standing(reply: Any) -> Standing:
    code, now, unread, size, oldest, pending, waiting, letters, counts, people = reply
    texts = _texts(counts)
    return Standing(
        code == 0,
        int(unread),
        int(size),
        str(oldest, "ascii"),
        int(pending),
        int(waiting),
        int(letters),
        dict(zip(texts[::2], texts[1::2], strict=True)),
        tuple((str(name, "utf-8"), int(held), int(idle)) for name, held, idle in people),
        int(now),
    )


def _texts(values: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(str(value, "utf-8") for value in values)
