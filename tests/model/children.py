"""What a child does: it leases, runs, settles, and repeats each call until that is answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskq.tasks.broker import Buried, Finished, Held, Retried
from tests.model.naming import fresh_nonce, next_number, tokens_in
from tests.model.search import Broken, Move
from tests.model.store import CANCEL, ONCE, PRIORITIES, STARTED, Token
from tests.model.wire import Wire, drop_job, replace_job, spend
from tests.model.world import IDLE, OP, Call, Job, Worker, World


class Children(Wire):
    """All children are alike; one with nothing in hand may be any of them."""

    def worker(self, world: World, slot: int, worker: Worker) -> Iterator[Move]:
        name = f"child {worker.nonce}"
        if worker.ticket is not None:
            yield from self.lease(world, slot, worker.ticket, f"{name} repeats its lease")
        elif worker.op is not None:
            yield from self.settle(world, slot, worker.op, worker.jobs[0], f"{name} repeats its {worker.op.verb}")
        else:
            if not worker.jobs:
                yield from self.leases(world, slot, worker)
            for job in worker.jobs:
                yield from self.job(world, slot, worker, job, f"{name} {{}} {job.id}")

    def leases(self, world: World, slot: int, worker: Worker) -> Iterator[Move]:
        lists = world.queue.lists
        nonce = worker.nonce or fresh_nonce(world)
        sources: list[tuple[tuple[str, ...], int]] = []
        if any(one in lists for one in PRIORITIES):
            sources.append((PRIORITIES, self.scenario.batch))
        sources += [((one,), 1) for one in lists if one not in PRIORITIES]
        for names, limit in sources:
            number = next_number(world, nonce, "lease")
            call = Call(nonce, "lease", number, (self.token(world, nonce), names, limit))
            yield from self.lease(
                world, slot, call, f"child {nonce} leases" + (f" {names[0]}" if len(names) == 1 else "")
            )

    def token(self, world: World, nonce: Any) -> Token:
        """The nonce, and something that was never used before."""
        used = tokens_in(world)
        return next((nonce, number) for number in range(1, 99) if (nonce, number) not in used)

    def lease(self, world: World, slot: int, call: Call, label: str) -> Iterator[Move]:
        def then(after: World, answer: Any) -> World:
            code, _, given = answer
            if code == 3:
                return after.with_worker(slot, IDLE)
            token = call.args[0]
            if not given and token in after.queue.held:
                raise Broken("a child is told that it got nothing, and holds messages", label)
            jobs = tuple(Job(one.id, token, "c" if one.flags & CANCEL else "w", one.attempts) for one in given)
            return after.with_worker(slot, Worker(call.nonce, None, jobs))

        def waits(after: World) -> World:
            return self.unanswered_lease(after, slot, call)

        yield from self.send(world, call, label, then, waits)

    def unanswered_lease(self, world: World, slot: int, call: Call) -> World:
        """The ticket is kept until its answer is there."""
        return world.with_worker(slot, Worker(call.nonce, call))

    def job(self, world: World, slot: int, worker: Worker, job: Job, label: str) -> Iterator[Move]:
        held = (Held(job.id, job.token),)
        if job.phase == "w":
            yield from self.begin(world, slot, worker, job, label.format("starts"))
            if world.budget.release:
                paid = spend(world, "release")
                call = Call(worker.nonce, "release", 0, (held,))
                yield from self.settle(paid, slot, call, job, label.format("releases"))
            if world.budget.park:
                call = Call(worker.nonce, "park", 0, (((held[0], "t"),),))
                yield from self.settle(spend(world, "park"), slot, call, job, label.format("parks"))
        elif job.phase == "c":
            item = Finished(job.id, job.token, "c", b"c", 9)
            call = self.numbered(world, worker, "ack", item)
            yield from self.settle(world, slot, call, job, label.format("drops the cancelled"))
        elif job.id not in self.scenario.poison:
            for outcome in self.scenario.outcomes:
                if (item := self.outcome(outcome, job)) is not None:
                    verb = {"ack": "ack", "dead": "dead_letter"}.get(outcome, "nack")
                    call = self.numbered(world, worker, verb, item)
                    yield from self.settle(world, slot, call, job, label.format(f"ends ({outcome})"))

    def outcome(self, outcome: str, job: Job) -> Any:
        """What becomes of a run; None if the policy says otherwise."""
        if outcome == "ack":
            return Finished(job.id, job.token, "d", b"d", 9)
        if outcome == "dead":
            return Buried(job.id, job.token, b"dead", b"x", 9)
        if job.attempts + 1 >= self.scenario.attempts:
            return None
        return Retried(job.id, job.token, 1 if outcome == "later" else 0, True, b"error")

    def numbered(self, world: World, worker: Worker, verb: str, item: Any) -> Call:
        return Call(worker.nonce, verb, next_number(world, worker.nonce, OP[verb]), ((item,),))

    def begin(self, world: World, slot: int, worker: Worker, job: Job, label: str) -> Iterator[Move]:
        started = replace_job(world, slot, job, job._replace(phase="r"))
        if job.id not in self.scenario.once:
            yield label, True, started.start(job.id)
            return

        def then(after: World, answer: Any) -> World:
            gone = after.with_worker(slot, drop_job(after.workers[slot], job))
            return gone if answer[2] else replace_job(after, slot, job, job._replace(phase="r")).start(job.id)

        call = Call(worker.nonce, "extend", 0, ((), ((job.token, job.id, STARTED | ONCE),)))
        yield from self.send(world, call, label, then)

    def settle(self, world: World, slot: int, call: Call, job: Job, label: str) -> Iterator[Move]:
        def then(after: World, answer: Any) -> World:
            if answer == "stale":
                raise Broken("a child is told that it has numbered its calls wrongly", label)
            if job.phase == "s" and call.number and job.id in answer:
                raise Broken(f"a child is told that {job.id} was lost to it, though its outcome was stored", label)
            return after.with_worker(slot, drop_job(after.workers[slot], job)._replace(op=None))

        def waits(after: World, phase: str = "f") -> World:
            """It has ended, and its outcome is sent again and again, before anything else."""
            worker = after.workers[slot]
            rest = tuple(one for one in worker.jobs if one.id != job.id)
            jobs = (job._replace(phase="s" if job.phase == "s" else phase), *rest)
            return after.with_worker(slot, worker._replace(jobs=jobs, op=call))

        def unheard(after: World, answer: Any) -> World:
            return waits(after, "f" if job.id in answer else "s")

        yield from self.send(world, call, label, then, waits, unheard)
