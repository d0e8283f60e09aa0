"""Small models of what tells and what is told: waiters for a result, the outbox, bells, and the stall guard."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import NamedTuple

from tests.model.scenarios import message
from tests.model.search import Broken, Move
from tests.model.small import Small
from tests.model.store import Settings
from tests.model.upkeep import Queue


class Waiting(NamedTuple):
    stored: bool = False
    published: bool = False
    steps: tuple[str, ...] = ()
    heard: bool = False
    deaf: bool = False
    over: bool = False


class Waiter(Small):
    """Subscribe, look, wait, and look again every now and then (I9, L5)."""

    def start(self) -> Waiting:
        order = ("look", "subscribe") if "look, then subscribe" in self.way else ("subscribe", "look")
        return Waiting(steps=(*order, "wait"))

    def moves(self, s: Waiting) -> Iterator[Move]:
        yield from self.settler(s)
        if s.over or not s.steps:
            return
        rest = s._replace(steps=s.steps[1:])
        if s.steps[0] == "look":
            yield "looks", True, s._replace(steps=(), over=True) if s.stored else rest
        elif s.steps[0] == "subscribe":
            yield "subscribes", True, rest
        elif s.heard:
            yield "wakes and looks", True, s._replace(heard=False, over=s.stored)
        if s.steps == ("wait",):
            if "no second look" not in self.way:
                yield "looks again", True, s._replace(over=s.stored)
            if not s.deaf and "no second look" in self.way and "then" not in self.way:
                yield "its subscription dies silently", False, s._replace(deaf=True)

    def settler(self, s: Waiting) -> Iterator[Move]:
        hears = "subscribe" not in s.steps and not s.deaf
        told = s._replace(published=True, heard=s.heard or hears)
        if self.way.startswith("publish, then store"):
            if not s.published:
                yield "the result is published", True, told
            elif not s.stored:
                yield "the result is stored", True, s._replace(stored=True)
        elif not s.stored:
            yield "the result is stored and published", True, told._replace(stored=True)


class Following(NamedTuple):
    """`target` is where the follow-up is: '' nowhere, ready, over. `hands` are those of two relays."""

    parent: bool = True
    outbox: bool = False
    target: str = ""
    runs: int = 0
    hands: tuple[str, ...] = ("", "")
    crashes: int = 1

    @property
    def over(self) -> bool:
        return not self.parent and not self.outbox and self.target == "over" and not any(self.hands)


class Outbox(Small):
    """A follow-up is stored by the settling script, relayed under an id made from its parent's, then struck off."""

    def start(self) -> Following:
        return Following()

    def moves(self, s: Following) -> Iterator[Move]:
        if s.parent:
            if self.way == "the client enqueues it after the ack":
                yield "ack", True, s._replace(parent=False, hands=("read", ""))
            else:
                yield "ack, with the follow-up in the outbox", True, s._replace(parent=False, outbox=True)
        for index, hand in enumerate(s.hands):
            for label, after, step in self.relay(s, hand):
                yield f"relay {index} {label}", True, after._replace(hands=_set(s.hands, index, step))
            if hand and s.crashes:
                yield f"relay {index} dies", False, s._replace(crashes=0, hands=_set(s.hands, index, ""))
        if s.target == "ready":
            yield "the follow-up runs", True, s._replace(target="over", runs=min(s.runs + 1, 2))

    def relay(self, s: Following, hand: str) -> Iterator[tuple[str, Following, str]]:
        if s.outbox and not hand:
            yield "reads", s, "read"
        if hand == "read":
            if self.way == "struck off first":
                yield "strikes it off", s._replace(outbox=False), "struck"
            else:
                yield "enqueues", self.enqueued(s), "sent"
        elif hand == "struck":
            yield "enqueues", self.enqueued(s), ""
        elif hand == "sent":
            yield "strikes it off", s._replace(outbox=False), ""

    def enqueued(self, s: Following) -> Following:
        """Its id is explicit: one that is in use or over is not accepted again."""
        if self.way == "its id leaves no tombstone" and s.target == "over":
            return s._replace(target="ready")
        return s._replace(target="ready") if not s.target else s

    def check(self, s: Following) -> None:
        if s.runs > 1:
            raise Broken("I7: the follow-up ran twice")


def _set(hands: tuple[str, ...], index: int, hand: str) -> tuple[str, ...]:
    return (*hands[:index], hand, *hands[index + 1 :])


class Ringing(NamedTuple):
    unsent: int = 2
    ready: int = 0
    bell: bool = False
    workers: tuple[str, ...] = ("look", "look")
    crashes: int = 1
    taken: int = 0  # popped by one that died

    @property
    def over(self) -> bool:
        return not self.unsent and not self.ready and "busy" not in self.workers


