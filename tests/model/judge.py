"""The invariants I1 to I13, as they apply: what each call may do, and what must hold in every state."""

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
    for mid, record in before.state.items():
        if record.kind == "l":
            now = after.state.get(mid)
            if (now is None or now.kind != "l" or now.token != record.token) and not _may_end(
                world, call, mid, record.token
            ):
                raise Broken(f"I2: the lease of {mid} ended by who does not hold it")
    if call.verb not in ENDS_MESSAGES and before.body.keys() - after.body.keys():
        raise Broken("I1: a message went without an outcome")
    for mid in after.body.keys() - before.body.keys():
        if mid in before.ended:
            raise Broken(f"I3: {mid} was accepted again after it was over")
    pairs = pairs_of(call)
    if (
        pairs
        and not any(Queue.holds(before, mid, token) for mid, token in pairs)
        and before.outline() != after.outline()
    ):
        raise Broken("I5: a stale call changed something")
    if call.verb == "extend":
        for token, mid, _ in call.args[1]:
            if not Queue.holds(before, mid, token) and before.state.get(mid) != after.state.get(mid):
                raise Broken("I5: a stale mark changed something")
    if call.verb == "lease" and answer[2] and call.nonce in world.gone and call.args[0] not in before.held:
        raise Broken("a dead child was handed messages")
    for mid, body in after.body.items():
        if before.body.get(mid, body) != body:
            raise Broken(f"I11: the body of {mid} changed")


def _may_end(world: World, call: Call, mid: Id, token: Token) -> bool:
    queue = world.queue
    if call.verb == "reclaim":
        named, mode, started = call.args
        if named != token:
            return False
        if mode == "lapse":
            return token in queue.leases and queue.leases[token] <= world.now
        if mode == "recall":
            return mid not in started
        return queue.owner.get(token) not in {worker.nonce for worker in world.workers}
    if (mid, token) not in pairs_of(call):
        return False
    record = queue.state[mid]
    buried = call.verb == "dead_letter" and call.nonce == 0 and record.crashes >= queue.settings.crashes
    return buried or queue.owner.get(token) == call.nonce


def check_queue(world: World, scenario: Scenario) -> None:
    """One state."""
    queue = world.queue
    places = _places(queue)
    for mid in queue.body:
        if places.get(mid, 0) != 1:
            raise Broken(f"I1: {mid} is in {places.get(mid, 0)} places")
    for mid in places.keys() - queue.body.keys():
        if mid not in queue.state or queue.state[mid].kind != "c" or places[mid] > 1:
            raise Broken(f"I1: {mid} is listed, and is not there")
    for mid in world.promised:
        if mid not in queue.body and mid not in queue.ended:
            raise Broken(f"I1: {mid} was accepted and is lost")
    _check_leases(queue)
    _check_unique(queue)
    for mid, record in queue.state.items():
        if mid not in queue.body and record.kind != "c":
            raise Broken(f"I13: a record of {mid} is left")
        if record.crashes > min(queue.settings.crashes, world.started(mid)) and mid not in scenario.once:
            raise Broken(f"I4: {mid} is blamed for {record.crashes} deaths, and was started {world.started(mid)} times")
        if record.kind == "x" and record.crashes and scenario.poison and mid not in scenario.poison:
            raise Broken(f"I4: {mid} is dead of what another one did")
    for mid in scenario.once:
        if world.started(mid) > 1:
            raise Broken(f"{mid} may not run twice, and did")
    for mid in scenario.poison:
        if world.started(mid) > queue.settings.crashes:
            raise Broken(f"I4: {mid} has killed more children than allowed")
    _check_left(queue)


def _places(queue: Queue) -> dict[Id, int]:
    found: dict[Id, int] = {}
    for ids in (*queue.lists.values(), queue.delayed, queue.dead, queue.quarantine):
        for mid in ids:
            found[mid] = found.get(mid, 0) + 1
    for mid, record in queue.state.items():
        if record.kind == "l":
            found[mid] = found.get(mid, 0) + 1
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
    for digest, mid in queue.unique.items():
        if mid not in queue.body or queue.state[mid].kind in "xq":
            raise Broken(f"I6: the key {digest} is held by {mid}, which is over")
    for mid, record in queue.state.items():
        if record.flags & UNIQUE and queue.unique.get(record.digest) != mid:
            raise Broken(f"I6: {mid} does not hold its key")


def _check_left(queue: Queue) -> None:
    if queue.errors.keys() - queue.body.keys():
        raise Broken("I13: error lines of a message that is gone are left")
    for mid in queue.cancels:
        if mid not in queue.state or not queue.state[mid].flags & CANCEL:
            raise Broken("I13: a cancel request of nobody is left")
