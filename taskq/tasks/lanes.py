"""Lanes: how an enqueue is sent twice and accepted once.

A lane is a nonce and a counter. Its calls go out one after the other; the server accepts only the next number, answers
a repeat of the last one with the old answer, and refuses anything else. A call that ended without an answer (cancelled,
timed out) takes its lane out of use; if its caller was told so, the lane is kept aside so that the same call can be
sent again.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from taskq.tasks.broker import Outgoing
from taskq.tasks.calls import LANE_TTL

_IDLE_S = LANE_TTL / 1000 / 2  # half: a lane must never be used after the server may have forgotten it
_UNCONFIRMED_KEPT = 10_000


@dataclass(slots=True)
class Lane:
    """One nonce and the number of its last call that was answered."""

    nonce: bytes = field(default_factory=lambda: os.urandom(12))
    number: int = 0
    used: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A call without an answer yet: its lane, number and messages, ready to be sent, and to be sent again.

    `place` is its place in the bulk that it is a part of; -1 if an earlier enqueue left it behind.
    """

    lane: Lane
    number: int
    messages: Sequence[Outgoing]
    place: int = -1


class LanePool:
    """The free lanes of one producer, per queue; each call has one to itself. Thread-safe; a fork starts empty."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._free: dict[str, list[Lane]] = {}
        self._unconfirmed: OrderedDict[tuple[str, bytes], Unconfirmed] = OrderedDict()

    def take(self, queue: str) -> Lane:
        """A lane that nobody else uses until it is given back."""
        if self._pid != os.getpid():
            # The parent goes on with its lanes; two processes counting on one lane would swallow each other's calls.
            self._lock = threading.Lock()
            self._reset()
        now = time.monotonic()
        with self._lock:
            free = self._free.get(queue)
            while free:
                lane = free.pop()
                if now - lane.used < _IDLE_S:
                    return lane
        return Lane()

    def give(self, queue: str, lane: Lane) -> None:
        """Put a lane back whose last call was answered."""
        lane.used = time.monotonic()
        with self._lock:
            self._free.setdefault(queue, []).append(lane)

    @property
    def doubts(self) -> bool:
        """Whether some call is unconfirmed: the same message may be given once more."""
        return bool(self._unconfirmed) and self._pid == os.getpid()

    def keep(self, queue: str, call: Unconfirmed) -> None:
        """Remember a call whose caller was told that it is unconfirmed."""
        with self._lock:
            for message in call.messages:
                self._unconfirmed[queue, message.id] = call
            while len(self._unconfirmed) > _UNCONFIRMED_KEPT:
                self._unconfirmed.popitem(last=False)

    def recall(self, queue: str, messages: Sequence[Outgoing]) -> list[Unconfirmed]:
        """The unconfirmed calls that carried some of these messages, as far as their lanes can still be used."""
        if not self._unconfirmed or self._pid != os.getpid():
            return []
        found: list[Unconfirmed] = []
        with self._lock:
            for message in messages:
                call = self._unconfirmed.get((queue, message.id))
                if call is None:
                    continue
                for carried in call.messages:
                    self._unconfirmed.pop((queue, carried.id), None)
                if time.monotonic() - call.lane.used < _IDLE_S:
                    found.append(Unconfirmed(call.lane, call.number, call.messages))
        return found
