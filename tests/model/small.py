"""Small models, one question each: may a step fall apart into several calls? Each naive way has had its queue."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

from tests.model.search import Broken, Move


class Small:
    """A state is its own key. `way` is the design that is looked at; '' is ours."""

    def __init__(self, way: str = "") -> None:
        self.way = way

    def start(self) -> Any:
        raise NotImplementedError

    def moves(self, state: Any, /) -> Iterator[Move]:
        raise NotImplementedError

    def check(self, state: Any, /) -> None:
        """Raises Broken."""

    def over(self, state: Any, /) -> bool:
        return bool(state.over)

    def key(self, state: Any, /) -> Hashable:
        hash(state)
        return state  # type: ignore[no-any-return]


class One(NamedTuple):
    """One message: how often it waits, whether it is in `active` and has a lease, and how far its worker is."""

    ready: int = 0
    active: bool = False
    lease: bool = False
    worker: str = ""
    crashes: int = 1
    failures: int = 1
    over: bool = False


class Handover(Small):
    """From the ready list into a worker's hands, and back when it dies."""

    def start(self) -> One:
        return One(ready=1)

    def moves(self, s: One) -> Iterator[Move]:
        if s.ready and not s.worker:
            if self.way == "pop, then run":
                yield "pop", True, s._replace(ready=0, worker="runs")
            elif self.way == "lease in two calls":
                yield "move", True, s._replace(ready=0, active=True, worker="moved")
            else:
                yield "lease", True, s._replace(ready=0, active=True, lease=True, worker="runs")
        if s.worker == "moved":
            yield "lease", True, s._replace(lease=True, worker="runs")
        if s.worker == "runs":
            yield "ack", True, s._replace(active=False, lease=False, worker="", over=True)
        if s.worker and s.crashes:
            yield "crash", False, s._replace(worker="", crashes=0)
        if s.lease and not s.worker:
            yield "lapse", True, s._replace(ready=1, active=False, lease=False)

    def check(self, s: One) -> None:
        if not (s.ready or s.active or s.worker or s.over):
            raise Broken("I1: the message is lost")


class Retry(Small):
    """Back to the list after an error."""

    def start(self) -> One:
        return One(active=True, worker="failed")

    def moves(self, s: One) -> Iterator[Move]:
        if s.worker == "failed":
            if self.way == "push a copy, then ack":
                yield "push", True, s._replace(ready=s.ready + 1, worker="pushed")
            elif self.way == "ack, then push":
                yield "ack", True, s._replace(active=False, worker="acked")
            else:
                yield "nack", True, s._replace(ready=1, active=False, worker="")
        if s.worker == "pushed":
            yield "ack", True, s._replace(active=False, worker="")
        if s.worker == "acked":
            yield "push", True, s._replace(ready=1, worker="")
        if s.worker and s.crashes:
            yield "crash", False, s._replace(worker="", crashes=0)
        if s.active and not s.worker:
            yield "lapse", True, s._replace(ready=s.ready + 1, active=False)
        if s.ready and not s.worker and not s.active:
            yield "run", True, s._replace(ready=s.ready - 1, over=True)

    def check(self, s: One) -> None:
        if s.ready + s.active > 1:
            raise Broken("I1: the message is in two places")
        if not (s.ready or s.active or s.over or s.worker):
            raise Broken("I1: the message is lost")


class Moving(NamedTuple):
    delayed: bool = True
    ready: int = 0
    movers: tuple[str, str] = ("", "")
    crashes: int = 1

    @property
    def over(self) -> bool:
        return self.ready == 1 and not self.delayed


class Mover(Small):
    """Due messages to ready, with two movers at it."""

    def start(self) -> Moving:
        return Moving()

    def moves(self, s: Moving) -> Iterator[Move]:
        for index in range(2):
            for label, after, step in self.steps(s, s.movers[index]):
                movers = (step, s.movers[1]) if index == 0 else (s.movers[0], step)
                yield f"mover {index}: {label}", True, after._replace(movers=movers)
            if s.movers[index] and s.crashes:
                movers = ("", s.movers[1]) if index == 0 else (s.movers[0], "")
                yield f"mover {index} dies", False, s._replace(movers=movers, crashes=0)

    def steps(self, s: Moving, step: str) -> Iterator[tuple[str, Moving, str]]:
        pushed, removed = s._replace(ready=s.ready + 1), s._replace(delayed=False)
        if not self.way and s.delayed:
            yield "promote", removed._replace(ready=s.ready + 1), ""
        elif self.way and not step and s.delayed:
            yield "range", s, "seen"
        elif step == "seen":
            yield ("push", pushed, "pushed") if self.way == "push, then remove" else ("remove", removed, "removed")
        elif step == "pushed":
            yield "remove", removed, ""
        elif step == "removed":
            yield "push", pushed, ""

    def check(self, s: Moving) -> None:
        if s.ready + s.delayed > 1 and "pushed" not in s.movers:
            raise Broken("I1: the message is in two places")
        if s.ready > 1:
            raise Broken("I1: the message is there twice")
        if not s.delayed and not s.ready and "removed" not in s.movers:
            raise Broken("I1: the message is lost")


class Beating(NamedTuple):
    """`owner` is the name under which the message is held; `alive` the child's; `listed` whether it names the token."""

    owner: str = ""
    alive: str = "1"
    knows: bool = False
    listed: bool = False
    lost: int = 1
    crashes: int = 1
    over: bool = False


class Heartbeat(Small):
    """What a heartbeat keeps alive: the tokens that it names, or all that is held under its worker's name."""

    def start(self) -> Beating:
        return Beating(lost=0 if "again" in self.way else 1)

    def moves(self, s: Beating) -> Iterator[Move]:
        if s.over:
            return
        if not s.owner:
            yield "lease", True, s._replace(owner=s.alive, knows=True, listed=True)
            if s.lost:
                yield "lease: reply lost", False, s._replace(owner=s.alive, listed=not self.way, lost=0)
        if s.listed and not s.knows and s.owner == s.alive:
            yield "repeat the lease", True, s._replace(knows=True)
        if s.knows:
            yield "run and ack", True, s._replace(owner="", over=True)
        if s.crashes:
            name = s.alive if self.way == "by worker, name used again" else s.alive + "'"
            yield "crash and restart", False, s._replace(alive=name, knows=False, listed=False, crashes=0)
        beats = s.owner == s.alive if self.way else s.listed
        if s.owner and not beats:
            yield "time passes, with heartbeats: lapse", True, s._replace(owner="", knows=False, listed=False)


class SharedLane(NamedTuple):
    last: int = 0
    stored: frozenset[int] = frozenset()
    told: frozenset[int] = frozenset()

    @property
    def over(self) -> bool:
        return len(self.told) == 2


class Lanes(Small):
    """Two calls of one lane at the same time, as its rules forbid: even then nothing may be told that is not so."""

    def start(self) -> SharedLane:
        return SharedLane()

    def moves(self, s: SharedLane) -> Iterator[Move]:
        for number in {1, 2} - s.told:
            fresh = number > s.last if self.way == "a high-water mark" else number == s.last + 1
            if fresh:
                told = SharedLane(number, s.stored | {number}, s.told | {number})
                yield f"enqueue {number}: accepted", True, told
            elif number <= s.last:
                yield f"enqueue {number}: the old answer", True, s._replace(told=s.told | {number})

    def check(self, s: SharedLane) -> None:
        if s.told - s.stored:
            raise Broken("I1: a message was accepted and is lost")
