"""The keeper: the one thread of a supervisor that talks to the broker.

First what is urgent, the dead children; then, in one round trip, heartbeats, the worker's record and the sweeps that
are due; then the schedules that are. It survives every outage, and goes on until the last child has ended.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taskq.errors import BrokerUnavailable, TaskqError
from taskq.tasks.lists import ListBroker
from taskq_workers.beats import Beats
from taskq_workers.deaths import Death, Loss, Lost, give_back, unheard
from taskq_workers.outage import Identity, Outage, Parts
from taskq_workers.presence import Presence
from taskq_workers.process import Child, Verdict
from taskq_workers.scheduler import Scheduler
from taskq_workers.sweeper import Sweeper
from taskq_workers.wires import Wire, exchange

log = logging.getLogger("taskq.worker")

BEAT_S = 1.0


@dataclass(frozen=True, slots=True)
class Calls:
    """What the keeper asks of the supervisor; all are called on the keeper's thread."""

    children: Callable[[], Sequence[Child]]
    state: Callable[[], str]
    end: Callable[[Child, Verdict], None]
    alone: Callable[[], None]
    lost: Lost = unheard


class Keeper:
    """Life: start; bury from the main thread at each death; stop once no child is left."""

    def __init__(
        self, broker: ListBroker, presence: Presence, calls: Calls, queues: Sequence[str], tasks: Sequence[str]
    ) -> None:
        self._broker = broker
        self._presence = presence
        self._calls = calls
        self._beats = Beats(broker, calls.end, calls.lost)
        self._sweeper = Sweeper(broker, queues, tasks, calls.alone, calls.lost)
        self._scheduler = Scheduler(broker, queues, presence.worker)
        self._beat_s = min(BEAT_S, broker.limits.lease / 5000)
        self._next_beat = 0.0
        self._deaths: deque[tuple[Death, dict[bytes, Loss]]] = deque()
        self._asked = self._settled = 0
        self._outage = Outage()
        self._identity = Identity()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._turn = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="taskq-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def outage(self) -> bool:
        """Whether the last round trip found no broker."""
        return self._outage.lasts

    def declare(self, schedules: Sequence[str]) -> None:
        """What the code of the newest child declares; from any thread."""
        self._scheduler.declare(schedules)
        self._wake.set()

    def bury(self, death: Death) -> None:
        """Give back what a dead child held, as soon as the broker lets us."""
        self._deaths.append((death, {}))
        self._wake.set()

    def settle(self, timeout: float) -> bool:
        """Wait until every death is dealt with and a sweep of all queues came after; False if that takes longer."""
        with self._turn:
            self._asked += 1
            asked = self._asked
            self._wake.set()
            return self._turn.wait_for(lambda: self._settled >= asked and not self._deaths, timeout)

    def stop(self, timeout: float) -> bool:
        """Deal with the last deaths, take the record away, end; False if that takes longer than `timeout` seconds."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- the thread --------------------------------------------------------------------------------------------------

    def _answered(self) -> None:
        self._outage.ended()
        self._identity.look(self._broker.link)

    def _run(self) -> None:
        pause = 0.0
        while not (self._stopping.is_set() and not self._deaths):
            self._wake.wait(pause)
            self._wake.clear()
            parts = Parts(self._broker.link)
            try:
                with parts.part():
                    self._urgent()
                with parts.part():
                    self._round()
                with parts.part():
                    self._scheduler.turn(self._outage.complain)
                parts.end()
                self._answered()
                pause = max(self._next() - time.monotonic(), 0.0)
            except BrokerUnavailable as error:
                pause = self._outage.began(error)
                self._all_due()
            except TaskqError as error:
                self._outage.complain("upkeep failed", error)
                pause = BEAT_S
            except Exception:  # the heartbeat of every child hangs on this thread: whatever is wrong, it goes on
                log.exception("the keeper met an error of its own")
                pause = BEAT_S
        self._farewell()

    def _all_due(self) -> None:
        self._next_beat = 0.0
        self._sweeper.hurry()
        self._presence.hurry()
        self._scheduler.hurry()

    def _next(self) -> float:
        return min(self._next_beat, self._sweeper.due(), self._presence.due(), self._scheduler.due())

    def _urgent(self) -> None:
        for entry in list(self._deaths):
            death, losses = entry
            try:
                give_back(self._broker, death, losses)
                self._deaths.remove(entry)
            except BrokerUnavailable:
                # The next time others come first. No more now: each try may take a time-out, and heartbeats wait.
                self._deaths.rotate(-1)
                raise
            except TaskqError as error:
                self._deaths.remove(entry)
                # Refused for good; its leases are no longer extended, so they lapse.
                self._outage.complain(f"cannot give back what {death.child} held, it comes back in one lease", error)
            except Exception:  # whatever is wrong with one death, the heartbeats of the living come after it
                self._deaths.remove(entry)
                log.exception("what %s held was not given back, it comes back in one lease", death.child)
            if losses:
                self._calls.lost(list(losses.values()))

    def _round(self) -> None:
        now, asked = time.monotonic(), self._asked
        children = self._calls.children()
        wires: list[Wire] = []
        parts = Parts(self._broker.link)
        if asked > self._settled:
            self._sweeper.hurry()
        if now >= self._next_beat:
            with parts.part():
                self._beats.recall(children)
            wires += self._beats.wires(children)
            self._next_beat = now + self._beat_s
        # What is almost due comes along: a round trip costs more than a script.
        soon = now + self._beat_s / 10
        wires += self._sweeper.wires(soon)
        wires += self._scheduler.wires(soon)
        wires += self._presence.wires(soon, self._sweeper.guard.server_ms(now), children, self._calls.state())
        if wires:
            with parts.part():
                self._exchange(wires)
        parts.end()
        with self._turn:
            self._settled = asked
            self._turn.notify_all()

    def _exchange(self, wires: list[Wire]) -> None:
        before = time.monotonic()
        answers = exchange(self._broker.link, wires)
        after = time.monotonic()
        parts = Parts(self._broker.link)
        for wire, answer in answers:
            if isinstance(answer, BrokerUnavailable):
                with parts.part():
                    raise answer
            elif isinstance(answer, TaskqError):
                self._outage.complain(wire.what, answer)
            elif wire.then is not None:
                wire.then(answer)
        self._scheduler.looked(before, after)
        with parts.part():
            self._sweeper.follow_up(before, after)
        parts.end()

    def _farewell(self) -> None:
        try:
            exchange(self._broker.link, self._presence.farewell())
        except TaskqError as error:
            log.warning("the record of this worker stays until it expires: %s", error)
        self._broker.close()
