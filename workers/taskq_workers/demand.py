"""What a child takes: from which queues, and how much now.

About a tenth of a second of work at the measured pace, never less than the free slots, never above a cap. So no-op
tasks come by the thousand, slow ones by the slot, and nobody hoards.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

CAP = 4_000
AHEAD_S = 0.1

_WINDOW_S = 0.02


@dataclass(frozen=True, slots=True)
class Source:
    """Where messages come from: queue names with weights, in strict order or by weight; `alone` takes suspects only.

    `known` are the names under which this child takes parked messages: its tasks, and the layouts that it reads.
    """

    queues: tuple[tuple[str, int], ...]
    strict: bool = False
    alone: bool = False
    burst: bool = False
    known: frozenset[str] = frozenset()


class Demand:
    """How many messages are wanted now; reads the slots, decides nothing else."""

    def __init__(
        self, slots: int, busy: Callable[[], int], waiting: Callable[[], int], done: Callable[[], int]
    ) -> None:
        self._slots = slots
        self._busy = busy
        self._waiting = waiting
        self._done = done
        self._count = 0
        self._at = time.monotonic()
        self.rate = 0.0
        self.ahead = 0  # messages of the next tenth of a second, at the pace of the last window

    def free(self) -> int:
        """Slots that have nothing to do: all that may be asked for before anybody knows when it will come."""
        return self._slots - self._busy() - self._waiting()

    def wanted(self) -> int:
        """Messages to lease now; 0 if what waits is enough."""
        now = time.monotonic()
        if now - self._at >= _WINDOW_S:
            count = self._done()
            self.rate = (count - self._count) / (now - self._at)
            self._count, self._at = count, now
        waiting = self._waiting()
        free = self._slots - self._busy()
        self.ahead = min(CAP, int(self.rate * AHEAD_S))
        target = max(free, self.ahead)
        if waiting > target // 2 and waiting > 0:
            return 0
        return max(target - waiting, 0)
