"""What producers, workers, supervisors and the network do, move by move. A mutant of a client overrides one of its rules."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

from taskq.tasks.broker import Buried, Finished, Held, Retried
from tests.model.judge import check_queue, judge
from tests.model.search import Broken, Move
from tests.model.store import CANCEL, ONCE, PRIORITIES, STARTED, Id, Token
from tests.model.upkeep import Queue
from tests.model.world import (
    KEEPER,
    OP,
    IDLE,
    Call,
    Death,
    Job,
    Producer,
    Scenario,
    Worker,
    World,
    fresh_nonce,
    next_number,
    tidy,
    tokens_in,
    view,
)

Then = Callable[[World, Any], World]


class Play:
    """One scenario. Every call goes one of three ways: answered; executed, but the reply is lost; or cut off, so that its
    sender repeats it while a copy of it may still be executed at any later time.
    """

    def __init__(self, scenario: Scenario, queue: type[Queue] = Queue) -> None:
        self.scenario = scenario
        self.queue = type(queue.__name__, (queue,), {"settings": scenario.settings, "__slots__": ()})

    # -- the game

    def start(self) -> World:
        return World(self.queue(), (IDLE,) * self.scenario.workers, self.scenario.budget)

    def key(self, world: World) -> Hashable:
        return (view(world.queue, world.now), view(world.replica, world.now), *world[1:3], *world[5:])

    def check(self, world: World) -> None:
        check_queue(world, self.scenario)

    def over(self, world: World) -> bool:
        """Nothing is under way, and every message is over or waits for an operator."""
        queue, idle = world.queue, all(not (one.jobs or one.ticket or one.op) for one in world.workers)
        return (
            idle
            and world.producer.call is None
            and world.producer.sent == len(self.scenario.sends)
            and not (world.deaths or world.condemned)
            and all(id in queue.state and queue.state[id].kind in "xq" for id in queue.body)
        )

    def moves(self, world: World) -> Iterator[Move]:
        for label, healthy, reached in self._all(world):
            yield label, healthy, tidy(reached)

    def _all(self, world: World) -> Iterator[Move]:
        yield from self.producer(world)
        for slot, worker in enumerate(world.workers):
            yield from self.worker(world, slot, worker)
            yield from self.faults(world, slot, worker)
        yield from self.keeper(world)
        yield from self.people(world)
        yield from self.network(world)
        yield from self.time(world)

    # -- calls

    def run(self, world: World, call: Call, label: str) -> tuple[Queue, Any]:
        """Execute one call at the server, and judge what it did."""
        queue = world.queue.copy()
        answer = self.invoke(queue, call, world.now)
        if call.verb == "lease" and answer[2]:
            queue.owner[call.args[0]] = call.nonce
        queue.ended = queue.ended | (world.queue.body.keys() - queue.body.keys())
        try:
            judge(world, queue, call, answer)
        except Broken as broken:
            raise Broken(broken.reason, label) from None
        return queue, answer

    def invoke(self, queue: Queue, call: Call, now: int) -> Any:
        nonce, verb, number, args = call
        if verb == "enqueue":
            return queue.enqueue(now, nonce, number, *args)
        if verb == "lease":
            return queue.lease(now, nonce, number, *args)
        if verb in OP:
            return getattr(queue, verb)(now, (nonce, number) if number else None, *args)
        if verb == "reclaim":
            token, mode, started = args
            return queue.reclaim(now, token[0], token, mode, b"died", started)
        return getattr(queue, verb)(now, *args)

    def send(self, world: World, call: Call, label: str, then: Then, waits: Callable[[World], World]) -> Iterator[Move]:
        queue, answer = self.run(world, call, label)
        yield label, True, then(world._replace(queue=queue), answer)
        if world.budget.lost:
            yield f"{label}: executed, reply lost", False, waits(spend(world._replace(queue=queue), "lost"))
        if world.budget.late:
            yield f"{label}: cut off", False, waits(spend(world._replace(wire=world.wire | {call}), "late"))

    # -- producer

    def producer(self, world: World) -> Iterator[Move]:
        state, sends = world.producer, self.scenario.sends
        if state.sent == len(sends):
            return
        call = state.call or Call(("lane", state.lane), "enqueue", state.number + 1, (sends[state.sent],))
        names = ", ".join(str(message.id) for message in call.args[0])
        yield from self.send(world, call, f"enqueue {names}", self.enqueued, lambda w: waiting_producer(w, call))

    def enqueued(self, world: World, answer: Any) -> World:
        state = world.producer
        if answer == "stale":
            raise Broken("a producer is told that it has numbered its calls wrongly", "enqueue")
        if answer == "gap":
            return self.moved(world)
        mine = {id for kind, id in answer if kind == "n"}
        done = Producer(state.sent + 1, state.lane, state.number + 1)
        return world._replace(producer=done, promised=world.promised | mine)

    def moved(self, world: World) -> World:
        """The server knows nothing of the lane: a new one, with the ids checked if the call had been sent before."""
        state = world.producer
        messages = self.scenario.sends[state.sent]
        if state.call is not None:
            messages = tuple(message._replace(explicit=True) for message in messages)
        call = Call(("lane", state.lane + 1), "enqueue", 1, (messages,))
        return world._replace(producer=Producer(state.sent, state.lane + 1, 0, call))

    # -- children

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
            yield from self.lease(world, slot, call, f"child {nonce} leases" + (f" {names[0]}" if len(names) == 1 else ""))

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
            jobs = tuple(
                Job(one.id, token, "c" if one.flags & CANCEL else "w", one.attempts)
                for one in given
            )
            return after.with_worker(slot, Worker(call.nonce, None, jobs))

        def waits(after: World) -> World:
            return self.unanswered_lease(after, slot, call)

        yield from self.send(world, call, label, then, waits)

    def unanswered_lease(self, world: World, slot: int, call: Call) -> World:
        """The ticket is kept until its answer is there."""
        return world.with_worker(slot, Worker(call.nonce, call))

    def job(self, world: World, slot: int, worker: Worker, job: Job, label: str) -> Iterator[Move]:
        held = (Held(job.id, job.token),)
        settle = lambda call, text: self.settle(world, slot, call, job, label.format(text))  # noqa: E731
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
            yield from settle(self.numbered(world, worker, "ack", item), "drops the cancelled")
        elif job.id not in self.scenario.poison:
            for outcome in self.scenario.outcomes:
                if (item := self.outcome(outcome, job)) is not None:
                    verb = {"ack": "ack", "dead": "dead_letter"}.get(outcome, "nack")
                    yield from settle(self.numbered(world, worker, verb, item), f"ends ({outcome})")

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
        yield from self.send(world, call, label, then, lambda after: after)

    def settle(self, world: World, slot: int, call: Call, job: Job, label: str) -> Iterator[Move]:
        def then(after: World, answer: Any) -> World:
            if answer == "stale":
                raise Broken("a child is told that it has numbered its calls wrongly", label)
            return after.with_worker(slot, drop_job(after.workers[slot], job)._replace(op=None))

        def waits(after: World) -> World:
            """It has ended, and its outcome is sent again and again, before anything else."""
            worker = after.workers[slot]
            rest = tuple(one for one in worker.jobs if one.id != job.id)
            jobs = (job._replace(phase="f"), *rest)
            return after.with_worker(slot, worker._replace(jobs=jobs, op=call))

        yield from self.send(world, call, label, then, waits)

    # -- supervisors

    def faults(self, world: World, slot: int, worker: Worker) -> Iterator[Move]:
        running = [job.id for job in worker.jobs if job.phase == "r"]
        poisoned = any(id in self.scenario.poison for id in running)
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
                yield from self.send(world, call, label, condemn(token), lambda after: after)
        for id, token in world.condemned:
            call = Call(KEEPER, "dead_letter", 0, ((Buried(id, token, b"dead", b"x", 9),),))
            rest = world.condemned - {(id, token)}
            yield from self.send(
                world, call, f"condemned {id} is buried", lambda w, _, rest=rest: w._replace(condemned=rest), lambda w: w
            )

    def beat_is_of_use(self, world: World, worker: Worker) -> bool:
        leases, state = world.queue.leases, world.queue.state
        if any(leases.get(token, 9**9) <= world.now for token in worker.tokens()):
            return True
        for job in worker.jobs:
            record = state.get(job.id)
            if record is not None and job.phase != "f" and record.token == job.token:
                if (job.phase == "r" and not record.flags & STARTED) or (job.phase == "w" and record.flags & CANCEL):
                    return True
        return False

    def beat_call(self, world: World, worker: Worker) -> Call:
        marks = tuple((job.token, job.id, STARTED) for job in worker.jobs if job.phase == "r")
        return Call(worker.nonce, "extend", 0, (worker.tokens(), marks))

    def beaten(self, world: World, slot: int, answer: Any) -> World:
        worker, cancelled = world.workers[slot], answer[1]
        jobs = tuple(job._replace(phase="c") if job.phase == "w" and job.id in cancelled else job for job in worker.jobs)
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
        yield from self.send(world, call, label, then, lambda after: after)

    # -- the rest of the world

    def people(self, world: World) -> Iterator[Move]:
        queue = world.queue
        for name, ids in (("cancel", queue.body), ("redrive", queue.dead)):
            for id in ids if getattr(world.budget, name) else ():
                call = Call(KEEPER, name, 0, (id if name == "cancel" else (id,),))
                yield from self.send(spend(world, name), call, f"{name} {id}", lambda w, _: w, lambda w: w)
        if queue.parked:
            call = Call(KEEPER, "unpark", 0, ("t", 250))
            yield from self.send(world, call, "unpark", lambda w, _: w, lambda w: w)
        if any(due <= world.now for due in queue.delayed.values()):
            yield from self.send(world, Call(KEEPER, "promote", 0, ()), "promote", lambda w, _: w, lambda w: w)

    def network(self, world: World) -> Iterator[Move]:
        for call in world.wire:
            label = f"late {call.verb} of {call.nonce}"
            queue, _ = self.run(world, call, label)
            yield label, False, world._replace(queue=queue, wire=world.wire - {call})
        if world.budget.failover and world.replica is None:
            yield "the replica begins to lag", False, world._replace(replica=world.queue.copy())
        if world.replica is not None:
            replica = world.replica
            known = world.promised & (replica.body.keys() | replica.ended)
            after = spend(world, "failover")._replace(queue=replica, replica=None, promised=known, gone=frozenset())
            yield "failover to the replica", False, after

    def time(self, world: World) -> Iterator[Move]:
        """Time passes with every child alive and beating, or with nobody beating."""
        leases, delayed = world.queue.leases, world.queue.delayed
        if not any(at > world.now for at in (*leases.values(), *delayed.values())):
            return
        later = world._replace(now=world.now + 1)
        if world.budget.stall:
            yield "time passes, no heartbeat", False, spend(later, "stall")
        if world.deaths:  # a supervisor gives back before it beats
            return
        for slot, worker in enumerate(world.workers):
            if worker.tokens():
                queue, answer = self.run(later, self.beat_call(later, worker), "heartbeats")
                later = self.beaten(later._replace(queue=queue), slot, answer)
        yield "time passes, with heartbeats", True, later


# -- small changes


def spend(world: World, name: str) -> World:
    return world._replace(budget=world.budget.less(name))


def waiting_producer(world: World, call: Call) -> World:
    return world._replace(producer=world.producer._replace(call=call))


def replace_job(world: World, slot: int, old: Job, new: Job) -> World:
    worker = world.workers[slot]
    jobs = tuple(new if job == old else job for job in worker.jobs)
    return world.with_worker(slot, worker._replace(jobs=jobs))


def drop_job(worker: Worker, gone: Job) -> Worker:
    return worker._replace(jobs=tuple(job for job in worker.jobs if job.id != gone.id))


def condemn(token: Token) -> Then:
    def then(world: World, answer: Iterable[tuple[Id, int, bool]]) -> World:
        return world._replace(condemned=world.condemned | {(id, token) for id, _, _ in answer})

    return then
