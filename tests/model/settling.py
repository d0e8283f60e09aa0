"""What the holder of a token may do with a message: ack, nack, dead-letter, release, park. All ask `holds` first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskq.tasks.broker import Buried, Finished, Held, Retried
from tests.model.store import (
    BIG,
    CANCEL,
    COUNT_MAX,
    EXPLICIT,
    PRIORITIES,
    Id,
    Record,
    Store,
    clear_flags,
    oldest,
)

Op = tuple[Any, int]
_COUNTER = {"d": "done", "c": "cancelled", "e": "expired"}


class Settling(Store):
    """Each answers the ids whose token is not current; for those nothing is written."""

    __slots__ = ()

    def op_says(self, verb: str, op: Op | None) -> Any:
        """The old answer of a repeated call, 'stale' for an older one, None for a new one."""
        if op is None:
            return None
        last = self.workers.get((op[0], verb), 0)
        if op[1] == last:
            return self.workers[op[0], verb + "'s answer"]
        return "stale" if op[1] < last else None

    def remember(self, verb: str, op: Op | None, answer: tuple[Id, ...]) -> tuple[Id, ...]:
        if op is not None:
            self.workers[op[0], verb] = op[1]
            self.workers[op[0], verb + "'s answer"] = answer
        return answer

    def sift(self, items: Sequence[Any]) -> tuple[list[Any], tuple[Id, ...]]:
        """What is held under the token named with it, each id once; and the ids of the rest."""
        held: list[Any] = []
        lost: list[Id] = []
        seen: set[Id] = set()
        for item in items:
            if item.id not in seen and self.holds(item.id, item.token):
                seen.add(item.id)
                held.append(item)
            else:
                lost.append(item.id)
        return held, tuple(lost)

    def settled(self, mid: Id, record: Record, now: float) -> None:
        """What goes with a message that is over, whether it is kept as a dead letter or not."""
        if record.flags & CANCEL:
            self.cancels.pop(mid, None)
        self.bury_id(mid, record.flags, now)
        self.free_unique(mid, record)

    def ack(self, now: float, op: Op | None, items: Sequence[Finished]) -> Any:
        if (old := self.op_says("ack", op)) is not None:
            return old
        held, lost = self.sift(items)
        for item in held:
            record = self.state.pop(item.id)
            self.body.pop(item.id, None)
            if record[2:6] != (0, 1, 0, 0):  # else it cannot have any of this
                self.errors.pop(item.id, None)
                self.settled(item.id, record, now)
            self.count(_COUNTER[item.kind])
            self.count_as(item.stats)
            self.add_result(item.id, item.result, item.result_ttl, now)
            if item.follow:
                self.outbox[item.follow[:16]] = item.follow[16:]
        for item in held:
            self.drop_from_token(item.token)
        if any(item.result and item.result_ttl > 0 for item in held):
            self.cap_results()
        return self.remember("ack", op, lost)

    def nack(self, now: float, op: Op | None, items: Sequence[Retried]) -> Any:
        if (old := self.op_says("nack", op)) is not None:
            return old
        held, lost = self.sift(items)
        earliest = min(self.delayed.values(), default=float("inf"))
        for item in held:
            record = self.state[item.id]
            self.drop_from_token(item.token)
            later = item.delay > 0 and not record.flags & CANCEL
            attempts = min(record.attempts + bool(item.counts), COUNT_MAX)
            self.state[item.id] = clear_flags(record, "d" if later else "r", crashes=0, attempts=attempts)
            if later:
                self.delayed[item.id] = now + item.delay
            else:
                self.push(PRIORITIES[record.prio], [item.id])
            if not later or now + item.delay < earliest:
                self.ring()
            if item.line:
                self.add_line(item.id, item.line)
            self.count_as(item.stats)
            if item.counts and item.line:
                self.tell("r", item.id, now, item.line)
        self.count("retried", len(held))
        self.count("failed", sum(item.counts for item in held))
        return self.remember("nack", op, lost)

    def dead_letter(self, now: float, op: Op | None, items: Sequence[Buried]) -> Any:
        if (old := self.op_says("bury", op)) is not None:
            return old
        held, lost = self.sift(items)
        for item in held:
            record, dead = self.state[item.id], not item.quarantine
            self.drop_from_token(item.token)
            self.settled(item.id, record, now)
            flags = record.flags & (EXPLICIT | BIG)
            self.state[item.id] = Record("x" if dead else "q", record.prio, flags, *record[3:6])
            (self.dead if dead else self.quarantine)[item.id] = now
            self.add_line(item.id, item.line)
            self.add_result(item.id, item.result, item.result_ttl, now)
            self.count("dead" if dead else "quarantined")
            self.count("failed", dead and item.failed)
            self.count_as(item.stats)
            self.tell("x" if dead else "q", item.id, now, item.line)
        for place in (self.dead, self.quarantine):
            over = oldest(place, min(len(place) - self.settings.dead, 250))
            self.discard_from(place, over)
            self.count("dead_dropped", len(over))
        self.cap_results()
        return self.remember("bury", op, lost)

    def discard_from(self, place: dict[Id, float], ids: Sequence[Id]) -> None:
        for mid in ids:
            del place[mid]
            for other in (self.body, self.state, self.errors):
                other.pop(mid, None)

    def release(self, now: float, items: Sequence[Held]) -> Any:
        held, lost = self.sift(items)
        for item in reversed(held):
            record = self.state[item.id]
            record = clear_flags(record, "r", deliveries=max(record.deliveries - 1, 0))
            self.put(item.id, record)
            self.push_front(self.home(record), item.id)
        for item in held:
            self.drop_from_token(item.token)
        if held:
            self.ring()
        return lost

    def park(self, now: float, items: Sequence[tuple[Held, str]]) -> Any:
        tasks = {item.id: task for item, task in reversed(items)}
        held, lost = self.sift([item for item, _ in items])
        for item in held:
            record, task = self.state[item.id], tasks[item.id]
            self.drop_from_token(item.token)
            self.state[item.id] = clear_flags(record, "p", deliveries=max(record.deliveries - 1, 0))
            self.push(f"parked:{task}", [item.id])
            self.parked.setdefault(task, now)
        self.count("parked", len(held))
        return lost
