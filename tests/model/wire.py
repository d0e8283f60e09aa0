"""How a call goes: answered; executed, but the reply is lost; or cut off, so that its sender repeats it.

A copy of a call that was cut off may still be executed, at any later time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.model.judge import judge
from tests.model.search import Broken, Move
from tests.model.store import Id, Token
from tests.model.upkeep import Queue
from tests.model.world import OP, Call, Job, Scenario, Worker, World

Then = Callable[[World, Any], World]


class Wire:
    """One scenario, and the server in it. A mutant of a client overrides one of the rules of a subclass."""

    def __init__(self, scenario: Scenario, queue: type[Queue] = Queue) -> None:
        self.scenario = scenario
        self.queue = type(queue.__name__, (queue,), {"settings": scenario.settings, "__slots__": ()})

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

    def send(
        self,
        world: World,
        call: Call,
        label: str,
        then: Then = lambda world, _: world,
        waits: Callable[[World], World] = lambda world: world,
        unheard: Then | None = None,
    ) -> Iterator[Move]:
        """`then` hears the answer; `waits` has none; `unheard`, if given, is `waits` after the call was executed."""
        queue, answer = self.run(world, call, label)
        yield label, True, then(world._replace(queue=queue), answer)
        if world.budget.lost:
            executed = spend(world._replace(queue=queue), "lost")
            reached = waits(executed) if unheard is None else unheard(executed, answer)
            yield f"{label}: executed, reply lost", False, reached
        if world.budget.late:
            yield f"{label}: cut off", False, waits(spend(world._replace(wire=world.wire | {call}), "late"))


# -- small changes


def spend(world: World, name: str) -> World:
    return world._replace(budget=world.budget.less(name))


def waiting_producer(world: World, call: Call) -> World:
    return world._replace(producer=world.producer._replace(call=call))


def replace_job(world: World, slot: int, old: Job, new: Job) -> World:
    worker = world.workers[slot]
    jobs = tuple(new if job == old else job for job in worker.jobs)
    return world.with_worker(slot, worker._replace(jobs=jobs))


def doubted(worker: Worker) -> Worker:
    """After a failover nobody knows any more whether an outcome is stored."""
    return worker._replace(jobs=tuple(job._replace(phase="f") if job.phase == "s" else job for job in worker.jobs))


def drop_job(worker: Worker, gone: Job) -> Worker:
    return worker._replace(jobs=tuple(job for job in worker.jobs if job.id != gone.id))


def condemn(token: Token) -> Then:
    def then(world: World, answer: Iterable[tuple[Id, int, bool]]) -> World:
        return world._replace(condemned=world.condemned | {(mid, token) for mid, _, _ in answer})

    return then


def bury(mid: Id, token: Token) -> Then:
    return lambda world, _: world._replace(condemned=world.condemned - {(mid, token)})
