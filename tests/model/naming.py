"""What nobody can tell apart gets the same name (nonces, tokens, numbers, times), so that few states are enough."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from tests.model.store import COUNT_MAX, RETIRED, Record, Token
from tests.model.upkeep import Queue
from tests.model.world import IDLE, NUMBERED, OP, Call, Worker, World, pairs_of


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
    last = [queue.workers.get((nonce, verb), 0) for queue in (world.queue, world.replica) if queue is not None]
    found += [number for number in last if number != RETIRED]
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
        state = {mid: _few(record) for mid, record in state}.items()
    ahead = {mid for mid, due in queue.delayed.items() if due > now}, {t for t, at in queue.leases.items() if at > now}
    buried = (*queue.errors, 0, *queue.dead, 0, *queue.quarantine, 0, *queue.parked)
    return (
        *(frozenset(one) for one in (queue.body, state, queue.lists.items(), queue.delayed, queue.leases, *ahead)),
        frozenset((token, ids) for token, (_, ids) in queue.held.items()),
        frozenset(queue.left.items()),
        buried,
        queue.ended,
        queue.meta.get("paused"),
        *(
            frozenset(one.items()) if one else None
            for one in (queue.unique, queue.cancels, queue.results, queue.outbox)
        ),
        *(frozenset(one.items()) if one else None for one in (queue.lanes, queue.workers, queue.owner)),
        frozenset(queue.tombs) if queue.tombs else None,
    )
