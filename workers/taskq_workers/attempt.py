"""One attempt: a delivery, the message in it, the plan of its task, and what happens to it while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from taskq.message import Message
from taskq.middleware import Middlewares
from taskq.options import RetryPolicy, TaskOptions
from taskq.signature import Signature
from taskq.tasks.broker import Delivery
from taskq.tasks.publishes import Publishes

Tell = Callable[["Attempt", float, float | None, str], None]
"""Takes what an attempt says of its progress; returns at once, raises nothing that concerns the broker."""

SLOW_S = 0.0005
"""A task that takes longer than this on average gets a slot of its own at once; a faster one shares a slice."""


class TaskLike(Protocol):
    """What the runtime needs of a registered task."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    signature: Signature
    defaults: TaskOptions


class Plan:
    """How messages of one task are run: its options worked out once, and its measured pace in seconds."""

    __slots__ = (
        "call",
        "counts",
        "decode",
        "encode_result",
        "hard",
        "index",
        "is_async",
        "max_result",
        "name",
        "once",
        "options",
        "pace",
        "progress",
        "publishes",
        "retry",
        "task",
        "timeout",
        "ttl_ms",
    )

    def __init__(
        self,
        task: TaskLike,
        index: int,
        options: TaskOptions,
        wrap: Callable[[Plan], Any],
        progress: Tell | None = None,
        counts: dict[int, str] | None = None,
    ) -> None:
        self.task = task
        self.counts: dict[int, str] = {} if counts is None else counts  # what done attempts count as, by their buckets
        self.progress = progress  # here and not in each attempt, since few attempts say anything
        self.name = task.name
        self.index = index
        self.is_async = task.is_async
        self.options = options
        self.decode = task.signature.decode
        self.encode_result = task.signature.encode_result
        self.timeout = options.timeout
        self.hard = options.hard_limit or 0.0
        self.retry: RetryPolicy = options.retry
        self.once = options.delivery == "at_most_once"
        self.ttl_ms = round(options.result_ttl * 1000)
        self.max_result = options.max_result
        self.publishes: Publishes | None = getattr(task, "publishes", None)
        self.pace = SLOW_S  # unknown counts as slow: the first runs show
        self.call = wrap(self)


class Request:
    """What the `execute` middleware sees: the attempt, its task's name, and the arguments that the function will
    get.
    """

    __slots__ = ("args", "attempt", "kwargs", "task")

    def __init__(self, attempt: Attempt, args: list[Any], kwargs: dict[str, Any]) -> None:
        self.attempt = attempt
        self.task = attempt.plan.name
        self.args = args
        self.kwargs = kwargs


class Plans:
    """The plans of an app's tasks; a call that changes the options of its task gets a plan of its own."""

    def __init__(self, tasks: Mapping[str, TaskLike], middlewares: Middlewares, progress: Tell | None = None) -> None:
        self._middlewares = middlewares
        names = list(dict.fromkeys(task.name for task in tasks.values()))
        self.names = names
        self._plans = {
            name: Plan(task, names.index(task.name), task.defaults, self._wrap, progress)
            for name, task in tasks.items()
        }

    def of(self, message: Message) -> Plan | None:
        """The plan for a message, or None if its task is not known here. Raises InvalidOption for odd stored
        options.
        """
        plan = self._plans.get(message.task)
        if plan is None or not message.options:
            return plan
        options = plan.options.from_wire(message.options)
        if options is plan.options:
            return plan
        return Plan(plan.task, plan.index, options, self._wrap, plan.progress, plan.counts)

    def _wrap(self, plan: Plan) -> Callable[[Attempt, list[Any], dict[str, Any]], Any] | None:
        """The way through the middleware, or None if there is none and the function can be called as it is."""
        function = plan.task.function

        def innermost(request: Request) -> Any:
            return function(*request.args, **request.kwargs)

        handler = self._middlewares.wrap("execute", innermost)
        if handler is innermost:
            return None

        def through(attempt: Attempt, args: list[Any], kwargs: dict[str, Any]) -> Any:
            return handler(Request(attempt, args, kwargs))

        return through


class Attempt:
    """A message on its way through this child. It is what `taskq.current()` reads."""

    __slots__ = (
        "cancel_requested",
        "deadline",
        "delivery",
        "fetched",
        "fresh_until",
        "lease_lost",
        "message",
        "plan",
        "recall",
        "slot",
        "started",
        "task_of_loop",
        "timed_out",
    )

    def __init__(
        self,
        delivery: Delivery,
        message: Message,
        plan: Plan,
        fetched: float,
        recall: int,
        fresh_until: float = float("inf"),
    ) -> None:
        self.delivery = delivery
        self.message = message
        self.plan = plan
        self.fetched = fetched
        self.recall = recall  # the table's recall number before the lease call was sent
        self.fresh_until = fresh_until  # a lease after that call was sent: started later, it may be someone else's
        self.slot = -1
        self.started = 0.0
        self.deadline: float | None = None
        self.cancel_requested = False
        self.lease_lost = False
        self.timed_out = False
        self.task_of_loop: asyncio.Task[None] | None = None

    @property
    def id(self) -> bytes:
        return self.delivery.id

    @property
    def task_name(self) -> str:
        return self.plan.name

    @property
    def queue(self) -> str:
        return self.delivery.queue

    @property
    def attempt_number(self) -> int:
        return self.delivery.attempts + 1

    @property
    def deliveries(self) -> int:
        return self.delivery.deliveries

    @property
    def crashes(self) -> int:
        return self.delivery.crashes

    @property
    def fence(self) -> int:
        return self.delivery.fence

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.message.headers or {})

    def report_progress(self, done: float, total: float | None, note: str) -> None:
        tell = self.plan.progress
        if tell is not None:
            tell(self, done, total, note)
