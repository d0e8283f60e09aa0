"""An ordered group on a real server: its scripts run one at a time, at times that the test sets."""

from __future__ import annotations

import uuid
from typing import Any

from taskq.events.group_calls import (
    Beat,
    Claimed,
    Committed,
    Doing,
    Position,
    Put,
    Seat,
    Step,
    beat,
    claim,
    commit,
    place,
)
from taskq.events.record import Offset
from taskq.store.connection import SyncLink
from taskq.store.scripts import run
from taskq.store.topic_keys import PartitionKeys, topic_keys

START_MS = 1_800_000_000_000
SESSION_MS = 10_000
GROUP = "g"


class Group:
    """One group of one topic with `partitions` partitions."""

    def __init__(self, link: SyncLink, namespace: str, partitions: int = 8) -> None:
        self.link = link
        self.keys = topic_keys(namespace, "t")
        self.partitions = partitions
        self.now = START_MS
        self.seats: dict[str, Seat] = {}
        self.held: dict[str, set[int]] = {}
        self.single = False

    def seat(self, member: str) -> Seat:
        return self.seats.setdefault(member, Seat(member, uuid.uuid4().hex[:16]))

    def restart(self, member: str) -> None:
        """Another start under the same name."""
        self.seats[member] = Seat(member, uuid.uuid4().hex[:16])
        self.held.pop(member, None)

    def beat(
        self,
        member: str,
        what: Doing | None = None,
        *,
        held: set[int] | None = None,
        seat: Seat | None = None,
        above: int = 0,
        session: int = SESSION_MS,
    ) -> Beat:
        """A beat of a member that holds what it was granted; it gives up at once what it is to leave."""
        mine = self.held.get(member, set()) if held is None else held
        what = what or ("beat" if member in self.held else "join")
        call = beat(
            self.keys,
            GROUP,
            seat or self.seat(member),
            what,
            session=session,
            partitions=self.partitions,
            held=sorted(mine),
            single=self.single,
            above=above,
            now=str(self.now),
        )
        answer = run(self.link, call)
        if seat is None and answer.code == 0:
            self.held[member] = set(answer.owned)
        return answer

    def settle(self, *members: str) -> dict[str, set[int]]:
        """Let all beat until nothing moves; what each then has."""
        for _ in range(3):
            for member in members:
                self.beat(member)
        return {member: self.held[member] for member in members}

    def pass_ms(self, passed: int, *members: str) -> None:
        """Let so much time pass; these members are heard of meanwhile, at the end at the latest."""
        end = self.now + passed
        while self.now < end:
            self.now = min(end, self.now + SESSION_MS // 4)
            for member in members:
                self.beat(member)

    def alive(self) -> set[str]:
        """Who is a member."""
        return {name.decode() for name in self.link.execute("ZRANGE", self.keys.group(GROUP, "members"), 0, -1)}

    def rings(self) -> bytes:
        """The last ring of the bell, '' if there is none."""
        last: list[Any] = self.link.execute("XREVRANGE", self.keys.group(GROUP, "bell"), "+", "-", "COUNT", 1)
        return last[0][0] if last else b""

    def dump(self) -> dict[str, Any]:
        """What is kept of the whole group, without its epoch."""
        found: list[bytes] = self.link.execute("KEYS", self.keys.group(GROUP, "*"))
        return {key.decode().rpartition(":")[2]: key for key in found if not key.endswith(b":state")}


class Share:
    """One partition and its owners."""

    def __init__(self, link: SyncLink, namespace: str, number: int = 0) -> None:
        self.link = link
        self.keys: PartitionKeys = topic_keys(namespace, "t").partition(number)
        self.place = Position()
        self.number = 0
        self.owner = (0, "")
        self.now = START_MS

    def append(self, count: int, *, size: int = 10, **fields: bytes) -> list[str]:
        """Records in the form that publishers give them; their ids."""
        meta = dict(zip("nb", self.link.execute("HMGET", self.keys.meta, "n", "b"), strict=True))
        n, b, ids = int(meta["n"] or 0), int(meta["b"] or 0), []
        for _ in range(count):
            n, b = n + 1, b + size
            given = [part for pair in fields.items() for part in pair]
            ids.append(
                self.link.execute("XADD", self.keys.log, "*", "n", f"{n},{b}", "v", b"x" * size, *given).decode()
            )
        self.link.execute("HSET", self.keys.meta, "n", n, "b", b, "id", ids[-1])
        return ids

    def begin(self, where: str | Offset = "start") -> Put:
        return run(self.link, place(self.keys, GROUP, "begin", where, uuid.uuid4().hex))

    def claim(self, epoch: int, member: str = "m", nonce: str = "a" * 16, span: int = 100) -> Claimed:
        answer = run(self.link, claim(self.keys, GROUP, Seat(member, nonce), epoch, span, str(self.now)))
        if answer.code == 0:
            self.owner, self.place, self.number = (epoch, nonce), answer.place, 0
        return answer

    def commit(self, after: Position, *steps: Step, **other: Any) -> Committed:
        """The next commit of the owner that claimed last; `owner`, `number` and `before` may be given instead."""
        if "number" not in other:
            self.number += 1
        number = other.get("number", self.number)
        owner, before = other.get("owner", self.owner), other.get("before", self.place)
        answer = run(self.link, commit(self.keys, GROUP, owner, number, (before, after), steps, str(self.now)))
        if answer.code == 0:
            self.place = after
        return answer

    def seek(self, where: str | Offset, *, force: bool = False, word: str = "", **more: Any) -> Put:
        how: Any = "force" if force else "owner"
        return run(self.link, place(self.keys, GROUP, how, where, word or uuid.uuid4().hex, owner=self.owner, **more))

    def field(self, name: str) -> Any:
        return self.link.execute("HGET", self.keys.group(GROUP), name)

    def dump(self) -> dict[str, Any]:
        """Every key of the partition, and what it holds."""
        read = {b"hash": ("HGETALL",), b"stream": ("XRANGE", "-", "+"), b"zset": ("ZRANGE", 0, -1, "WITHSCORES")}
        found = {}
        for key in sorted(self.link.execute("KEYS", self.keys.base + "*")):
            command, *rest = read[self.link.execute("TYPE", key)]
            value = self.link.execute(command, key, *rest)
            found[key.decode()[len(self.keys.base) :]] = sorted(value) if command == "HGETALL" else value
        return found


def at(offset: str, number: int, size: int = 0) -> Position:
    return Position(Offset.parse(offset), number, size or number * 10)
