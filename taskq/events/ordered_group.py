"""An ordered group from outside: where it stands, who is in it, what it could not handle, and putting it elsewhere."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import orjson

from taskq.codec import JSON, Codec
from taskq.errors import ConfigError, GroupActive
from taskq.events.group_calls import forget_void, place
from taskq.events.groups import target
from taskq.events.log import Log, check_partition
from taskq.events.outgoing import key_bytes, partition_of
from taskq.events.publishing import Publishing
from taskq.events.record import Event, Offset
from taskq.names import shown
from taskq.store.links import Steps, drive, drive_async
from taskq.values import count_of

REDRIVES: Final = 5
REDRIVEN: Final = "taskq-redriven"  # header: how often a record was published again as a dead letter
_FIELDS: Final = ("at", "n", "b", "owner", "epoch", "dead", "deaths", "out_of_range", "truncated")
Where = Offset | datetime | float | Literal["earliest", "latest"]


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """Where a group stands in one partition. `records`, `bytes` and `seconds` are what it is behind, `seconds` the age
    of the oldest record that is not done. `parked` counts keys, `owner` is a member's name or ''.
    """

    partition: int
    offset: Offset
    records: int
    bytes: int
    seconds: float
    owner: str
    epoch: int
    dead: int
    deaths: int
    out_of_range: int
    truncated: int
    parked: int


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """A member of a group: what it says of itself, when its session ends (ms), and the partitions granted to it."""

    name: str
    label: str
    until: int
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that a group could not handle. `body` is its value as it was stored; `info` is all that is known."""

    entry: str
    partition: int
    offset: Offset
    key: str | None
    reason: str
    attempts: int
    first: str
    last: str
    body: bytes = field(repr=False)
    info: dict[str, Any] = field(repr=False)


