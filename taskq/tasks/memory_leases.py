"""Leases of the in-memory transport: handing out, taking back, and the chores of a sweep."""

from __future__ import annotations

from collections import deque
from collections.abc import Set as AbstractSet

from taskq.tasks.broker import LEASE_BYTES, LEASE_MESSAGES, Condemned, Delivery, Flags, Leased, Swept, Ticket
from taskq.tasks.memory_entry import RETIRED, Batch, Entry
from taskq.tasks.memory_state import QueueState
from taskq.tasks.packing import CRASHES, SUSPECT_DELIVERIES, SWEEP_LIMIT, Limits, Mode

MAX_GRACES = 3
MOST = 65_535  # what two bytes of a record can count


Lists = tuple[deque[bytes], ...]


def lease(state: QueueState, queue: str, ticket: Ticket, limit: int, lists: Lists, now: int, lease_ms: int) -> Leased:
    """Answer one lease call; the repeat of a call gets the batch that it still holds."""
    child = state.child(ticket.nonce)
    leased = Leased([], now, state.first_due())
    if ticket.number <= child.lease:
        leased.refused = child.lease == RETIRED and ticket.token not in state.batches
    elif state.paused:
        leased.paused = True
    else:
        child.lease = ticket.number
        taken = _take(state, min(limit, LEASE_MESSAGES), lists)
        if taken:
            _hold(state, ticket.token, taken, now)
            state.leases[ticket.token] = now + lease_ms
    leased.deliveries = _deliveries(state, queue, ticket.token)
    return leased


def _take(state: QueueState, limit: int, lists: Lists) -> list[Entry]:
    taken: list[Entry] = []
    size = met = 0
    for waiting in lists:
        for raw in [waiting[at] for at in range(min(limit - len(taken), len(waiting)))]:
            entry = state.entries[raw]
            if size > LEASE_BYTES:
                break
            if entry.flags & Flags.BIG:
                size += len(entry.body)
                if size > LEASE_BYTES and taken:
                    break
            waiting.popleft()
            met += 1
            if entry.state == "c":
                del state.entries[raw]
            else:
                taken.append(entry)
        if size > LEASE_BYTES:
            break
    state.bell = state.bell or (met > 0 and any(lists))
    for task in [task for task, waiting in state.parked.items() if not waiting]:
        del state.parked[task], state.parked_since[task]
    return taken


def _hold(state: QueueState, token: bytes, taken: list[Entry], now: int) -> None:
    fence = max(state.fence, now * 1000) + 1
    state.fence = fence + len(taken) - 1
    state.batches[token] = Batch([entry.id for entry in taken], fence, len(taken))
    for entry in taken:
        entry.state, entry.token, entry.deliveries = "l", token, min(entry.deliveries + 1, MOST)
        if entry.flags & Flags.EXPIRES and entry.expires < now:
            entry.flags |= Flags.EXPIRED


def _deliveries(state: QueueState, queue: str, token: bytes) -> list[Delivery]:
    batch = state.batches.get(token)
    if batch is None:
        return []
    held = [(batch.fence + at, state.holds(raw, token)) for at, raw in enumerate(batch.ids)]
    return [Delivery(queue, entry.id, entry.body, token, fence, entry.head) for fence, entry in held if entry]


def take_back(
    state: QueueState, token: bytes, mode: Mode, started: AbstractSet[bytes], line: bytes, line_bytes: int
) -> list[Condemned]:
    """Put what a token holds back to the front, blame what ran, and keep what is condemned."""
    batch = state.batches.get(token)
    if batch is None:
        state.drop_token(token)
        return []
    condemned: list[Condemned] = []
    kept = back = 0
    for raw in reversed(batch.ids):
        entry = state.holds(raw, token)
        if entry is None:
            continue
        if mode == "recall" and (raw in started or entry.flags & Flags.ONCE):
            kept += 1
            continue
        blamed = _blamed(entry, mode, started)
        once = bool(entry.flags & Flags.ONCE)
        if blamed and entry.crashes < CRASHES:
            entry.crashes += 1
            entry.add_line(line, line_bytes)
        if (once and blamed) or entry.crashes >= CRASHES:
            entry.crashes = CRASHES
            condemned.append(Condemned(raw, token, CRASHES, once))
            continue
        if not blamed and mode != "lapse":
            entry.deliveries = max(entry.deliveries - 1, 0)
        state.put(entry, front=True)
        back += 1
    batch.left = kept + len(condemned)
    if not batch.left:
        state.drop_token(token)
    state.counts["reclaimed"] += back
    state.bell = state.bell or back > 0
    return condemned


def _blamed(entry: Entry, mode: Mode, started: AbstractSet[bytes]) -> bool:
    if entry.id in started or entry.flags & Flags.ONCE:
        return True
    return mode == "lapse" and (bool(entry.flags & Flags.STARTED) or entry.deliveries >= SUSPECT_DELIVERIES)


def sweep(state: QueueState, now: int, limits: Limits, jumped: bool) -> Swept:
    """Everything that one look after a queue does, and what it found."""
    swept = state.swept
    fresh = swept is not None and 0 <= now - swept < limits.sweep_gap and not jumped
    deadline: float | None = min(state.leases.values(), default=None)
    due = state.first_due()
    lapsed: list[bytes] = []
    if not fresh:
        _judge_gap(state, now, limits.lease, jumped)
        if now < state.grace:
            deadline = state.grace
        else:
            lapsed = [
                token for token in sorted(state.leases, key=state.leases.__getitem__) if state.leases[token] <= now
            ]
        state.trim(now, limits.dead_age)
        waits = any(state.ready) or (due is not None and due <= now)
        state.bell = state.bell or (waits and not state.paused)
    while state.promote(now, SWEEP_LIMIT):
        due = state.first_due()
    alone, outbox, parked = len(state.alone), len(state.outbox), min(state.parked_since.values(), default=None)
    return Swept(now, due, deadline, alone, outbox, parked, lapsed[:SWEEP_LIMIT], skipped=fresh)


def _judge_gap(state: QueueState, now: int, lease_ms: int, jumped: bool) -> None:
    """Stall guard and clock guard: after a gap nothing lapses for one lease; deadlines from a lost future are cut."""
    swept, state.swept = state.swept, now
    stalled = swept is not None and (now - swept > lease_ms / 2 or now < swept - lease_ms / 2)
    if (stalled or jumped) and state.graces < MAX_GRACES:
        state.grace, state.graces = now + lease_ms, state.graces + 1
    elif not stalled and not jumped and now >= state.grace:
        state.graces = 0
    if swept is not None and now < swept:
        far = [token for token, deadline in state.leases.items() if deadline >= now + 2 * lease_ms]
        state.leases.update(dict.fromkeys(far, now + lease_ms))
