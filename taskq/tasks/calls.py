"""Each verb built once, as a `Call` that either client can run; `transports` puts what a stream queue needs around it.

The order of keys and arguments here is the header of the script of the same name, in `taskq/store/lua/tasks/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskq.errors import BrokerError
from taskq.store.keys import QueueKeys
from taskq.store.scripts import Call
from taskq.tasks.broker import (
    HEAD,
    LEASE_BYTES,
    LEASE_MESSAGES,
    Accepted,
    Buried,
    Condemned,
    Delivery,
    Extended,
    Finished,
    Flags,
    Found,
    Held,
    Leased,
    Mark,
    Op,
    Outgoing,
    Retried,
    Swept,
    Ticket,
)
from taskq.tasks.packing import (
    CRASHES,
    FAILURES,
    LANE_TTL,
    PROMOTED,
    PURGE_BYTES,
    SUSPECT_DELIVERIES,
    SWEEP_LIMIT,
    WORKER_TTL,
    Limits,
    Mode,
    all_plain,
    chunks,
    pack_spec,
)
from taskq.tasks.queues import OtherTransport
from taskq.tasks.transports import build

__all__ = [
    "CRASHES",
    "LANE_TTL",
    "LEASE_BYTES",
    "LEASE_MESSAGES",
    "SUSPECT_DELIVERIES",
    "SWEEP_LIMIT",
    "WORKER_TTL",
    "Limits",
    "Mode",
    "chunks",
]


def enqueue(
    keys: QueueKeys, lane: bytes, number: int, messages: Sequence[Outgoing], limits: Limits, now: str = ""
) -> Call[list[Accepted]]:
    """One script of at most 250 messages; see `chunks`. The answer is empty if the server does not know the lane's
    last call (a gap): it has lost or forgotten it, and nothing was stored."""
    names = [keys.lane(lane), keys.meta, keys.body, keys.state, keys.delayed, keys.unique, keys.tombs, keys.wake]
    names += keys.landing
    args: list[Any] = [now, number, LANE_TTL, limits.tombstone]
    priority = messages[0].priority
    if all_plain(messages, priority):
        args.append(9 + 2 - priority)
        for message in messages:
            args += (message.id, message.body)
    else:
        args.append("")
        for message in messages:
            args += (message.id, message.body, pack_spec(message))

    def decode(reply: Any) -> list[Accepted]:
        code, answer = reply
        if code == 1:
            return []
        if code == 4:
            raise OtherTransport
        if code:
            raise BrokerError(f"the broker has answered a newer call of this lane than {number}; please report this")
        if not answer:
            return [Accepted(message.id, True) for message in messages]
        return [Accepted(answer[at + 1 : at + 17], answer[at] == 110) for at in range(0, len(answer), 17)]

    return build(keys, "enqueue", names, args, decode)


def lease(
    keys: QueueKeys,
    ticket: Ticket,
    limit: int,
    limits: Limits,
    *,
    alone: bool = False,
    parked: str | None = None,
    now: str = "",
) -> Call[Leased]:
    """One lease call, of at most 250 messages: from the ready lists, of what runs alone, or of a parked task."""
    names = [
        keys.worker(ticket.nonce),
        keys.meta,
        keys.body,
        keys.state,
        keys.leases,
        keys.held,
        keys.left,
        keys.wake,
        keys.delayed,
        keys.none,
    ]
    if parked is not None:
        names.append(keys.parked_task(parked))
    else:
        names += [keys.alone] if alone else keys.ready
    args: list[Any] = [now, ticket.token, ticket.number, limits.lease]
    args += [min(limit, LEASE_MESSAGES), LEASE_BYTES, WORKER_TTL]
    if keys.streamed:
        args.append("1")
    queue, token = keys.name, ticket.token

    def decode(reply: Any) -> Leased:
        code, moment, due = reply[:3]
        if code == 4:
            raise OtherTransport
        leased = Leased([], moment, float(due) if due else None, paused=code == 2, refused=code == 3)
        if code:
            return leased
        fence, ids, heads, count = int(reply[3]), reply[4], reply[5], reply[6]
        add = leased.deliveries.append
        if heads:
            for at in range(count):
                head = HEAD.unpack_from(heads, 8 * at)
                add(Delivery(queue, ids[16 * at : 16 * at + 16], reply[7 + at], token, fence + at, head))
        else:
            # All are plain, but their priority may differ only if `heads` is there, so the script's default head holds.
            for at in range(count):
                add(Delivery(queue, ids[16 * at : 16 * at + 16], reply[7 + at], token, fence + at))
        return leased

    return build(keys, "lease", names, args, decode)


def extend(
    keys: QueueKeys, tokens: Sequence[bytes], marks: Sequence[Mark], limits: Limits, now: str = ""
) -> Call[Extended]:
    """One heartbeat of one queue, or a part of it: see `EXTENDED`."""
    args: list[Any] = [now, limits.lease, len(tokens), *tokens]
    for mark in marks:
        args += (mark.token, mark.id, int(Flags.STARTED | Flags.ONCE if mark.once else Flags.STARTED))

    def decode(reply: Any) -> Extended:
        moment, lost, cancelled, refused = reply
        asked = {cancelled[at : at + 16]: cancelled[at + 16] == 107 for at in range(0, len(cancelled), 17)}
        return Extended(moment, _split(lost, 20), asked, _split(refused, 16))

    return build(keys, "extend", [keys.state, keys.leases, keys.cancels, keys.none], args, decode)


def ack(
    keys: QueueKeys, items: Sequence[Finished | Delivery], op: Op | None, limits: Limits, now: str = ""
) -> Call[list[bytes]]:
    """Last outcomes; those of one kind and token travel as one run. A delivery by itself is done, without a result.

    At most 255 different `stats`, which a call of 250 messages cannot pass.
    """
    names = [
        keys.worker(op.nonce if op else b""),
        keys.meta,
        keys.body,
        keys.state,
        keys.leases,
        keys.held,
        keys.left,
        keys.results,
        keys.results_due,
        keys.errors,
        keys.unique,
        keys.tombs,
        keys.cancels,
        keys.outbox,
        keys.stats,
    ]
    groups = {"": 0}
    done: dict[bytes, tuple[list[bytes], bytearray]] = {}
    runs: dict[tuple[str, bytes], list[Finished]] = {}
    last, mine, marks = b"", list[bytes](), bytearray()  # of the token before: most of a batch have one
    for item in items:
        if isinstance(item, Delivery) or (item.kind == "d" and not item.result and not item.follow):
            if item.token is not last:
                last = item.token
                mine, marks = done.setdefault(last, ([], bytearray()))
            mine.append(item.id)
            marks.append(groups.setdefault(item.stats, len(groups)))
        else:
            runs.setdefault((item.kind, item.token), []).append(item)
    wire: list[Any] = []
    for token, (ids, marks) in done.items():
        wire += ("a", token, b"".join(ids), bytes(marks))
    for (kind, token), some in runs.items():
        marks = bytearray(groups.setdefault(item.stats, len(groups)) for item in some)
        wire += (kind, token, b"".join([item.id for item in some]), bytes(marks))
        for item in some:
            wire += (item.result, item.result_ttl, item.follow)
    args: list[Any] = [now, op.number if op else "", WORKER_TTL, limits.tombstone, limits.results, keys.channel]
    return build(keys, "ack", names, [*args, len(groups) - 1, *list(groups)[1:], *wire], _lost)


def nack(keys: QueueKeys, items: Sequence[Retried], op: Op | None, limits: Limits, now: str = "") -> Call[list[bytes]]:
    """Back to ready or delayed."""
    names = [keys.worker(op.nonce if op else b""), keys.meta, keys.state, keys.leases, keys.held, keys.left]
    names += [keys.delayed, keys.wake, keys.errors, keys.none, *keys.landing, keys.stats, keys.recent]
    args: list[Any] = [now, op.number if op else "", WORKER_TTL, limits.error_bytes]
    for item in items:
        args += (item.token, item.id, max(item.delay, 0), int(item.counts), item.line, item.stats)
    return build(keys, "nack", names, args, _lost)


def dead_letter(
    keys: QueueKeys, items: Sequence[Buried], op: Op | None, limits: Limits, now: str = ""
) -> Call[list[bytes]]:
    """Kept as dead letters or in quarantine."""
    names = [keys.worker(op.nonce if op else b""), keys.meta, keys.body, keys.state, keys.leases, keys.held, keys.left]
    names += [keys.results, keys.results_due, keys.errors, keys.unique, keys.tombs, keys.cancels, keys.dead]
    names += [keys.quarantine, keys.none, keys.stats, keys.recent]
    args: list[Any] = [now, op.number if op else "", WORKER_TTL, limits.tombstone, limits.results, keys.channel]
    args += (limits.dead, limits.error_bytes, PURGE_BYTES)
    for item in items:
        kind = "q" if item.quarantine else "x" if item.failed else "k"
        args += (kind, item.token, item.id, item.line, item.result, item.result_ttl, item.stats)
    return build(keys, "dead_letter", names, args, _lost)


def release(keys: QueueKeys, items: Sequence[Held], now: str = "") -> Call[list[bytes]]:
    """Back to the front, uncounted."""
    names = [keys.state, keys.leases, keys.held, keys.left, keys.wake, keys.none, *keys.ready, keys.alone]
    runs: dict[bytes, list[bytes]] = {}
    for item in items:
        runs.setdefault(item.token, []).append(item.id)
    args: list[Any] = [now]
    for token, ids in runs.items():
        args += (token, b"".join(ids))
    return build(keys, "release", names, args, _lost)


def park(keys: QueueKeys, items: Sequence[tuple[Held, str]], now: str = "") -> Call[list[bytes]]:
    """Set messages of unknown tasks aside, by task name."""
    names = [keys.meta, keys.state, keys.leases, keys.held, keys.left, keys.parked, keys.none]
    tasks = list(dict.fromkeys(task for _, task in items))
    args: list[Any] = [now]
    for item, task in items:
        args += (item.token, item.id, len(names) + 1 + tasks.index(task), task)
    return build(keys, "park", names + [keys.parked_task(task) for task in tasks], args, _lost)


def unpark(keys: QueueKeys, task: str, limit: int = LEASE_MESSAGES) -> Call[tuple[int, int]]:
    """Bring messages of one task back; answers how many were moved and how many are left."""
    names = [keys.body, keys.state, keys.parked, keys.parked_task(task), keys.wake, keys.none, *keys.landing]
    names.append(keys.alone)
    return build(keys, "unpark", names, [limit, task], lambda reply: (reply[0], reply[1]))


def expire_parked(keys: QueueKeys, task: str, line: bytes, result: bytes, limits: Limits, now: str = "") -> Call[int]:
    """Dead-letter what has been parked for too long, as much as one script may carry; answers how many."""
    names = [keys.meta, keys.body, keys.state, keys.errors, keys.unique, keys.tombs, keys.cancels, keys.results]
    names += [keys.results_due, keys.dead, keys.parked, keys.none, keys.parked_task(task)]
    args: list[Any] = [now, limits.parked_age, FAILURES, task, limits.tombstone, limits.results, keys.channel]
    args += (limits.dead, limits.error_bytes, line, result, limits.outcome_ttl, PURGE_BYTES)
    return build(keys, "expire_parked", names, args, lambda reply: int(reply[0]))


def promote(keys: QueueKeys, limit: int = PROMOTED, now: str = "") -> Call[tuple[int, float | None]]:
    """Due messages to ready; answers how many were moved and the next due time in ms."""
    names = [keys.state, keys.delayed, keys.wake, keys.body, *keys.landing]
    return build(keys, "promote", names, [now, limit], lambda reply: (reply[0], float(reply[2]) if reply[2] else None))


def sweep(keys: QueueKeys, limits: Limits, *, jumped: bool = False, now: str = "") -> Call[Swept]:
    """The chores of one queue, but for promote and reclaim, which the caller runs on what this one finds."""
    names = [keys.meta, keys.body, keys.state, keys.leases, keys.delayed, keys.wake, keys.results, keys.results_due]
    names += [keys.tombs, keys.dead, keys.quarantine, keys.errors, keys.outbox, keys.parked, keys.none, *keys.ready]
    names.append(keys.alone)
    args = [now, limits.lease, SWEEP_LIMIT, limits.sweep_gap, "1" if jumped else "", limits.dead_age, PURGE_BYTES]

    def decode(reply: Any) -> Swept:
        code, moment, due, deadline, alone, outbox, parked = reply[:7]
        return Swept(
            moment,
            float(due) if due else None,
            float(deadline) if deadline else None,
            alone,
            outbox,
            float(parked) if parked else None,
            list(reply[7:]),
            skipped=bool(code & 1),
            streamed=bool(code & 2),
        )

    return build(keys, "sweep", names, args, decode)


def reclaim(
    keys: QueueKeys,
    token: bytes,
    line: bytes,
    limits: Limits,
    *,
    mode: Mode = "lapse",
    started: Sequence[bytes] = (),
    now: str = "",
) -> Call[list[Condemned]]:
    """Take back what one token holds.

    `lapse`: only past its deadline. `crash`: at once, its holder is dead and what was `started` is blamed. `recall`: at
    once, but what was `started` stays held, and a lease call with this token that comes later gets nothing.
    """
    names = [keys.worker(token[:8]), keys.meta, keys.state, keys.leases, keys.held, keys.left, keys.wake, keys.errors]
    names += [keys.none, *keys.ready, keys.alone, keys.recent]
    args = [now, token, mode, WORKER_TTL, CRASHES, SUSPECT_DELIVERIES, line, limits.error_bytes]
    args.append(b"".join(started))

    def decode(reply: Any) -> list[Condemned]:
        ids, heads = _split(reply[2], 16), _split(reply[3], 8)
        condemned = []
        for message, head in zip(ids, heads, strict=True):
            _, _, flags, _, crashes, _ = HEAD.unpack(head)
            condemned.append(Condemned(message, token, crashes, bool(flags & Flags.ONCE)))
        return condemned

    return build(keys, "reclaim", names, args, decode)


def cancel(keys: QueueKeys, id: bytes, limits: Limits, *, kill: bool = False, now: str = "") -> Call[str]:
    """Cancel a waiting message, or leave a request for its holder."""
    names = [keys.meta, keys.body, keys.state, keys.delayed, keys.unique, keys.tombs, keys.cancels, keys.results]
    names += [keys.results_due, keys.errors]
    args = [now, id, limits.tombstone, limits.outcome_ttl, keys.channel, "1" if kill else "", limits.results]
    return build(keys, "cancel", names, args, lambda reply: str(reply, "ascii"))


def lookup(keys: QueueKeys, ids: Sequence[bytes]) -> Call[list[Found]]:
    """Where messages are, and their results; of the first of at most 250 ids, see `lookup.lua` for how many."""

    def decode(reply: Any) -> list[Found]:
        found = []
        for at in range(0, len(reply), 3):
            record, result, lines = reply[at : at + 3]
            if len(record) < 8:
                found.append(Found(chr(record[0]) if record else "?", result, lines))
                continue
            state, prio, flags, deliveries, crashes, attempts = HEAD.unpack(record)
            found.append(Found(chr(state), result, lines, flags, deliveries, crashes, attempts, 2 - prio))
        return found

    return build(keys, "lookup", [keys.body, keys.state, keys.results, keys.errors], list(ids), decode)


def redrive(keys: QueueKeys, ids: Sequence[bytes]) -> Call[int]:
    """Dead and quarantined messages back to ready; answers how many."""
    names = [keys.meta, keys.body, keys.state, keys.dead, keys.quarantine, keys.errors, keys.results]
    names += [keys.results_due, keys.wake, keys.none, *keys.landing]
    return build(keys, "redrive", names, list(ids), int)


def discard(keys: QueueKeys, ids: Sequence[bytes]) -> Call[int]:
    """Remove dead and quarantined messages; answers how many."""
    names = [keys.body, keys.state, keys.dead, keys.quarantine, keys.errors]
    return build(keys, "discard", names, list(ids), int)


def pause(keys: QueueKeys, paused: bool) -> Call[int]:
    """Hand nothing out any more, or go on."""
    return build(keys, "pause", [keys.meta, keys.wake, keys.none], ["1" if paused else ""], int)


def _lost(reply: Any) -> list[bytes]:
    if reply[0] == 3:
        raise BrokerError("the broker has answered a newer call of this worker already")
    return _split(reply[2], 16)


def _split(blob: bytes, size: int) -> list[bytes]:
    return [blob[at : at + size] for at in range(0, len(blob), size)]
