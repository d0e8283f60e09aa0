"""What a scenario of the contract plays on: one transport, one queue, a clock that moves when told to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from taskq.clock import ManualClock
from taskq.store.connection import SyncLink
from taskq.tasks.broker import (
    Accepted,
    Broker,
    Buried,
    Condemned,
    Delivery,
    Found,
    Held,
    Leased,
    Op,
    Outgoing,
    Seat,
)
from taskq.tasks.packing import Limits, Mode
from tests.lua.kit import buried, done, held, message, number_of, retried

__all__ = ["LIMITS", "Scene", "TimedLink", "Transport", "buried", "done", "held", "message", "number_of", "retried"]

QUEUE = "q"
LIMITS = Limits(lease=10_000, outcome_ttl=60_000, tombstone=60_000, results=50, dead=20, dead_age=3_600_000)


class Transport(Broker, Protocol):
    """The eight verbs, and what a worker and a caller need beside them."""

    def promote(self, queue: str) -> float | None: ...
    def reclaim(
        self, queue: str, token: bytes, line: bytes, mode: Mode = "lapse", started: Sequence[bytes] = ()
    ) -> list[Condemned]: ...
    def park(self, queue: str, items: Sequence[tuple[Held, str]]) -> list[bytes]: ...
    def unpark(self, queue: str, task: str) -> int: ...
    def cancel(self, queue: str, id: bytes, *, kill: bool = False) -> str: ...
    def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]: ...
    def redrive(self, queue: str, ids: Sequence[bytes]) -> int: ...
    def discard(self, queue: str, ids: Sequence[bytes]) -> int: ...
    def pause(self, queue: str) -> None: ...
    def resume(self, queue: str) -> None: ...
    def wait(self, queues: Sequence[str], seconds: float) -> str | None: ...
    def close(self) -> None: ...


class TimedLink(SyncLink):
    """A link that gives each script the time of a clock, where it would take the server's."""

    clock: ManualClock

    def execute(self, *args: Any, timeout: float | None = None) -> Any:
        return super().execute(*self._timed(args), timeout=timeout)

    def pipeline(self, commands: Sequence[Sequence[Any]], *, timeout: float | None = None) -> list[Any]:
        return super().pipeline([self._timed(command) for command in commands], timeout=timeout)

    def _timed(self, args: Sequence[Any]) -> tuple[Any, ...]:
        if str(args[0]) in ("EVAL", "EVALSHA"):
            first = 3 + int(args[2])  # `now` is the first argument of every script that asks for the time
            if len(args) > first and args[first] == "":
                return (*args[:first], str(self.clock.now_ms()), *args[first + 1 :])
        return tuple(args)


class Worker:
    """One child process of a worker, as the protocol sees it: a seat, and the queue that it takes from."""

    def __init__(self, broker: Transport) -> None:
        self.broker = broker
        self.seat = Seat()

    def lease(self, limit: int = 10, *, alone: bool = False, parked: str | None = None) -> Leased:
        return self.broker.lease(QUEUE, self.seat.ticket(QUEUE), limit, alone=alone, parked=parked)

    def take(self, limit: int = 10, *, alone: bool = False, parked: str | None = None) -> list[Delivery]:
        return self.lease(limit, alone=alone, parked=parked).deliveries

    def one(self, *, alone: bool = False) -> Delivery:
        (delivery,) = self.take(1, alone=alone)
        return delivery

    def numbers(self, limit: int = 10) -> list[int]:
        return [number_of(delivery) for delivery in self.take(limit)]

    def op(self, verb: str) -> Op:
        return self.seat.op(QUEUE, verb)


class Scene:
    """A transport with an empty queue and a worker; other workers come with `hire`."""

    def __init__(self, broker: Transport, clock: ManualClock) -> None:
        self.broker = broker
        self.clock = clock
        self.worker = self.hire()

    def hire(self) -> Worker:
        return Worker(self.broker)

    @property
    def now(self) -> int:
        return self.clock.now_ms()

    @property
    def priorities(self) -> bool:
        """Whether the queue of this scene has priorities."""
        return self.broker.features_of(QUEUE).priorities

    def pass_ms(self, ms: int) -> None:
        self.clock.advance(ms / 1000)

    def enqueue(self, *messages: Outgoing) -> list[Accepted]:
        return self.broker.enqueue(QUEUE, messages)

    def state(self, id: bytes) -> str:
        return self.find(id).state

    def find(self, id: bytes) -> Found:
        return self.broker.lookup(QUEUE, [id])[0]

    def ack(self, *deliveries: Delivery) -> list[bytes]:
        return self.broker.ack(QUEUE, [done(delivery) for delivery in deliveries])

    def nack(self, delivery: Delivery, delay: int = 0, **more: Any) -> list[bytes]:
        return self.broker.nack(QUEUE, [retried(delivery, delay, **more)])

    def bury(self, delivery: Delivery, **more: Any) -> list[bytes]:
        item: Buried = buried(delivery, **more)
        return self.broker.dead_letter(QUEUE, [item])

    def release(self, *deliveries: Delivery) -> list[bytes]:
        return self.broker.release(QUEUE, [held(delivery) for delivery in deliveries])

    def crash(self, delivery: Delivery, *started: Delivery) -> list[Condemned]:
        """The child that holds a delivery dies; a new one takes its place."""
        self.worker = self.hire()
        ids = [item.id for item in started]
        return self.broker.reclaim(QUEUE, delivery.token, b'{"kind":"crash"}', "crash", ids)

    def rings(self) -> bool:
        """Whether a bell lies there; takes it."""
        return self.broker.wait([QUEUE], 0.01) is not None
