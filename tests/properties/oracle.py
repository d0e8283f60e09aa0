"""What taskq promises of messages, as plain Python: the answer that the transports are compared with.

Written from the pages in `docs/`, not from the transports. One worker with one slot takes from all queues in turn.
Times are milliseconds; `FATES` say what a message's runs come to.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

ID_WINDOW, OUTCOME_TTL, DEAD_TTL = 600_000, 300_000, 3_600_000
FATES = ("ok", "error", "reject", "again", "free")
AFTER_MS = 7_000  # what "again" and "free" ask for


@dataclass(eq=False)
class Letter:
    """One message."""

    id: bytes
    number: int
    queue: str
    fates: list[str]
    priority: int = 0
    due: int = 0
    expires: int = 0
    unique: str = ""
    explicit: bool = False
    once: bool = False
    ttl: int = 3_600_000
    attempts_max: int = 4
    base: int = 10_000
    cap: int = 3_600_000
    state: str = "ready"
    attempts: int = 0
    crashes: int = 0
    deliveries: int = 0
    cancel_asked: bool = False
    buried: int = 0
    history: list[str] = field(default_factory=list)

    def status(self) -> str:
        if self.state == "delayed":
            return "retrying" if self.deliveries else "delayed"
        return self.state


@dataclass
class Queue:
    """One queue: ids in the lists, dead ones last buried last."""

    ready: dict[int, list[Letter]] = field(default_factory=lambda: {priority: [] for priority in (2, 1, 0, -1, -2)})
    alone: list[Letter] = field(default_factory=list)
    letters: dict[bytes, Letter] = field(default_factory=dict)
    results: dict[bytes, tuple[str, int, int]] = field(default_factory=dict)  # kind, number, until
    tombs: dict[bytes, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    paused: bool = False


class Oracle:
    """All messages of one app."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.queues: defaultdict[str, Queue] = defaultdict(Queue)

    # -- callers

    def accept(self, letter: Letter) -> tuple[bytes, bool]:
        """The id that counts, and whether the message is new."""
        queue = self.queues[letter.queue]
        if letter.id in queue.letters or (letter.explicit and queue.tombs.get(letter.id, 0) > self.now):
            return letter.id, False
        holder = self.holder(letter.queue, letter.unique)
        if holder is not None:
            return holder.id, False
        queue.letters[letter.id] = letter
        queue.counts["enqueued"] += 1
        if letter.explicit:
            queue.tombs[letter.id] = self.now + ID_WINDOW
        if letter.due > self.now:
            letter.state = "delayed"
        else:
            self._line_up(letter)
        return letter.id, True

    def holder(self, queue: str, key: str) -> Letter | None:
        """Who holds a unique key."""
        holders = [one for one in self.queues[queue].letters.values() if key and one.unique == key]
        return holders[0] if holders else None

    def status(self, queue: str, id: bytes) -> str:
        there, result = self.queues[queue].letters.get(id), self.result(queue, id)
        return there.status() if there else result[0] if result else "unknown"

    def result(self, queue: str, id: bytes) -> tuple[str, int, int] | None:
        result = self.queues[queue].results.get(id)
        return result if result and result[2] > self.now else None

    def cancel(self, queue: str, id: bytes) -> str:
        letter, result = self.queues[queue].letters.get(id), self.result(queue, id)
        if letter is None:
            return "cancelled" if result and result[0] == "cancelled" else "too_late"
        if letter.state in ("dead", "cancelled"):
            return "cancelled" if letter.state == "cancelled" else "too_late"
        if letter.state == "running":
            letter.cancel_asked = True
            return "requested"
        self._over(letter, "cancelled", OUTCOME_TTL, stays=letter.state == "ready")
        return "cancelled"

    # -- operators

    def dead(self, queue: str) -> list[Letter]:
        return [one for one in self.queues[queue].letters.values() if one.state == "dead"]

    def redrive(self, queue: str, ids: list[bytes]) -> int:
        letters = self.queues[queue].letters
        chosen = [
            letters[one] for one in ids if one in letters and letters[one].state == "dead"
        ]  # in the order of the ids
        for letter in chosen:
            self.queues[queue].results.pop(letter.id, None)
            letter.attempts = letter.crashes = letter.deliveries = letter.expires = 0
            letter.history.clear()
            letter.cancel_asked = False
            self._line_up(letter)
        self.queues[queue].counts["redriven"] += len(chosen)
        return len(chosen)

    def discard(self, queue: str, ids: list[bytes]) -> int:
        chosen = [one for one in self.dead(queue) if one.id in ids]
        for letter in chosen:
            del self.queues[queue].letters[letter.id]
        return len(chosen)

    # -- time

    def upkeep(self, queue: str) -> None:
        """What a sweep does: due ones become ready, the earliest first; what has outlived its time goes."""
        place = self.queues[queue]
        waiting = [one for one in place.letters.values() if one.state == "delayed" and one.due <= self.now]
        for letter in sorted(waiting, key=lambda one: (one.due, one.id)):
            self._line_up(letter)
        for letter in self.dead(queue):
            if letter.buried + DEAD_TTL <= self.now:
                del place.letters[letter.id]
                place.counts["dead_dropped"] += 1

    # -- a worker

    def take(self, *names: str) -> Letter | None:
        """The next message of these queues; if there is none, time goes on to the next retry."""
        while True:
            for name in names or list(self.queues):
                self.upkeep(name)
                letter = self.lease(name)
                if letter is not None:
                    return letter
            retries = [one.due for queue in self.queues.values() for one in queue.letters.values() if _waits(one)]
            if not retries:
                return None
            self.now = max(self.now, min(retries))

    def lease(self, name: str, alone: bool = True) -> Letter | None:
        """Suspects first, then by priority, then in turn. A cancelled one in front gives way to the next list."""
        queue = self.queues[name]
        lists = [[queue.alone]] if alone else []
        for waiting in [*lists, list(queue.ready.values())]:
            while not queue.paused and any(waiting):
                for line in waiting:
                    letter = line.pop(0) if line else None
                    if letter is not None and letter.state == "ready":
                        letter.state = "running"
                        letter.deliveries += 1
                        return letter
                    if letter is not None:
                        del queue.letters[letter.id]
        return None

    def gone(self, letter: Letter) -> bool:
        """Whether it ends without a run."""
        if letter.cancel_asked:
            self._over(letter, "cancelled", letter.ttl)
        elif 0 < letter.expires < self.now:
            self._over(letter, "expired", letter.ttl)
        return letter.state != "running"

    def run(self, letter: Letter) -> None:
        """A run comes to its end, and its outcome is stored."""
        fate = letter.fates[min(letter.deliveries, len(letter.fates)) - 1]
        last = letter.attempts + 1 >= letter.attempts_max
        if fate == "ok":
            self._over(letter, "done", letter.ttl)
        elif fate == "reject" or (fate in ("error", "again") and last):
            letter.attempts += 1
            self._bury(letter, "reject" if fate == "reject" else "error", letter.ttl)
        else:
            whole = min(letter.cap, letter.base * 2**letter.attempts)
            letter.history.append("error")
            letter.attempts += fate != "free"
            letter.crashes = 0
            self.queues[letter.queue].counts["retried"] += 1
            letter.due = self.now + (round(whole * 0.75) if fate == "error" else AFTER_MS)
            letter.state = "delayed"
            if letter.due <= self.now:
                self._line_up(letter)

    def finish(self, letter: Letter) -> None:
        self._over(letter, "done", letter.ttl)

    def crash(self, letter: Letter) -> None:
        """Its worker dies while it runs."""
        letter.crashes += 1
        letter.history.append("crash")
        if letter.once or letter.crashes == 3:
            self._bury(letter, "lost" if letter.once else "crash", OUTCOME_TTL)
        else:
            self.queues[letter.queue].counts["reclaimed"] += 1
            self._line_up(letter, front=True)

    # -- inside

    def _line_up(self, letter: Letter, front: bool = False) -> None:
        queue = self.queues[letter.queue]
        line = queue.alone if letter.crashes > 1 else queue.ready[letter.priority]
        line.insert(0 if front else len(line), letter)
        letter.state = "ready"

    def _over(self, letter: Letter, outcome: str, ttl: int, stays: bool = False) -> None:
        queue = self.queues[letter.queue]
        queue.counts[outcome] += 1
        letter.unique = ""
        if letter.explicit:
            queue.tombs[letter.id] = self.now + ID_WINDOW
        if ttl:
            queue.results[letter.id] = (outcome, letter.number, self.now + ttl)
        letter.state = outcome
        if not stays:  # one in a list is only dropped from it when it is met; until then its id is taken
            del queue.letters[letter.id]

    def _bury(self, letter: Letter, kind: str, ttl: int) -> None:
        letter.history.append(kind)
        self._over(letter, "dead", ttl, stays=True)
        letter.buried = self.now


def _waits(letter: Letter) -> bool:
    return letter.state == "delayed" and letter.deliveries > 0
