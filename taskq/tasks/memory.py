"""The in-memory transport: the whole contract inside one process, for tests and for trying things out.

It promises what `taskq.tasks.broker.Broker` says and has what the list transport has beside it, with two differences:
it ends with its process, and no call is ever unconfirmed. A stream queue takes no priorities here either, and keeps
no history. Thread-safe. Time comes from a `Clock`, so a test can drive
it.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from time import monotonic

from taskq.clock import Clock, SystemClock
from taskq.tasks import memory_leases
from taskq.tasks.broker import (
    Accepted,
    Buried,
    Condemned,
    Extended,
    Features,
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
from taskq.tasks.memory_entry import RETIRED
from taskq.tasks.memory_state import QueueState
from taskq.tasks.packing import SWEEP_LIMIT, Limits, Mode
from taskq.tasks.queues import Queues

_COUNTERS = {"d": "done", "c": "cancelled", "e": "expired"}


class MemoryBroker:
    """A broker in this process; `taskq.tasks.broker.Broker` says what each verb promises."""

    def __init__(self, limits: Limits | None = None, clock: Clock | None = None, queues: Queues | None = None) -> None:
        self.limits = limits or Limits()
        self.clock: Clock = clock or SystemClock()
        self._changed = threading.Condition(threading.RLock())
        self._queues: defaultdict[str, QueueState] = defaultdict(QueueState)
        self._declared = Queues() if queues is None else queues

    def features_of(self, queue: str) -> Features:
        """What the transport of a queue can do beyond the contract."""
        return self._declared.features(queue)

    @contextmanager
    def _state(self, queue: str) -> Generator[QueueState]:
        """The state of a queue, to oneself; whoever waits for its bell is woken afterwards if it rang."""
        with self._changed:
            state = self._queues[queue]
            yield state
            if state.bell:
                self._changed.notify_all()

    # -- the eight verbs --------------------------------------------------------------------------------------------

    def enqueue(self, queue: str, messages: Sequence[Outgoing], timeout: float | None = None) -> list[Accepted]:
        self._declared.check(queue, messages)
        with self._state(queue) as state:
            now = self.clock.now_ms()
            return [state.accept(message, now, self.limits) for message in messages]

    def lease(
        self, queue: str, ticket: Ticket, limit: int, *, alone: bool = False, parked: str | None = None
    ) -> Leased:
        with self._state(queue) as state:
            lists = state.lists(alone, parked)
            return memory_leases.lease(state, queue, ticket, limit, lists, self.clock.now_ms(), self.limits.lease)

    def extend(self, queue: str, tokens: Sequence[bytes], marks: Sequence[Mark] = ()) -> Extended:
        with self._state(queue) as state:
            now = self.clock.now_ms()
            lost = [token for token in tokens if token not in state.leases]
            held = set(tokens).difference(lost)
            state.leases.update(dict.fromkeys(held, now + self.limits.lease))
            refused: list[bytes] = []
            for mark in marks:
                entry = state.holds(mark.id, mark.token)
                if entry is None:
                    refused.append(mark.id)
                else:
                    entry.flags |= Flags.STARTED | Flags.ONCE if mark.once else Flags.STARTED
            asked = {raw: entry.asked for raw, entry in state.entries.items() if entry.asked}
            return Extended(now, lost, {raw: kill for raw, (token, kill) in asked.items() if token in held}, refused)

    def ack(self, queue: str, items: Sequence[Finished], op: Op | None = None) -> list[bytes]:
        with self._state(queue) as state:
            lost = state.answered("ack", op)
            if lost is not None:
                return lost
            lost, now = [], self.clock.now_ms()
            for item in items:
                entry = state.holds(item.id, item.token)
                if entry is None:
                    lost.append(item.id)
                    continue
                state.let_go(item.token)
                state.over(entry, now, self.limits)
                del state.entries[item.id]
                self._keep_result(state, item, now)
                if item.follow:
                    state.outbox[item.follow[:16]] = item.follow[16:]
                state.counts[_COUNTERS[item.kind]] += 1
            return state.remember("ack", op, lost)

    def nack(self, queue: str, items: Sequence[Retried], op: Op | None = None) -> list[bytes]:
        with self._state(queue) as state:
            lost = state.answered("nack", op)
            if lost is not None:
                return lost
            lost, now = [], self.clock.now_ms()
            for item in items:
                entry = state.holds(item.id, item.token)
                if entry is None:
                    lost.append(item.id)
                    continue
                state.let_go(item.token)
                state.again(entry, item, now, self.limits.error_bytes)
            return state.remember("nack", op, lost)

    def dead_letter(self, queue: str, items: Sequence[Buried], op: Op | None = None) -> list[bytes]:
        with self._state(queue) as state:
            lost = state.answered("bury", op)
            if lost is not None:
                return lost
            lost, now = [], self.clock.now_ms()
            for item in items:
                entry = state.holds(item.id, item.token)
                if entry is None:
                    lost.append(item.id)
                    continue
                state.let_go(item.token)
                state.over(entry, now, self.limits)
                entry.add_line(item.line, self.limits.error_bytes)
                self._keep_result(state, item, now)
                state.bury(entry, "q" if item.quarantine else "x", now, self.limits.dead)
            return state.remember("bury", op, lost)

    def release(self, queue: str, items: Sequence[Held]) -> list[bytes]:
        with self._state(queue) as state:
            held = {item.id: entry for item in items if (entry := state.holds(item.id, item.token))}
            for entry in reversed(held.values()):
                state.let_go(entry.token)
                entry.deliveries = max(entry.deliveries - 1, 0)
                state.put(entry, front=True)
            state.bell = state.bell or bool(held)
            return [item.id for item in items if held.pop(item.id, None) is None]

    def sweep(self, queue: str, *, jumped: bool = False) -> Swept:
        with self._state(queue) as state:
            return memory_leases.sweep(state, self.clock.now_ms(), self.limits, jumped)

    # -- what a worker and a caller need beside them ----------------------------------------------------------------

    def promote(self, queue: str) -> float | None:
        """Due messages to ready, at most one script's worth; answers the next due time in ms, or None."""
        with self._state(queue) as state:
            state.promote(self.clock.now_ms(), SWEEP_LIMIT)
            return state.first_due()

    def reclaim(
        self, queue: str, token: bytes, line: bytes, mode: Mode = "lapse", started: Sequence[bytes] = ()
    ) -> list[Condemned]:
        """Take back what a token holds; what is condemned stays held for `dead_letter`."""
        with self._state(queue) as state:
            if mode == "lapse" and state.leases.get(token, float("inf")) > self.clock.now_ms():
                return []
            if mode == "crash":
                state.child(token[:8]).lease = RETIRED
            return memory_leases.take_back(state, token, mode, set(started), line, self.limits.error_bytes)

    def park(self, queue: str, items: Sequence[tuple[Held, str]]) -> list[bytes]:
        """Set aside messages whose task no worker here knows."""
        with self._state(queue) as state:
            lost: list[bytes] = []
            for item, task in items:
                entry = state.holds(item.id, item.token)
                if entry is None:
                    lost.append(item.id)
                    continue
                state.let_go(item.token)
                entry.deliveries = max(entry.deliveries - 1, 0)
                state.park(entry, task, self.clock.now_ms())
            return lost

    def unpark(self, queue: str, task: str) -> int:
        """Bring all parked messages of a task back; answers how many."""
        with self._state(queue) as state:
            return state.unpark(task)

    def cancel(self, queue: str, id: bytes, *, kill: bool = False) -> str:
        """Cancel a message: 'cancelled', 'requested' or 'too_late'."""
        with self._state(queue) as state:
            entry = state.entries.get(id)
            if entry is None or entry.state == "c":
                outcome = b"c" if entry else state.results.get(id, (b"", 0))[0][:1]
                return "cancelled" if outcome == b"c" else "too_late"
            if entry.state in state.dead:
                return "too_late"
            if entry.state == "l":
                kept = entry.asked == (entry.token, True)
                entry.asked, entry.flags = (entry.token, kill or kept), entry.flags | Flags.CANCEL
                return "requested"
            state.cancel(entry, self.clock.now_ms(), self.limits)
            return "cancelled"

    def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]:
        """Where messages are and what came of them, in the order of `ids`."""
        with self._state(queue) as state:
            return [state.find(raw) for raw in ids]

    def redrive(self, queue: str, ids: Sequence[bytes]) -> int:
        """Dead and quarantined messages back to ready, with all counters at zero; answers how many."""
        with self._state(queue) as state:
            return sum(state.redrive(raw) for raw in ids)

    def discard(self, queue: str, ids: Sequence[bytes]) -> int:
        """Remove dead and quarantined messages for good; answers how many."""
        with self._state(queue) as state:
            return sum(state.erase(raw) for raw in ids)

    def pause(self, queue: str) -> None:
        """Hand nothing out any more, until `resume`; what is held may be settled."""
        with self._state(queue) as state:
            state.paused = True

    def resume(self, queue: str) -> None:
        """Hand out again."""
        with self._state(queue) as state:
            state.paused, state.bell = False, True

    def wait(self, queues: Sequence[str], seconds: float) -> str | None:
        """Wait for a bell of one of the queues; answers which one rang, or None when the time is up.

        The seconds are real ones, whatever the clock.
        """
        until = monotonic() + seconds
        with self._changed:
            while True:
                for queue in queues:
                    if self._queues[queue].bell:
                        self._queues[queue].bell = False
                        return queue
                left = until - monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def close(self) -> None:
        """Nothing is open; what is stored stays."""

    # -- looking inside ---------------------------------------------------------------------------------------------

    def queues(self) -> list[str]:
        """The queues that have ever held something."""
        with self._changed:
            return [queue for queue, state in self._queues.items() if state.counts["enqueued"]]

    def messages(self, queue: str) -> list[tuple[bytes, bytes, Found]]:
        """Id, body and place of every message that is there, in the order in which they were enqueued."""
        with self._state(queue) as state:
            entries = [entry for entry in state.entries.values() if entry.state != "c"]
            return [(entry.id, entry.body, state.find(entry.id)) for entry in entries]

    def counts(self, queue: str) -> Counter[str]:
        """How many messages were ever enqueued, done, retried, dead, ... in a queue."""
        with self._state(queue) as state:
            return Counter(state.counts)

    def outbox(self, queue: str) -> list[tuple[bytes, bytes]]:
        """Follow-ups that wait to be sent on: id and wire form."""
        with self._state(queue) as state:
            return list(state.outbox.items())

    def strike(self, queue: str, id: bytes) -> None:
        """Take a follow-up that was sent on out of the outbox."""
        with self._state(queue) as state:
            state.outbox.pop(id, None)

    def _keep_result(self, state: QueueState, item: Finished | Buried, now: int) -> None:
        if item.result and item.result_ttl > 0:
            state.keep_result(item.id, item.result, now + item.result_ttl, self.limits.results)
