"""The invariants: what each call may do to what is there, and what must hold in every state (I1 to I13, as they apply)."""

from __future__ import annotations

from typing import Any

from tests.model.search import Broken
from tests.model.store import CANCEL, UNIQUE, Id, Token
from tests.model.upkeep import Queue
from tests.model.world import Call, Scenario, World, pairs_of

ENDS_MESSAGES = ("ack", "cancel", "discard")


def judge(world: World, after: Queue, call: Call, answer: Any) -> None:
    """One call: who may end a lease, who may end a message, and that a stale call does nothing."""
    before = world.queue
    for id, record in before.state.items():
        if record.kind == "l":
            now = after.state.get(id)
            if (now is None or now.kind != "l" or now.token != record.token) and not _may_end(world, call, id, record.token):
                raise Broken(f"I2: the lease of {id} ended by who does not hold it")
    if call.verb not in ENDS_MESSAGES and before.body.keys() - after.body.keys():
        raise Broken("I1: a message went without an outcome")
    for id in after.body.keys() - before.body.keys():
        if id in before.ended:
            raise Broken(f"I3: {id} was accepted again after it was over")
    pairs = pairs_of(call)
    if pairs and not any(Queue.holds(before, id, token) for id, token in pairs) and before.outline() != after.outline():
        raise Broken("I5: a stale call changed something")
    if call.verb == "lease" and answer[2] and call.nonce in world.gone and call.args[0] not in before.held:
        raise Broken("a dead child was handed messages")
    for id, body in after.body.items():
        if before.body.get(id, body) != body:
            raise Broken(f"I11: the body of {id} changed")


def _may_end(world: World, call: Call, id: Id, token: Token) -> bool:
    queue = world.queue
    if call.verb == "reclaim":
        named, mode, started = call.args
        if named != token:
            return False
        if mode == "lapse":
            return token in queue.leases and queue.leases[token] <= world.now
        if mode == "recall":
            return id not in started
        return queue.owner.get(token) not in {worker.nonce for worker in world.workers}
    if (id, token) not in pairs_of(call):
        return False
    record = queue.state[id]
    buried = call.verb == "dead_letter" and call.nonce == 0 and record.crashes >= queue.settings.crashes
    return buried or queue.owner.get(token) == call.nonce


def check_queue(world: World, scenario: Scenario) -> None:
    """One state."""
    queue = world.queue
    places = _places(queue)
    for id in queue.body:
        if places.get(id, 0) != 1:
            raise Broken(f"I1: {id} is in {places.get(id, 0)} places")
    for id in places.keys() - queue.body.keys():
        if id not in queue.state or queue.state[id].kind != "c" or places[id] > 1:
            raise Broken(f"I1: {id} is listed, and is not there")
    for id in world.promised:
        if id not in queue.body and id not in queue.ended:
            raise Broken(f"I1: {id} was accepted and is lost")
    _check_leases(queue)
    _check_unique(queue)
    for id, record in queue.state.items():
        if id not in queue.body and record.kind != "c":
            raise Broken(f"I13: a record of {id} is left")
        if record.crashes > min(queue.settings.crashes, world.started(id)) and id not in scenario.once:
            raise Broken(f"I4: {id} is blamed for {record.crashes} deaths, and was started {world.started(id)} times")
        if record.kind == "x" and record.crashes and scenario.poison and id not in scenario.poison:
            raise Broken(f"I4: {id} is dead of what another one did")
    for id in scenario.once:
        if world.started(id) > 1:
            raise Broken(f"{id} may not run twice, and did")
    for id in scenario.poison:
        if world.started(id) > queue.settings.crashes:
            raise Broken(f"I4: {id} has killed more children than allowed")
    _check_left(queue)


def _places(queue: Queue) -> dict[Id, int]:
    found: dict[Id, int] = {}
    for ids in (*queue.lists.values(), queue.delayed, queue.dead, queue.quarantine):
        for id in ids:
            found[id] = found.get(id, 0) + 1
    for id, record in queue.state.items():
        if record.kind == "l":
            found[id] = found.get(id, 0) + 1
    return found


def _check_leases(queue: Queue) -> None:
    counts: dict[Token, int] = {}
    for record in queue.state.values():
        if record.kind == "l":
            counts[record.token] = counts.get(record.token, 0) + 1
    if not queue.leases.keys() == queue.held.keys() == queue.left.keys():
        raise Broken("I2: leases, held and left do not name the same tokens")
    if counts != queue.left:
        raise Broken("I2: a token does not hold what is counted under it")


def _check_unique(queue: Queue) -> None:
    for digest, id in queue.unique.items():
        if id not in queue.body or queue.state[id].kind in "xq":
            raise Broken(f"I6: the key {digest} is held by {id}, which is over")
    for id, record in queue.state.items():
        if record.flags & UNIQUE and queue.unique.get(record.digest) != id:
            raise Broken(f"I6: {id} does not hold its key")


def _check_left(queue: Queue) -> None:
    if queue.errors.keys() - queue.body.keys():
        raise Broken("I13: error lines of a message that is gone are left")
    for id in queue.cancels:
        if id not in queue.state or not queue.state[id].flags & CANCEL:
            raise Broken("I13: a cancel request of nobody is left")