class OrderedGroup:
    """A group of a topic, from outside: `app.topic("orders").group("billing")`. Each call has a twin with an `a`."""

    def __init__(self, log: Log, name: str) -> None:
        self.log = log
        self.name = name

    def lag(self) -> list[PartitionLag]:
        """Where it stands in each partition, exactly, whatever was removed or compacted meanwhile."""
        return drive(self.log.links().sync, self._lag(self.log.properties().partitions))

    async def alag(self) -> list[PartitionLag]:
        """`lag`, awaited."""
        properties = await self.log.aproperties()
        return await drive_async(self.log.links().asynchronous, self._lag(properties.partitions))

    def members(self) -> list[MemberInfo]:
        """Who is in it, by name."""
        return drive(self.log.links().sync, self._members())

    async def amembers(self) -> list[MemberInfo]:
        """`members`, awaited."""
        return await drive_async(self.log.links().asynchronous, self._members())

    def state(self, key: str, partition: int | None = None) -> Any:
        """What its exactly-once handlers keep under a text, as committed; None if nothing.

        Each partition has a state of its own; without a `partition` it is that of the records of this key.
        """
        properties = self.log.properties()
        return drive(self.log.links().sync, self._state(properties.partitions, key, partition))

    async def astate(self, key: str, partition: int | None = None) -> Any:
        """`state`, awaited."""
        properties = await self.log.aproperties()
        return await drive_async(self.log.links().asynchronous, self._state(properties.partitions, key, partition))

    def seek(self, where: Where, partitions: Iterable[int] | None = None, *, force: bool = False) -> None:
        """Put it before an offset (of one partition), at a moment, at the first record or behind the last.

        While it has members this is refused (GroupActive), unless forced: then what they have in hand cannot commit.
        """
        drive(self.log.links().sync, self._seek(where, partitions, force, self.log.properties().partitions))

    async def aseek(self, where: Where, partitions: Iterable[int] | None = None, *, force: bool = False) -> None:
        """`seek`, awaited."""
        count = (await self.log.aproperties()).partitions
        await drive_async(self.log.links().asynchronous, self._seek(where, partitions, force, count))

    def need_idle(self) -> None:
        """Raise GroupActive if it has members."""
        drive(self.log.links().sync, self._refuse_if_active())

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        """Its dead letters, the oldest of each partition first."""
        return drive(self.log.links().sync, self._dead(self.log.properties().partitions, limit))

    async def adead(self, limit: int = 100) -> list[DeadLetter]:
        """`dead`, awaited."""
        count = (await self.log.aproperties()).partitions
        return await drive_async(self.log.links().asynchronous, self._dead(count, limit))

    def redrive(self, letters: Iterable[DeadLetter], most: int = REDRIVES) -> list[DeadLetter]:
        """Publish dead letters to their topic again, under their keys, for all groups; answers those that stay.

        A header counts how often; `most` times at most. What cannot be decoded stays as well. Each letter is published
        once, whatever happens between that and its removal here.
        """
        events, stay = self._again(letters, self.log.codec(self.log.properties()), most)
        publishing = Publishing(self.log)
        for letter, event in events:
            publishing.publish((event,))
            self.log.links().sync.execute(*self._removal(letter))
        return stay

    async def aredrive(self, letters: Iterable[DeadLetter], most: int = REDRIVES) -> list[DeadLetter]:
        """`redrive`, awaited."""
        events, stay = self._again(letters, self.log.codec(await self.log.aproperties()), most)
        publishing = Publishing(self.log)
        for letter, event in events:
            await publishing.apublish((event,))
            await self.log.links().asynchronous.execute(*self._removal(letter))
        return stay

    # -- what is asked, and what follows ----------------------------------------------------------------------------

    def _lag(self, count: int) -> Steps[list[PartitionLag]]:
        every = [self.log.keys.partition(number) for number in range(count)]
        groups = yield [("HMGET", keys.group(self.name), *_FIELDS) for keys in every]
        logs = yield [("HMGET", keys.meta, "n", "b") for keys in every]
        behind = [f"({(told[0] or b'0-0').partition(b':')[0].decode()}" for told in groups]
        nexts = yield [("XRANGE", keys.log, at, "+", "COUNT", 1) for keys, at in zip(every, behind, strict=True)]
        parked = yield [("ZCARD", keys.group(self.name, "parked")) for keys in every]
        seconds, _ = yield ("TIME",)
        found: list[PartitionLag] = []
        for number, (told, log, entries) in enumerate(zip(groups, logs, nexts, strict=True)):
            at, n, b, owner, *counts = told
            epoch, dead, deaths, range_, truncated = (int(one or 0) for one in counts)
            records, size = (max(0, int(have or 0) - int(done or 0)) for have, done in zip(log, (n, b), strict=True))
            age = 0.0
            if records and entries:
                age = max(0.0, int(seconds) - int(entries[0][0].partition(b"-")[0]) / 1000)
            offset = Offset.parse((at or b"0-0").decode())
            who = (owner or b"").decode()
            rest = (dead, deaths, range_, truncated, parked[number])
            found.append(PartitionLag(number, offset, records, size, age, who, epoch, *rest))
        return found

    def _members(self) -> Steps[list[MemberInfo]]:
        keys = self.log.keys
        until = yield ("ZRANGE", keys.group(self.name, "members"), 0, -1, "WITHSCORES")
        info = yield ("HGETALL", keys.group(self.name, "info"))
        owners = yield ("HGETALL", keys.group(self.name, "owners"))
        labels = dict(zip(info[::2], info[1::2], strict=True))
        granted: dict[bytes, list[int]] = {}
        for number, owner in zip(owners[::2], owners[1::2], strict=True):
            granted.setdefault(owner.split(b":", 2)[2], []).append(int(number))
        return [
            MemberInfo(
                name.decode(),
                labels.get(name, b"")[16:].decode("utf-8", "replace"),
                int(float(ends)),
                tuple(sorted(granted.get(name, ()))),
            )
            for name, ends in sorted(zip(until[::2], until[1::2], strict=True))
        ]

    def _state(self, count: int, key: str, partition: int | None) -> Steps[Any]:
        number = partition_of(key, count) if partition is None else check_partition(self.log.name, partition, count)
        data = yield ("HGET", self.log.keys.partition(number).group(self.name, "state"), key_bytes(key))
        return None if data is None else JSON.loads(data)

    def _seek(self, where: Where, partitions: Iterable[int] | None, force: bool, count: int) -> Steps[None]:
        known = yield ("HGET", self.log.keys.groups, self.name)
        if known is None or orjson.loads(known).get("kind") != "ordered":
            raise ConfigError(f"topic {self.log.name!r} has no ordered group {self.name!r}")
        numbers = range(count) if partitions is None else [check_partition(self.log.name, p, count) for p in partitions]
        to = target(where)
        if isinstance(where, Offset) and len(numbers) != 1:
            raise ConfigError(f"where={shown(str(where))} is an offset of one partition: say which, partitions=[...]")
        if not force:
            yield from self._refuse_if_active()
        for number in numbers:
            keys = self.log.keys.partition(number)
            yield place(keys, self.name, "force", to, uuid.uuid4().hex)
            yield from forget_void(keys, self.name)
        yield ("HINCRBY", self.log.keys.group(self.name, "state"), "moves", 1)

    def _refuse_if_active(self) -> Steps[None]:
        seconds, micros = yield ("TIME",)
        now = int(seconds) * 1000 + int(micros) // 1000
        alive = yield ("ZCOUNT", self.log.keys.group(self.name, "members"), now, "+inf")
        if alive:
            raise GroupActive(
                f"group {self.name!r} of topic {self.log.name!r} has {count_of(alive, 'member')}: stop them first,"
                " or force it; then what they have in hand does not count"
            )

    def _dead(self, count: int, limit: int) -> Steps[list[DeadLetter]]:
        found: list[DeadLetter] = []
        for number in range(count):
            if limit <= len(found):
                break
            key = self.log.keys.partition(number).group(self.name, "dead")
            entries = yield ("XRANGE", key, "-", "+", "COUNT", limit - len(found))
            for entry, fields in entries:
                info: dict[str, Any] = orjson.loads(fields[1])
                found.append(
                    DeadLetter(
                        entry.decode(),
                        number,
                        Offset.parse(info["offset"]),
                        info["key"],
                        info["reason"],
                        info["attempts"],
                        info["first"],
                        info["last"],
                        fields[3],
                        info,
                    )
                )
        return found

    def _again(
        self, letters: Iterable[DeadLetter], codec: Codec, most: int
    ) -> tuple[list[tuple[DeadLetter, Event]], list[DeadLetter]]:
        events: list[tuple[DeadLetter, Event]] = []
        stay: list[DeadLetter] = []
        for letter in letters:
            headers: dict[str, str] = dict(letter.info.get("headers") or {})
            times = int(headers.get(REDRIVEN, "0"))
            if times >= most or letter.reason == "undecodable":
                stay.append(letter)
                continue
            headers[REDRIVEN] = str(times + 1)
            value = None if letter.info.get("tombstone") else codec.loads(letter.body)
            word = f"redrive:{self.name}:{letter.partition}:{letter.entry}"
            time = letter.info["time"] / 1000
            events.append((letter, Event(value, letter.key, headers, time, word, letter.partition)))
        return events, stay

    def _removal(self, letter: DeadLetter) -> tuple[str, str, str]:
        return ("XDEL", self.log.keys.partition(letter.partition).group(self.name, "dead"), letter.entry)
