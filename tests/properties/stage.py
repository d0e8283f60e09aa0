"""What the state machine plays on: an app in memory or on a real server, at the times of a clock moved by hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, cast

import taskq
from taskq import AppOptions, EnqueueUnconfirmed, Reject, Retry, TaskQ
from taskq.clock import ManualClock
from taskq.control import Control
from taskq.errors import BrokerUnavailable
from taskq.inspector import Filter
from taskq.message import id_bytes
from taskq.store.scripts import load
from taskq.tasks.broker import Accepted, Delivery, Finished, Mark, Outgoing, Seat
from taskq.tasks.faults import Fault, die
from taskq.tasks.inline import Inline, Work
from taskq.tasks.lists import ListBroker
from taskq.tasks.memory import MemoryBroker
from taskq.testing import memory
from tests.contract.scene import TimedLink
from tests.properties.oracle import AFTER_MS, DEAD_TTL, ID_WINDOW, OUTCOME_TTL

OPTIONS = AppOptions(dead_ttl=DEAD_TTL / 1000, id_window=ID_WINDOW / 1000, outcome_ttl=OUTCOME_TTL / 1000)
COUNTED = ("enqueued", "done", "retried", "dead", "cancelled", "expired", "reclaimed", "redriven", "dead_dropped")

Ran = tuple[int, int, int, int, str, int]
ran: list[Ran] = []
"""Number, attempt, crashes, deliveries, queue and fence of each run, since the stage was set."""


def play(number: int, fates: list[str]) -> int:
    """The one task of the machine; what its runs come to is an argument."""
    me = taskq.current()
    ran.append((number, me.attempt, me.crashes, me.deliveries, me.queue, me.fence))
    fate = fates[min(me.deliveries, len(fates)) - 1]
    if fate == "error":
        raise ValueError(number)
    if fate == "reject":
        raise Reject(str(number))
    if fate != "ok":
        raise Retry(after=AFTER_MS / 1000, count_attempt=fate == "again")
    return number


class Stage:
    """An app, one worker with one slot, and the operator's hand."""

    clock: ManualClock
    broker: Any  # MemoryBroker, or what stands for it before a ListBroker
    inline: Inline
    forgets = False

    def __init__(self) -> None:
        ran.clear()
        self.app = TaskQ("props", options=OPTIONS)
        self.task: Any = self.app.task(name="play")(play)
        self.stack = ExitStack()

    def lose_reply(self) -> AbstractContextManager[object]:
        raise NotImplementedError

    def close(self) -> None:
        self.stack.close()

    # -- the worker

    def step(self, *, crash: bool = False) -> bool:
        """Run the next message; answers whether there was one."""
        delivery = self.inline._take()
        if delivery is not None:
            self._attempt(delivery, crash)
        return delivery is not None

    def hold(self, queue: str) -> Delivery | None:
        """Take a message and begin with it; what is not to be run is settled."""
        self.broker.sweep(queue)
        delivery = self.inline._lease(queue, alone=False)
        if delivery is None:
            return None
        if delivery.flags & 129:
            self._attempt(delivery, False)
            return None
        return delivery

    def begin(self, delivery: Delivery, once: bool) -> None:
        mark = Mark(delivery.id, delivery.token, once)
        assert self.broker.extend(delivery.queue, [delivery.token], [mark]).refused == []

    def finish(self, delivery: Delivery, number: int, ttl: int) -> bool:
        """Store an outcome; False if it was refused."""
        result = b"d%d" % number if ttl else b""
        return not self.broker.ack(delivery.queue, [Finished(delivery.id, delivery.token, "d", result, ttl)])

    def die(self, delivery: Delivery) -> None:
        self.inline._seat = Seat()
        die(self.broker, delivery, "play", "w1")

    def _attempt(self, delivery: Delivery, crash: bool) -> None:
        fault = Fault("crash", None, 1, "")
        self.inline.crashes._armed[:] = [fault] if crash else []
        _drive(self.inline._attempt(delivery))
        self.inline.crashes._armed.clear()

    # -- the operator

    def figures(self, queue: str) -> dict[str, Any]:
        raise NotImplementedError

    def dead(self, queue: str) -> list[bytes]:
        raise NotImplementedError

    def pause(self, queue: str) -> None:
        self.broker.pause(queue)

    def resume(self, queue: str) -> None:
        self.broker.resume(queue)

    def redrive(self, queue: str, ids: Sequence[bytes]) -> int:
        return int(self.broker.redrive(queue, ids))

    def discard(self, queue: str, ids: Sequence[bytes]) -> int:
        return int(self.broker.discard(queue, ids))


