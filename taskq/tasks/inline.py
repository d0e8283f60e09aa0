"""Running messages in the process that enqueued them, one at a time: what a worker does, without a worker.

Each attempt is decided by the same policy and settled by the same verbs. What takes a process of its own is left out:
time limits, heartbeats, start-up and shut-down hooks. The steps are a generator that yields the calls which may have to
be awaited, so that threads and event loops share them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

from taskq.carried import carry_on
from taskq.clock import ManualClock
from taskq.codec import encode_result
from taskq.errors import DecodeError, InvalidOption, TaskqError
from taskq.message import Message, decode, id_text
from taskq.options import TaskOptions
from taskq.tasks import failure
from taskq.tasks.app import TaskQ
from taskq.tasks.broker import Buried, Delivery, Finished, Flags, Held, Mark, Outgoing, Retried, Seat
from taskq.tasks.context import running
from taskq.tasks.faults import Faults, die
from taskq.tasks.hooks import Incident
from taskq.tasks.memory import MemoryBroker
from taskq.tasks.outbox import pack_follow
from taskq.tasks.outgoing import follow_outgoing
from taskq.tasks.policy import Decision, decide
from taskq.tasks.task import Task

WORKER = "in-process"
MOST_ATTEMPTS = 100_000
"""So many attempts in one run are a task that enqueues itself for ever."""

_MIDDLE = 0.5  # of the jitter: the same delays in each run


@dataclass(frozen=True, slots=True)
class Work:
    """A call to make; with `is_async` what it returns is to be awaited."""

    call: Callable[[], Any]
    is_async: bool


class Inline:
    """Runs the messages of one app on a broker in memory, whose clock it moves to the time of the next retry."""

    def __init__(
        self, app: TaskQ, broker: MemoryBroker, clock: ManualClock, send: Callable[[str, list[Outgoing]], Any]
    ) -> None:
        self._app = app
        self._broker = broker
        self._clock = clock
        self._send = send
        self.crashes = Faults()
        self._seat = Seat()
        self._retries: dict[tuple[str, bytes], int] = {}

    def steps(self, raise_errors: bool) -> Generator[Work, Any, None]:
        """Until nothing is ready and nothing is to be retried. Raises the error of a new dead letter, if told to."""
        for task in self._app.tasks:
            for queue in self._broker.queues():
                self._broker.unpark(queue, task)
        for _ in range(MOST_ATTEMPTS):
            delivery = self._take()
            if delivery is None:
                return
            error = yield from self._attempt(delivery)
            if error is not None and raise_errors:
                raise error
        raise TaskqError(f"{MOST_ATTEMPTS} attempts, and still not idle: does a task enqueue itself?")

    def _take(self) -> Delivery | None:
        """The next message of any queue; if there is none, the clock moves to the next retry."""
        while True:
            for queue in self._broker.queues():
                self._broker.sweep(queue)
                delivery = self._lease(queue, alone=True) or self._lease(queue, alone=False)
                if delivery is not None:
                    self._retries.pop((queue, delivery.id), None)
                    return delivery
            at = self._next_retry()
            if at is None:
                return None
            self._clock.advance(max(at - self._clock.now_ms(), 0) / 1000)

    def _lease(self, queue: str, *, alone: bool) -> Delivery | None:
        """One message. A lease that met cancelled ones and left something behind rings: then there may be more."""
        while True:
            for delivery in self._broker.lease(queue, self._seat.ticket(queue), 1, alone=alone).deliveries:
                return delivery
            if self._broker.wait([queue], 0) is None:
                return None

    def _next_retry(self) -> int | None:
        """When the next failed message is due that still waits for it."""
        while self._retries:
            queue, raw = min(self._retries, key=self._retries.__getitem__)
            at = self._retries.pop((queue, raw))
            if self._broker.lookup(queue, [raw])[0].state == "d":
                return at
        return None

    def _attempt(self, delivery: Delivery) -> Generator[Work, Any, BaseException | None]:
        """Run one message and settle it; answers the exception that made it a dead letter."""
        try:
            message = decode(delivery.id, delivery.body)
            task = self._app.tasks.get(message.task)
            options = TaskOptions() if task is None else task.defaults.from_wire(message.options or {})
        except (DecodeError, InvalidOption) as error:
            what = failure.of(error, "undecodable", worker=WORKER)
            item = Buried(delivery.id, delivery.token, what.line(), what.result(), 3_600_000, quarantine=True)
            self._broker.dead_letter(delivery.queue, [item])
            return error
        if task is None:
            self._broker.park(delivery.queue, [(Held(delivery.id, delivery.token), message.task)])
            return None
        attempt = Attempt(self._broker, delivery, message, task, options)
        if delivery.flags & (Flags.CANCEL | Flags.EXPIRED):
            self._gone(attempt, "c" if delivery.flags & Flags.CANCEL else "e")
            return None
        started = Mark(delivery.id, delivery.token, once=options.delivery == "at_most_once")
        self._broker.extend(delivery.queue, [], [started])
        return (yield from self._run(attempt))

    def _run(self, attempt: Attempt) -> Generator[Work, Any, BaseException | None]:
        mark = running.set(attempt)
        try:
            value = yield from self._perform(attempt)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a task raises is its outcome
            return self._died(attempt) if self._dies(attempt) else (yield from self._failed(attempt, error))
        finally:
            running.reset(mark)
        if self._dies(attempt):
            return self._died(attempt)
        try:
            self._succeeded(attempt, value)
        except TaskqError as error:  # its result cannot be kept, which running it again would not change
            return (yield from self._settle_failed(attempt, error, Decision("dead", "result")))
        return None

    def _perform(self, attempt: Attempt) -> Generator[Work, Any, Any]:
        task, message = attempt.plan, attempt.message
        args, kwargs = task.signature.decode(message.args, message.kwargs)

        def innermost(request: Request) -> Any:
            return task.function(*request.args, **request.kwargs)

        handler = self._app.middlewares.wrap("execute", innermost)
        return (yield Work(partial(handler, Request(attempt, args, kwargs)), task.is_async))

    def _dies(self, attempt: Attempt) -> bool:
        return self.crashes.strike(lambda: [attempt.task_name])

    def _died(self, attempt: Attempt) -> BaseException | None:
        self._seat = Seat()  # who died is handed nothing any more
        return die(self._broker, attempt.delivery, attempt.task_name, WORKER)

    # -- outcomes ---------------------------------------------------------------------------------------------------

    def _succeeded(self, attempt: Attempt, value: Any) -> None:
        delivery, task, options = attempt.delivery, attempt.plan, attempt.options
        then = (attempt.message.options or {}).get("then")
        result = b""
        if options.result_ttl:
            result = b"d" + encode_result(task.signature.encode_result(value), limit=options.max_result)
        item = Finished(delivery.id, delivery.token, "d", result, attempt.ttl_ms)
        self._broker.ack(delivery.queue, [item])
        if then is not None:
            then = carry_on(then, attempt.message.headers)
            queue, follow = follow_outgoing(then, pack_follow(then, delivery.id)[:16])
            self._send(queue, [follow])

    def _failed(self, attempt: Attempt, error: BaseException) -> Generator[Work, Any, BaseException | None]:
        decision = decide(
            error, attempt.delivery.attempts, attempt.options.retry, attempt.cancel_requested, _MIDDLE
        )  # fmt: skip
        if decision.verb == "cancelled":
            self._gone(attempt, "c")
            return None
        return (yield from self._settle_failed(attempt, error, decision))

    def _settle_failed(
        self, attempt: Attempt, error: BaseException, decision: Decision
    ) -> Generator[Work, Any, BaseException | None]:
        delivery, queue, dead = attempt.delivery, attempt.queue, decision.verb == "dead"
        what = failure.of(error, decision.kind, attempt.attempt_number, WORKER, attempt.task_name)
        if dead:
            grave = Buried(delivery.id, delivery.token, what.line(), what.result(), attempt.ttl_ms)
            self._broker.dead_letter(queue, [grave])
        else:
            again = Retried(delivery.id, delivery.token, decision.delay, decision.counts, what.line())
            self._broker.nack(queue, [again])
            self._retries[queue, delivery.id] = self._clock.now_ms() + decision.delay
        message = attempt.message
        incident = Incident(
            id_text(delivery.id), queue, attempt.task_name, what, error, tuple(message.args), dict(message.kwargs)
        )
        hooks = (self._app.hooks, attempt.plan.hooks)
        told = [hook for level in hooks for hook in level.failure]
        told += [hook for level in hooks for hook in level.dead] if dead else []
        for hook in told:
            yield Work(partial(hook, incident), iscoroutinefunction(hook))
        return error if dead else None

    def _gone(self, attempt: Attempt, kind: str) -> None:
        delivery, ttl = attempt.delivery, attempt.ttl_ms
        result = kind.encode() if ttl else b""
        self._broker.ack(delivery.queue, [Finished(delivery.id, delivery.token, kind, result, ttl)])


class Request:
    """What the `execute` middleware sees, as in a worker: the attempt, the task's name, and its arguments."""

    __slots__ = ("args", "attempt", "kwargs", "task")

    def __init__(self, attempt: Attempt, args: list[Any], kwargs: dict[str, Any]) -> None:
        self.attempt = attempt
        self.task = attempt.task_name
        self.args = args
        self.kwargs = kwargs


class Attempt:
    """One message while it runs; what `taskq.current()` reads."""

    deadline: float | None = None
    lease_lost = False

    def __init__(
        self, broker: MemoryBroker, delivery: Delivery, message: Message, task: Task[..., Any], options: TaskOptions
    ) -> None:
        self._broker = broker
        self.delivery = delivery
        self.message = message
        self.plan = task
        self.options = options
        self.id = delivery.id
        self.task_name = task.name
        self.queue = delivery.queue
        self.attempt_number = delivery.attempts + 1
        self.deliveries = delivery.deliveries
        self.crashes = delivery.crashes
        self.fence = delivery.fence
        self.headers: dict[str, str] = dict(message.headers or {})
        self.ttl_ms = round(options.result_ttl * 1000)
        self.progress: tuple[float, float | None, str] | None = None

    @property
    def cancel_requested(self) -> bool:
        return bool(self._broker.lookup(self.queue, [self.id])[0].flags & Flags.CANCEL)

    def report_progress(self, done: float, total: float | None, note: str) -> None:
        self.progress = (done, total, note)
