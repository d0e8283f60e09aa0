"""What the two sides of a child's table tell each other, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class State(IntEnum):
    """Where a child is in its life."""

    STARTING = 0
    RUNNING = 1
    QUIET = 2
    DRAINING = 3
    DONE = 4


class Command(IntEnum):
    """What the supervisor wants; it only grows."""

    NONE = 0
    QUIET = 1
    DRAIN = 2
    GIVE_BACK = 3


@dataclass(frozen=True, slots=True)
class Running:
    """A slot that runs a message; `hard` is the monotonic time at which its child is ended, 0 for never."""

    slot: int
    sequence: int
    once: bool
    queue: int
    task: int
    id: bytes
    token: bytes
    started: float
    hard: float


@dataclass(frozen=True, slots=True)
class HeldToken:
    """A lease call that was announced and of which something may be left."""

    entry: int
    queue: int
    token: bytes


@dataclass(frozen=True, slots=True)
class Counters:
    """What became of the messages of one child since it started."""

    done: int = 0
    failed: int = 0
    retried: int = 0
    dead: int = 0
    lost: int = 0
