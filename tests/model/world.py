"""The world around one queue as one value: producer, workers, wire, replica, and which faults may still happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from taskq.tasks.broker import Outgoing
from tests.model.store import COUNT_MAX, Id, Settings, Token
from tests.model.upkeep import Queue

NUMBERED = ("lease", "ack", "nack", "bury")
KEEPER = 0  # the nonce of calls that no child makes
OP = {"ack": "ack", "nack": "nack", "dead_letter": "bury"}


class Call(NamedTuple):
    """One call on its way: who makes it, its number if it has one, and the rest."""

    nonce: Any
    verb: str
    number: int
    args: tuple[Any, ...]


class Job(NamedTuple):
    """A message in a child: w waiting, r running, c to be cancelled, f finished and not settled; s: settled, but the
    child has not heard of it.
    """

    id: Id
    token: Token
    phase: str
    attempts: int = 0


class Worker(NamedTuple):
    """One child. `ticket` and `op` are calls without an answer, which it repeats.

    One that has nothing and was never heard of needs no nonce yet, and all such are alike.
    """

    nonce: int | None = None
    ticket: Call | None = None
    jobs: tuple[Job, ...] = ()
    op: Call | None = None

    def tokens(self) -> tuple[Token, ...]:
        """What its supervisor extends: all that was announced and is not settled."""
        own = [job.token for job in self.jobs]
        return tuple(dict.fromkeys(([self.ticket.args[0]] if self.ticket else []) + own))


IDLE = Worker()


class Death(NamedTuple):
    """A dead child whose supervisor has not given everything back yet."""

    nonce: int
    tokens: tuple[Token, ...]
    started: tuple[Id, ...]


class Budget(NamedTuple):
    """How often each fault, and each thing that people may do, can still happen."""

    stall: int = 0
    lost: int = 0
    late: int = 0
    crash: int = 0
    host: int = 0
    failover: int = 0
    cancel: int = 0
    release: int = 0
    park: int = 0
    redrive: int = 0
    recall: int = 0
    forget: int = 0
    nap: int = 0

    def less(self, name: str) -> Budget:
        return self._replace(**{name: getattr(self, name) - 1})


class Producer(NamedTuple):
    sent: int = 0  # how many of the scenario's calls are answered
    lane: int = 0
    number: int = 0  # the last one answered on that lane
    call: Call | None = None


class World(NamedTuple):
    queue: Queue
    workers: tuple[Worker, ...]
    budget: Budget
    now: int = 0
    replica: Queue | None = None
    deaths: frozenset[Death] = frozenset()
    condemned: frozenset[tuple[Id, Token]] = frozenset()
    producer: Producer = Producer()
    promised: frozenset[Id] = frozenset()
    gone: frozenset[int] = frozenset()  # children whose supervisor gave back what they held
    wire: frozenset[Call] = frozenset()
    starts: tuple[tuple[Id, int], ...] = ()

    def with_worker(self, slot: int, worker: Worker) -> World:
        return self._replace(workers=(*self.workers[:slot], worker, *self.workers[slot + 1 :]))

    def started(self, mid: Id) -> int:
        return dict(self.starts).get(mid, 0)

    def start(self, mid: Id) -> World:
        counts = dict(self.starts)
        counts[mid] = min(counts.get(mid, 0) + 1, 4)
        return self._replace(starts=tuple(sorted(counts.items())))


SETTINGS = Settings(lease=1, suspects=COUNT_MAX, results=99, dead=99, tombstone=10**6)  # times in ticks


@dataclass(frozen=True)
class Scenario:
    """What is there and what may happen."""

    name: str
    sends: tuple[tuple[Outgoing, ...], ...]
    budget: Budget
    outcomes: tuple[str, ...] = ("ack",)
    workers: int = 2
    batch: int = 1
    attempts: int = 2
    once: frozenset[Id] = frozenset()
    poison: frozenset[Id] = frozenset()
    settings: Settings = SETTINGS


def pairs_of(call: Call) -> tuple[tuple[Id, Token], ...]:
    """What a settling call settles."""
    if call.verb == "park":
        return tuple((item.id, item.token) for item, _ in call.args[0])
    if call.verb in ("ack", "nack", "dead_letter", "release"):
        return tuple((item.id, item.token) for item in call.args[0])
    return ()
