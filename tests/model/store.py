"""What one queue stores, as plain Python values, and the small rules that its scripts share.

Field by field the keys of `docs/protocol.md`, but for the expiry of keys, which only forgets. Ids, tokens and bodies
may be any values; the conformance tests use the real bytes, the search uses short names. A mutant is a subclass that
breaks one rule, so each rule has a method.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias

Id: TypeAlias = Any
Token: TypeAlias = Any

CANCEL, STARTED, ONCE, EXPLICIT, UNIQUE, EXPIRES, BIG, EXPIRED = (1 << bit for bit in range(8))
KEPT = CANCEL | EXPLICIT | UNIQUE | EXPIRES | BIG  # what outlives a lease
RETIRED = 2**53
BIG_BYTES = 1000
PRIORITIES = ("2", "1", "0", "-1", "-2")
COUNT_MAX = 65535


@dataclass(frozen=True)
class Settings:
    """Limits; times in milliseconds, or in ticks where the search runs."""

    lease: int = 10_000
    tombstone: int = 60_000
    outcome_ttl: int = 60_000
    results: int = 6
    dead: int = 4
    dead_age: int = 100_000
    error_bytes: int = 64
    sweep_gap: int = 50
    sweep_limit: int = 250
    room: int = 256 * 1024
    crashes: int = 3
    suspects: int = 10


class Record(NamedTuple):
    """A field of the state hash; a mark has nothing but its letter."""

    kind: str
    prio: int = 2
    flags: int = 0
    deliveries: int = 0
    crashes: int = 0
    attempts: int = 0
    token: Token = None
    digest: Any = None
    expires: float = 0

    @property
    def says_nothing(self) -> bool:
        return not (self.flags or self.deliveries or self.crashes or self.attempts)


class Delivered(NamedTuple):
    """A message as a lease call hands it out."""

    id: Id
    body: Any
    fence: int
    prio: int
    flags: int
    deliveries: int
    crashes: int
    attempts: int


MARK = Record("c")
_DICTS = (
    *("body", "state", "lists", "delayed", "leases", "held", "left", "unique", "cancels", "errors", "parked", "dead"),
    *("quarantine", "results", "dues", "tombs", "outbox", "meta", "stats", "recent", "lanes", "workers"),
)


class Store:
    """One queue. `lists` holds the ready lists by priority, `alone`, and `parked:<task>`; empty ones are not there."""

    settings: ClassVar[Settings] = Settings()
    __slots__ = (*_DICTS, "ended", "owner", "seen", "wake")

    def __init__(self) -> None:
        self.body: dict[Id, Any] = {}
        self.state: dict[Id, Record] = {}
        self.lists: dict[str, tuple[Id, ...]] = {}
        self.delayed: dict[Id, float] = {}
        self.leases: dict[Token, float] = {}
        self.held: dict[Token, tuple[int, tuple[Id, ...]]] = {}
        self.left: dict[Token, int] = {}
        self.unique: dict[Any, Id] = {}
        self.cancels: dict[Id, tuple[Token, bool]] = {}
        self.errors: dict[Id, bytes] = {}
        self.parked: dict[str, float] = {}
        self.dead: dict[Id, float] = {}
        self.quarantine: dict[Id, float] = {}
        self.results: dict[Id, bytes] = {}
        self.dues: dict[Id, float] = {}
        self.tombs: dict[Id, float] = {}
        self.outbox: dict[Any, Any] = {}
        self.meta: dict[str, float] = {}
        self.stats: dict[str, float] = {}
        self.recent: list[tuple[str, Id, float, bytes]] = []
        self.lanes: dict[Any, tuple[int, Any]] = {}
        self.workers: dict[tuple[Any, str], Any] = {}
        self.wake = False
        # Not stored anywhere; what the judge of the search remembers of this history.
        self.ended: frozenset[Id] = frozenset()
        self.owner: dict[Token, Any] = {}
        self.seen: tuple[float, Any] | None = None  # what the search made of this at which time

    def copy(self) -> Any:
        other = type(self).__new__(type(self))
        other.body = self.body.copy()
        other.state = self.state.copy()
        other.lists = self.lists.copy()
        other.delayed = self.delayed.copy()
        other.leases = self.leases.copy()
        other.held = self.held.copy()
        other.left = self.left.copy()
        other.unique = self.unique.copy()
        other.cancels = self.cancels.copy()
        other.errors = self.errors.copy()
        other.parked = self.parked.copy()
        other.dead = self.dead.copy()
        other.quarantine = self.quarantine.copy()
        other.results = self.results.copy()
        other.dues = self.dues.copy()
        other.tombs = self.tombs.copy()
        other.outbox = self.outbox.copy()
        other.meta = self.meta.copy()
        other.stats = self.stats.copy()
        other.recent = self.recent.copy()
        other.lanes = self.lanes.copy()
        other.workers = self.workers.copy()
        other.owner = self.owner.copy()
        other.wake, other.ended, other.seen = self.wake, self.ended, None
        return other

    def fields(self) -> dict[str, Any]:
        """All that is stored, by the name of its field."""
        return {name: getattr(self, name) for name in (*_DICTS, "wake")}

    def outline(self) -> dict[str, Any]:
        """What other clients and people can see: all but what is remembered of calls."""
        return {name: value for name, value in self.fields().items() if name not in ("workers", "lanes")}

    # -- the small rules

    def holds(self, mid: Id, token: Token) -> bool:
        """Every settling verb asks this, message by message, in the step in which it writes."""
        record = self.state.get(mid)
        return record is not None and record.kind == "l" and record.token == token

    def drop_from_token(self, token: Token, count: int = 1) -> None:
        """Some messages of a token are settled; with the last one the token goes."""
        self.left[token] = self.left.get(token, 0) - count
        if self.left[token] <= 0:
            self.forget_token(token)

    def forget_token(self, token: Token) -> None:
        for place in (self.left, self.held, self.leases):
            place.pop(token, None)

    def free_unique(self, mid: Id, record: Record) -> None:
        if record.flags & UNIQUE and self.unique.get(record.digest) == mid:
            del self.unique[record.digest]

    def bury_id(self, mid: Id, flags: int, now: float) -> None:
        """An explicit id that is over is not accepted again for a while."""
        if flags & EXPLICIT:
            self.tombs[mid] = now + self.settings.tombstone

    def home(self, record: Record) -> str:
        """The list in which a message waits: suspects of two deaths run alone."""
        return "alone" if record.crashes > 1 else PRIORITIES[record.prio]

    def put(self, mid: Id, record: Record) -> None:
        """Store a waiting message's record, unless it says nothing."""
        if record.says_nothing:
            self.state.pop(mid, None)
        else:
            self.state[mid] = record

    def push(self, name: str, ids: Iterable[Id]) -> None:
        ids = tuple(ids)
        if ids:
            self.lists[name] = self.lists.get(name, ()) + ids

    def push_front(self, name: str, mid: Id) -> None:
        self.lists[name] = (mid, *self.lists.get(name, ()))

    def trim(self, name: str, count: int) -> None:
        rest = self.lists.get(name, ())[count:]
        if rest:
            self.lists[name] = rest
        else:
            self.lists.pop(name, None)

    def add_line(self, mid: Id, line: bytes) -> None:
        lines = self.errors[mid] + b"\n" + line if mid in self.errors else line
        if len(lines) > self.settings.error_bytes:
            lines = lines[-self.settings.error_bytes :]
            lines = lines[lines.find(b"\n") + 1 :]
        self.errors[mid] = lines

    def add_result(self, mid: Id, result: bytes, ttl: float, now: float) -> None:
        if result and ttl > 0:
            self.results[mid] = result
            self.dues[mid] = now + ttl

    def cap_results(self) -> None:
        for mid in oldest(self.dues, min(len(self.dues) - self.settings.results, 500)):
            del self.dues[mid]
            self.results.pop(mid, None)

    def count(self, name: str, by: int = 1) -> None:
        if by:
            self.meta[name] = self.meta.get(name, 0) + by

    def count_as(self, stats: str) -> None:
        """A message is settled: these lines are what it counts as."""
        for name in stats.split("\n") if stats else ():
            self.stats[name] = self.stats.get(name, 0) + 1

    def tell(self, fate: str, mid: Id, now: float, line: bytes) -> None:
        """One more of the last failures."""
        self.recent = [(fate, mid, now, line[:600]), *self.recent[:49]]

    def ring(self) -> None:
        self.wake = True


def oldest(scores: Mapping[Any, float], count: int) -> list[Any]:
    """The members of a sorted set with the lowest scores, in the server's order."""
    if count <= 0:
        return []
    return sorted(scores, key=lambda member: (scores[member], member))[:count]


def until(scores: Mapping[Any, float], score: float, limit: int) -> list[Any]:
    """The members up to a score, at most so many, lowest first."""
    return oldest({member: at for member, at in scores.items() if at <= score}, limit)


def clear_flags(record: Record, kind: str, **changes: Any) -> Record:
    """What is left of a leased record when its lease ends."""
    return record._replace(kind=kind, flags=record.flags & KEPT, token=None, **changes)
