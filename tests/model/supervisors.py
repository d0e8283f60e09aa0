"""What befalls children, and what their supervisors do about it: heartbeats, reclaims, recalls, burials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskq.tasks.broker import Buried
from tests.model.search import Move
from tests.model.store import CANCEL, STARTED, Id
from tests.model.wire import Wire, bury, condemn, spend
from tests.model.world import IDLE, KEEPER, Call, Death, Worker, World


class Supervisors(Wire):
    """A supervisor may die with its child, or after it, before it gave everything back."""

    def faults(self, world: World, slot: int, worker: Worker) -> Iterator[Move]:
        running = [job.id for job in worker.jobs if job.phase == "r"]
        poisoned = any(mid in self.scenario.poison for mid in running)
        if poisoned or (world.budget.crash and (worker.jobs or worker.ticket)):
            paid = world if poisoned else spend(world, "crash")
            tokens = worker.tokens()
            deaths = world.deaths | {Death(worker.nonce or 0, tokens, tuple(running))}
            yield f"child {worker.nonce} dies", poisoned, self.reborn(paid._replace(deaths=deaths), slot)
        if world.budget.host and (worker.jobs or worker.ticket):
            yield f"the host of child {worker.nonce} dies", False, self.reborn(spend(world, "host"), slot)
        if world.budget.recall and worker.op is None and worker.tokens():
            yield from self.recall(spend(world, "recall"), slot, worker, tuple(running))

    def reborn(self, world: World, slot: int) -> World:
        """A new child draws a new nonce when it first needs one."""
        return world.with_worker(slot, IDLE)

    def recall(self, world: World, slot: int, worker: Worker, running: tuple[Id, ...]) -> Iterator[Move]:
        """What a stuck child did not start goes back; it starts nothing until this is answered."""

        def then(after: World, answer: Any) -> World:
            kept = tuple(job for job in worker.jobs if job.phase == "r")
            return after.with_worker(slot, worker._replace(jobs=kept))

        for token in worker.tokens():
            call = Call(KEEPER, "reclaim", 0, (token, "recall", running))
            queue, answer = self.run(world, call, f"recall from child {worker.nonce}")
            yield f"recall from child {worker.nonce}", False, then(world._replace(queue=queue), answer)
            if world.budget.late:
                late = spend(world._replace(queue=queue, wire=world.wire | {call}), "late")
                yield f"recall from child {worker.nonce}, and a copy lags", False, then(late, answer)

    def keeper(self, world: World) -> Iterator[Move]:
        for slot, worker in enumerate(world.workers):
            if self.beat_is_of_use(world, worker):
                call = self.beat_call(world, worker)
                label = f"heartbeat of child {worker.nonce}"
                queue, answer = self.run(world, call, label)
                yield label, True, self.beaten(world._replace(queue=queue), slot, answer)
                if world.budget.late:
                    yield f"{label}: cut off", False, spend(world._replace(wire=world.wire | {call}), "late")
        for death in world.deaths:
            yield from self.give_back(world, death)
        if world.budget.host and (world.deaths or world.condemned):
            alone = spend(world, "host")._replace(deaths=frozenset(), condemned=frozenset())
            yield "a supervisor dies before it gave everything back", False, alone
        for token, deadline in world.queue.leases.items():
            if deadline <= world.now:
                call = Call(KEEPER, "reclaim", 0, (token, "lapse", ()))
                label = f"lapse of {token}"
                yield from self.send(world, call, label, condemn(token))
        for mid, token in world.condemned:
            call = Call(KEEPER, "dead_letter", 0, ((Buried(mid, token, b"dead", b"x", 9),),))
            yield from self.send(world, call, f"condemned {mid} is buried", bury(mid, token))

    def beat_is_of_use(self, world: World, worker: Worker) -> bool:
        leases, state = world.queue.leases, world.queue.state
        if any(leases.get(token, 9**9) <= world.now for token in worker.tokens()):
            return True
        for job in worker.jobs:
            record = state.get(job.id)
            if record is None or record.token != job.token:
                continue
            if job.phase == "r" and not record.flags & STARTED:
                return True
            if job.phase == "w" and record.flags & CANCEL:
                return True
        return False

    def beat_call(self, world: World, worker: Worker) -> Call:
        marks = tuple((job.token, job.id, STARTED) for job in worker.jobs if job.phase == "r")
        return Call(worker.nonce, "extend", 0, (worker.tokens(), marks))

    def beaten(self, world: World, slot: int, answer: Any) -> World:
        worker, cancelled = world.workers[slot], answer[1]
        jobs = tuple(
            job._replace(phase="c") if job.phase == "w" and job.id in cancelled else job for job in worker.jobs
        )
        return world.with_worker(slot, worker._replace(jobs=jobs))

    def give_back(self, world: World, death: Death) -> Iterator[Move]:
        token = death.tokens[0]

        def then(after: World, answer: Any) -> World:
            left = after.deaths - {death}
            if len(death.tokens) > 1:
                left |= {death._replace(tokens=death.tokens[1:])}
            return condemn(token)(after._replace(deaths=left, gone=after.gone | {death.nonce}), answer)

        call = Call(KEEPER, "reclaim", 0, (token, "crash", death.started))
        label = f"the supervisor gives back what child {death.nonce} had"
        yield from self.send(world, call, label, then)
