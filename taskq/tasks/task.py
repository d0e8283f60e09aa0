"""A task: a registered function that can still be called, and the ways to enqueue it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from functools import update_wrapper
from inspect import iscoroutinefunction
from typing import Any, Generic, ParamSpec, TypeVar, Unpack

from taskq.options import Overrides, TaskOptions
from taskq.signature import Signature
from taskq.tasks import hooks
from taskq.tasks.batch import Batch
from taskq.tasks.handle import Handle
from taskq.tasks.hooks import H, Hooks
from taskq.tasks.outgoing import Call, Stamp, Target, follow_wire
from taskq.tasks.producer import Producer
from taskq.tasks.publishes import Publishes

P = ParamSpec("P")
T = TypeVar("T")


class CallOptions(Overrides, total=False):
    """What can be said of one call, beside its arguments."""

    then: Call[Any] | None


class Sender(Generic[P, T]):
    """A task with options, ready to be enqueued; its parameters are those of the task's function.

    Enqueueing raises InvalidArguments for a call that the function would not take, SerializationError for a value that
    cannot be stored, BrokerFull, EnqueueUnconfirmed and BrokerUnavailable; after all but EnqueueUnconfirmed nothing was
    stored.
    """

    _stamp: Stamp
    _producer: Producer

    def __init__(self, producer: Producer, stamp: Stamp) -> None:
        self._producer = producer
        self._stamp = stamp

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Handle[T]:
        """Enqueue one call; inside an event loop use `aenqueue`."""
        return self._producer.send(self._stamp, args, kwargs)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Handle[T]:
        """`enqueue`, awaited."""
        return await self._producer.asend(self._stamp, args, kwargs)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """The call as a value, for `then=` and `enqueue_many`; nothing is checked before it is used there."""
        return Call(self._stamp, args, kwargs)

    def enqueue_many(self, calls: Iterable[tuple[Any, ...] | Call[T]]) -> Batch[T]:
        """Enqueue many calls, a thousand per round trip: tuples of arguments by position, or values of `call`.

        All are encoded before the first is sent, so bad arguments leave nothing stored. If the broker fails midway, the
        error's `accepted` has the ids of what was stored.
        """
        return self._producer.send_many(self._stamp, calls)

    async def aenqueue_many(self, calls: Iterable[tuple[Any, ...] | Call[T]]) -> Batch[T]:
        """`enqueue_many`, awaited."""
        return await self._producer.asend_many(self._stamp, calls)

    def options(self, **options: Unpack[CallOptions]) -> Sender[P, T]:
        """The same task with other options, for one call or many: `task.options(delay=60).enqueue(42)`.

        `delay` in seconds or `at` a moment; `expires` not to be started after, so no sooner than these; `priority` -2
        to 2, larger is sooner; `unique` a key that is held until the message is over, per queue and task; `id` a UUID,
        or any text, that is accepted once in its queue, whatever the task (see `Handle`); `then` a call that is
        enqueued when this one is done; `queue`, `timeout`, `hard_timeout`, `retry`, `result_ttl`, `max_result`,
        `delivery` and `headers` instead of the task's. Raises InvalidOption.
        """
        wire = self._stamp.wire.get("then")
        if "then" in options:
            then = options.pop("then")
            wire = None if then is None else follow_wire(then)
        return Sender(self._producer, Stamp.of(self._stamp.target, self._stamp.options.merge(**options), wire))

    @property
    def stamp(self) -> Stamp:
        """What all of its calls have in common."""
        return self._stamp

    def __repr__(self) -> str:
        options = self._stamp.options
        changed = "".join(f", {name}={getattr(options, name)!r}" for name in sorted(options.overridden - {"queue"}))
        return f"{type(self).__name__}({self._stamp.target.name} in {options.queue!r}{changed})"


class Task(Sender[P, T]):
    """A registered function. Calling it runs it here and now, as if it were no task."""

    __name__: str
    __wrapped__: Callable[..., Any]

    def __init__(
        self,
        function: Callable[..., Any],
        signature: Signature,
        target: Target,
        defaults: TaskOptions,
        producer: Producer,
    ) -> None:
        super().__init__(producer, Stamp.of(target, defaults))
        self.name = target.name
        self.function = function
        self.is_async = iscoroutinefunction(function)
        self.signature = signature
        self.defaults = defaults
        self.hooks = Hooks()
        self.publishes: Publishes | None = None  # see TaskQ.publish_results
        wrapped: Any = self
        update_wrapper(wrapped, function)

    def on_failure(self, function: H) -> H:
        """Call `function` with an `Incident` after each failed attempt of this task, as `TaskQ.on_failure` does."""
        return hooks.add(self.hooks, "failure", function)

    def on_dead(self, function: H) -> H:
        """Call `function` with an `Incident` when a message of this task became a dead letter, as `TaskQ.on_dead`."""
        return hooks.add(self.hooks, "dead", function)


class SyncTask(Task[P, T]):
    """A task made from a plain function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        value: T = self.function(*args, **kwargs)
        return value


class AsyncTask(Task[P, T]):
    """A task made from an `async def` function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        value: Coroutine[Any, Any, T] = self.function(*args, **kwargs)
        return value
