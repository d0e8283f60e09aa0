"""The heavy queue of P13 as a stream queue: half of it pending, its stream looked after, trimmed and mended."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

from benchmarks.load import HeavyQueue, batches
from taskq import Queue
from taskq.control import Control
from taskq.tasks import calls, stream_calls
from taskq.tasks.broker import LEASE_MESSAGES, Delivery
from taskq.tasks.past import history
from taskq.tasks.queues import Transport

_LEASE_MS = 3_600_000
_LONG_S = 20.0


class _Enough(Exception):
    """Ends a replay from within."""


class StreamQueue(HeavyQueue):
    """A stream queue, and what only stream queues have."""

    transport: Transport = "stream"
    urgent = 0.0
    pending: tuple[Delivery, ...] = ()

    def fill(self) -> None:
        """As ever; then half of it is leased, for as long as the run lasts."""
        super().fill()
        self.send([stream_calls.declare("bench", Queue(self.name, transport="stream"))])
        long = replace(self.limits, lease=_LEASE_MS)
        held: list[Delivery] = []
        while len(held) < self.count // 2:
            held += [one for batch in self.take(8, long) for one in batch]
        self.pending = tuple(held)

    def chores(self) -> None:
        """Those of every queue, and those of streams; somebody has destroyed the group, and taken entries away."""
        super().chores()
        self.send(stream_calls.watch(self.keys, "") for _ in range(self.rounds))
        self.link.execute("XGROUP", "DESTROY", self.keys.stream, "taskq")
        self.send(stream_calls.watch(self.keys, "") for _ in range(self.rounds))
        self.link.execute("HSET", self.keys.tally, "repair", "0")
        self.send(stream_calls.repair(self.keys) for _ in range(self.rounds))

    def look_back(self) -> None:
        """Its history is read in both directions, and a part of it is run again."""
        for newest in (False, True):
            self.send([history(self.keys, "-", "+", newest=newest)] * self.rounds)
        control = Control(self.broker)
        began = time.time()

        def enough(count: int) -> None:
            if count > self.rounds * 100 or time.time() - began > _LONG_S:
                raise _Enough

        with suppress(_Enough):
            control.replay(self.name, 0, label="bench", on_progress=enough)
        self.used.add("replay")

    def end(self) -> None:
        """The pending half is done at last, its history is read, and all of it goes."""
        for part in batches(self.pending, LEASE_MESSAGES):
            self.send([calls.ack(self.keys, part, self.seat.op(self.name, "ack"), self.limits)])
        self.look_back()
        while self.send([stream_calls.watch(self.keys, "")])[0].more:
            pass
