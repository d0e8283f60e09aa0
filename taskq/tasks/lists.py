"""The eight verbs over Redis, for threads; `async_lists` has the face for event loops.

A queue is a list queue unless it is known to be a stream queue: its keys then say so, and the calls built with them run
the scripts of that transport. What is not declared here is learned when the broker refuses a call because of it.

Every verb is one script or a pipeline of scripts; a verb that is sent again changes nothing. Only `enqueue` repeats by
itself, until its time is up; the other verbs raise, and their caller repeats them with the same ticket or op.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from taskq.backoff import pauses
from taskq.errors import BrokerUnavailable, TaskqError
from taskq.store.connection import SyncLink
from taskq.store.keys import QueueKeys, queue_keys
from taskq.store.keys import queues as queues_key
from taskq.store.scripts import Call, run, run_many
from taskq.tasks import calls, stream_calls
from taskq.tasks.bells import ClusterBells
from taskq.tasks.broker import (
    LEASE_BYTES,
    LEASE_MESSAGES,
    Accepted,
    Buried,
    Condemned,
    Extended,
    Features,
    Finished,
    Found,
    Held,
    Leased,
    Mark,
    Op,
    Outgoing,
    Retried,
    Swept,
    Ticket,
)
from taskq.tasks.calls import Limits
from taskq.tasks.lanes import LanePool, Unconfirmed
from taskq.tasks.packing import FAILURES
from taskq.tasks.queues import OtherTransport, Queue, Queues, Retain
from taskq.tasks.sending import Sending
from taskq.tasks.stream_calls import Watched

T = TypeVar("T")


class Face:
    """What both faces share: names, limits, lanes, transports; no I/O."""

    def __init__(
        self,
        namespace: str,
        limits: Limits | None = None,
        enqueue_timeout: float = 2.0,
        queues: Queues | None = None,
    ) -> None:
        self.namespace = namespace
        self.limits = limits or Limits()
        self.enqueue_timeout = enqueue_timeout
        self.lanes = LanePool()
        self.queues = Queues() if queues is None else queues
        self._known: set[str] = set()

    def keys(self, queue: str) -> QueueKeys:
        """The keys of a queue in this namespace, for its transport."""
        return queue_keys(self.namespace, queue, self.queues.streamed(queue))

    def features_of(self, queue: str) -> Features:
        """What the transport of a queue can do beyond the contract."""
        return self.queues.features(queue)

    def relearn(self, queue: str, answers: Sequence[object], messages: Sequence[Outgoing] = ()) -> bool:
        """Whether calls were refused since this is a stream queue: they are to be built and sent again.

        Raises ConfigError, InvalidOption: nothing was written, and nothing will be.
        """
        if not any(isinstance(answer, OtherTransport) for answer in answers):
            return False
        self.queues.learn(queue)
        self.queues.check(queue, messages)
        return True

    def wires(self, queue: str, todo: Sequence[Unconfirmed]) -> list[Call[list[Accepted]]]:
        """The calls of an enqueue as scripts; each on a lane of its own, so that none waits for another's answer."""
        keys = self.keys(queue)
        return [calls.enqueue(keys, call.lane.nonce, call.number, call.messages, self.limits) for call in todo]


