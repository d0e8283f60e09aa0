"""The heartbeat: extends what the children hold, learns what is lost or cancelled, takes back behind a stuck child."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from taskq.errors import BrokerUnavailable, TaskqError
from taskq.message import id_text
from taskq.tasks import calls
from taskq.tasks.broker import Extended, Mark
from taskq.tasks.failure import Failure
from taskq.tasks.lists import ListBroker
from taskq.tasks.packing import EXTENDED
from taskq_workers.deaths import Lost, bury, unheard
from taskq_workers.process import Child, Verdict
from taskq_workers.table import CANCEL_ENTRIES
from taskq_workers.wires import Wire

log = logging.getLogger("taskq.worker")

STUCK_S = 1.0
"""A child whose interpreter has not turned for so long has what it did not start taken back."""

RECALL_WAIT_S = 0.05
KILL_AFTER_S = 1.0
"""How long a cancelled task with leave to end its child may take to end by itself."""

_Key = tuple[int, int, int]  # of one run: child, slot, sequence


class Beats:
    """One round of heartbeats at a time; keeps only what one round must know of the one before."""

    def __init__(self, broker: ListBroker, end: Callable[[Child, Verdict], None], lost: Lost = unheard) -> None:
        self._broker = broker
        self._lost = lost
        self._end = end
        self._known: set[bytes] = set()
        self._marked: set[_Key] = set()
        self._last = time.monotonic()
        self._doomed: dict[bytes, float] = {}
        self._recalled: dict[int, float] = {}
        self._recalling: set[int] = set()
        self._beat = 0
        self._turns = 1
        self._rank: dict[str, int] = {}  # the queues of this beat, numbered
        self._posted: dict[bytes, int] = {}  # the beat with which a cancel request was last posted, 0 for never
        self._wanted: set[bytes] = set()  # the cancel requests that this beat met

    # -- extend ------------------------------------------------------------------------------------------------------

    def wires(self, children: Sequence[Child]) -> list[Wire]:
        """One call per queue of which anything is held, more of them if that is much."""
        began = time.monotonic()
        tokens: dict[str, list[tuple[Child, int, bytes]]] = {}
        marks: dict[str, list[tuple[_Key, Mark]]] = {}
        seen: set[bytes] = set()
        keys: set[_Key] = set()
        ids: set[bytes] = set()
        for child in children:
            for held in child.held():
                seen.add(held.token)
                tokens.setdefault(child.queue(held.queue), []).append((child, held.entry, held.token))
            for run in child.running():
                ids.add(run.id)
                # Its lease call was answered, or it would not run: from now on "lost" means lost.
                self._known.add(run.token)
                key = (child.index, run.slot, run.sequence)
                keys.add(key)
                if key not in self._marked and run.started < self._last:
                    mark = Mark(run.id, run.token, run.once)
                    marks.setdefault(child.queue(run.queue), []).append((key, mark))
        self._known &= seen
        self._marked &= keys
        self._doomed = {doomed: at for doomed, at in self._doomed.items() if doomed in ids}
        self._last = time.monotonic()
        self._beat += 1
        self._posted = {one: beat for one, beat in self._posted.items() if one in self._wanted}
        self._wanted = set()
        # With more queues than the ring of a child has entries, they take turns.
        self._rank = {queue: rank for rank, queue in enumerate(sorted(filter(None, tokens)))}
        self._turns = max(-(-len(tokens) // CANCEL_ENTRIES), 1)
        room = max(CANCEL_ENTRIES * self._turns // max(len(tokens), 1), 1)
        wires: list[Wire] = []
        for queue, mine in tokens.items():
            due = marks.get(queue, [])
            starts = range(0, max(len(mine), len(due)) if queue else 0, EXTENDED)
            share = max(room // max(len(starts), 1), 1)
            for at in starts:
                end = at + EXTENDED
                wires.append(self._wire(queue, mine[at:end], due[at:end], share, began))
        return wires

    def _wire(
        self, queue: str, held: list[tuple[Child, int, bytes]], marks: list[tuple[_Key, Mark]], room: int, began: float
    ) -> Wire:
        names = [token for _, _, token in held]
        call = calls.extend(self._broker.keys(queue), names, [mark for _, mark in marks], self._broker.limits)

        def then(extended: Extended) -> None:
            self._marked.update(key for key, _ in marks)
            self._answered(held, extended, began)
            self._cancel(queue, {child for child, _, _ in held}, extended.cancelled, room)

        return Wire(f"cannot extend the leases of queue {queue}", call, then=then)

    def _answered(self, held: list[tuple[Child, int, bytes]], extended: Extended, began: float) -> None:
        lost = set(extended.lost)
        for child, entry, token in held:
            with child.table() as table:
                if token not in lost:
                    self._known.add(token)
                    if table is not None:
                        table.set_extended(entry, began)
                elif token in self._known and table is not None:
                    # One that was never seen held may still be on its way: announced, but not leased yet.
                    table.set_lost(entry, token)

    # -- cancel ------------------------------------------------------------------------------------------------------

    def _cancel(self, queue: str, children: set[Child], cancelled: dict[bytes, bool], room: int) -> None:
        """Post it to every child that may hold it, again and again until it is settled.

        The ring of a child is small, and the queues of one beat share it. So if there are more than `room`, those come
        first that have waited longest: tasks that ignore their requests do not keep others from theirs.
        """
        self._wanted.update(cancelled)
        if (self._rank.get(queue, 0) + self._beat) % self._turns:
            room = 0
        for message in sorted(cancelled, key=lambda one: self._posted.get(one, 0))[:room]:
            self._posted[message] = self._beat
            for child in children:
                with child.table() as table:
                    if table is not None:
                        table.post_cancel(message, cancelled[message])
        doomed = {message for message, kill in cancelled.items() if kill}
        for child in children if doomed else ():
            for message in doomed & {run.id for run in child.running()}:
                self._kill(child, message)

    def _kill(self, child: Child, id: bytes) -> None:
        now = time.monotonic()
        if now - self._doomed.setdefault(id, now) >= KILL_AFTER_S:
            log.warning("%s is ended: %s was cancelled with kill=True and goes on", child, id_text(id))
            self._end(child, Verdict("cancel", frozenset([id])))

    # -- recall ------------------------------------------------------------------------------------------------------

    def recall(self, children: Sequence[Child]) -> None:
        """Take back what stuck children hold and have not started; raises what the broker does, to be called again."""
        now = time.monotonic()
        there = {child.index for child in children}
        self._recalling &= there
        self._recalled = {index: tick for index, tick in self._recalled.items() if index in there}
        for child in children:
            with child.table() as table:
                tick = table.last_tick if table is not None else 0.0
            stuck = tick and now - tick > STUCK_S and self._recalled.get(child.index) != tick and child.held()
            # One that an outage cut short must be brought to its end: until then the child starts nothing.
            if stuck or child.index in self._recalling:
                self._recalling.add(child.index)
                self._recall(child)
                self._recalling.discard(child.index)
                self._recalled[child.index] = tick

    def _recall(self, child: Child) -> None:
        with child.table() as table:
            if table is None:
                return
            table.begin_recall()
        # Whoever asked before the flag stood has written its start by then.
        time.sleep(RECALL_WAIT_S)
        with child.table() as table:
            if table is None:
                return
            started = {run.id for run in table.running()} | table.journal_ids()
            held = table.held()
        line = Failure("lost", "LeaseRecalled", f"{child} is stuck").line()
        for one in held:
            queue = child.queue(one.queue)
            try:
                if queue:
                    condemned = self._broker.reclaim(queue, one.token, line, "recall", started=list(started))
                    self._lost(bury(self._broker, queue, condemned, {}, "lost", "its child was stuck", ""))
            except BrokerUnavailable:
                raise
            except TaskqError as error:  # a key of another type: heartbeats come after this, and the child waits for it
                log.error("cannot take back what waits behind %s in queue %s: %s", child, queue, error)
        with child.table() as table:
            if table is not None:
                table.end_recall()
        log.warning("%s is stuck in one task; what waited behind it was given back", child)
