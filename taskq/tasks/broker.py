"""The contract of a transport of messages: eight verbs and the values that they pass.

Every transport passes one suite, `tests/contract`. What a transport promises beyond the contract is data (`Features`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from struct import Struct
from typing import NamedTuple, Protocol

LEASE_MESSAGES = 250
"""No script carries more messages than this; a bulk call is a pipeline of scripts."""

LEASE_BYTES = 256 * 1024
"""No script carries more bytes than this, unless a single message is larger."""

TOKEN_BYTES = 20


class Flags(IntFlag):
    """Bits of a message's record that the scripts keep."""

    CANCEL = 1
    STARTED = 2
    ONCE = 4
    EXPLICIT = 8
    UNIQUE = 16
    EXPIRES = 32
    BIG = 64
    EXPIRED = 128


class Outgoing(NamedTuple):
    """A message on its way in. `due` and `expires` are milliseconds: of the epoch if positive, from now if negative."""

    id: bytes
    body: bytes
    priority: int = 0
    due: float = 0
    expires: float = 0
    unique: bytes = b""
    explicit: bool = False


class Accepted(NamedTuple):
    """What became of one `Outgoing`: the id that counts, and whether this call created it."""

    id: bytes
    created: bool


class Delivery:
    """A message in a worker's hands, with its lease.

    `attempts` counts runs that ended in an error, `crashes` deaths of the child that ran it, `deliveries` how often
    it was handed out, this time included. `fence` grows across the whole queue. `stats` is what it counts as when it is
    settled as done (`taskq.tasks.statistics`), set by whoever ran it.
    """

    __slots__ = (
        *("attempts", "body", "crashes", "deliveries", "fence", "flags", "id", "priority", "queue", "stats", "token"),
    )

    def __init__(
        self, queue: str, id: bytes, body: bytes, token: bytes, fence: int, head: tuple[int, ...] = (0, 2, 0, 1, 0, 0)
    ) -> None:
        self.queue = queue
        self.id = id
        self.body = body
        self.token = token
        self.fence = fence
        self.stats = ""
        _, prio, self.flags, self.deliveries, self.crashes, self.attempts = head
        self.priority = 2 - prio

    def __repr__(self) -> str:
        return f"Delivery({self.queue} {self.id.hex()} fence={self.fence} deliveries={self.deliveries})"


HEAD = Struct(">BBBHBH")  # of a record: state, priority index, flags, deliveries, crashes, attempts


@dataclass(frozen=True, slots=True)
class Ticket:
    """One lease call: made before it is sent, kept for sending it again."""

    nonce: bytes
    number: int
    token: bytes


@dataclass(slots=True)
class Seat:
    """One start of one child process: a random nonce and the numbers of its calls, per queue.

    Call numbers only grow, so a call that was overtaken by a newer one, or by the seat's death, is refused.
    """

    nonce: bytes = field(default_factory=lambda: os.urandom(8))
    _numbers: dict[tuple[str, str], int] = field(default_factory=dict)

    def ticket(self, queue: str) -> Ticket:
        """The next lease call of a queue; its token is the nonce, the call number and 8 random bytes."""
        number = self._next(queue, "lease")
        return Ticket(self.nonce, number, self.nonce + number.to_bytes(4, "big") + os.urandom(8))

    def op(self, queue: str, verb: str) -> Op:
        """The next settling call of a verb; send it again with the same value until it is answered."""
        return Op(self.nonce, self._next(queue, verb))

    def _next(self, queue: str, verb: str) -> int:
        number = self._numbers.get((queue, verb), 0) + 1
        self._numbers[queue, verb] = number
        return number


@dataclass(frozen=True, slots=True)
class Op:
    """The number of one settling call of one seat: its repeat gets the first one's answer."""

    nonce: bytes
    number: int


