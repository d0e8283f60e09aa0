"""The faults that `taskq.testing` lets happen: a worker that dies before the settle, a reply that is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from taskq.checks import whole
from taskq.clock import Clock
from taskq.errors import BrokerUnavailable, TaskFailed
from taskq.message import decode, id_text
from taskq.tasks.broker import Accepted, Buried, Delivery, Outgoing
from taskq.tasks.calls import LANE_TTL
from taskq.tasks.failure import Failure, raised
from taskq.tasks.lanes import LanePool, Unconfirmed
from taskq.tasks.memory import MemoryBroker
from taskq.tasks.sending import Sending
from taskq.values import count_of

_TIMEOUT_S = 2.0  # what the error of a lost reply names; nothing is waited for here
_HOW = "killed by taskq.testing before the outcome was stored"


class Fault:
    """Something that goes wrong the next `times` times that it can; `fired` counts how often it did."""

    def __init__(self, what: str, names: Collection[str] | None, times: int, occasion: str) -> None:
        self.fired = 0
        self._what = what
        self._names = names  # of tasks; None for any
        self._times = whole(times, "times", 1, 10_000)
        self._occasion = occasion
        self._lock = threading.Lock()

    def strikes(self, names: Collection[str]) -> bool:
        """Whether it happens to these tasks, now."""
        with self._lock:
            fits = self._names is None or not set(names).isdisjoint(self._names)
            hits = fits and self.fired < self._times
            self.fired += hits
            return hits

    def check(self) -> None:
        """Raise AssertionError unless it happened as often as was asked for."""
        if self.fired < self._times:
            raise AssertionError(
                f"{self._what} fired {self.fired} of {self._times} times: {self._occasion} inside its `with` block"
            )

    def __repr__(self) -> str:
        return f"<{self._what}: fired {self.fired} of {self._times} times>"


class Faults:
    """Faults of one kind that are armed. Of those that fit the one armed last happens."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []

    @contextmanager
    def armed(self, fault: Fault) -> Generator[Fault]:
        """Let it happen inside the block; a block that ends without an error, and before all has happened, fails."""
        self._armed.append(fault)
        try:
            yield fault
        finally:
            self._armed.remove(fault)
        fault.check()

    def strike(self, names: Callable[[], Collection[str]]) -> bool:
        """Whether a fault happens to these tasks, now."""
        return bool(self._armed) and any(fault.strikes(names()) for fault in reversed(self._armed))


def die(broker: MemoryBroker, delivery: Delivery, task: str, worker: str) -> TaskFailed | None:
    """What a supervisor does when a child died that ran this; answers the failure if it made a dead letter of it."""
    line = Failure("crash", "WorkerDied", f"{worker} died while it ran this: {_HOW}", worker=worker, task=task).line()
    condemned = broker.reclaim(delivery.queue, delivery.token, line, "crash", started=[delivery.id])
    for one in condemned:
        if one.once:
            text = f"lost while running, and at_most_once does not run it again: {_HOW}"
            last = Failure("lost", "MessageLost", text, worker=worker, task=task)
        else:
            text = f"crashed its worker {count_of(one.crashes, 'time')}: {_HOW}"
            last = Failure("crash", "WorkerDied", text, worker=worker, task=task)
        item = Buried(one.id, one.token, last.line(), last.result(), broker.limits.outcome_ttl)
        broker.dead_letter(delivery.queue, [item])
        return raised(item.result, id_text(one.id))
    return None


class Lanes:
    """Enqueues in memory as the list transport does: numbered on lanes, so that what is sent again is recognised."""

    def __init__(
        self, accept: Callable[[str, Sequence[Outgoing]], list[Accepted]], clock: Clock, faults: Faults
    ) -> None:
        self._accept = accept
        self._clock = clock
        self._faults = faults
        self._lanes = LanePool()
        self._answered: dict[bytes, tuple[int, list[Accepted]]] = {}  # by lane: the last number and its answer
        self._lost_at = clock.monotonic()

    def enqueue(self, queue: str, messages: Sequence[Outgoing], timeout: float | None = None) -> list[Accepted]:
        """Raises EnqueueUnconfirmed if a fault takes the reply; the same ids again get the answer that was lost."""
        if not messages:
            return []
        if self._clock.monotonic() - self._lost_at > LANE_TTL / 2_000:
            self._lanes = LanePool()  # what was lost so long ago is not known any more
        sending = Sending(self._lanes, queue, messages)
        while sending.todo:
            answers: list[Any] = [self._carried_out(queue, call) for call in sending.todo]
            if self._faults.strike(lambda: _tasks_of(sending.todo)):
                lost = BrokerUnavailable("taskq.testing lost the reply")
                sending.take([lost] * len(answers))
                self._lost_at = self._clock.monotonic()
                raise sending.unconfirmed(_TIMEOUT_S if timeout is None else timeout, lost) from lost
            sending.take(answers)
        return sending.accepted()

    def _carried_out(self, queue: str, call: Unconfirmed) -> list[Accepted]:
        number, answer = self._answered.get(call.lane.nonce, (0, []))
        if number != call.number:
            answer = self._accept(queue, call.messages)
            self._answered[call.lane.nonce] = (call.number, answer)
        return answer


def _tasks_of(sent: Sequence[Unconfirmed]) -> set[str]:
    return {decode(message.id, message.body).task for call in sent for message in call.messages}
