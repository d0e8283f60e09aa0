"""The world around one queue, as one value: producers, workers, supervisors, the wire, a replica, and what is left of faults."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

from taskq.tasks.broker import Outgoing
from tests.model.store import COUNT_MAX, RETIRED, Id, Record, Settings, Token
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
    """A message in a child: w waiting, r running, f finished and not settled, c to be cancelled."""

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
        return self._replace(workers=self.workers[:slot] + (worker,) + self.workers[slot + 1 :])

    def started(self, id: Id) -> int:
        return dict(self.starts).get(id, 0)

    def start(self, id: Id) -> World:
        counts = dict(self.starts)
        counts[id] = min(counts.get(id, 0) + 1, 4)
        return self._replace(starts=tuple(sorted(counts.items())))


@dataclass(frozen=True)
class Scenario:
    """What is there and what may happen."""

    name: str
    sends: tuple[tuple[Outgoing, ...], ...]
    budget: Budget = Budget()
    outcomes: tuple[str, ...] = ("ack",)
    workers: int = 2
    batch: int = 1
    attempts: int = 2
    once: frozenset[Id] = frozenset()
    poison: frozenset[Id] = frozenset()
    settings: Settings = Settings(lease=1, suspects=COUNT_MAX, results=99, dead=99, tombstone=10**6)


# -- names: what nobody can tell apart gets the same one


def tokens_in(world: World) -> set[Token]:
    """Every token that some trace is left of."""
    found = set(world.queue.leases) | set(world.queue.held) | {token for token, _ in world.queue.cancels.values()}
    if world.replica is not None:
        found |= set(world.replica.leases) | {token for token, _ in world.replica.cancels.values()}
    for worker in world.workers:
        found.update(worker.tokens())
    for death in world.deaths:
        found.update(death.tokens)
    found.update(token for _, token in world.condemned)
    for call in world.wire:
        found |= tokens_of(call)
    return found


def tokens_of(call: Call) -> set[Token]:
    if call.verb in ("lease", "reclaim"):
        return {call.args[0]}
    if call.verb == "extend":
        return set(call.args[0]) | {token for token, _, _ in call.args[1]}
    return {token for _, token in pairs_of(call)}


def pairs_of(call: Call) -> tuple[tuple[Id, Token], ...]:
    """What a settling call settles."""
    if call.verb == "park":
        return tuple((item.id, item.token) for item, _ in call.args[0])
    if call.verb in ("ack", "nack", "dead_letter", "release"):
        return tuple((item.id, item.token) for item in call.args[0])
    return ()


def fresh_nonce(world: World) -> int:
    used: set[Any] = {worker.nonce for worker in world.workers} | {token[0] for token in tokens_in(world)} | world.gone
    used |= {call.nonce for call in world.wire} | {death.nonce for death in world.deaths}
    for queue in (world.queue, world.replica):
        used |= {nonce for nonce, _ in queue.workers} if queue is not None else set()
    return next(nonce for nonce in range(1, 99) if nonce not in used)


def numbered(call: Call) -> tuple[Any, str]:
    return call.nonce, OP.get(call.verb, call.verb)


def calls_in(world: World) -> list[Call]:
    """Every numbered call that may still be executed."""
    calls = [call for worker in world.workers for call in (worker.ticket, worker.op) if call is not None]
    return [call for call in (*calls, *world.wire) if call.number and call.verb != "enqueue"]


def next_number(world: World, nonce: Any, verb: str) -> int:
    found = [call.number for call in calls_in(world) if numbered(call) == (nonce, verb)]
    for queue in (world.queue, world.replica):
        if queue is not None and queue.workers.get((nonce, verb), 0) != RETIRED:
            found.append(queue.workers.get((nonce, verb), 0))
    return 1 + max(found, default=0)


Ranks = dict[tuple[Any, str], dict[int, int]]


def tidy(world: World) -> World:
    """Forget what can have no effect: children that nobody speaks for, and all of their numbers but the order."""
    workers, speaking = _alike(world)
    if workers != world.workers:
        world = world._replace(workers=workers)
    if world.gone - speaking:
        world = world._replace(gone=world.gone & speaking)
    calls, replica = calls_in(world), world.replica
    ranks = _ranks(world, calls, speaking) if calls or replica is not None else None
    if ranks:
        world = _renumber(world, ranks)
    compared = {numbered(call) for call in calls}
    queue = _tidy_queue(world.queue, speaking, compared, ranks)
    if queue is not world.queue:
        world = world._replace(queue=queue)
    if replica is not None:
        world = world._replace(replica=_tidy_queue(replica, speaking, compared, ranks))
    return world


def _alike(world: World) -> tuple[tuple[Worker, ...], set[Any]]:
    """Workers in one order; and every nonce that may still be heard."""
    speaking: set[Any] = {call.nonce for call in world.wire}
    workers = [worker if worker[1:] != IDLE[1:] or worker.nonce in speaking else IDLE for worker in world.workers]
    speaking.update(worker.nonce for worker in workers)
    return tuple(sorted(workers, key=lambda worker: worker.nonce or 0)), speaking


def _ranks(world: World, calls: list[Call], speaking: set[Any]) -> Ranks:
    groups: dict[tuple[Any, str], set[int]] = {}
    for call in calls:
        groups.setdefault(numbered(call), set()).add(call.number)
    for queue in (world.queue, world.replica):
        for (nonce, field), value in queue.workers.items() if queue is not None else ():
            if field in NUMBERED and nonce in speaking and value != RETIRED:
                groups.setdefault((nonce, field), set()).add(value)
    return {
        group: {number: rank for rank, number in enumerate(sorted(numbers), 1)}
        for group, numbers in groups.items()
        if max(numbers) != len(numbers)
    }


def _renumber(world: World, ranks: Ranks) -> World:
    def renumbered(call: Call | None) -> Any:
        if call is None or not call.number or numbered(call) not in ranks:
            return call
        return call._replace(number=ranks[numbered(call)][call.number])

    workers = tuple(one._replace(ticket=renumbered(one.ticket), op=renumbered(one.op)) for one in world.workers)
    return world._replace(workers=workers, wire=frozenset(map(renumbered, world.wire)))


def _tidy_queue(queue: Queue, speaking: set[Any], compared: set[Any], ranks: Ranks | None) -> Queue:
    """It may be shared with other states, so it is copied before it is changed."""
    workers: dict[tuple[Any, str], Any] = {}
    for (nonce, field), value in queue.workers.items():
        if nonce not in speaking:
            continue
        if field not in NUMBERED:
            workers[nonce, field] = value if (nonce, field.removesuffix("'s answer")) in compared else ()
        elif ranks is None:
            workers[nonce, field] = value if value == RETIRED else 1
        else:
            workers[nonce, field] = ranks.get((nonce, field), {}).get(value, value)
    owner = queue.owner
    if len(owner) != len(queue.leases) or owner.keys() != queue.leases.keys():
        owner = {token: nonce for token, nonce in owner.items() if token in queue.leases}
    if workers != queue.workers or owner != queue.owner:
        queue = queue.copy()
        queue.workers, queue.owner = workers, owner
    return queue


# -- keys


def view(queue: Queue | None, now: int) -> Hashable:
    """All of a queue that can make a difference later, times relative to now."""
    if queue is None:
        return None
    if queue.seen is None or queue.seen[0] != now:
        queue.seen = (now, _view(queue, now))
    return queue.seen[1]


def _few(record: Record) -> Record:
    """Deliveries count only if they may condemn; else it is enough whether this is the first."""
    return record._replace(deliveries=2) if record.deliveries > 2 else record


def _view(queue: Queue, now: int) -> Hashable:
    state = queue.state.items()
    if queue.settings.suspects == COUNT_MAX:
        state = {id: _few(record) for id, record in state}.items()
    ahead = {id for id, due in queue.delayed.items() if due > now}, {t for t, at in queue.leases.items() if at > now}
    buried = (*queue.errors, 0, *queue.dead, 0, *queue.quarantine, 0, *queue.parked)
    return (
        *(frozenset(one) for one in (queue.body, state, queue.lists.items(), queue.delayed, queue.leases, *ahead)),
        frozenset((token, ids) for token, (_, ids) in queue.held.items()),
        frozenset(queue.left.items()),
        buried,
        queue.ended,
        queue.meta.get("paused"),
        *(frozenset(one.items()) if one else None for one in (queue.unique, queue.cancels, queue.results, queue.outbox)),
        *(frozenset(one.items()) if one else None for one in (queue.lanes, queue.workers, queue.owner)),
        frozenset(queue.tombs) if queue.tombs else None,
    )
