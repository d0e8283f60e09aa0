"""Enqueue, lease and extend: how messages come in, are handed out and stay held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskq.tasks.broker import Outgoing
from tests.model.store import (
    BIG,
    BIG_BYTES,
    CANCEL,
    COUNT_MAX,
    EXPIRED,
    EXPIRES,
    EXPLICIT,
    PRIORITIES,
    RETIRED,
    UNIQUE,
    Delivered,
    Id,
    Record,
    Store,
    Token,
)

Answer = list[tuple[str, Id]]
Leased = tuple[int, float | None, tuple[Delivered, ...]]


class Taking(Store):
    """The verbs up to the lease."""

    __slots__ = ()

    # -- enqueue

    def lane_says(self, lane: Any, number: int) -> str:
        """What a call's number means: 'next' is to be taken, the 'old' answer is still known."""
        last = self.lanes.get(lane, (0, None))[0]
        if number == last:
            return "old"
        return "stale" if number < last else "next" if number == last + 1 else "gap"

    def enqueue(self, now: float, lane: Any, number: int, messages: Sequence[Outgoing]) -> Any:
        """Answers one pair per message: n new, e exists, u unique key held; and the id that counts."""
        verdict = self.lane_says(lane, number)
        if verdict == "old":
            return self.lanes[lane][1] or tuple(("n", message.id) for message in messages)
        if verdict != "next":
            return verdict
        plain = all(is_plain(message, messages[0].priority) for message in messages)
        if plain:
            answer: Answer = [("n", message.id) for message in messages]
            self.body |= {message.id: message.body for message in messages}
            self.push(PRIORITIES[2 - messages[0].priority], [message.id for message in messages])
            self.ring()
        else:
            answer = self._admit(now, messages)
        self.count("enqueued", sum(kind == "n" for kind, _ in answer))
        self.lanes[lane] = (number, () if plain else tuple(answer))
        return tuple(answer)

    def exists(self, message: Outgoing, now: float) -> bool:
        """Whether an id may not be used: it is in use, or explicit and over not long ago."""
        return (
            message.id in self.body
            or message.id in self.state
            or (message.explicit and self.tombs.get(message.id, 0) > now)
        )

    def unique_holder(self, digest: Any, claimed: dict[Any, Id], fresh: list[Id]) -> Id | None:
        holder = claimed.get(digest, self.unique.get(digest))
        return holder if holder is not None and (holder in fresh or holder in self.body) else None

    def _admit(self, now: float, messages: Sequence[Outgoing]) -> Answer:
        earliest = min(self.delayed.values(), default=float("inf"))
        answer: Answer = []
        fresh: list[Id] = []
        claimed: dict[Any, Id] = {}
        entries: list[Outgoing] = []
        for message in messages:
            holder = self.unique_holder(message.unique, claimed, fresh) if message.unique else None
            if message.id in fresh or self.exists(message, now):
                answer.append(("e", message.id))
            elif holder is not None:
                answer.append(("u", holder))
            else:
                answer.append(("n", message.id))
                fresh.append(message.id)
                entries.append(message)
                if message.unique:
                    claimed[message.unique] = message.id
        for message in entries:
            self._insert(message, now, earliest)
        return answer

    def _insert(self, message: Outgoing, now: float, earliest: float) -> None:
        due = message.due if message.due >= 0 else now - message.due
        expires = message.expires if message.expires >= 0 else now - message.expires
        flags = (EXPLICIT if message.explicit else 0) | (UNIQUE if message.unique else 0)
        flags |= (EXPIRES if message.expires else 0) | (BIG if len(message.body) > BIG_BYTES else 0)
        later, prio = due > now, 2 - message.priority
        self.body[message.id] = message.body
        if later or flags:
            kind = "d" if later else "r"
            self.state[message.id] = Record(kind, prio, flags, digest=message.unique or None, expires=expires)
        if message.unique:
            self.unique[message.unique] = message.id
        self.bury_id(message.id, flags, now)
        if later:
            self.delayed[message.id] = due
        else:
            self.push(PRIORITIES[prio], [message.id])
        if not later or due < earliest:
            self.ring()

    # -- lease

    def lease(self, now: float, nonce: Any, number: int, token: Token, names: Sequence[str], limit: int) -> Leased:
        """Answers code, earliest due time, deliveries. Codes: 0 leased, 1 nothing, 2 paused, 3 refused."""
        due = min(self.delayed.values(), default=None)
        last = self.workers.get((nonce, "lease"), 0)
        if number <= last or token in self.held:  # the worker key may have expired
            return self.lease_again(token, last, due)
        if self.meta.get("paused"):
            return 2, due, ()
        return self._hand_out(now, nonce, number, token, names, limit, due)

    def lease_again(self, token: Token, last: int, due: float | None) -> Leased:
        """The same call once more: what its token still holds."""
        if token not in self.held:
            return (3 if last == RETIRED else 1), due, ()
        fence, ids = self.held[token]
        still = [mid for mid in ids if mid in self.state and self.state[mid].token == token and mid in self.body]
        return 0, due, tuple(self._delivery(mid, self.state[mid], fence + at) for at, mid in enumerate(still))

    def _delivery(self, mid: Id, record: Record, fence: int) -> Delivered:
        return Delivered(mid, self.body[mid], fence, *record[1:6])

    def _hand_out(
        self,
        now: float,
        nonce: Any,
        number: int,
        token: Token,
        names: Sequence[str],
        limit: int,
        due: float | None,
    ) -> Leased:
        taken, drops, trims = self._choose(now, names, limit)
        more = sum(len(self.lists.get(name, ())) for name in names) - sum(trims.values())
        for name, count in trims.items():
            self.trim(name, count)
        given = [(mid, record) for mid, record in taken if mid in self.body]
        for mid in [*drops, *(mid for mid, _ in taken if mid not in self.body)]:
            self.state.pop(mid, None)
        self.workers[nonce, "lease"] = number
        if trims and more > 0:
            self.ring()
        if not given:
            return 1, due, ()
        fence = max(self.meta.get("fence", 0), now * 1000)
        for mid, record in given:
            self.state[mid] = record._replace(token=token)
        self.leases[token] = now + self.settings.lease
        self.held[token] = (int(fence) + 1, tuple(mid for mid, _ in given))
        self.left[token] = len(given)
        self.meta["fence"] = fence + len(given)
        return 0, due, tuple(self._delivery(mid, record, int(fence) + 1 + at) for at, (mid, record) in enumerate(given))

    def _choose(
        self, now: float, names: Sequence[str], limit: int
    ) -> tuple[list[tuple[Id, Record]], list[Id], dict[str, int]]:
        """What a lease takes, what it drops, and how far each list was read."""
        taken: list[tuple[Id, Record]] = []
        drops: list[Id] = []
        trims: dict[str, int] = {}
        size, full, room = 0, False, self.settings.room
        for index, name in enumerate(names):
            ids = self.lists.get(name, ()) if len(taken) < limit and not full else ()
            for at, mid in enumerate(ids[: limit - len(taken)], 1):
                record = self.state.get(mid, Record("r", index))
                weight = len(self.body[mid]) if record.flags & BIG and mid in self.body else 0
                waits = record.kind in "rp"
                if size > room or (waits and size + weight > room and taken):
                    full = True
                    break
                if waits:
                    size += weight
                    taken.append((mid, self._leased(record, now)))
                elif record.kind == "c":
                    drops.append(mid)
                trims[name] = at
        return taken, drops, trims

    def _leased(self, record: Record, now: float) -> Record:
        late = EXPIRED if record.flags & EXPIRES and record.expires < now else 0
        deliveries = min(record.deliveries + 1, COUNT_MAX)
        return record._replace(kind="l", flags=record.flags | late, deliveries=deliveries)

    # -- extend

    def extend(
        self, now: float, tokens: Sequence[Token], marks: Sequence[tuple[Token, Id, int]]
    ) -> tuple[list[Token], dict[Id, bool], list[Id]]:
        """Answers the tokens that are lost, the ids to be cancelled, and the marks that were refused."""
        lost = [token for token in tokens if not self.push_deadline(token, now)]
        refused: list[Id] = []
        for token, mid, flags in marks:
            if self.holds(mid, token):
                self.state[mid] = self.state[mid]._replace(flags=self.state[mid].flags | flags)
            else:
                refused.append(mid)
        kept = {token for token in tokens if token not in lost}
        cancelled = {mid: kill for mid, (token, kill) in self.cancels.items() if token in kept}
        return lost, cancelled, refused

    def push_deadline(self, token: Token, now: float) -> bool:
        """Past its deadline but not swept yet is still held."""
        if token not in self.leases:
            return False
        self.leases[token] = now + self.settings.lease
        return True

    # -- cancel

    def cancel(self, now: float, mid: Id, kill: bool = False) -> str:
        record = self.state.get(mid, Record("r"))
        if mid not in self.body:
            over = (mid in self.state and record.kind == "c") or self.results.get(mid, b"")[:1] == b"c"
            return "cancelled" if over else "too_late"
        if record.kind in "xq":
            return "too_late"
        if record.kind == "l":
            kill = kill or self.cancels.get(mid) == (record.token, True)
            self.cancels[mid] = (record.token, kill)
            self.state[mid] = record._replace(flags=record.flags | CANCEL)
            return "requested"
        for place in (self.body, self.errors, self.cancels):
            place.pop(mid, None)
        self.free_unique(mid, record)
        self.bury_id(mid, record.flags, now)
        self.mark_cancelled(mid, record)
        self.count("cancelled")
        if self.settings.outcome_ttl > 0:
            self.add_result(mid, b"c", self.settings.outcome_ttl, now)
            self.cap_results()
        return "cancelled"

    def mark_cancelled(self, mid: Id, record: Record) -> None:
        """Its id cannot be searched for in a long list, so a mark stays until a lease meets it."""
        if record.kind in "rp":
            self.state[mid] = Record("c")
        else:
            self.state.pop(mid, None)
            self.delayed.pop(mid, None)


def is_plain(message: Outgoing, priority: int) -> bool:
    """Nothing about it but its place in the list of that priority."""
    return (
        message.priority == priority
        and not (message.due or message.expires or message.unique or message.explicit)
        and len(message.body) <= BIG_BYTES
    )
