"""The whole game: producers, children and supervisors around one queue, people, the network and time."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from tests.model.children import Children
from tests.model.judge import check_queue
from tests.model.naming import tidy, view
from tests.model.search import Broken, Move
from tests.model.supervisors import Supervisors
from tests.model.wire import doubted, spend, waiting_producer
from tests.model.world import IDLE, KEEPER, Call, Producer, World


class Play(Children, Supervisors):
    """What `explore` searches."""

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
            and all(mid in queue.state and queue.state[mid].kind in "xq" for mid in queue.body)
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
        mine = {mid for kind, mid in answer if kind == "n"}
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

    # -- the rest of the world

    def people(self, world: World) -> Iterator[Move]:
        queue = world.queue
        for name, ids in (("cancel", queue.body), ("redrive", queue.dead)):
            for mid in ids if getattr(world.budget, name) else ():
                call = Call(KEEPER, name, 0, (mid if name == "cancel" else (mid,),))
                yield from self.send(spend(world, name), call, f"{name} {mid}")
        if queue.parked:
            call = Call(KEEPER, "unpark", 0, ("t", 250))
            yield from self.send(world, call, "unpark")
        if any(due <= world.now for due in queue.delayed.values()):
            yield from self.send(world, Call(KEEPER, "promote", 0, ()), "promote")

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
            yield "failover to the replica", False, after._replace(workers=tuple(map(doubted, world.workers)))
        sent = world.producer.call
        if world.budget.forget and sent and sent.number > 1 and not world.queue.ended:
            yield self.forgotten_lane(world)
        if world.budget.nap and world.queue.workers:
            queue = world.queue.copy()
            queue.workers.clear()
            after = spend(world, "nap")._replace(queue=queue, gone=frozenset())
            yield "worker keys expire", False, after._replace(workers=tuple(map(doubted, world.workers)))

    def forgotten_lane(self, world: World) -> Move:
        """The producer's host slept for an hour, so the server forgot the lane, then it repeats its call."""
        queue = world.queue.copy()
        queue.lanes.clear()
        label = "after an hour, on a new lane: enqueue"
        moved = self.moved(spend(world, "forget")._replace(queue=queue))
        assert moved.producer.call is not None
        queue, answer = self.run(moved, moved.producer.call, label)
        return label, False, self.enqueued(moved._replace(queue=queue), answer)

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