class ListBroker(Face):
    """Both transports for threads; `taskq.tasks.broker.Broker` says what each verb promises."""

    def __init__(
        self,
        link: SyncLink,
        namespace: str,
        limits: Limits | None = None,
        enqueue_timeout: float = 2.0,
        queues: Queues | None = None,
    ) -> None:
        super().__init__(namespace, limits, enqueue_timeout, queues)
        self.link = link
        self._bells = ClusterBells(link) if link.url.kind == "cluster" else None

    # -- the eight verbs --------------------------------------------------------------------------------------------

    def enqueue(self, queue: str, messages: Sequence[Outgoing], timeout: float | None = None) -> list[Accepted]:
        if not messages:
            return []
        self.queues.check(queue, messages)
        answers: list[list[Accepted] | TaskqError] = []
        begin = time.monotonic()
        begun = Sending.alone(self.lanes, queue, messages) if queue in self._known else None
        if begun is not None:
            answers = self._send(queue, (begun,))
            if isinstance(accepted := answers[0], list) and accepted:
                begun.lane.number = begun.number
                self.lanes.give(queue, begun.lane)
                return accepted
        limit = self.enqueue_timeout if timeout is None else timeout
        tries = pauses(begin + limit)
        self._announce(queue)
        sending = Sending(self.lanes, queue, messages, begun)
        while sending.todo:
            lost = sending.take(answers or self._send(queue, sending.todo))
            answers = []
            if lost is not None:
                pause = next(tries, None)
                if pause is None:
                    raise sending.unconfirmed(limit, lost) from lost
                time.sleep(pause)
        return sending.accepted()

    def lease(
        self, queue: str, ticket: Ticket, limit: int, *, alone: bool = False, parked: str | None = None
    ) -> Leased:
        def send() -> Leased:
            wire = calls.lease(self.keys(queue), ticket, limit, self.limits, alone=alone, parked=parked)
            return run(self.link, wire)

        try:
            return send()
        except OtherTransport:
            self.queues.learn(queue)
            return send()

    def extend(self, queue: str, tokens: Sequence[bytes], marks: Sequence[Mark] = ()) -> Extended:
        return run(self.link, calls.extend(self.keys(queue), tokens, marks, self.limits))

    def ack(self, queue: str, items: Sequence[Finished], op: Op | None = None) -> list[bytes]:
        return run(self.link, calls.ack(self.keys(queue), items, op, self.limits))

    def nack(self, queue: str, items: Sequence[Retried], op: Op | None = None) -> list[bytes]:
        return run(self.link, calls.nack(self.keys(queue), items, op, self.limits))

    def dead_letter(self, queue: str, items: Sequence[Buried], op: Op | None = None) -> list[bytes]:
        return run(self.link, calls.dead_letter(self.keys(queue), items, op, self.limits))

    def release(self, queue: str, items: Sequence[Held]) -> list[bytes]:
        return run(self.link, calls.release(self.keys(queue), items))

    def sweep(self, queue: str, *, jumped: bool = False) -> Swept:
        keys = self.keys(queue)
        swept = run(self.link, calls.sweep(keys, self.limits, jumped=jumped))
        if swept.streamed or keys.streamed:
            self.queues.learn(queue)
            keys = self.keys(queue)
            while self.tend(queue).more:
                pass
        due = swept.due
        while due is not None and due <= swept.now:
            moved, due = run(self.link, calls.promote(keys))
            if not moved:
                break
        return swept if due == swept.due else replace(swept, due=due)

    # -- what a worker and a caller need beside them ----------------------------------------------------------------

    def promote(self, queue: str) -> float | None:
        """Due messages to ready, at most one script's worth; answers the next due time in ms, or None."""
        return run(self.link, calls.promote(self.keys(queue)))[1]

    def reclaim(
        self, queue: str, token: bytes, line: bytes, mode: calls.Mode = "lapse", started: Sequence[bytes] = ()
    ) -> list[Condemned]:
        """Take back what a token holds; what is condemned stays held for `dead_letter`."""
        return run(self.link, calls.reclaim(self.keys(queue), token, line, self.limits, mode=mode, started=started))

    def declare(self, queue: Queue) -> None:
        """Make a queue and its transport known at the broker. Raises ConfigError if its stream still holds messages."""
        self.queues.declare(queue)
        self.link.execute("SADD", queues_key(self.namespace), queue.name)
        run(self.link, stream_calls.declare(self.namespace, queue))
        self._known.add(queue.name)

    def announce(self, queue: str) -> None:
        """Put a queue on the list of all queues."""
        self.link.execute("SADD", queues_key(self.namespace), queue)

    def know(self, queue: str) -> None:
        """Ask the broker for the transport of a queue, unless it is known."""
        if not self.queues.streamed(queue) and self.link.execute("HGET", self.keys(queue).meta, "transport"):
            self.queues.learn(queue)

    def tend(self, queue: str) -> Watched:
        """Look after the stream of a queue, as much as a few scripts do; `more` says whether to go on."""
        keys = self.keys(queue)
        watched = run(self.link, stream_calls.watch(keys, self.queues.retained(queue) or Retain().wire()))
        if not watched.repair:
            return watched
        _, left = run(self.link, stream_calls.repair(keys))
        return replace(watched, more=watched.more or left, repair=left)

    def park(self, queue: str, items: Sequence[tuple[Held, str]]) -> list[bytes]:
        """Set aside messages whose task no worker here knows."""
        return run(self.link, calls.park(self.keys(queue), items))

    def unpark(self, queue: str, task: str) -> int:
        """Bring all parked messages of a task back; answers how many."""
        moved = total = 0
        left = 1
        while left:
            moved, left = run(self.link, calls.unpark(self.keys(queue), task))
            total += moved
        return total

    def expire_parked(self, queue: str, task: str, line: bytes, result: bytes) -> int:
        """Dead-letter what has been parked for longer than the limits say, as much as one script may carry."""
        return run(self.link, calls.expire_parked(self.keys(queue), task, line, result, self.limits))

    def cancel(self, queue: str, id: bytes, *, kill: bool = False) -> str:
        """Cancel a message: 'cancelled', 'requested' or 'too_late'."""
        return run(self.link, calls.cancel(self.keys(queue), id, self.limits, kill=kill))

    def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]:
        """Where messages are and what came of them, in the order of `ids`."""
        keys = self.keys(queue)
        found: list[Found] = []
        while len(found) < len(ids):
            some = run(self.link, calls.lookup(keys, ids[len(found) : len(found) + calls.LEASE_MESSAGES]))
            found += some
        return found

    def redrive(self, queue: str, ids: Sequence[bytes]) -> int:
        """Dead and quarantined messages back to ready, with all counters at zero; answers how many."""
        keys = self.keys(queue)
        return sum(run(self.link, calls.redrive(keys, some)) for part in parts(ids) for some in self._light(keys, part))

    def _light(self, keys: QueueKeys, ids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
        """Runs of what one script may append to a stream, which copies the bodies."""
        if not keys.streamed:
            return iter([ids])
        sizes = self.link.pipeline([("HSTRLEN", keys.body, one[:16]) for one in ids])
        return light(ids, [size if isinstance(size, int) else 0 for size in sizes])

    def discard(self, queue: str, ids: Sequence[bytes]) -> int:
        """Remove dead and quarantined messages for good; answers how many."""
        keys = self.keys(queue)
        # By few: each may free a large body, and all of Redis waits meanwhile.
        return sum(run(self.link, calls.discard(keys, part)) for part in parts(ids, FAILURES))

    def pause(self, queue: str) -> None:
        """Hand nothing out any more, until `resume`; what is held may be settled."""
        run(self.link, calls.pause(self.keys(queue), True))

    def resume(self, queue: str) -> None:
        """Hand out again."""
        run(self.link, calls.pause(self.keys(queue), False))

    def wait(self, queues: Sequence[str], seconds: float) -> str | None:
        """Wait for a bell of one of the queues; answers which one rang, or None when the time is up."""
        names = [self.keys(queue).wake for queue in queues]
        if self._bells is not None and len(names) > 1:
            rung = self._bells.wait(names, seconds)
            return None if rung is None else queues[names.index(rung)]
        reply = self.link.blocking(seconds, "BLPOP", *names, max(seconds, 0.01))
        if reply is None:
            return None
        return queues[names.index(str(reply[0], "ascii"))]

    def close(self) -> None:
        """Close the connections."""
        self.link.close()

    def _announce(self, queue: str) -> None:
        """Put the queue's name on the list of all queues, once per process: who looks for queues finds it there."""
        if queue in self._known:
            return
        declared = self.queues.get(queue)
        try:
            if declared is not None:
                self.declare(declared)
                return
            self.link.execute("SADD", queues_key(self.namespace), queue)
            self._known.add(queue)
        except BrokerUnavailable:
            return  # the enqueue itself meets the same trouble, with its own time limit

    def _send(self, queue: str, todo: Sequence[Unconfirmed]) -> list[list[Accepted] | TaskqError]:
        answers = self._send_once(queue, todo)
        if self.relearn(queue, answers, [message for call in todo for message in call.messages]):
            answers = self._send_once(queue, todo)
        return answers

    def _send_once(self, queue: str, todo: Sequence[Unconfirmed]) -> list[list[Accepted] | TaskqError]:
        wires = self.wires(queue, todo)
        if len(wires) > 1:
            return run_many(self.link, wires)
        try:
            accepted = run(self.link, wires[0])
        except TaskqError as error:
            return [error]
        return [accepted]


def parts(ids: Sequence[bytes], size: int = LEASE_MESSAGES) -> Iterator[Sequence[bytes]]:
    """Ids in runs of what one script may carry."""
    return (ids[start : start + size] for start in range(0, len(ids), size))


def light(ids: Sequence[T], sizes: Sequence[int], most: int = LEASE_BYTES) -> Iterator[Sequence[T]]:
    """Ids, or what stands for them, in runs whose bodies have `most` bytes together, or of one that is larger."""
    start = total = 0
    for at, size in enumerate(sizes):
        if at > start and total + size > most:
            yield ids[start:at]
            start, total = at, 0
        total += size
    yield ids[start:]
