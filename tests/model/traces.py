"""Random traces: calls of every verb, current, stale and repeated, as the model answers them."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha1
from typing import Any

from taskq.store.keys import QueueKeys
from taskq.store.scripts import Call, Script
from taskq.tasks import calls, stream_calls
from taskq.tasks.broker import HEAD, Mark, Outgoing, Ticket
from tests.model.drawing import KEYS, LIMITS, TASKS, Drawing
from tests.model.store import COUNT_MAX, ONCE, PRIORITIES, RETIRED, STARTED, Record

PASSES = (0, 0, 0, 0, 0, 1, 20, 60, 700, 2_500, 2_500, 4_000, 6_000, 10_001, 30_000, 130_000, -3_000, -40_000)


def _script(name: str, text: str) -> Script:
    return Script(name, text, sha1(text.encode()).hexdigest())


PLANT = _script("plant", "return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])")
HEAR = _script("hear", "return redis.call('LPOP', KEYS[1]) and 1 or 0")
EXPIRE = _script("expire", "return redis.call('DEL', KEYS[1])")
DESTROY = _script("destroy", "return redis.call('XGROUP', 'DESTROY', KEYS[1], 'taskq')")


class Trace(Drawing):
    """One seed's worth of calls. Wrong ones are drawn too: old numbers, stale tokens, ids that are elsewhere."""

    def __init__(self, seed: int, length: int, keys: QueueKeys = KEYS) -> None:
        super().__init__(seed, keys)
        # Large bodies fill blocks of the history of a stream, which no short trace would do otherwise.
        self.heavy = 0.7 if self.rng.random() < (0.1 if keys.streamed else 0.02) else 0.01
        mood = self.rng.choice(_MOODS)
        known = (*_VERBS, (Trace.destroy, 1.0)) if keys.streamed else _VERBS
        verbs = [verb for verb, _ in known]
        weights = [mood.get(verb.__name__, weight) for verb, weight in known]
        for verb in [Trace.enqueue, *self.rng.choices(verbs, weights, k=length - 1)]:
            self.now += self.rng.choice(PASSES)
            verb = verb if self.of_use(verb) else self.rng.choice((Trace.enqueue, Trace.lease))
            verb(self)

    def of_use(self, verb: Callable[[Trace], None]) -> bool:
        """Most calls should find something to do; a few need not."""
        if self.rng.random() < 0.15:
            return True
        if verb == Trace.lease:
            return bool(self.queue.lists)
        if verb in _OF_HOLDERS:
            return bool(self.queue.held)
        return bool(self.queue.parked) if verb == Trace.unpark else True

    # -- enqueue

    def message(self) -> Outgoing:
        rng = self.rng
        mid = len(self.ids).to_bytes(16, "big")
        if rng.random() < 0.4:
            explicit = rng.random() < 0.5
            body = b"b" * (rng.choice((1001, 150_000, 150_000)) if rng.random() < self.heavy else 3)
            due = rng.choice((0, 0, -1, -5_000, self.now + 1500, self.now - 5))
            expires = rng.choice((0, 0, 0, -1, -4_000, self.now + 9_000))
            if explicit and self.ids and rng.random() < 0.5:
                mid = rng.choice(self.ids)
            unique = rng.choice((b"", b"", b"u" * 16, b"v" * 16))
            priority = 0 if self.keys.streamed else rng.choice((2, 1, 0, 0, -1, -2))
            message = Outgoing(mid, body, priority, due, expires, unique, explicit)
        else:
            message = Outgoing(mid, b"body%d" % len(self.ids), 0 if self.keys.streamed else rng.choice((0, 0, 0, 1)))
        if mid not in self.ids:
            self.ids.append(mid)
        return message

    def enqueue(self) -> None:
        lane, kind = self.rng.choice(self.lanes), self.rng.random()
        last, messages = self.sent.get(lane, (0, ()))
        if kind < 0.85 or not messages:
            last, messages = last + 1, [self.message() for _ in range(self.rng.choice((1, 1, 2, 3)))]
            self.sent[lane] = (last, messages)
        elif kind > 0.93:
            last += self.rng.choice((-1, 2, 3))
            if last < 1:
                return
            messages = [Outgoing(self.rng.randbytes(16), b"never")]
        answer = self.queue.enqueue(self.now, lane, last, messages)
        call = calls.enqueue(self.keys, lane, last, messages, LIMITS, self.at)
        told = answer if isinstance(answer, str) else tuple((mid, kind == "n") for kind, mid in answer)
        self.step(f"enqueue {last} of {[message.id[-1] for message in messages]}", call, told)

    def plant(self) -> None:
        """Counts that no short trace would reach, given to a message that waits."""
        rng = self.rng
        waiting = [mid for mid in self.queue.lists.get("0", ()) if mid not in self.queue.state]
        if waiting:
            deliveries, attempts = rng.choice((8, 9, 255, 256, COUNT_MAX)), rng.choice((0, 1, 255, 256, COUNT_MAX))
            record = Record("r", 2, 0, deliveries, rng.choice((0, 1, 1)), attempts)
            mid = waiting[0]
            self.queue.state[mid] = record
            head = HEAD.pack(ord("r"), 2, 0, deliveries, record.crashes, attempts)
            self.step(f"plant {record} for {mid[-1]}", Call(PLANT, [self.keys.state], [mid, head], int), 1)

    def hear(self) -> None:
        """A worker takes the bell."""
        rung, self.queue.wake = int(self.queue.wake), False
        self.step("hear", Call(HEAR, [self.keys.wake], [], int), rung)

    def expire(self) -> None:
        """A worker key is gone too early: the server's clock jumped, or its host slept."""
        nonce = self.rng.choice(self.seats)
        known = [field for field in self.queue.workers if field[0] == nonce]
        for field in known:
            del self.queue.workers[field]
        self.step("expire a worker", Call(EXPIRE, [self.keys.worker(nonce)], [], int), int(bool(known)))

    def destroy(self) -> None:
        """Somebody removes the group of a stream queue, and the next rounds of upkeep make it anew: nothing changes."""
        if self.queue.wake or self.queue.meta.get("paused") or not self.queue.lists:  # else it might ring
            watch = stream_calls.watch(self.keys, "", self.at)
            self.step("destroy the group", Call(DESTROY, [self.keys.stream], [], int), 1, [watch, watch])

    # -- lease and extend

    def lease(self) -> None:
        rng = self.rng
        if self.tickets and rng.random() < 0.15:
            ticket, names, limit = rng.choice(self.tickets[-4:])
        else:
            index = rng.randrange(2)
            nonce = self.seats[index]
            if self.queue.workers.get((nonce, "lease")) == RETIRED and rng.random() < 0.8:
                self.nonces.append(rng.randbytes(8))
                nonce = self.seats[index] = self.nonces[-1]
            number = 1 + max((other.number for other, _, _ in self.tickets if other.nonce == nonce), default=0)
            ticket = Ticket(nonce, number, nonce + number.to_bytes(4, "big") + rng.randbytes(8))
            choices: tuple[tuple[str, ...], ...] = (PRIORITIES, ("alone",), *((f"parked:{task}",) for task in TASKS))
            there = [names for names in choices[1:] if names[0] in self.queue.lists]
            names = rng.choice(there) if there and rng.random() < 0.6 else PRIORITIES
            limit = rng.choice((1, 2, 3, 4))
            self.tickets.append((ticket, names, limit))
        answer = self.queue.lease(self.now, ticket.nonce, ticket.number, ticket.token, names, limit)
        self.hands += [(one.id, ticket.token) for one in answer[2]]
        parked = names[0].removeprefix("parked:") if names[0].startswith("parked:") else None
        alone = names == ("alone",)
        call = calls.lease(self.keys, ticket, limit, LIMITS, alone=alone, parked=parked, now=self.at)
        self.step(f"lease {limit} from {names[0]} as {ticket.number}", call, answer)

    def extend(self) -> None:
        tokens = list(dict.fromkeys(self.token() for _ in range(self.rng.choice((0, 1, 2, 2)))))
        marks = [Mark(mid, token, self.rng.random() < 0.3) for mid, token in self.some()]
        flags = [(mark.token, mark.id, STARTED | (ONCE if mark.once else 0)) for mark in marks]
        lost, cancelled, refused = self.queue.extend(self.now, tokens, flags)
        call = calls.extend(self.keys, tokens, marks, LIMITS, self.at)
        self.step(f"extend {len(tokens)}, {len(marks)} marks", call, (lost, cancelled, refused))

    # -- upkeep and operators

    def reclaim(self) -> None:
        mode: Any = self.rng.choice(("lapse", "lapse", "crash", "crash", "recall"))
        token = self.token()
        held = self.queue.held.get(token, (0, ()))[1]
        started = [mid for mid in held if mode != "lapse" and self.rng.random() < 0.7]
        line = b'{"died":%d}' % self.rng.randrange(99)
        answer = self.queue.reclaim(self.now, token[:8], token, mode, line, started)
        call = calls.reclaim(self.keys, token, line, LIMITS, mode=mode, started=started, now=self.at)
        self.step(f"reclaim {mode} of {[mid[-1] for mid in held]}, {len(started)} started", call, answer)

    def sweep(self) -> None:
        jumped = self.rng.random() < 0.1
        answer = self.queue.sweep(self.now, jumped)
        # What a sweep does for the lists of a list queue, this does for the stream: it rings if something waits there.
        tend = self.keys.streamed and (not answer["skipped"] or self.queue.wake)
        then: list[Call[Any]] = []
        if tend:
            then = [stream_calls.watch(self.keys, "", self.at), stream_calls.repair(self.keys)]
        self.step("sweep", calls.sweep(self.keys, LIMITS, jumped=jumped, now=self.at), answer, then)

    def promote(self) -> None:
        limit = self.rng.choice((1, 250))
        self.step("promote", calls.promote(self.keys, limit, self.at), self.queue.promote(self.now, limit))

    def unpark(self) -> None:
        task, limit = self.rng.choice([*self.queue.parked, *self.queue.parked, *TASKS]), self.rng.choice((0, 1, 250))
        self.step(f"unpark {limit}", calls.unpark(self.keys, task, limit), self.queue.unpark(self.now, task, limit))

    def cancel(self) -> None:
        mid, kill = self.rng.choice(self.ids), self.rng.random() < 0.3
        answer = self.queue.cancel(self.now, mid, kill)
        self.step(f"cancel {mid[-1]}", calls.cancel(self.keys, mid, LIMITS, kill=kill, now=self.at), answer)

    def redrive(self) -> None:
        ids = self.rng.sample([*self.queue.dead, *self.queue.quarantine] or self.ids, 1) + self.ids[:2]
        self.step("redrive", calls.redrive(self.keys, ids), self.queue.redrive(self.now, ids))

    def discard(self) -> None:
        ids = self.rng.sample([*self.queue.dead, *self.queue.quarantine] or self.ids, 1)
        self.step("discard", calls.discard(self.keys, ids), self.queue.discard(self.now, ids))

    def pause(self) -> None:
        paused = not self.queue.meta.get("paused")
        self.step(f"pause {paused}", calls.pause(self.keys, paused), self.queue.pause(self.now, paused))