@dataclass(slots=True)
class Leased:
    """The answer to a lease call. `due` is the earliest delayed time of the queue in ms, or None.

    `refused`: this worker has been given up, and gets nothing any more. A call that a newer one has overtaken answers
    with what it still holds.
    """

    deliveries: list[Delivery]
    now: int
    due: float | None
    paused: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A last outcome after which the message is gone: kind d done, c cancelled, e expired.

    `result` is what a caller will read (first byte: the kind), empty for none; `result_ttl` in milliseconds. `follow`
    is a follow-up for the outbox: 16 bytes of its id, then bytes that only the relay reads. `freed` is the size of the
    body that goes with it, for whoever bounds that. `stats` is what it counts as (`taskq.tasks.statistics`).
    """

    id: bytes
    token: bytes
    kind: str = "d"
    result: bytes = b""
    result_ttl: int = 0
    follow: bytes = b""
    freed: int = 0
    stats: str = ""


@dataclass(frozen=True, slots=True)
class Retried:
    """Put back to run again after `delay` milliseconds; `line` is one line of JSON about the attempt.

    With `counts` an attempt has failed; else the task asked for another run. `stats` is what it counts as. `size` is
    that of its body, for whoever bounds what is copied: without a delay it is appended to a stream again.
    """

    id: bytes
    token: bytes
    delay: int
    counts: bool = True
    line: bytes = b""
    stats: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Buried:
    """Kept, not to run again by itself: as a dead letter, or in quarantine if `quarantine`.

    `failed` tells whether an attempt that ended in an error was the reason, and no crash or stop. `stats` is what it
    counts as.
    """

    id: bytes
    token: bytes
    line: bytes
    result: bytes = b""
    result_ttl: int = 0
    quarantine: bool = False
    failed: bool = True
    stats: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """An id and the token under which it is held."""

    id: bytes
    token: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """A held message that was started; with `once` it may never run a second time."""

    id: bytes
    token: bytes
    once: bool = False


@dataclass(frozen=True, slots=True)
class Extended:
    """What a heartbeat learns: tokens that are lost, ids to cancel (True: the child may be ended), marks refused."""

    now: int
    lost: list[bytes]
    cancelled: dict[bytes, bool]
    refused: list[bytes]


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found. Times are server milliseconds or None; `lapsed` are tokens to reclaim; `streamed`: it is a
    stream queue.
    """

    now: int
    due: float | None
    deadline: float | None
    alone: int
    outbox: int
    parked_since: float | None
    lapsed: list[bytes]
    skipped: bool = False
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Condemned:
    """A message that died too often (or once, if it may not run twice); it waits under its token to be dead-
    lettered.
    """

    id: bytes
    token: bytes
    crashes: int
    once: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Where a message is. `state` is the letter of its state; `result` and `lines` are empty if there are none.

    `priority` is None of one that has no record: if it waits, only its place in a list tells.
    """

    state: str
    result: bytes
    lines: bytes
    flags: int = 0
    deliveries: int = 0
    crashes: int = 0
    attempts: int = 0
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Features:
    """What a transport can do beyond the contract."""

    ordered: bool = True
    replayable: bool = False
    priorities: bool = True
    blocking: bool = True


class Broker(Protocol):
    """Eight verbs. Each is batched, and sending it again is safe; the settling ones refuse a lost lease.

    Settling verbs answer with the ids whose token was not current; nothing was written for those.
    """

    def features_of(self, queue: str) -> Features:
        """What the transport of a queue can do beyond the contract."""
        ...

    def enqueue(self, queue: str, messages: Sequence[Outgoing], timeout: float | None = None) -> list[Accepted]:
        """Store messages, each once per id. `timeout` seconds in all, re-sends included.

        Raises BrokerFull, EnqueueUnconfirmed; a bulk that fails midway lists in `ids` only what is unconfirmed.
        """
        ...

    def lease(
        self, queue: str, ticket: Ticket, limit: int, *, alone: bool = False, parked: str | None = None
    ) -> Leased:
        """Hand each ready message to one holder until the deadline.

        `alone` takes only what must run alone; `parked` only what was set aside because its task was unknown.
        """
        ...

    def extend(self, queue: str, tokens: Sequence[bytes], marks: Sequence[Mark] = ()) -> Extended:
        """Push deadlines by one lease, or tell which tokens are lost; mark what has been started."""
        ...

    def ack(self, queue: str, items: Sequence[Finished], op: Op | None = None) -> list[bytes]:
        """Gone, exactly for the holder of the token, its result and follow-up stored in the same step."""
        ...

    def nack(self, queue: str, items: Sequence[Retried], op: Op | None = None) -> list[bytes]:
        """Back, at once or later, with the attempt counted or not."""
        ...

    def dead_letter(self, queue: str, items: Sequence[Buried], op: Op | None = None) -> list[bytes]:
        """Kept, listed, and brought back only on demand."""
        ...

    def release(self, queue: str, items: Sequence[Held]) -> list[bytes]:
        """Back to the front, as if never handed out."""
        ...

    def sweep(self, queue: str, *, jumped: bool = False) -> Swept:
        """Due messages to ready, lapsed tokens listed, old things trimmed, a bell rung if nobody was told."""
        ...