class InMemory(Stage):
    """The test kit's own transport."""

    forgets = True

    def __init__(self) -> None:
        super().__init__()
        q = self.stack.enter_context(memory(self.app))
        self.lose_reply = q.lose_reply  # type: ignore[method-assign]
        self.clock, self.broker, self.inline = q.clock, q.broker, q._inline

    def figures(self, queue: str) -> dict[str, Any]:
        broker: MemoryBroker = self.broker
        states = [found.state for _, _, found in broker.messages(queue)]
        retrying = sum(found.state == "d" and found.deliveries > 0 for _, _, found in broker.messages(queue))
        counts = broker.counts(queue)
        return {
            "ready": states.count("r"),
            "delayed": states.count("d"),
            "retrying": retrying,
            "leased": states.count("l"),
            "dead": states.count("x"),
            "counters": {name: counts[name] for name in COUNTED},
        }

    def dead(self, queue: str) -> list[bytes]:
        return [raw for raw, _, found in self.broker.messages(queue) if found.state == "x"]


class LossyLink(TimedLink):
    """Gives scripts the time of the clock, and loses the replies of enqueues if it is told to."""

    losing = False

    def pipeline(self, commands: Sequence[Sequence[Any]], *, timeout: float | None = None) -> list[Any]:
        return [self._lost(reply) for reply in super().pipeline(commands, timeout=timeout)]

    def execute(self, *args: Any, timeout: float | None = None) -> Any:
        reply = super().execute(*args, timeout=timeout)
        if str(args[0]) in ("EVAL", "EVALSHA") and isinstance(lost := self._lost(reply), Exception):
            raise lost
        return reply

    def _lost(self, reply: Any) -> Any:
        known = not isinstance(reply, Exception)  # the first try may only tell that the script is not loaded
        return BrokerUnavailable("the reply got lost") if self.losing and known else reply

    def _timed(self, args: Sequence[Any]) -> tuple[Any, ...]:
        if len(args) > 1 and str(args[1]) in (load("tasks/buried").sha, load("tasks/buried").text):
            return tuple(args)  # there an empty first argument is a cursor
        return super()._timed(args)


class Listed:
    """A list broker as the test kit's worker needs it: it knows its queues, and does not wait."""

    def __init__(self, broker: ListBroker) -> None:
        self._broker = broker
        self._names: dict[str, None] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def enqueue(self, queue: str, messages: Sequence[Outgoing], timeout: float | None = None) -> list[Accepted]:
        self._names[queue] = None
        return self._broker.enqueue(queue, messages, timeout)

    def queues(self) -> list[str]:
        return list(self._names)

    def wait(self, queues: Sequence[str], seconds: float) -> str | None:
        rung = self._broker.link.execute("LPOP", self._broker.keys(queues[0]).wake)
        return None if rung is None else queues[0]


class OnLists(Stage):
    """The list transport on a real server."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.link = LossyLink(url)
        self.link.clock = self.clock
        lists = ListBroker(self.link, f"p{os.urandom(6).hex()}", self.app.limits, enqueue_timeout=0.0)
        self.stack.callback(lists.close)
        self.control = Control(lists)
        self.broker = Listed(lists)
        self.stack.enter_context(self.app.use_broker(self.broker))
        send: Callable[[str, list[Outgoing]], Any] = self.broker.enqueue
        self.inline = Inline(self.app, cast("MemoryBroker", self.broker), self.clock, send)

    @contextmanager
    def lose_reply(self) -> Generator[None]:
        self.link.losing = True
        try:
            yield
        finally:
            self.link.losing = False

    def figures(self, queue: str) -> dict[str, Any]:
        info = self.control.inspector.queue(queue)
        figures = {name: getattr(info, name) for name in ("ready", "delayed", "retrying", "leased", "dead")}
        return figures | {"counters": {name: info.counters.get(name, 0) for name in COUNTED}}

    def dead(self, queue: str) -> list[bytes]:
        letters = self.control.inspector.dead(queue).items
        assert [letter.at for letter in letters] == sorted((letter.at for letter in letters), reverse=True)
        return [id_bytes(letter.id) for letter in letters]

    def pause(self, queue: str) -> None:
        self.control.pause(queue)

    def resume(self, queue: str) -> None:
        self.control.resume(queue)

    def redrive(self, queue: str, ids: Sequence[bytes]) -> int:
        # By filter the one that was buried last goes back first.
        return self.control.redrive(queue, Filter() if list(ids) == self.dead(queue) else ids)

    def discard(self, queue: str, ids: Sequence[bytes]) -> int:
        return self.control.discard(queue, ids)


def unconfirmed(stage: Stage, sender: Any, number: int, fates: list[str]) -> str:
    """Enqueue, and lose the reply; answers the id that the caller is told."""
    try:
        with stage.lose_reply():
            sender.enqueue(number, fates)
    except EnqueueUnconfirmed as error:
        return error.id
    raise AssertionError("an enqueue without a reply was confirmed")


def _drive(steps: Generator[Work, Any, object]) -> None:
    try:
        work = next(steps)
        while True:
            try:
                value = work.call()
            except Exception as error:
                work = steps.throw(error)
            else:
                work = steps.send(value)
    except StopIteration:
        return