_VERBS: tuple[tuple[Callable[[Trace], None], float], ...] = (
    (Trace.enqueue, 5),
    (Trace.lease, 8),
    (Trace.extend, 3),
    (Trace.ack, 3),
    (Trace.nack, 3),
    (Trace.dead_letter, 2),
    (Trace.release, 2),
    (Trace.park, 1.5),
    (Trace.reclaim, 6),
    (Trace.sweep, 3),
    (Trace.promote, 2),
    (Trace.unpark, 1),
    (Trace.cancel, 2),
    (Trace.redrive, 0.7),
    (Trace.discard, 0.4),
    (Trace.pause, 0.4),
    (Trace.hear, 4),
    (Trace.plant, 1.5),
    (Trace.expire, 0.7),
)

_OF_HOLDERS = (Trace.extend, Trace.ack, Trace.nack, Trace.dead_letter, Trace.release, Trace.park, Trace.reclaim)

# Most traces are a mixture; some dwell on deaths, on outcomes, or on what operators do.
_MOODS: tuple[dict[str, float], ...] = (
    {},
    {"enqueue": 1, "lease": 14, "reclaim": 14, "cancel": 1, "pause": 0.1, "ack": 1, "nack": 1, "park": 0.5},
    {"enqueue": 3, "lease": 14, "ack": 8, "nack": 6, "dead_letter": 5, "reclaim": 2, "sweep": 1, "pause": 0.1},
    {"enqueue": 1, "lease": 4, "sweep": 24, "hear": 6, "extend": 1},
    {"plant": 6, "enqueue": 4, "lease": 12, "park": 6, "unpark": 5, "reclaim": 9, "nack": 5},
    {"lease": 12, "park": 5, "unpark": 4, "dead_letter": 5, "redrive": 4, "discard": 2, "cancel": 4, "reclaim": 2},
)
