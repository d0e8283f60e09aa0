"""Random schedules of kills, stops and server restarts under load; the checker has the last word.

`python -m tests.faults.chaos` runs one schedule; everything random in it comes from its seed, so `SEED=...` draws the
same victims at the same points again (what the machine's scheduler makes of it is its own). Everything is on unix
sockets, and only processes that this one started are ended.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

from taskq.inspector import Inspector
from taskq.tasks.queues import Transport
from tests.faults.history import Report, pending_of
from tests.faults.load import Load
from tests.faults.meddling import MEDDLINGS, Meddling, meddle
from tests.faults.memory import Memory
from tests.faults.stage import Stage, children_of, stage
from tests.runtime.world import Worker
from tests.servers import RealServer, ServerOptions, need_server

LEASE_S = 1.0
TOLD_EVERY_S = 30.0
MEDDLE_EVERY_S = 2.0
"""At least so long from one to the next: what somebody did to a stream is mended by the next sweep, not at once."""


@dataclass(frozen=True)
class Plan:
    """What a run is to reach before it may end, and the seconds after which it ends whatever it has reached."""

    kills: int = 1_000
    restarts: int = 200
    seconds: float = 1_200.0
    workers: int = 3
    processes: int = 2
    slots: int = 4


@dataclass
class Tally:
    """What was done."""

    children: int = 0
    supervisors: int = 0
    stops: int = 0
    restarts: int = 0
    meddlings: Counter[str] = field(default_factory=Counter)

    @property
    def kills(self) -> int:
        return self.children + self.supervisors

    def __str__(self) -> str:
        done = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(self.meddlings.items()))
        return (
            f"{self.kills} kills ({self.children} children, {self.supervisors} workers), {self.stops} stops beyond the "
            f"lease, {self.restarts} server restarts" + (f", {done} to the stream" if done else "")
        )


class Chaos:
    """One run: trouble until the plan is met, calm until all is drained, then the checker."""

    def __init__(self, here: Stage, plan: Plan, seed: int, memory: Memory | None = None) -> None:
        self.here = here
        self.plan = plan
        self.tally = Tally()
        self.load = Load(here, seed)
        self._memory = memory
        self._dice = random.Random(seed)
        self._at_work: set[int] = set()
        self._read = self._rest = 0
        self._stopped: tuple[float, list[int]] | None = None
        self._meddled = 0.0
        self._wishes: list[Meddling] = []

    def run(self, say: Callable[[str], None]) -> Report:
        """Answers what the checker found."""
        began = told = time.monotonic()
        self._crew()
        self.load.start()
        try:
            while not self._reached(time.monotonic() - began):
                self._strike()
                self._meddle()
                self._go_on()
                if self._memory is not None:
                    self._memory.look(self.here)
                if time.monotonic() - told > TOLD_EVERY_S:
                    told = time.monotonic()
                    say(f"{told - began:.0f} s: {self.tally}, {len(self.here.accepted)} accepted")
        finally:
            self.load.stop()
        return self._calm()

    def _reached(self, seconds: float) -> bool:
        plan, tally = self.plan, self.tally
        return seconds >= plan.seconds or (tally.kills >= plan.kills and tally.restarts >= plan.restarts)

    def _crew(self) -> None:
        """As many workers as planned; those that have ended are replaced."""
        workers = self.here.workers
        for worker in [worker for worker in workers if worker.process.poll() is not None]:
            workers.remove(worker)
            self.here.fallen.append(worker)
        for _ in range(self.plan.workers - len(workers)):
            self.here.hire("-p", str(self.plan.processes), "-c", str(self.plan.slots))

    # -- trouble ----------------------------------------------------------------------------------------------------

    def _strike(self) -> None:
        """One piece of trouble, for someone who is at work."""
        dice, plan, tally = self._dice, self.plan, self.tally
        self._rest = dice.randint(1, 12)
        self.here.until(self._somebody_works, "work to go on")
        self.load.dead = self.here.counter("dead")
        if tally.restarts * plan.kills < tally.kills * plan.restarts:
            self.here.server.kill9()
            self.here.server.restart()
            tally.restarts += 1
        elif (kind := dice.random()) < 0.04:
            victim = dice.choice(self._standing())
            self.here.kill_worker(victim)
            tally.supervisors += 1
            self._crew()
        elif kind < 0.06 and self._stopped is None:
            self._stop(dice.choice(self._standing()))
        else:
            self._kill_children()
        self._at_work.clear()

    def _somebody_works(self) -> bool:
        """Listens on; True if some tasks have ended since the last blow, and one who ran some is there to be hit."""
        heard = self.here.heard
        fresh, self._read = heard[self._read :], len(heard)
        self.load.heard(fresh)
        ended = [said.pid for said in fresh if said.word == "end"]
        self._at_work.update(ended)
        self._rest -= len(ended)
        return self._rest <= 0 and bool(self._victims())

    def _meddle(self) -> None:
        """With streams: somebody does one thing after the other to it; what finds nothing to do is tried again."""
        if self.here.transport != "stream" or time.monotonic() < self._meddled + MEDDLE_EVERY_S:
            return
        if not self._wishes:
            self._wishes = self._dice.sample(MEDDLINGS, len(MEDDLINGS))
        if meddle(self.here, self._wishes[-1]):
            self.tally.meddlings[self._wishes.pop().__name__] += 1
            self._meddled = time.monotonic()

    def _standing(self) -> list[Worker]:
        stopped = self._stopped[1] if self._stopped else []
        return [one for one in self.here.workers if one.process.poll() is None and one.process.pid not in stopped]

    def _victims(self) -> list[int]:
        children = [pid for worker in self._standing() for pid in children_of(worker.process.pid)]
        return sorted(self._at_work.intersection(children))

    def _kill_children(self) -> None:
        victims = self._victims()
        for pid in self._dice.sample(victims, min(len(victims), self._dice.randint(1, 2))):
            with contextlib.suppress(ProcessLookupError):
                self.here.kill(pid)
                self.tally.children += 1

    def _stop(self, worker: Worker) -> None:
        """It and its children stand still for longer than a lease, and then go on as if nothing had been."""
        pids = [worker.process.pid]
        os.kill(worker.process.pid, signal.SIGSTOP)  # first, so that none of its children comes or goes
        pids += children_of(worker.process.pid)
        self.here.disturbed.update(pids)
        self.here.late.update(pids)
        for pid in pids[1:]:
            os.kill(pid, signal.SIGSTOP)
        self._stopped = (time.monotonic() + LEASE_S * self._dice.uniform(1.5, 3.0), pids)
        self.tally.stops += 1

    def _go_on(self, *, now: bool = False) -> None:
        if self._stopped is not None and (now or time.monotonic() >= self._stopped[0]):
            for pid in reversed(self._stopped[1]):  # its supervisor last: until then it reaps nobody
                os.kill(pid, signal.SIGCONT)
            self._stopped = None

    # -- the end ----------------------------------------------------------------------------------------------------

    def _calm(self) -> Report:
        self._go_on(now=True)
        self._crew()
        here, names = self.here, self.here.broker.keys("work")

        def drained() -> bool:
            count = here.broker.link.execute
            kept = count("HLEN", names.body) == count("ZCARD", names.dead)
            return bool(kept and not count("ZCARD", names.leases) and not pending_of(here.broker, "work"))

        try:
            here.until(drained, "the queue to drain")
        except AssertionError as error:
            raise AssertionError(f"{_left(here)}; {error}") from error
        return here.history().judge(here.disturbed, here.late, dead=True)


def _left(here: Stage) -> str:
    """What a queue that does not drain still holds."""
    count, names = here.broker.link.execute, here.broker.keys("work")
    ids = set(count("HKEYS", names.body)) - set(count("ZRANGE", names.dead, 0, -1))
    records = {raw.hex(): count("HGET", names.state, raw) for raw in sorted(ids)[:5]}
    inspector = Inspector(here.broker.link, here.namespace)
    tally = count("HGETALL", names.tally)
    return f"left: {len(ids)}, such as {records}; {inspector.queue('work')}; {pending_of(here.broker, 'work')}; {tally}"


def main() -> int:
    """The command line of `make chaos` and `make soak`."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--seed", type=int, default=int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    )
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--restarts", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1_200.0)
    parser.add_argument(
        "--transport", choices=[*get_args(Transport), "both"], default="both", help="both: half of it each"
    )
    parser.add_argument("--minutes", type=float, help="a soak: for so long, however much has been done")
    given = parser.parse_args()
    transports = get_args(Transport) if given.transport == "both" else (given.transport,)
    share = len(transports)
    plan, soak = Plan(given.kills // share, given.restarts // share, given.seconds / share), given.minutes is not None
    if soak:  # Never met: a soak ends with its time. The ratio of kills to restarts is that of chaos.
        plan = Plan(5 * 10**6, 10**6, given.minutes * 60 / share)
    return max([once(plan, given.seed, transport, Memory() if soak else None) for transport in transports])


def once(plan: Plan, seed: int, transport: Transport, memory: Memory | None = None) -> int:
    """One run on a server of its own; prints its figures and answers the exit code."""
    name = ("chaos" if memory is None else "soak") + f" ({transport})"
    print(f"{name}: SEED={seed}", flush=True)
    server = RealServer(need_server(), ServerOptions(aof=True)).start()
    began = time.monotonic()
    try:
        with stage(server, f"chaos{seed}", LEASE_S, transport) as here:
            chaos = Chaos(here, plan, seed, memory)
            report = chaos.run(lambda line: print(f"{name}: {line}", flush=True))
    finally:
        server.close()
    if memory is not None:
        print(f"{name}: {memory}", flush=True)
    if not report.clean:
        print(f"{name}: {report.details}", flush=True)
    verdict = "ok" if report.clean else "FAILED"
    print(f"{name}: {verdict}: {report}; {chaos.tally}; {time.monotonic() - began:.0f} s; SEED={seed}", flush=True)
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
