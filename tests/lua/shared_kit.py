"""One partition of a topic, and a shared group on it, whose scripts are run one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from taskq.events import shared_calls as calls
from taskq.events.shared_calls import Seat, Settled, Standing, Taken, Verb
from taskq.store.connection import SyncLink
from taskq.store.scripts import Call, T, run
from taskq.store.topic_keys import partition_keys
from tests.lua.kit import START_MS

LEASE_MS = 10_000
DIED = b'{"died":1}'

_READ = {
    b"stream": ("XRANGE", "-", "+"),
    b"hash": ("HGETALL",),
    b"zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    b"set": ("SMEMBERS",),
}


class SharedPart:
    """Partition 3 of the topic `t` and the group `g`; `now` is what the scripts take for the time, in milliseconds.

    How long a record has been idle is the server's own measure: `age` sets it back.
    """

    def __init__(self, link: SyncLink, namespace: str) -> None:
        self.link = link
        self.keys = partition_keys(namespace, "t", 3)
        self.now = START_MS
        self.number = 0
        self.epoch = 0

    @property
    def at(self) -> str:
        return str(self.now)

    def seat(self, consumer: str = "one.1", epoch: int = 0) -> Seat:
        return Seat(self.keys, "g", epoch or self.epoch, consumer)

    def run(self, call: Call[T]) -> T:
        return run(self.link, call)

    # -- the log, as publishing writes it

    def append(self, count: int = 1, value: bytes = b"1", key: str = "") -> list[bytes]:
        """Append records with ids that show their numbers."""
        ids: list[bytes] = []
        for _ in range(count):
            self.number += 1
            size = self.number * (len(value) + len(key))
            fields = ["n", f"{self.number},{size}", "v", value, *(("k", key) if key else ())]
            ids.append(self.link.execute("XADD", self.keys.log, f"{self.number}-0", *fields))
            self.link.execute("HSET", self.keys.meta, "n", self.number, "b", size, "id", ids[-1])
        return ids

    def trim(self, upto: int) -> None:
        """Remove the records up to this number, as retention does."""
        self.link.execute("XTRIM", self.keys.log, "MINID", f"{upto + 1}-0")

    # -- the verbs

    def found(self, where: str = "earliest", move: str = "") -> calls.Found:
        answer = self.run(calls.found(self.keys, "g", where, move=move, now=self.at))
        self.epoch = answer.epoch
        return answer

    def read(self, count: int = 10, consumer: str = "one.1") -> list[int]:
        """New records, by the plain command; their numbers."""
        seat = self.seat(consumer)
        command = ("XREADGROUP", "GROUP", seat.native, consumer, "COUNT", count, "STREAMS", self.keys.log, ">")
        reply = self.link.execute(*command)
        return [number(one) for one, _ in reply[0][1]] if reply else []

    def settle(self, *numbers: int, verb: Verb = "a", consumer: str = "one.1", **more: Any) -> list[int]:
        """Settle records by number; the numbers of those that were not this consumer's."""
        items = [Settled(b"%d-0" % one, verb, **more) for one in numbers]
        return sorted(map(number, self.run(calls.settle(self.seat(consumer), items, now=self.at))[1]))

    def take(self, room: int = 10, consumer: str = "one.1", *, alone: bool = False, **more: Any) -> Taken:
        return self.run(calls.take(self.seat(consumer), LEASE_MS, room, DIED, alone=alone, now=self.at, **more))

    def taken(self, room: int = 10, consumer: str = "one.1", *, alone: bool = False) -> list[int]:
        return [number(one.id) for one in self.take(room, consumer, alone=alone).rows]

    def extend(self, *numbers: int, consumer: str = "one.1") -> list[int]:
        ids = [b"%d-0" % one for one in numbers]
        return sorted(map(number, self.run(calls.extend(self.seat(consumer), ids, now=self.at))[1]))

    def disown(self, *keep: int, consumer: str = "one.1", leave: bool = False) -> tuple[int, bool]:
        ids = [b"%d-0" % one for one in keep]
        return self.run(calls.disown(self.seat(consumer), ids, leave=leave, now=self.at))

    def redrive(self, *letters: str, most: int = 2) -> calls.Redriven:
        return self.run(calls.redrive(self.seat(), letters, most, now=self.at))

    def look(self) -> Standing:
        return self.run(calls.look(self.seat(), now=self.at))

    # -- looking from outside

    def age(self, *numbers: int, consumer: str = "one.1", ms: int = 2 * LEASE_MS) -> None:
        """Have records be idle for so long."""
        ids = [f"{one}-0" for one in numbers]
        command = ("XCLAIM", self.keys.log, self.seat().native, consumer, 0, *ids, "IDLE", ms, "JUSTID")
        self.link.execute(*command)

    def pending(self) -> dict[int, str]:
        """Number and holder of all that is pending."""
        found = self.link.execute("XPENDING", self.keys.log, self.seat().native, "-", "+", 10_000)
        return {number(one[0]): str(one[1], "ascii") for one in found}

    def letters(self) -> list[tuple[str, dict[str, bytes]]]:
        """The dead letters with their ids."""
        found = self.link.execute("XRANGE", calls.dead_key(self.keys, "g"), "-", "+")
        return [(str(letter, "ascii"), dict(_pairs(fields))) for letter, fields in found]

    def counts(self, name: str) -> int:
        return int(self.look().counts.get(name, 0))

    def dump(self) -> dict[str, Any]:
        """All keys of the partition; of the log also its groups and what is pending, without times."""
        found: dict[str, Any] = {}
        names: list[bytes] = self.link.execute("KEYS", self.keys.base + "*")
        for name in sorted(names):
            command, *rest = _READ[self.link.execute("TYPE", name)]
            found[str(name, "ascii")[len(self.keys.base) :]] = self.link.execute(command, name, *rest)
        for group in self.link.execute("XINFO", "GROUPS", self.keys.log) if "log" in found else ():
            pending = self.link.execute("XPENDING", self.keys.log, group[1], "-", "+", 10_000)
            found[f"group {group[1]!r}"] = [group[7], [one[:2] for one in pending]]
        return found


def number(id: bytes) -> int:
    return int(id.split(b"-")[0])


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    return ((str(name, "ascii"), value) for name, value in zip(flat[::2], flat[1::2], strict=True))
