"""What operators do to the heavy queue of P13: read it, look into it, give up on what nobody knows, empty it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.load import HeavyQueue, batches
from taskq.tasks import calls
from taskq.tasks.broker import LEASE_MESSAGES, Delivery, Held
from taskq.tasks.operator_calls import STATES, State, buried, examine, overview, purge

PAGES = 40
_TASK = "nobody.knows"
_LINE = b'{"kind":"unknown_task","message":"' + b"x" * 400 + b'"}'


def look(queue: HeavyQueue) -> None:
    """Counts, single messages anywhere, and pages of dead letters from the newest on."""
    for _ in range(10):
        queue.send([overview(queue.keys, [_TASK])])
    queue.send(examine(queue.keys, one) for one in queue.random.sample(queue.ids, min(queue.rounds, len(queue.ids))))
    for brief in (False, True):
        after = None
        for _ in range(PAGES):
            rows = queue.send([buried(queue.keys, quarantined=False, after=after, brief=brief)])[0].rows
            if not rows:
                break
            after = int(rows[-1].at), rows[-1].id


def give_up(queue: HeavyQueue, held: Sequence[Delivery]) -> None:
    """Park them all, and keep them as dead letters as if nobody had known their task for too long."""
    for part in batches([(Held(one.id, one.token), _TASK) for one in held], LEASE_MESSAGES):
        queue.send([calls.park(queue.keys, part)])
    time.sleep(0.01)
    impatient, gone = replace(queue.limits, parked_age=1), 1
    while gone:
        gone = queue.send([calls.expire_parked(queue.keys, _TASK, _LINE, b"x" + _LINE, impatient)])[0]


def empty(queue: HeavyQueue, states: Sequence[State] = STATES) -> None:
    """Remove up to `rounds` scripts of messages of each state from each key where they wait."""
    keys = queue.keys
    places = {"ready": [*keys.ready, keys.alone], "delayed": [keys.delayed], "dead": [keys.dead]}
    places |= {"quarantined": [keys.quarantine], "parked": [keys.parked_task(_TASK)]}
    for state in states:
        for source in places[state]:
            task = _TASK if state == "parked" else ""
            for _ in range(queue.rounds):
                wire = purge(keys, state, source, queue.limits, task=task, limit=LEASE_MESSAGES)
                if not queue.send([wire])[0].taken:
                    break
