"""Tests of an app's tasks inside one process: no server, no worker, and a clock that moves when told to.

    with taskq.testing.memory(app) as q:
        handle = place_order.enqueue(42)
        q.run_until_idle()
        assert handle.result() == "ok"

Everything goes through the codec and the in-memory transport, and each outcome is decided as a worker decides it. What
takes a worker's process is left out: time limits, start-up and shut-down hooks, `cancel(kill=True)`. What a task has to
stand can be made to happen: `q.crash_before_settle`, `q.lose_reply`, `q.clock`. See docs/testing.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from typing import Any, cast

from taskq.clock import ManualClock
from taskq.errors import BrokerUnavailable, ConfigError, EventLoopRunning, UnknownTask
from taskq.loops import in_event_loop
from taskq.message import decode, id_text
from taskq.names import check_task_name, did_you_mean, shown
from taskq.options import TaskOptions
from taskq.store.url import parse_url
from taskq.tasks import registry
from taskq.tasks.app import TaskQ
from taskq.tasks.async_results import AsyncResults
from taskq.tasks.broker import Accepted, Found, Outgoing
from taskq.tasks.brokers import Ends, in_process
from taskq.tasks.faults import Fault, Faults, Lanes
from taskq.tasks.inline import Inline, Work
from taskq.tasks.inline_schedules import InlineSchedules
from taskq.tasks.inline_waiting import Waiting
from taskq.tasks.memory import MemoryBroker
from taskq.tasks.results import Results
from taskq.tasks.task import Task

__all__ = ["Enqueued", "Fault", "Memory", "memory"]


@dataclass(frozen=True, slots=True)
class Enqueued:
    """One message that was accepted. `args` and `kwargs` are what its task will get.

    `options` are what was said of this call: `priority`, `delay` (seconds), `at` (milliseconds since 1970), `expires`
    (either), `retry`, `timeout` and the like; `then` is the name of the task that follows. Of a unique key only that
    there is one is known: True.
    """

    id: str
    task: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    queue: str
    options: dict[str, Any]


@contextmanager
def memory(app: TaskQ) -> Generator[Memory]:
    """Put memory in the place of the app's broker. Inside, functions within functions may be tasks too.

    An app at `memory://` goes on with what its memory already holds.
    """
    if not isinstance(cast("object", app), TaskQ):
        raise ConfigError(f"memory() takes an app, like app = TaskQ('shop'), not {shown(app)}")
    q = Memory(app, _broker_of(app))
    allowed, registry.allow_local = registry.allow_local, True
    try:
        with app.use_broker(q.ends):
            yield q
    finally:
        registry.allow_local = allowed
        q.close()


def _broker_of(app: TaskQ) -> MemoryBroker:
    try:
        at_memory = parse_url(app.broker_url().url).kind == "memory"
    except (ConfigError, BrokerUnavailable):  # none is set, or the project's own is not running: none is needed
        at_memory = False
    known: object = app.broker() if at_memory else None
    return known if isinstance(known, MemoryBroker) else MemoryBroker(app.limits, queues=app.queues)


class Memory:
    """The messages of an app while `memory(app)` lasts.

    `enqueued` are all that were accepted meanwhile, follow-ups included, oldest first. `clock` stands still unless
    `clock.advance(seconds)` or `clock.set(moment)` moves it, or a retry has to come due; delays, retries and all that
    is kept for a time go by it. A task that moves it has taken long, and keeps its lease, as heartbeats would keep it.
    """

    def __init__(self, app: TaskQ, broker: MemoryBroker) -> None:
        self.clock = ManualClock(broker.clock.now_ms())
        broker.clock = self.clock
        self.broker = broker
        self.enqueued: list[Enqueued] = []
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        recorder = _Recorder(self)
        waiting = Waiting(broker, self.run_until_idle, self.arun_until_idle, self._unknown)
        ends = in_process(recorder)
        self.ends = Ends(recorder, cast("Results", waiting), ends.async_broker, cast("AsyncResults", waiting))
        self._schedules = InlineSchedules(app.namespace, app.schedules.declared, recorder, self.clock)
        self._inline = Inline(app, broker, self.clock, recorder.accept)
        self._lost_replies = recorder.faults

    def run_until_idle(self, *, raise_errors: bool = True) -> None:
        """Run what is ready, what that enqueues, and what is to be retried; for a retry the clock moves to its time.

        What was delayed by its caller waits for `clock.advance`, and so do the slots of `@app.periodic`. When a message
        becomes a dead letter, the exception of its last attempt is raised, and what is left stays ready; with
        `raise_errors=False` it is only stored.
        """
        if in_event_loop():
            raise EventLoopRunning("run_until_idle() would stop the event loop here: use `await q.arun_until_idle()`")
        self._schedules.fire()
        steps, answer = self._inline.steps(raise_errors), _Answer()
        while (work := answer.to(steps)) is not None:
            try:
                value = work.call()
                answer = _Answer(self._wait(value) if work.is_async else value)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it belongs to the attempt that made the call
                answer = _Answer(error=error)

    async def arun_until_idle(self, *, raise_errors: bool = True) -> None:
        """`run_until_idle` in an event loop; plain tasks run in a thread beside it."""
        self._schedules.fire()
        steps, answer = self._inline.steps(raise_errors), _Answer()
        while (work := answer.to(steps)) is not None:
            try:
                answer = _Answer(await (work.call() if work.is_async else asyncio.to_thread(work.call)))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it belongs to the attempt that made the call
                answer = _Answer(error=error)

    def crash_before_settle(
        self, task: Task[..., Any] | str | None = None, *, times: int = 1
    ) -> AbstractContextManager[Fault]:
        """Inside the block the next `times` runs of a task (None: of any) end, and their worker dies with the outcome.

        What the task did has happened, and since nobody knows how it ended, it runs again: that is the test which a
        task has to pass. Each death counts as a crash, the third makes a dead letter; an `at_most_once` message is lost
        with the first. No hook hears of it. A block that ends before the fault has happened raises AssertionError.

        >>> from taskq import TaskQ
        >>> app, charged = TaskQ("shop"), set()
        >>> with memory(app) as q:
        ...
        ...     @app.task
        ...     def charge(order: int) -> None:
        ...         charged.add(order)
        ...
        ...     handle = charge.enqueue(42)
        ...     with q.crash_before_settle(charge):
        ...         q.run_until_idle()
        ...     handle.status(), charged
        ('done', {42})
        """
        names = None if task is None else self._names_of(task)
        what = f"crash_before_settle({'' if names is None else _name_of(task)})"
        return self._inline.crashes.armed(Fault(what, names, times, "no further run of that task came to its end"))

    def lose_reply(self, task: Task[..., Any] | str | None = None, *, times: int = 1) -> AbstractContextManager[Fault]:
        """Inside the block the next `times` enqueues (None: of any task) are accepted, and their replies are lost.

        The caller gets EnqueueUnconfirmed. Enqueueing again with its `id` is one message, and gets the answer that was
        lost; without it there are two. Of a bulk the first thousand are unconfirmed and the rest is not sent. A block
        that ends before the fault has happened raises AssertionError.

        >>> from taskq import EnqueueUnconfirmed, TaskQ
        >>> app = TaskQ("shop")
        >>> with memory(app) as q, q.lose_reply():
        ...     try:
        ...         app.enqueue("shop.charge", 42)
        ...     except EnqueueUnconfirmed as error:
        ...         again = app.remote("shop.charge", id=error.id).enqueue(42)
        ...     again.created, len(q.enqueued)
        (True, 1)
        """
        names = None if task is None else self._names_of(task, anywhere=True)
        what = f"lose_reply({'' if names is None else _name_of(task)})"
        return self._lost_replies.armed(Fault(what, names, times, "nothing that fits was enqueued any more"))

    def _names_of(self, task: object, anywhere: bool = False) -> set[str]:
        """A task's name and its aliases; one that is not registered here may run `anywhere`."""
        name, tasks = _name_of(task), self._app.tasks
        known = tasks.get(name)
        if known is None and not anywhere:
            raise UnknownTask(f"no task {shown(name)} is registered in this app{did_you_mean(name, tasks)}")
        return {name} | {other for other, one in tasks.items() if one is known}

    def _unknown(self, raw: bytes) -> str:
        """Why a message is parked."""
        name = next((one.task for one in reversed(self.enqueued) if one.id == id_text(raw)), None)
        if name is None:
            return "its task is not registered in this app"
        return f"no task {shown(name)} is registered in this app{did_you_mean(name, self._app.tasks)}"

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        # One loop for all: what a task opens in it may be used by the next.
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close()

    def record(self, queue: str, message: Outgoing, accepted: Accepted) -> None:
        """Note a message that was created."""
        read = decode(message.id, message.body)
        task, args, kwargs = self._app.tasks.get(read.task), read.args, read.kwargs
        if task is not None:
            args, kwargs = task.signature.decode(args, kwargs)
        options = _said(message, read.options or {})
        self.enqueued.append(Enqueued(id_text(accepted.id), read.task, tuple(args), kwargs, queue, options))


