"""A queue whose scripts are run one at a time, at times that the test sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from taskq.store.connection import SyncLink
from taskq.store.keys import QueueKeys, queue_keys
from taskq.store.scripts import Call, T, run
from taskq.tasks import calls
from taskq.tasks.broker import (
    Accepted,
    Buried,
    Condemned,
    Delivery,
    Extended,
    Finished,
    Found,
    Held,
    Leased,
    Mark,
    Op,
    Outgoing,
    Retried,
    Seat,
    Swept,
    Ticket,
)
from taskq.tasks.calls import Limits

START_MS = 1_800_000_000_000
LEASE_MS = 10_000

_READ = {
    b"stream": ("XRANGE", "-", "+"),
    b"string": ("GET",),
    b"hash": ("HGETALL",),
    b"list": ("LRANGE", 0, -1),
    b"zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    b"set": ("SMEMBERS",),
}


def message(number: int = 0, body: bytes = b"", **more: Any) -> Outgoing:
    """A message whose id shows its number."""
    return Outgoing(number.to_bytes(16, "big"), body or b"body-%d" % number, **more)


def number_of(item: Delivery | Accepted | Condemned | bytes) -> int:
    """The number that `message` was given."""
    return int.from_bytes(item if isinstance(item, bytes) else item.id, "big")


def done(delivery: Delivery, result: bytes = b"", ttl: int = 1000, **more: Any) -> Finished:
    return Finished(delivery.id, delivery.token, result=result, result_ttl=ttl, **more)


def retried(delivery: Delivery, delay: int = 0, **more: Any) -> Retried:
    return Retried(delivery.id, delivery.token, delay, **more)


def buried(delivery: Delivery, line: bytes = b'{"n":1}', **more: Any) -> Buried:
    return Buried(delivery.id, delivery.token, line, **more)


def held(delivery: Delivery) -> Held:
    return Held(delivery.id, delivery.token)


class Queue:
    """One queue on a real server; `now` is what its scripts take for the time, in milliseconds."""

    def __init__(self, link: SyncLink, namespace: str, limits: Limits | None = None) -> None:
        self.link = link
        self.keys: QueueKeys = queue_keys(namespace, "q")
        self.limits = limits or Limits(lease=LEASE_MS)
        self.now = START_MS
        self.lane = os.urandom(12)
        self.number = 0
        self.seat = Seat()

    @property
    def at(self) -> str:
        return str(self.now)

    def run(self, call: Call[T]) -> T:
        return run(self.link, call)

    # -- the verbs

    def enqueue_call(self, *messages: Outgoing, lane: bytes = b"", number: int = 0) -> Call[list[Accepted]]:
        if not number:
            self.number = number = self.number + 1
        return calls.enqueue(self.keys, lane or self.lane, number, messages, self.limits, self.at)

    def enqueue(self, *messages: Outgoing, lane: bytes = b"", number: int = 0) -> list[Accepted]:
        return self.run(self.enqueue_call(*messages, lane=lane, number=number))

    def lease_call(
        self, limit: int = 10, *, ticket: Ticket | None = None, alone: bool = False, seat: Seat | None = None
    ) -> Call[Leased]:
        ticket = ticket or (seat or self.seat).ticket("q")
        return calls.lease(self.keys, ticket, limit, self.limits, alone=alone, now=self.at)

    def lease(self, limit: int = 10, **more: Any) -> Leased:
        return self.run(self.lease_call(limit, **more))

    def take(self, limit: int = 10, **more: Any) -> list[Delivery]:
        return self.lease(limit, **more).deliveries

    def extend(self, tokens: Sequence[bytes], marks: Sequence[Mark] = ()) -> Extended:
        return self.run(calls.extend(self.keys, tokens, marks, self.limits, self.at))

    def ack(self, *items: Finished, op: Op | None = None) -> list[bytes]:
        return self.run(calls.ack(self.keys, items, op, self.limits, self.at))

    def nack(self, *items: Retried, op: Op | None = None) -> list[bytes]:
        return self.run(calls.nack(self.keys, items, op, self.limits, self.at))

    def bury(self, *items: Buried, op: Op | None = None) -> list[bytes]:
        return self.run(calls.dead_letter(self.keys, items, op, self.limits, self.at))

    def release(self, *items: Held) -> list[bytes]:
        return self.run(calls.release(self.keys, items, self.at))

    def park(self, *items: tuple[Held, str]) -> list[bytes]:
        return self.run(calls.park(self.keys, items, self.at))

    def unpark(self, task: str, limit: int = 250) -> tuple[int, int]:
        return self.run(calls.unpark(self.keys, task, limit))

    def expire_parked(self, task: str, line: bytes = b'{"kind":"unknown_task"}') -> int:
        return self.run(calls.expire_parked(self.keys, task, line, b"x{}", self.limits, self.at))

    def promote(self, limit: int = 250) -> tuple[int, float | None]:
        return self.run(calls.promote(self.keys, limit, self.at))

    def sweep(self, *, jumped: bool = False) -> Swept:
        return self.run(calls.sweep(self.keys, self.limits, jumped=jumped, now=self.at))

    def reclaim(self, token: bytes, line: bytes = b'{"crash":1}', **more: Any) -> list[Condemned]:
        return self.run(calls.reclaim(self.keys, token, line, self.limits, now=self.at, **more))

    def cancel(self, id: bytes, *, kill: bool = False) -> str:
        return self.run(calls.cancel(self.keys, id, self.limits, kill=kill, now=self.at))

    def lookup(self, *ids: bytes) -> list[Found]:
        return self.run(calls.lookup(self.keys, ids))

    def state(self, id: bytes) -> str:
        return self.lookup(id)[0].state

    def redrive(self, *ids: bytes) -> int:
        return self.run(calls.redrive(self.keys, ids))

    def discard(self, *ids: bytes) -> int:
        return self.run(calls.discard(self.keys, ids))

    # -- looking from outside

    def rings(self) -> int:
        """How many bells lie there; takes them away, so that the next ring can be told."""
        count: int = self.link.execute("LLEN", self.keys.wake)
        self.link.execute("DEL", self.keys.wake)
        return count

    def counter(self, name: str) -> int:
        return int(self.link.execute("HGET", self.keys.meta, name) or 0)

    def ready(self, priority: int = 0) -> list[int]:
        return [number_of(one) for one in self.link.execute("LRANGE", self.keys.ready_for(priority), 0, -1)]

    def dump(self, *, without: Sequence[str] = ()) -> dict[str, Any]:
        """All keys of this queue and what they hold."""
        found: dict[str, Any] = {}
        names: list[bytes] = self.link.execute("KEYS", self.keys.base.replace("[", "\\[") + "*")
        for name in sorted(names):
            key = name.decode()[len(self.keys.base) :]
            if key not in without:
                kind = self.link.execute("TYPE", name)
                command, *rest = _READ[kind]
                found[key] = self._sorted(kind, self.link.execute(command, name, *rest))
        return found

    @staticmethod
    def _sorted(kind: bytes, value: Any) -> Any:
        if kind != b"hash":
            return value
        return dict(zip(value[::2], value[1::2], strict=True))
