"""Lanes: how a batch is sent twice and appended once.

A lane is a nonce and a counter for one partition. The server takes the next number, answers any of the last eight with
the old answer, and refuses the rest; so up to eight calls are under way at once and stay in order. A call that ended
without an answer takes its lane out of use.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field

from taskq.events.calls import LANE_TTL

IDLE_S = LANE_TTL / 1000 / 2  # half: a lane must never be used after the server may have forgotten it


def _now() -> tuple[float, float]:
    return time.monotonic(), time.time()


@dataclass(slots=True)
class Lane:
    """One nonce and the number of its last call that was answered."""

    nonce: bytes = field(default_factory=lambda: os.urandom(12))
    number: int = 0
    used: tuple[float, float] = field(default_factory=_now)

    def touch(self) -> None:
        self.used = _now()

    @property
    def stale(self) -> bool:
        """Whether the server may forget it soon. A suspended host's time passes on one of the two clocks only."""
        return max(now - then for now, then in zip(_now(), self.used, strict=True)) > IDLE_S


class LanePool:
    """The free lanes of one topic, by partition; each publish has one to itself. Thread-safe; a fork starts empty."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._free: dict[int, list[Lane]] = {}

    def take(self, partition: int) -> Lane:
        """A lane that nobody else uses until it is given back."""
        if self._pid != os.getpid():
            self._reset()  # the parent goes on with its lanes; two processes on one would swallow each other's calls
        with self._lock:
            free = self._free.get(partition)
            while free:
                lane = free.pop()
                if not lane.stale:
                    return lane
        return Lane()

    def give(self, partition: int, lane: Lane) -> None:
        """Put a lane back whose last call was answered."""
        lane.touch()
        with self._lock:
            self._free.setdefault(partition, []).append(lane)