def _name_of(task: object) -> str:
    return task.name if isinstance(task, Task) else check_task_name(task)


def _said(message: Outgoing, wire: dict[str, Any]) -> dict[str, Any]:
    """The options of a call, as far as they differ from saying nothing."""
    options = TaskOptions().from_wire(wire)
    said = {
        name: getattr(options, name) for name in (field.name for field in fields(options)) if name in options.overridden
    }
    if message.due:
        said |= {"delay": -message.due / 1000} if message.due < 0 else {"at": message.due}
    if message.expires:
        said["expires"] = -message.expires / 1000 if message.expires < 0 else message.expires
    if message.priority:
        said["priority"] = message.priority
    if message.unique:
        said["unique"] = True
    if message.explicit:
        said["id"] = id_text(message.id)
    if "then" in wire:
        said["then"] = wire["then"]["task"]
    return said


class _Answer:
    """What a call came to, for the steps that asked for it."""

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self._value = value
        self._error = error

    def to(self, steps: Generator[Work, Any, None]) -> Work | None:
        """Go on to the next call; None at the end."""
        try:
            return steps.send(self._value) if self._error is None else steps.throw(self._error)
        except StopIteration:
            return None


class _Recorder:
    """The broker as producers see it; notes what is accepted."""

    def __init__(self, q: Memory) -> None:
        self._q = q
        self.faults = Faults()
        self.enqueue = Lanes(self.accept, q.clock, self.faults).enqueue
        self.cancel = q.broker.cancel
        self.close = q.broker.close

    def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]:
        self._q.broker.sweep(queue)  # what the clock has made due, or has ended
        return self._q.broker.lookup(queue, ids)

    def accept(self, queue: str, messages: Sequence[Outgoing]) -> list[Accepted]:
        answers = self._q.broker.enqueue(queue, messages)
        for message, accepted in zip(messages, answers, strict=True):
            if accepted.created:
                self._q.record(queue, message, accepted)
        return answers
