"""Upkeep of the queues: lapsed leases go back, due messages become ready, follow-ups and parked messages move on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

from taskq.errors import BrokerUnavailable, TaskqError
from taskq.message import LAYOUT, layout_name
from taskq.store.scripts import run_many
from taskq.tasks import calls
from taskq.tasks.broker import Swept
from taskq.tasks.failure import Failure
from taskq.tasks.lists import ListBroker
from taskq.tasks.outbox import relay
from taskq.tasks.statistics import SLOT_MS, sample
from taskq_workers.deaths import Lost, bury, unheard
from taskq_workers.outage import Parts
from taskq_workers.results_out import publisher
from taskq_workers.tending import Tending
from taskq_workers.wires import Wire

log = logging.getLogger("taskq.worker")

SWEEP_EVERY_S = 1.0
WARN_EVERY_S = 60.0
_SOON_S = 0.002
_NAMES = 1000  # of tasks that are looked at in one round
_SCRIPTS = 20  # of one kind in one round, whatever the number of queues: the heartbeat waits for their end


class ClockGuard:
    """Sees the server's clock jump, by holding it against this host's monotonic one.

    A reading of the server lies between sending and answer; only what no such moment can explain is a jump.
    """

    def __init__(self, tolerance_s: float) -> None:
        self._tolerance = tolerance_s * 1000
        self._low = self._high = 0.0
        self._set = False

    def jumped(self, now_ms: float, before: float, after: float) -> bool:
        """Whether a reading taken between two monotonic times tells of a jump since the reading before."""
        low, high = now_ms - after * 1000, now_ms - before * 1000
        jump = self._set and (low - self._high > self._tolerance or self._low - high > self._tolerance)
        self._low, self._high, self._set = low, high, True
        return jump

    def server_ms(self, at: float) -> float:
        """The server's time at a monotonic moment; this host's own if it was never read."""
        if not self._set:
            return time.time() * 1000
        return (self._low + self._high) / 2 + at * 1000


class Sweeper:
    """Sweeps each queue once a second (oftener for short leases), or when its next deadline or due time comes.

    With the sweeps go samples of what each queue has counted.
    """

    def __init__(
        self,
        broker: ListBroker,
        queues: Collection[str],
        tasks: Collection[str],
        alone: Callable[[], None],
        lost: Lost = unheard,
    ) -> None:
        self._broker = broker
        # Besides its tasks, a worker can run what was set aside for a newer layout, if that is the one it reads.
        self._tasks = frozenset([*tasks, *(layout_name(number) for number in range(1, LAYOUT + 1))])
        self._alone = alone
        self._lost = lost
        self._tending = Tending(broker)
        self._publish = publisher(broker)
        # The stall guard of the script counts a gap of half a lease: sweeps come at least twice as often.
        self._every = min(SWEEP_EVERY_S, broker.limits.lease / 4000)
        self._next = dict.fromkeys(queues, 0.0)
        self._sampled: dict[str, float] = {}
        self._jumped: set[str] = set()
        self._warned: dict[str, float] = {}
        self._todo: list[tuple[str, Swept]] = []
        self._ripe: dict[str, None] = {}  # queues with due messages, the one that waits longest first
        self.guard = ClockGuard(broker.limits.lease / 2000)

    def due(self) -> float:
        """The monotonic time of the next sweep."""
        return min(self._next.values(), default=float("inf"))

    def hurry(self) -> None:
        """All sweeps are due now."""
        self._next = dict.fromkeys(self._next, 0.0)

    def wires(self, now: float) -> list[Wire]:
        """The sweeps that are due."""
        due = [queue for queue, at in self._next.items() if at <= now]
        # Should one be refused, it is tried again in a second; the answer sets the right time.
        self._next |= dict.fromkeys(due, now + self._every)
        return [wire for queue in due for wire in (self._wire(queue), *self._samples(queue, now))]

    def _wire(self, queue: str) -> Wire:
        call = calls.sweep(self._broker.keys(queue), self._broker.limits, jumped=queue in self._jumped)
        return Wire(f"cannot sweep queue {queue}", call, then=lambda swept: self._todo.append((queue, swept)))

    def _samples(self, queue: str, now: float) -> list[Wire]:
        """With the first sweep of each slot of the server's clock goes a sample; of many workers' the first counts."""
        if now < self._sampled.get(queue, 0.0):
            return []
        self._sampled[queue] = now + (SLOT_MS - self.guard.server_ms(now) % SLOT_MS) / 1000
        return [Wire(f"cannot take a sample of queue {queue}", sample(self._broker.keys(queue)))]

    def follow_up(self, before: float, after: float) -> None:
        """Do what the sweeps of a round found; `before` and `after` are the monotonic times around it.

        Raises BrokerUnavailable; what is left undone then is found again by the next sweep.
        """
        todo, self._todo = self._todo, []
        for queue, swept in todo:
            self._next[queue] = after + self._wait(swept)
            self._jumped.discard(queue)
        if todo and self.guard.jumped(todo[0][1].now, before, after):
            log.warning("the clock of the broker jumped; leases get one more lease of grace")
            self._jumped.update(self._next)
            self._next = dict.fromkeys(self._next, after)
            return
        parts = Parts(self._broker.link)
        for queue, swept in todo:
            try:
                with parts.part():
                    self._chores(queue, swept)
            except BrokerUnavailable:
                raise
            except TaskqError as error:  # a key of another type, say: the other queues have chores of their own
                self._complain(queue, error)
        with parts.part():
            self._promote()
        parts.end()

    def _wait(self, swept: Swept) -> float:
        times = [at for at in (swept.due, swept.deadline) if at is not None]
        nearest = (min(times) - swept.now) / 1000 if times else self._every
        return min(max(nearest + _SOON_S, self._broker.limits.sweep_gap / 1000), self._every)

    def _chores(self, queue: str, swept: Swept) -> None:
        broker = self._broker
        if swept.streamed:
            broker.queues.learn(queue)
        line = Failure("lapse", "LeaseLapsed", "its worker sent no heartbeat for one lease").line()
        for token in swept.lapsed:
            condemned = broker.reclaim(queue, token, line, "lapse")
            self._lost(bury(broker, queue, condemned, {}, "lapse", "no heartbeat for one lease", ""))
        if swept.due is not None and swept.due <= swept.now:
            self._ripe[queue] = None
        if broker.queues.streamed(queue):
            self._tending.tend(queue)
        if swept.alone:
            self._alone()
        if swept.outbox:
            relay(broker, queue, publish=self._publish)
        if swept.parked_since is not None:
            if swept.now - swept.parked_since >= broker.limits.parked_age:
                self._expire_parked(queue, swept.now)
            self._parked(queue)

    def _complain(self, queue: str, error: TaskqError) -> None:
        now, what = time.monotonic(), f"{queue}: {error}"
        if now - self._warned.get(what, -WARN_EVERY_S) >= WARN_EVERY_S:
            self._warned = {old: at for old, at in self._warned.items() if now - at < WARN_EVERY_S} | {what: now}
            log.error("cannot look after queue %s", what)

    def _promote(self) -> None:
        """Due messages to ready: a script for one queue, then one for the next. What is left comes after the heartbeat.

        Raises BrokerUnavailable after the queues of the shards that do answer.
        """
        scripts, lost = _SCRIPTS, None
        while self._ripe and scripts > 0:
            some = list(self._ripe)[:scripts]
            answers = run_many(self._broker.link, [calls.promote(self._broker.keys(queue)) for queue in some])
            scripts -= len(some)
            now = time.monotonic()
            for queue, answer in zip(some, answers, strict=True):
                del self._ripe[queue]
                if isinstance(answer, BrokerUnavailable):
                    lost = answer
                elif isinstance(answer, TaskqError):
                    self._complain(queue, answer)
                elif answer[1] is not None:
                    wait = (answer[1] - self.guard.server_ms(now)) / 1000
                    self._next[queue] = min(self._next[queue], now + max(wait + _SOON_S, 0.0))
                    if wait <= 0:
                        self._ripe[queue] = None  # behind the others
        if lost is not None:
            raise lost

    def _expire_parked(self, queue: str, now_ms: float) -> None:
        """Dead-letter what nobody has known for too long; what this worker knows, its children are about to take."""
        age = self._broker.limits.parked_age
        old = self._broker.link.execute(
            "ZRANGEBYSCORE", self._broker.keys(queue).parked, "-inf", now_ms - age, "LIMIT", 0, _NAMES
        )
        scripts = _SCRIPTS
        for task in [name for raw in old if (name := str(raw, "utf-8", "replace")) not in self._tasks]:
            text = f"no worker of this queue has known the task for {age / 86_400_000:g} days"
            what = Failure("unknown_task", "UnknownTask", text, task=task)
            total = buried = self._broker.expire_parked(queue, task, what.line(), what.result())
            scripts -= 1
            while buried and scripts > 0:
                buried = self._broker.expire_parked(queue, task, what.line(), what.result())
                total, scripts = total + buried, scripts - 1
            if total:
                log.error("dead-lettered %d parked messages of task %r in queue %s: %s", total, task, queue, text)
            if scripts <= 0:
                break

    def _parked(self, queue: str) -> None:
        """Tell of what no child of ours takes; what they know they lease from there themselves."""
        now = time.monotonic()
        if now - self._warned.get(queue, -WARN_EVERY_S) < WARN_EVERY_S:
            return
        names = self._broker.link.execute("ZRANGE", self._broker.keys(queue).parked, 0, -1)
        parked = [str(name, "utf-8", "replace") for name in names]
        unknown = sorted(task for task in parked if task not in self._tasks)
        if unknown:
            self._warned[queue] = now
            log.warning(
                "queue %s holds parked messages of tasks that this worker does not know: %s",
                queue,
                ", ".join(unknown[:10]) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""),
            )
