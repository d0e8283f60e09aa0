"""Middleware: a function that takes a handler and returns a handler.

There are three seams. `enqueue` is passed on the way in, in the producer, by each call; `enqueue_many` around a whole
bulk, whose calls pass `enqueue` inside it; `execute` around each run of a task, in the worker. What a handler gets and
returns is up to the seam; a middleware may change either, raise, or not call the next handler at all. The first one
added is the outermost. With none, the handler itself is used: no cost.

    def loud(handler):
        def handle(request):
            print("before")
            return handler(request)
        return handle

Handlers come sync and async (sync and async enqueue, plain and `async def` tasks). `loud` fits both, since it only
hands on what the next handler returns. A middleware that has something to do *afterwards* is best written with
`@around`, which awaits where that is needed.
"""

from __future__ import annotations

from asyncio import isfuture
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from functools import update_wrapper
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from taskq.checks import takes
from taskq.errors import ConfigError
from taskq.names import did_you_mean, shown

T = TypeVar("T")
R = TypeVar("R")

Handler: TypeAlias = Callable[[T], R]
Middleware: TypeAlias = Callable[[Callable[[T], R]], Callable[[T], R]]
Seam: TypeAlias = Literal["enqueue", "enqueue_many", "execute"]
Around: TypeAlias = Callable[[Any], Generator[None, Any, None]]

_ENDED = object()


def chain(middlewares: Iterable[Middleware[T, R]], handler: Handler[T, R]) -> Handler[T, R]:
    """Put `middlewares` around `handler`, the first outermost; without any this *is* `handler`.

    >>> double = lambda handler: lambda request: 2 * handler(request)
    >>> minus_one = lambda handler: lambda request: handler(request) - 1
    >>> chain([double, minus_one], len)("abc")
    4
    """
    for middleware in reversed(list(middlewares)):
        handler = middleware(handler)
        if not callable(handler):
            name = getattr(middleware, "__qualname__", repr(middleware))
            raise ConfigError(f"middleware {name} returned {handler!r} instead of a handler; does it lack a return?")
    return handler


class Middlewares:
    """The middlewares of an app, by seam; they take effect for handlers that are wrapped afterwards.

    >>> stack = Middlewares()
    >>> stack.wrap("execute", len) is len
    True
    """

    __slots__ = ("_seams",)

    def __init__(self) -> None:
        self._seams: dict[str, list[Middleware[Any, Any]]] = {seam: [] for seam in get_args(Seam)}

    def add(self, seam: Seam, middleware: Middleware[Any, Any]) -> None:
        """Add `middleware` inside those that are there."""
        self.check(seam)
        if not callable(middleware):
            raise ConfigError(f"a middleware is a function from handler to handler, not {middleware!r}")
        takes(middleware, "middleware", "handler")
        self._seams[seam].append(middleware)

    def check(self, seam: object) -> None:
        """Raise ConfigError for what is no seam, like the function in `@app.middleware` without parentheses."""
        if not isinstance(seam, str) or seam not in self._seams:
            raise ConfigError(
                f"middleware({shown(seam)}): there is no such seam{did_you_mean(seam, self._seams)}; write"
                ' @app.middleware("enqueue"), @app.middleware("enqueue_many") or @app.middleware("execute")'
            )

    def wrap(self, seam: Seam, handler: Handler[T, R]) -> Handler[T, R]:
        """`handler` with the middlewares of `seam` around it."""
        return chain(self._seams[seam], handler)


def around(function: Around) -> Middleware[Any, Any]:
    """Turn a generator function with one `yield` into a middleware for sync and async handlers.

    The `yield` is where the handler runs: it gives what the handler returned, or raises what it raised. What the
    generator catches goes on to the caller all the same: to swallow an exception, write a plain middleware.

    >>> @around
    ... def loud(request):
    ...     print("before", request)
    ...     print("after", (yield))
    >>> chain([loud], len)("abc")
    before abc
    after 3
    3
    """

    takes(function, "@around", "request")

    def middleware(handler: Handler[Any, Any]) -> Handler[Any, Any]:
        def handle(request: Any) -> Any:
            run = function(request)
            if next(run, _ENDED) is _ENDED:
                raise ConfigError("a middleware made with @around has to yield exactly once; this one did not yield")
            try:
                outcome = handler(request)
            except BaseException as error:
                _resume(run.throw, error)
                raise
            if is_pending(outcome):
                return _wait(run, outcome)
            _resume(run.send, outcome)
            return outcome

        return handle

    return update_wrapper(middleware, function)


def is_pending(outcome: object) -> bool:
    """Whether a handler has still to be awaited: it gave a coroutine or a future.

    A batch can be awaited as well, but that waits for its messages to be run, and is its caller's affair.
    """
    return isinstance(outcome, Coroutine) or isfuture(outcome)


async def _wait(run: Generator[None, Any, None], outcome: Awaitable[Any]) -> Any:
    try:
        result = await outcome
    except BaseException as error:
        _resume(run.throw, error)
        raise
    _resume(run.send, result)
    return result


def _resume(step: Callable[[Any], None], value: Any) -> None:
    """Give the generator what the handler came to, and see it end."""
    try:
        step(value)
    except StopIteration:
        return
    raise ConfigError("a middleware made with @around has to yield exactly once; this one yielded again")
