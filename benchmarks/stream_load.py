"""The heavy queue of P13 as a stream queue: half of it pending, its stream looked after, trimmed and mended."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.load import HeavyQueue, batches
from taskq import Queue
from taskq.tasks import calls, stream_calls
from taskq.tasks.broker import LEASE_MESSAGES, Delivery
from taskq.tasks.queues import Transport

_LEASE_MS = 3_600_000


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

    def end(self) -> None:
        """The pending half is done at last, and all of the history goes."""
        for part in batches(self.pending, LEASE_MESSAGES):
            self.send([calls.ack(self.keys, part, self.seat.op(self.name, "ack"), self.limits)])
        while self.send([stream_calls.watch(self.keys, "")])[0].more:
            pass
