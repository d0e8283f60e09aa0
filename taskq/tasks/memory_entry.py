"""What the in-memory transport knows of one message, one lease and one child."""

from __future__ import annotations

from dataclasses import dataclass, field

from taskq.message import PLAIN_BYTES
from taskq.tasks.broker import HEAD, Flags, Found, Outgoing

NORMAL = 2  # index of priority 0
RETIRED = float("inf")  # the number of the last lease call of a child that was given up
KEPT = 0xFF & ~int(Flags.STARTED | Flags.ONCE | Flags.EXPIRED)  # what a message takes back to its list


@dataclass(slots=True)
class Entry:
    """One message. `state` is its letter; a `c` is the mark of a cancelled one, whose body is gone."""

    id: bytes
    body: bytes
    place: int = NORMAL
    flags: int = 0
    unique: bytes = b""
    expires: float = 0
    state: str = "r"
    deliveries: int = 0
    crashes: int = 0
    attempts: int = 0
    token: bytes = b""
    lines: bytes = b""
    asked: tuple[bytes, bool] | None = None  # a cancel request: the token that holds it, and whether to end the child

    @property
    def head(self) -> tuple[int, ...]:
        return (ord(self.state), self.place, self.flags, self.deliveries, self.crashes, self.attempts)

    def found(self, result: bytes) -> Found:
        """What a reader is told of it. Of one that only waits nothing more is known, as in Redis."""
        if self.state == "c":
            return Found("c", result, b"")
        lines = b"" if self.state == "r" and HEAD.pack(*self.head)[2:] == bytes(6) else self.lines
        counts = self.flags, self.deliveries, self.crashes, self.attempts
        return Found(self.state, result, lines, *counts, 2 - self.place)

    def add_line(self, line: bytes, limit: int) -> None:
        """Append a line about an attempt; lines that no longer fit go, the oldest first."""
        if line:
            lines = self.lines + b"\n" + line if self.lines else line
            if len(lines) > limit:
                lines = lines[-limit:]
                lines = lines.partition(b"\n")[2] if b"\n" in lines else lines
            self.lines = lines


@dataclass(slots=True)
class Batch:
    """What one lease call handed out. `left` counts what is not settled."""

    ids: list[bytes]
    fence: int
    left: int


@dataclass(slots=True)
class Child:
    """What a worker's start is known by: its last lease call, and the answers to its last settling calls."""

    lease: float = 0
    answers: dict[str, tuple[int, list[bytes]]] = field(default_factory=dict)


def flags_of(message: Outgoing) -> int:
    """The flags that a message comes in with."""
    flags = Flags.EXPLICIT if message.explicit else Flags(0)
    if message.unique:
        flags |= Flags.UNIQUE
    if message.expires:
        flags |= Flags.EXPIRES
    if len(message.body) > PLAIN_BYTES:
        flags |= Flags.BIG
    return int(flags)
