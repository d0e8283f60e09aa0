"""What nobody's token is needed for: reclaim, promote, unpark, sweep, and what an operator does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from tests.model.settling import Settling
from tests.model.store import (
    BIG,
    EXPLICIT,
    ONCE,
    PRIORITIES,
    RETIRED,
    STARTED,
    Id,
    Record,
    Token,
    clear_flags,
    until,
)
from tests.model.taking import Taking


class Queue(Taking, Settling):
    """The reference: every transition of one queue, as docs/protocol.md states it."""

    __slots__ = ()

    # -- reclaim

    def lapsed(self, token: Token, now: float) -> bool:
        """Asked in the same step that takes back: a heartbeat may have come since the sweep."""
        return token in self.leases and self.leases[token] <= now

    def retire(self, nonce: Any) -> None:
        self.workers[nonce, "lease"] = RETIRED

    def shut_out(self, nonce: Any, token: Token) -> None:
        """A lease call that is still on its way gets nothing; what stands for a token in a search has no number."""
        number = int.from_bytes(token[8:12], "big") if isinstance(token, bytes) else 0
        if number > self.workers.get((nonce, "lease"), 0):
            self.workers[nonce, "lease"] = number

    def reclaim(
        self, now: float, nonce: Any, token: Token, mode: str, line: bytes, started: Collection[Id] = ()
    ) -> list[tuple[Id, int, bool]]:
        """Answers the condemned: id, crashes, whether it may not run twice."""
        if mode == "lapse" and not self.lapsed(token, now):
            return []
        if mode == "crash":
            self.retire(nonce)
        if token not in self.held:
            if mode == "recall":
                self.shut_out(nonce, token)
            self.forget_token(token)
            return []
        condemned: list[tuple[Id, int, bool]] = []
        back = kept = 0
        for mid in reversed(self.held[token][1]):
            if not self.holds(mid, token):
                continue
            if mode == "recall" and (mid in started or self.state[mid].flags & ONCE):
                kept += 1
            elif (judged := self._judge(now, mid, mode, line, started)) is not None:
                condemned.append(judged)
                kept += 1
            else:
                back += 1
        if kept:
            self.left[token] = kept
        else:
            self.forget_token(token)
        if back:
            self.count("reclaimed", back)
            self.ring()
        return condemned

    def blames(self, mid: Id, record: Record, mode: str, started: Collection[Id]) -> bool:
        unseen = record.deliveries >= self.settings.suspects
        return (
            mid in started
            or bool(record.flags & ONCE)
            or (mode == "lapse" and (bool(record.flags & STARTED) or unseen))
        )

    def condemns(self, record: Record, blamed: bool) -> bool:
        """Too many deaths, or one of what may not run twice."""
        return (bool(record.flags & ONCE) and blamed) or record.crashes >= self.settings.crashes

    def _judge(
        self, now: float, mid: Id, mode: str, line: bytes, started: Collection[Id]
    ) -> tuple[Id, int, bool] | None:
        """Take one message back, or condemn it."""
        record, limit = self.state[mid], self.settings.crashes
        blamed = self.blames(mid, record, mode, started)
        if blamed and self.counts_death(record):
            record = record._replace(crashes=record.crashes + 1)
            self.add_line(mid, line)
            self.count("crashed")
            self.tell("k", mid, now, line)
        if self.condemns(record, blamed):
            once = bool(record.flags & ONCE)
            record = record._replace(crashes=limit if once else record.crashes)
            self.state[mid] = record
            return mid, record.crashes, once
        uncounted = 0 if blamed or mode == "lapse" else 1
        record = clear_flags(record, "r", deliveries=max(record.deliveries - uncounted, 0))
        self.put(mid, record)
        self.push_front(self.home(record), mid)
        return None

    def counts_death(self, record: Record) -> bool:
        """Not of what is condemned already: reclaim is repeated until somebody dead-letters it."""
        return record.crashes < self.settings.crashes

    # -- moving on

    def light(self, ids: Iterable[Id]) -> list[Id]:
        """As many as one script carries: bodies up to the room, or one larger one; small ones are not weighed."""
        taken: list[Id] = []
        size = 0
        for mid in ids:
            record = self.state.get(mid)
            size += len(self.body.get(mid, b"")) if record is not None and record.flags & BIG else 0
            if size > self.settings.room and taken:
                break
            taken.append(mid)
        return taken

    def promote(self, now: float, limit: int = 250) -> tuple[int, float | None]:
        moved = 0
        for mid in self.light(until(self.delayed, now, limit)):
            record = self.state.get(mid, Record("d"))
            del self.delayed[mid]
            if record.kind != "d":
                continue
            if mid not in self.body:
                self.state.pop(mid, None)
                continue
            self.put(mid, record._replace(kind="r"))
            self.push(PRIORITIES[record.prio], [mid])
            moved += 1
        if moved:
            self.ring()
        return moved, min(self.delayed.values(), default=None)

    def unpark(self, now: float, task: str, limit: int) -> tuple[int, int]:
        name, moved = f"parked:{task}", 0
        ids = self.light(self.lists.get(name, ())[:limit])
        for mid in ids:
            record = self.state.get(mid)
            if record is not None and record.kind == "p":
                record = record._replace(kind="r")
                self.put(mid, record)
                self.push(self.home(record), [mid])
                moved += 1
            elif record is not None and record.kind == "c":
                del self.state[mid]
        self.trim(name, len(ids))
        if name not in self.lists:
            self.parked.pop(task, None)
        if moved:
            self.ring()
        return moved, len(self.lists.get(name, ()))

    # -- sweep

    def sweep(self, now: float, jumped: bool = False) -> dict[str, Any]:
        swept, lease = self.meta.get("swept"), self.settings.lease
        fresh = swept is not None and 0 <= now - swept < self.settings.sweep_gap and not jumped
        answer: dict[str, Any] = {
            "skipped": fresh,
            "due": min(self.delayed.values(), default=None),
            "deadline": min(self.leases.values(), default=None),
            "alone": len(self.lists.get("alone", ())),
            "outbox": len(self.outbox),
            "parked": min(self.parked.values(), default=None),
            "lapsed": [],
        }
        if fresh:
            return answer
        grace = self.grace(now, swept, jumped)
        if swept is not None and now < swept:
            for token, deadline in self.leases.items():
                if deadline >= now + 2 * lease:
                    self.leases[token] = now + lease
        if now >= grace:
            answer["lapsed"] = until(self.leases, now, self.settings.sweep_limit)
        else:
            answer["deadline"] = grace
        self._trim_old(now)
        if not self.meta.get("paused") and not self.wake:
            due = answer["due"] is not None and answer["due"] <= now
            self.wake = due or any(name in self.lists for name in PRIORITIES)
        return answer

    def grace(self, now: float, swept: float | None, jumped: bool) -> float:
        """The stall guard: until when nothing lapses, because nobody could have extended."""
        lease, grace, graces = self.settings.lease, self.meta.get("grace", 0), self.meta.get("graces", 0)
        stalled = swept is not None and (now - swept > lease / 2 or now < swept - lease / 2)
        if (stalled or jumped) and graces < 3:
            grace, graces = now + lease, graces + 1
        elif not stalled and not jumped and now >= grace:
            graces = 0
        self.meta |= {"swept": now, "grace": grace, "graces": graces}
        return grace

    def _trim_old(self, now: float) -> None:
        limit = self.settings.sweep_limit
        for mid in until(self.dues, now, limit):
            del self.dues[mid]
            self.results.pop(mid, None)
        for mid in until(self.tombs, now, 10 * limit):
            del self.tombs[mid]
        for place in (self.dead, self.quarantine):
            old = until(place, now - self.settings.dead_age, limit)
            self.discard_from(place, old)
            self.count("dead_dropped", len(old) if place is self.dead else 0)

    # -- operators

    def buried(self, mid: Id) -> dict[Id, float] | None:
        record = self.state.get(mid)
        if record is None or record.kind not in "xq":
            return None
        return self.dead if record.kind == "x" else self.quarantine

    def redrive(self, now: float, ids: Sequence[Id]) -> int:
        moved = 0
        for mid in ids:
            place = self.buried(mid)
            if place is None or mid not in self.body:
                continue
            for other in (place, self.errors, self.results, self.dues):
                other.pop(mid, None)
            record = self.state[mid]
            self.put(mid, Record("r", record.prio, record.flags & (EXPLICIT | BIG)))
            self.push(PRIORITIES[record.prio], [mid])
            moved += 1
        self.count("redriven", moved)
        if moved:
            self.ring()
        return moved

    def discard(self, now: float, ids: Sequence[Id]) -> int:
        removed = 0
        for mid in ids:
            place = self.buried(mid)
            if place is not None:
                self.discard_from(place, [mid])
                removed += 1
        return removed

    def pause(self, now: float, paused: bool) -> int:
        if paused:
            self.meta["paused"] = 1
        else:
            self.meta.pop("paused", None)
            self.ring()
        return 1
