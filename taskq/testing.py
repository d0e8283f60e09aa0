"""Tests of an app's tasks inside one process: no server, no worker, and a clock that moves when told to.

    with taskq.testing.memory(app) as q:
        handle = place_order.enqueue(42)
        q.run_until_idle()
        assert handle.result() == "ok"

Everything goes through the codec and the in-memory transport, and each outcome is decided as a worker decides it. What
takes a worker's process is left out: time limits, start-up and shut-down hooks, `cancel(kill=True)`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, cast

from taskq.clock import ManualClock
from taskq.errors import ConfigError, EventLoopRunning, ResultTimeout
from taskq.message import decode, id_text
from taskq.options import TaskOptions
from taskq.store.url import parse_url
from taskq.tasks import registry
from taskq.tasks.app import TaskQ
from taskq.tasks.async_results import AsyncResults
from taskq.tasks.broker import Accepted, Found, Outgoing
from taskq.tasks.brokers import Ends, in_process
from taskq.tasks.inline import Inline, Work
from taskq.tasks.loops import in_event_loop
from taskq.tasks.memory import MemoryBroker
from taskq.tasks.outcomes import is_over, status_of
from taskq.tasks.results import Results
from taskq.tasks.waiting import Key

__all__ = ["Enqueued", "Memory", "memory"]


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
    except ConfigError:
        at_memory = False
    known: object = app.broker() if at_memory else None
    return known if isinstance(known, MemoryBroker) else MemoryBroker(app.limits)


class Memory:
    """The messages of an app while `memory(app)` lasts.

    `enqueued` are all that were accepted meanwhile, follow-ups included, oldest first. `clock` stands still unless
    `clock.advance(seconds)` moves it, or a retry has to come due.
    """

    def __init__(self, app: TaskQ, broker: MemoryBroker) -> None:
        self.clock = ManualClock(broker.clock.now_ms())
        broker.clock = self.clock
        self.broker = broker
        self.enqueued: list[Enqueued] = []
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        recorder, waiting = _Recorder(self), _Waiting(self)
        ends = in_process(recorder)
        self.ends = Ends(recorder, cast("Results", waiting), ends.async_broker, cast("AsyncResults", waiting))
        self._inline = Inline(app, broker, self.clock, recorder.enqueue)

    def run_until_idle(self, *, raise_errors: bool = True) -> None:
        """Run what is ready, what that enqueues, and what is to be retried; for a retry the clock moves to its time.

        What was delayed by its caller waits for `clock.advance`. When a message becomes a dead letter, the exception of
        its last attempt is raised, and what is left stays ready; with `raise_errors=False` it is only stored.
        """
        if in_event_loop():
            raise EventLoopRunning("run_until_idle() would stop the event loop here: use `await q.arun_until_idle()`")
        steps, answer = self._inline.steps(raise_errors), _Answer()
        while (work := answer.to(steps)) is not None:
            try:
                value = work.call()
                answer = _Answer(self._wait(value) if work.is_async else value)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it belongs to the attempt that made the call
                answer = _Answer(error=error)

    async def arun_until_idle(self, *, raise_errors: bool = True) -> None:
        """`run_until_idle` in an event loop; plain tasks run in a thread beside it."""
        steps, answer = self._inline.steps(raise_errors), _Answer()
        while (work := answer.to(steps)) is not None:
            try:
                answer = _Answer(await (work.call() if work.is_async else asyncio.to_thread(work.call)))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it belongs to the attempt that made the call
                answer = _Answer(error=error)

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
        self.lookup = q.broker.lookup
        self.cancel = q.broker.cancel
        self.close = q.broker.close

    def enqueue(self, queue: str, messages: Sequence[Outgoing], timeout: float | None = None) -> list[Accepted]:
        answers = self._q.broker.enqueue(queue, messages)
        for message, accepted in zip(messages, answers, strict=True):
            if accepted.created:
                self._q.record(queue, message, accepted)
        return answers


class _Waiting:
    """Where handles wait: whoever waits lets everything run first, and does not wait for what then is not over."""

    def __init__(self, q: Memory) -> None:
        self._q = q

    def watch(self, keys: Iterable[Key]) -> _Watch:
        return _Watch(self._q)

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


class _Watch:
    """Stands for the watches of `taskq.tasks.results` and `taskq.tasks.async_results`."""

    def __init__(self, q: Memory) -> None:
        self._q = q

    def __enter__(self) -> _Look:
        self._q.run_until_idle(raise_errors=False)
        return _Look(self._q)

    def __exit__(self, *_: object) -> None: ...

    async def __aenter__(self) -> _AsyncLook:
        await self._q.arun_until_idle(raise_errors=False)
        return _AsyncLook(_Look(self._q))

    async def __aexit__(self, *_: object) -> None: ...


class _Look:
    """One look at each message."""

    seen: Found | None = None

    def __init__(self, q: Memory) -> None:
        self._broker = q.broker

    def get(self, key: Key, deadline: float | None) -> Found:
        queue, raw = key
        found = self._broker.lookup(queue, [raw])[0]
        if is_over(found):
            return found
        raise ResultTimeout(
            f"message {id_text(raw)} in queue {queue!r} is {status_of(found)}: in memory nothing comes of waiting; "
            "let its time come with q.clock.advance(seconds)"
        )


class _AsyncLook:
    """The same, awaited."""

    seen: Found | None = None

    def __init__(self, look: _Look) -> None:
        self._look = look

    async def get(self, key: Key, deadline: float | None) -> Found:
        return self._look.get(key, deadline)
