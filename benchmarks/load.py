"""The heavy queue of P13: what its messages look like, and every verb of the transport in volume.

Batches are as large as a worker's: 250 messages and 256 KiB a script, eight scripts a round trip.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from benchmarks.processes import MeasurementFailed
from benchmarks.server import Server
from taskq.errors import TaskqError
from taskq.message import PLAIN_BYTES, new_ids
from taskq.store.keys import queue_keys
from taskq.store.scripts import Call, run_many
from taskq.tasks import calls
from taskq.tasks.broker import (
    LEASE_BYTES,
    LEASE_MESSAGES,
    Buried,
    Delivery,
    Finished,
    Held,
    Mark,
    Outgoing,
    Retried,
    Seat,
)
from taskq.tasks.calls import Limits
from taskq.tasks.lists import ListBroker
from taskq.tasks.packing import FAILURES
from taskq.tasks.queues import Queue, Retain, Transport
from taskq_workers.settle import cut

T = TypeVar("T")
Item = TypeVar("Item")

BULK = 1_000
PIPELINE = 8
LARGE = 1_048_576
# How many of a million: bytes of the body, share. About 750 MB in all, so that a run stays below 2 GiB.
SIZES = ((100, 0.60), (250, 0.33), (PLAIN_BYTES + 1, 0.05), (6_000, 0.019), (100_000, 0.0009), (LARGE, 0.0001))
DELAYED, UNIQUE, EXPLICIT, EXPIRING, URGENT = 0.15, 0.01, 0.02, 0.01, 0.05
DUE_MS = 1_000
_LINE = b'{"kind":"error","type":"ValueError","message":"' + b"x" * 400 + b'"}'
_LONG_LINE = b'{"kind":"error","traceback":"' + b"x" * 15_000 + b'"}'
RESULT_BYTES = 65_000
"""Just below what a task may return unless it says otherwise."""

_SHORT = Limits(lease=1)
_TASKS = [f"unknown.task{number}" for number in range(10)]


def body_sizes(count: int, largest: int = LARGE) -> Iterator[int]:
    """Sizes of bodies, the large ones spread evenly among the small, whatever the count; none above `largest`."""
    due = [0.0] * len(SIZES)
    for _ in range(count):
        for at, (_, share) in enumerate(SIZES):
            due[at] += share
        pick = max(range(len(SIZES)), key=lambda at: due[at])
        due[pick] -= 1.0
        yield min(SIZES[pick][0], largest)


def messages(count: int, random_: random.Random, urgent: float = URGENT, largest: int = LARGE) -> Iterator[Outgoing]:
    """Messages of every kind: mostly plain, some delayed, unique, expiring, with an id of their own, urgent."""
    noise = os.urandom(LARGE)
    for raw, size in zip(_ids(count), body_sizes(count, largest), strict=True):
        kind = random_.random()
        body = noise[:size]
        if kind < DELAYED:
            yield Outgoing(raw, body, due=-DUE_MS)
        elif (kind := kind - DELAYED) < UNIQUE:
            yield Outgoing(raw, body, unique=raw)
        elif (kind := kind - UNIQUE) < EXPLICIT:
            yield Outgoing(raw, body, explicit=True)
        elif (kind := kind - EXPLICIT) < EXPIRING:
            yield Outgoing(raw, body, expires=-1)
        elif (kind := kind - EXPIRING) < urgent:
            yield Outgoing(raw, body, priority=random_.choice((-2, -1, 1, 2)))
        else:
            yield Outgoing(raw, body)


def _ids(count: int) -> Iterator[bytes]:
    for start in range(0, count, BULK):
        yield from new_ids(min(BULK, count - start))


class HeavyQueue:
    """One queue, and every verb on it in volume; `rounds` scripts of each kind."""

    transport: Transport = "list"
    urgent = URGENT

    def __init__(self, server: Server, count: int, rounds: int, name: str = "heavy", *, largest: int = LARGE) -> None:
        self.name = name
        self.largest = largest
        self.count = count
        self.rounds = rounds
        self.random = random.Random(13)
        self.link = server.link
        self.keys = queue_keys("bench", name, self.transport == "stream")
        self.limits = Limits(tombstone=1, results=20_000, dead=5_000, sweep_gap=0)
        self.broker = ListBroker(server.link, "bench", self.limits, enqueue_timeout=60.0)
        if self.transport == "stream":
            self.broker.declare(Queue(name, transport="stream", retain=Retain(count=1_000)))
        self.seat = Seat()
        self.ids: list[bytes] = []
        self.used: set[str] = set()

    # -- sending

    def send(self, wires: Iterable[Call[T]]) -> list[T]:
        """Run scripts, eight a round trip; any error ends the measurement."""
        answers: list[T] = []
        for part in batches(list(wires), PIPELINE):
            self.used.update(wire.script.name.rpartition("/")[2] for wire in part)
            for answer in run_many(self.link, part):
                if isinstance(answer, TaskqError):
                    raise MeasurementFailed(f"{part[0].script.name}: {answer}")
                answers.append(answer)
        return answers

    def take(self, scripts: int, limits: Limits | None = None) -> list[list[Delivery]]:
        """Lease by full batches; answers them as they came, each under a token of its own."""
        wires = (
            calls.lease(self.keys, self.seat.ticket(self.name), LEASE_MESSAGES, limits or self.limits)
            for _ in range(scripts)
        )
        return [leased.deliveries for leased in self.send(wires) if leased.deliveries]

    def settle(self, verb: str, items: Sequence[Item], weight: int = 0) -> None:
        """Settle by batches as a worker cuts them: 250 outcomes (fewer failures), 256 KiB."""
        most = LEASE_MESSAGES if verb == "ack" else FAILURES
        size = min(most, LEASE_BYTES // weight) if weight else most
        make: Callable[..., Call[Any]] = getattr(calls, verb)
        self.send(make(self.keys, part, self.seat.op(self.name, verb), self.limits) for part in batches(items, size))

    # -- the phases

    def fill(self) -> None:
        """The queue as it is to be: every kind of message, bulk by bulk."""
        bulk: list[Outgoing] = []
        for message in messages(self.count, self.random, self.urgent, self.largest):
            self.ids.append(message.id)
            bulk.append(message)
            if len(bulk) == BULK:
                self.broker.enqueue(self.name, bulk)
                bulk = []
        self.broker.enqueue(self.name, bulk)
        self.used.add("enqueue")
        time.sleep(DUE_MS / 1000)  # what is delayed is to be due

    def chores(self) -> None:
        """Paused and resumed, every due message promoted, every old thing trimmed."""
        self.send(calls.pause(self.keys, paused) for paused in (True, False))
        moved = 1
        while moved:
            moved = sum(count for count, _ in self.send(calls.promote(self.keys) for _ in range(PIPELINE)))
        self.send(calls.sweep(self.keys, self.limits, jumped=index % 50 == 0) for index in range(self.rounds * 2))

    def ask(self) -> None:
        """Lookups and cancels of messages anywhere in the queue."""
        picks = [self.random.sample(self.ids, LEASE_MESSAGES) for _ in range(self.rounds)]
        self.send(calls.lookup(self.keys, ids) for ids in picks)
        self.send(calls.cancel(self.keys, one, self.limits) for ids in picks[: self.rounds // 10] for one in ids)

    def work(self) -> None:
        """Lease, heartbeat, and every last outcome."""
        held = self.take(self.rounds)
        tokens = [batch[0].token for batch in held]
        for part in batches(tokens, 256):
            marks = [Mark(one.id, one.token) for batch in held[:1] for one in batch]
            self.send([calls.extend(self.keys, part, marks, self.limits)] * 4)
        flat = [one for batch in held for one in batch]
        third = len(flat) // 3
        self.settle("ack", flat[:third])
        self.settle("ack", [done(one, 60_000) for one in flat[third : 2 * third]], 1_000)
        self.settle("ack", [done(one, 1) for one in flat[2 * third :]], 1_000)

    def fail(self) -> None:
        """Retries at once and later, dead letters beyond their cap, brought back and removed."""
        flat = [one for batch in self.take(self.rounds) for one in batch]
        half = len(flat) // 2
        again = [
            Retried(one.id, one.token, at % 2 * 60_000, True, _LINE, size=len(one.body))
            for at, one in enumerate(flat[:half])
        ]
        self.send(
            calls.nack(self.keys, part, self.seat.op(self.name, "nack"), self.limits) for part in cut(list(again))
        )
        self.settle(
            "dead_letter", [Buried(one.id, one.token, _LINE, b"x" + _LINE, 60_000) for one in flat[half:]], 1_000
        )
        dead = [one.id for one in flat[-self.limits.dead :]]
        middle = len(dead) // 2
        self.send(calls.redrive(self.keys, part) for part in batches(dead[:middle], LEASE_MESSAGES))
        self.send(calls.discard(self.keys, part) for part in batches(dead[middle:], FAILURES))

    def give_back(self) -> None:
        """Released, set aside by task name, and brought back."""
        flat = [one for batch in self.take(self.rounds) for one in batch]
        half = len(flat) // 2
        self.send(
            calls.release(self.keys, [Held(one.id, one.token) for one in part]) for part in batches(flat[:half], 250)
        )
        items = [(Held(one.id, one.token), _TASKS[at % len(_TASKS)]) for at, one in enumerate(flat[half:])]
        self.send(calls.park(self.keys, part) for part in batches(items, LEASE_MESSAGES))
        for task in _TASKS:
            left = 1
            while left:
                left = self.send([calls.unpark(self.keys, task)])[0][1]

    def die(self) -> None:
        """Full tokens taken back in each of the three ways."""
        third = max(self.rounds // 3, 1)
        for mode in ("recall", "lapse", "crash"):
            held = self.take(third, _SHORT if mode == "lapse" else None)
            time.sleep(0.01)
            self.send(self._reclaim(batch, mode) for batch in held)
        self.seat = Seat()  # the one before counts as dead

    def extremes(self) -> None:
        """What a script may meet at worst: messages whose error lines are at their limit, results of the largest size.

        On a queue of its own, where the same messages come round again soon.
        """
        self.ids = list(_ids(self.count))
        for part in batches(self.ids, BULK):
            self.broker.enqueue(self.name, [Outgoing(one, b"x" * 200) for one in part])
        scripts = self.count // LEASE_MESSAGES
        for line in (_LONG_LINE, _LINE, _LINE):
            held = [one for batch in self.take(scripts) for one in batch]
            self.settle("nack", [Retried(one.id, one.token, 0, True, line) for one in held], len(line))
        held = [one for batch in self.take(scripts) for one in batch]
        third = len(held) // 3
        self.settle("dead_letter", [Buried(one.id, one.token, _LINE) for one in held[:third]], len(_LINE))
        results = [
            Finished(one.id, one.token, "d", b"d" + b"r" * RESULT_BYTES, 60_000) for one in held[third : 2 * third]
        ]
        self.settle("ack", results, RESULT_BYTES)
        rest = [Held(one.id, one.token) for one in held[2 * third :]]
        self.send(calls.release(self.keys, part) for part in batches(rest, LEASE_MESSAGES))
        self.send(calls.lookup(self.keys, part) for part in batches([one.id for one in held], LEASE_MESSAGES))

    def _reclaim(self, batch: list[Delivery], mode: Any) -> Call[Any]:
        started = [one.id for one in batch] if mode == "crash" else [one.id for one in batch[:10]]
        if mode == "lapse":
            started = []
        return calls.reclaim(self.keys, batch[0].token, _LINE, self.limits, mode=mode, started=started)

    def end(self) -> None:
        """What comes last, when operators have done their part: nothing here."""

    def run(self) -> None:
        """All of it, on a filled queue; the chores come again at the end, when there is much to trim."""
        for phase in (self.chores, self.ask, self.work, self.fail, self.give_back, self.die, self.chores):
            phase()


def done(delivery: Delivery, ttl: int) -> Finished:
    return Finished(delivery.id, delivery.token, "d", b"d" + b"r" * 1_000, ttl)


def batches(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Runs of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]
