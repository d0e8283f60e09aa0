"""What the queues of P13 do not hold by themselves: large dead letters, many leases, many cancel requests."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.load import HeavyQueue, batches
from taskq.message import new_ids
from taskq.tasks import calls
from taskq.tasks.broker import LEASE_MESSAGES, Buried, Delivery, Finished, Mark, Outgoing
from taskq.tasks.packing import EXTENDED
from taskq.tasks.progress import progress
from taskq_workers.settle import cut

TOKENS = 4_096
"""As many lease calls as a child may announce."""

REQUESTS = 10_000
_BODIES = 250
_LINE = b'{"kind":"error","message":"' + b"x" * 400 + b'"}'


def run(queue: HeavyQueue) -> None:
    """Each case on the same queue, which is empty in between."""
    settle(queue)
    drop(queue)
    push_out(queue)
    extend(queue)
    cancel(queue)


def settle(queue: HeavyQueue) -> None:
    """Tasks with large bodies that end at once, with and without a result, cut as a worker cuts them."""
    for result in (b"", b"d1"):
        held = _held(queue, _BODIES, queue.largest, _BODIES)
        done = [Finished(one.id, one.token, "d", result, 1, freed=queue.largest) for one in held] if result else held
        for part in cut(list(done)):
            queue.send([calls.ack(queue.keys, part, queue.seat.op(queue.name, "ack"), queue.limits)])


def drop(queue: HeavyQueue) -> None:
    """Large dead letters and quarantined messages, all too old at once."""
    old = replace(queue.limits, dead_age=-1)
    for quarantine in (False, True):
        _bury(queue, _held(queue, _BODIES, queue.largest, _BODIES), quarantine=quarantine)
        place = queue.keys.quarantine if quarantine else queue.keys.dead
        while queue.link.execute("ZCARD", place):
            queue.send([calls.sweep(queue.keys, old)])


def push_out(queue: HeavyQueue) -> None:
    """Large dead letters above a cap that was lowered, then one more."""
    _bury(queue, _held(queue, _BODIES, queue.largest, _BODIES))
    limits, queue.limits = queue.limits, replace(queue.limits, dead=1)
    for one in _held(queue, _BODIES, 100, _BODIES):
        _bury(queue, [one])
    queue.limits = limits


def extend(queue: HeavyQueue) -> None:
    """A heartbeat of as many lease calls and starts as a child may have, in a worker's parts; then progress."""
    held = _held(queue, TOKENS, 100, TOKENS)
    for part in batches(held, EXTENDED):
        marks = [Mark(one.id, one.token) for one in part]
        queue.send([calls.extend(queue.keys, [one.token for one in part], marks, queue.limits)] * 4)
    queue.send(progress(queue.keys, one.token, one.id, _LINE) for one in held[:LEASE_MESSAGES])
    _finish(queue, held)


def cancel(queue: HeavyQueue) -> None:
    """A heartbeat of few lease calls, and of many, in a queue with many cancel requests."""
    held = _held(queue, REQUESTS, 100, REQUESTS // LEASE_MESSAGES)
    queue.send(calls.cancel(queue.keys, one.id, queue.limits) for one in held)
    tokens = sorted({one.token for one in held})
    for some in (tokens[:1], tokens):
        queue.send([calls.extend(queue.keys, some, [], queue.limits)] * 20)
    _finish(queue, held)


def _held(queue: HeavyQueue, count: int, size: int, leases: int) -> list[Delivery]:
    """New messages, leased by so many calls."""
    body, held = b"x" * size, list[Delivery]()
    for part in batches(
        [Outgoing(one, body) for one in new_ids(count)], 10 if size == queue.largest else LEASE_MESSAGES
    ):
        queue.broker.enqueue(queue.name, part)
    while len(held) < count:
        ticket = queue.seat.ticket(queue.name)
        held += queue.send([calls.lease(queue.keys, ticket, count // leases, queue.limits)])[0].deliveries
    return held


def _bury(queue: HeavyQueue, held: list[Delivery], *, quarantine: bool = False) -> None:
    for one in held:
        item, op = Buried(one.id, one.token, _LINE, quarantine=quarantine), queue.seat.op(queue.name, "dead_letter")
        queue.send([calls.dead_letter(queue.keys, [item], op, queue.limits)])


def _finish(queue: HeavyQueue, held: list[Delivery]) -> None:
    for part in cut(list(held)):
        queue.send([calls.ack(queue.keys, part, queue.seat.op(queue.name, "ack"), queue.limits)])