class Bells(Small):
    """Idle workers wait for a marker, never for messages; a sweep rings if work waits and nobody was told."""

    def start(self) -> Ringing:
        return Ringing()

    def moves(self, s: Ringing) -> Iterator[Move]:
        if s.unsent:
            yield "enqueue", True, s._replace(unsent=s.unsent - 1, ready=s.ready + 1, bell=True)
        if s.ready and not s.bell and self.way != "a sweep does not ring":
            yield "sweep", True, s._replace(bell=True)
        for index, phase in enumerate(s.workers):
            for label, healthy, after, step in self.worker(s, phase):
                yield f"w{index} {label}", healthy, after._replace(workers=_set(s.workers, index, step))

    def worker(self, s: Ringing, phase: str) -> Iterator[tuple[str, bool, Ringing, str]]:
        if phase == "look" and s.ready:
            yield "leases", True, s._replace(ready=s.ready - 1, bell=s.bell or s.ready > 1), "busy"
        elif phase == "look":
            yield "finds nothing and waits", True, s, "asleep"
        elif phase == "busy":
            yield "is done", True, s, "look"
        elif self.way == "waits on the data":
            if s.ready:
                yield "pops", True, s._replace(ready=s.ready - 1), "busy"
                if s.crashes:
                    yield "dies as it pops", False, s._replace(ready=s.ready - 1, crashes=0, taken=1), "asleep"
        elif s.bell:
            yield "hears the bell", True, s._replace(bell=False), "look"
            if s.crashes:
                yield "hears the bell and dies", False, s._replace(bell=False, crashes=0), "asleep"

    def check(self, s: Ringing) -> None:
        if s.taken:
            raise Broken("I1: a message was popped into a dead client")


LEASE = 8
STALL = 3 * LEASE


class NoGuard(Queue):
    def grace(self, now: float, swept: float | None, jumped: bool) -> float:
        self.meta["swept"] = now
        return 0


class GuardWithoutLimit(Queue):
    def grace(self, now: float, swept: float | None, jumped: bool) -> float:
        self.meta["graces"] = 0
        return super().grace(now, swept, jumped)


class Stalled(NamedTuple):
    queue: Queue
    now: int
    alive: bool
    stalls: int
    beaten: bool = False
    swept: bool = False


class Stall(Small):
    """The model's own sweep, after pauses in which nobody could extend: a live holder keeps its lease, three times in a
    row; a dead one loses it all the same.
    """

    def __init__(self, way: str = "", queue: type[Queue] = Queue, *, alive: bool = True) -> None:
        super().__init__(way)
        settings = Settings(lease=LEASE, sweep_gap=0)
        self.queue = type(queue.__name__, (queue,), {"settings": settings, "__slots__": ()})
        self.alive = alive
        self.stalls = 3 if alive else 5

    def start(self) -> Stalled:
        queue = self.queue()
        queue.enqueue(0, "lane", 1, [message("a")])
        queue.lease(0, 1, 1, "token", ("0",), 1)
        queue.sweep(0)
        return Stalled(queue, 0, self.alive, self.stalls, swept=True)

    def key(self, state: Stalled) -> Hashable:
        queue, now = state.queue, state.now
        ages = [max(queue.meta.get(name, 0) - now, -STALL) for name in ("swept", "grace")]
        deadline = queue.leases.get("token", now - STALL) - now
        return (*ages, queue.meta.get("graces"), max(deadline, -STALL), "token" in queue.leases, *state[2:])

    def moves(self, s: Stalled) -> Iterator[Move]:
        if "token" not in s.queue.leases:
            return
        if s.swept and (s.beaten or not s.alive):
            yield "time passes", True, s._replace(now=s.now + 1, beaten=False, swept=False)
        if s.stalls and s.swept:
            later = s._replace(now=s.now + STALL, stalls=s.stalls - 1, beaten=False, swept=False)
            yield "nothing answers for three leases", False, later
        if not s.swept:
            queue = s.queue.copy()
            for token in queue.sweep(s.now)["lapsed"]:
                queue.reclaim(s.now, 1, token, "lapse", b"")
            yield "sweep", True, s._replace(queue=queue, swept=True)
        if s.alive and not s.beaten:
            queue = s.queue.copy()
            queue.extend(s.now, ["token"], [])
            yield "heartbeat", True, s._replace(queue=queue, beaten=True)

    def over(self, s: Stalled) -> bool:
        return s.alive or "token" not in s.queue.leases

    def check(self, s: Stalled) -> None:
        held = "token" in s.queue.leases
        if s.alive and not held:
            raise Broken("L2: the lease of a live holder lapsed because the server stood still")
        if not s.alive and held and not s.stalls and s.swept:
            raise Broken("L2: five pauses, and a dead holder still has its lease")
