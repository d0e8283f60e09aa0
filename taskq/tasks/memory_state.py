"""One queue of the in-memory transport: what the scripts of the list transport keep in Redis, as plain objects.

Nothing here locks or tells the time; `taskq.tasks.memory` does both.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque

from taskq.errors import BrokerError
from taskq.tasks.broker import Accepted, Flags, Found, Op, Outgoing, Retried
from taskq.tasks.memory_entry import KEPT, Batch, Child, Entry, flags_of
from taskq.tasks.packing import Limits

NEWER = "the broker has answered a newer call of this worker already"


class QueueState:
    """Everything about one queue."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.ready: tuple[deque[bytes], ...] = tuple(deque() for _ in range(5))
        self.alone: deque[bytes] = deque()
        self.due: dict[bytes, float] = {}
        self.leases: dict[bytes, float] = {}
        self.batches: dict[bytes, Batch] = {}
        self.unique: dict[bytes, bytes] = {}
        self.tombs: dict[bytes, float] = {}
        self.results: dict[bytes, tuple[bytes, float]] = {}
        self.dead: dict[str, dict[bytes, float]] = {"x": {}, "q": {}}
        self.parked: dict[str, deque[bytes]] = {}
        self.parked_since: dict[str, float] = {}
        self.outbox: dict[bytes, bytes] = {}
        self.children: dict[bytes, Child] = {}
        self.counts: Counter[str] = Counter()
        self.fence = 0
        self.paused = False
        self.bell = False
        self.swept: float | None = None
        self.grace: float = 0
        self.graces = 0
        self._agenda: list[tuple[float, bytes]] = []  # of `due`, as a heap; what has left `due` stays until it is met

    # -- coming in

    def accept(self, message: Outgoing, now: float, limits: Limits) -> Accepted:
        """Store a message unless its id or its unique key is taken."""
        if message.id in self.entries or (message.explicit and self.tombs.get(message.id, 0) > now):
            return Accepted(message.id, False)
        if message.unique:
            holder = self.entries.get(self.unique.get(message.unique, b""))
            if holder is not None and holder.state != "c":
                return Accepted(holder.id, False)
            self.unique[message.unique] = message.id
        expires = now - message.expires if message.expires < 0 else message.expires
        entry = Entry(message.id, message.body, 2 - message.priority, flags_of(message), message.unique, expires)
        self.entries[message.id] = entry
        if message.explicit:
            self.tombs[message.id] = now + limits.tombstone
        due = now - message.due if message.due < 0 else message.due
        if due > now:
            self.delay(entry, due)
        else:
            self.put(entry)
            self.bell = True
        self.counts["enqueued"] += 1
        return Accepted(message.id, True)

    # -- moving

    def put(self, entry: Entry, *, front: bool = False) -> None:
        """To its ready list, or to those that must run alone."""
        entry.state, entry.token, entry.flags = "r", b"", entry.flags & KEPT
        target = self.alone if entry.crashes > 1 else self.ready[entry.place]
        (target.appendleft if front else target.append)(entry.id)

    def delay(self, entry: Entry, due: float) -> None:
        """To the delayed ones; a new earliest due time rings."""
        first = self.first_due()
        entry.state, entry.token, entry.flags = "d", b"", entry.flags & KEPT
        self.due[entry.id] = due
        heapq.heappush(self._agenda, (due, entry.id))
        self.bell = self.bell or first is None or due < first

    def again(self, entry: Entry, item: Retried, now: float, line_bytes: int) -> None:
        """Put a message that was run back; a cancelled one at once, for its next holder to settle."""
        entry.attempts = min(entry.attempts + item.counts, 0xFFFF)
        entry.crashes = 0  # the run came to its end
        entry.add_line(item.line, line_bytes)
        if item.delay > 0 and not entry.flags & Flags.CANCEL:
            self.delay(entry, now + item.delay)
        else:
            self.put(entry)
            self.bell = True
        self.counts["retried"] += 1

    def first_due(self) -> float | None:
        agenda = self._agenda
        while agenda and self.due.get(agenda[0][1]) != agenda[0][0]:
            heapq.heappop(agenda)
        return agenda[0][0] if agenda else None

    def promote(self, now: float, limit: int) -> int:
        """Due messages to ready, the earliest first; answers how many."""
        moved = 0
        while moved < limit and (first := self.first_due()) is not None and first <= now:
            _, raw = heapq.heappop(self._agenda)
            del self.due[raw]
            self.put(self.entries[raw])
            moved += 1
        self.bell = self.bell or moved > 0
        return moved

    # -- leases

    def lists(self, alone: bool, parked: str | None) -> tuple[deque[bytes], ...]:
        """What a lease call reads, in order."""
        if parked is not None:
            return (self.parked.get(parked, deque()),)
        return (self.alone,) if alone else self.ready

    def holds(self, raw: bytes, token: bytes) -> Entry | None:
        """The message, if it is held under this token."""
        entry = self.entries.get(raw)
        return entry if entry is not None and entry.state == "l" and entry.token == token else None

    def let_go(self, token: bytes) -> None:
        """One message of a token was settled; the last one ends it."""
        batch = self.batches.get(token)
        if batch is not None:
            batch.left -= 1
            if batch.left <= 0:
                self.drop_token(token)

    def drop_token(self, token: bytes) -> None:
        self.batches.pop(token, None)
        self.leases.pop(token, None)

    def child(self, nonce: bytes) -> Child:
        return self.children.setdefault(nonce, Child())

    def answered(self, verb: str, op: Op | None) -> list[bytes] | None:
        """The answer to a call that was answered before; refuses one that is older than that."""
        if op is None:
            return None
        number, lost = self.child(op.nonce).answers.get(verb, (0, []))
        if op.number < number:
            raise BrokerError(NEWER)
        return list(lost) if op.number == number else None

    def remember(self, verb: str, op: Op | None, lost: list[bytes]) -> list[bytes]:
        if op is not None:
            self.child(op.nonce).answers[verb] = (op.number, list(lost))
        return lost

    # -- going out

    def over(self, entry: Entry, now: float, limits: Limits) -> None:
        """What every way out does: free the unique key if it is this message's, renew the tombstone."""
        if entry.unique and self.unique.get(entry.unique) == entry.id:
            del self.unique[entry.unique]
        if entry.flags & Flags.EXPLICIT:
            self.tombs[entry.id] = now + limits.tombstone
        entry.asked, entry.unique = None, b""

    def keep_result(self, raw: bytes, result: bytes, until: float, cap: int) -> None:
        """Keep a result; above the cap those that end soonest go."""
        self.results[raw] = (result, until)
        while len(self.results) > cap:
            del self.results[min(self.results, key=lambda one: self.results[one][1])]

    def cancel(self, entry: Entry, now: float, limits: Limits) -> None:
        """End a message that nobody holds; one in a list leaves a mark there, so that its id stays taken."""
        self.over(entry, now, limits)
        if entry.state == "d":
            del self.due[entry.id], self.entries[entry.id]
        else:
            entry.state, entry.body, entry.lines, entry.flags = "c", b"", b"", 0
        self.counts["cancelled"] += 1
        if limits.outcome_ttl > 0:
            self.keep_result(entry.id, b"c", now + limits.outcome_ttl, limits.results)

    def bury(self, entry: Entry, letter: str, now: float, cap: int) -> None:
        """Keep a message as a dead letter or in quarantine; above the cap the oldest goes."""
        entry.state, entry.token, entry.expires = letter, b"", 0
        entry.flags &= Flags.BIG | Flags.EXPLICIT
        self.dead[letter][entry.id] = now
        self.counts["dead" if letter == "x" else "quarantined"] += 1
        while len(self.dead[letter]) > cap:
            self.erase(next(iter(self.dead[letter])))
            self.counts["dead_dropped"] += 1

    def erase(self, raw: bytes) -> bool:
        """Remove a dead letter or a quarantined message."""
        entry = self.entries.get(raw)
        if entry is None or entry.state not in self.dead:
            return False
        del self.dead[entry.state][raw], self.entries[raw]
        return True

    def redrive(self, raw: bytes) -> bool:
        """Bring a dead letter or a quarantined message back, with all counters at zero."""
        entry = self.entries.get(raw)
        if entry is None or entry.state not in self.dead:
            return False
        del self.dead[entry.state][raw]
        self.results.pop(raw, None)
        entry.deliveries = entry.crashes = entry.attempts = 0
        entry.lines = b""
        self.put(entry)
        self.bell = True
        self.counts["redriven"] += 1
        return True

    def park(self, entry: Entry, task: str, now: float) -> None:
        """Set a message aside, for a worker that knows its task."""
        entry.state, entry.token, entry.flags = "p", b"", entry.flags & KEPT
        self.parked.setdefault(task, deque()).append(entry.id)
        self.parked_since.setdefault(task, now)
        self.counts["parked"] += 1

    def unpark(self, task: str) -> int:
        """Bring all messages of a task back; answers how many."""
        entries = [self.entries[raw] for raw in self.parked.pop(task, ())]
        self.parked_since.pop(task, None)
        for entry in entries:
            if entry.state == "p":
                self.put(entry)
                self.bell = True
            else:
                del self.entries[entry.id]
        return sum(entry.state == "r" for entry in entries)

    def trim(self, now: float, dead_age: float) -> None:
        """Drop what has outlived its time."""
        for raw in [raw for raw, (_, until) in self.results.items() if until <= now]:
            del self.results[raw]
        for raw in [raw for raw, until in self.tombs.items() if until <= now]:
            del self.tombs[raw]
        for letter, kept in self.dead.items():
            for raw in [raw for raw, since in kept.items() if since <= now - dead_age]:
                self.erase(raw)
                self.counts["dead_dropped"] += letter == "x"

    # -- looking

    def find(self, raw: bytes) -> Found:
        """Where a message is and what came of it."""
        entry = self.entries.get(raw)
        result = self.results.get(raw, (b"", 0))[0]
        return Found("o" if result else "?", result, b"") if entry is None else entry.found(result)
