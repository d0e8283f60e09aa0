"""Traces and metrics by OpenTelemetry: `instrument(app)`, once, where the app is made. Needs the extra `otel`.

Each enqueue is a span `send <queue>`; its context travels in the headers of the message, as `traceparent`. Each attempt
is a span `process <queue>` that is linked to it: a retry after an hour is no part of the trace of a web request. With
`parent=True` it is its child instead. A bulk is one span. What a task does inside its span becomes part of that.

This uses the API alone. Where spans go is for the SDK, which the application sets up, or does not: then nothing is
recorded, and a call costs some microseconds more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol
from weakref import WeakSet

from taskq import conventions as names
from taskq.errors import ConfigError, InvalidOption, Retry
from taskq.message import id_text
from taskq.middleware import Middlewares, around

try:
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanKind, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    from opentelemetry.util.types import AttributeValue
except ImportError as missing:
    raise ConfigError(
        "taskq.telemetry needs the package opentelemetry-api, which is not installed here: install taskq with its extra"
        " 'otel'"
    ) from missing

log = logging.getLogger("taskq.telemetry")

FLUSH_MS = 5_000
_SCOPE = "taskq"
_instrumented: WeakSet[Any] = WeakSet()
_headers: ContextVar[dict[str, str] | None] = ContextVar("taskq_bulk_headers", default=None)
"""The context of the bulk whose calls are being looked at here: each of its messages carries it."""


class Instrumentable(Protocol):
    """What is needed of an app."""

    @property
    def middlewares(self) -> Middlewares: ...
    def on_shutdown(self, function: Callable[[], Any], /) -> Any: ...


def instrument(
    app: Instrumentable,
    *,
    parent: bool = False,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> None:
    """Trace what is enqueued to `app` and what its workers run, and count both.

    Call it before the first enqueue and in every process, so beside the tasks. It is added to middleware that is there
    already, on the inside. Without providers the global ones are used, also if they are set later. A child process of
    a worker flushes them when it ends in order. Raises ConfigError the second time.

    >>> from taskq import TaskQ
    >>> instrument(TaskQ("shop"))
    """
    if app in _instrumented:
        raise ConfigError(f"{app!r} is instrumented already, and every span would come twice")
    _instrumented.add(app)
    one = _Telemetry(parent, tracer_provider, meter_provider)
    app.middlewares.add("enqueue", around(one.send))
    app.middlewares.add("enqueue_many", around(one.send_many))
    app.middlewares.add("execute", around(one.process))
    app.on_shutdown(one.flush)


class _Telemetry:
    """The three middlewares of one app, and what they count."""

    def __init__(
        self,
        parent: bool,
        tracer_provider: trace.TracerProvider | None,
        meter_provider: metrics.MeterProvider | None,
    ) -> None:
        from taskq import __version__

        self._parent = parent
        self._providers = tracer_provider, meter_provider
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
        self._sent = meter.create_counter(names.SENT_MESSAGES, "{message}", "Messages that were sent to the broker.")
        self._consumed = meter.create_counter(names.CONSUMED_MESSAGES, "{message}", "Attempts that were begun.")
        self._duration = meter.create_histogram(
            names.PROCESS_DURATION,
            "s",
            "How long attempts took.",
            explicit_bucket_boundaries_advisory=list(names.DURATION_BOUNDS),
        )

    # -- the middlewares --------------------------------------------------------------------------------------------

    def send(self, request: Any) -> Generator[None, Any, None]:
        """Around the enqueueing of one call."""
        carrier = _headers.get()
        if carrier is not None:
            request.options = _with_headers(request.options, carrier)
            yield
            return
        facts = _facts(names.SEND, {request.options.queue}) | {names.TASK: request.task}
        with self._sending(facts, 1) as span:
            request.options = _with_headers(request.options, _carrier())
            handle = yield
            span.set_attribute(names.MESSAGE_ID, str(handle.id))
            span.set_attribute(names.CREATED, bool(handle.created))

    def send_many(self, request: Any) -> Generator[None, Any, None]:
        """Around a bulk."""
        count = len(request.items)
        facts = _facts(names.SEND, request.queues)
        with self._sending(facts, count) as span:
            span.set_attribute(names.BATCH_COUNT, count)
            mark = _headers.set(_carrier())
            try:
                yield
            finally:
                _headers.reset(mark)

    def process(self, request: Any) -> Generator[None, Any, None]:
        """Around one attempt."""
        attempt = request.attempt
        facts = _facts(names.PROCESS, {attempt.queue}) | {names.TASK: request.task}
        self._consumed.add(1, facts)
        origin, links = self._origin(attempt)
        more = {names.MESSAGE_ID: id_text(attempt.id), names.ATTEMPT: attempt.attempt_number}
        began, measured = time.perf_counter(), dict(facts)
        span = self._tracer.start_span(_title(facts), origin, SpanKind.CONSUMER, facts | more, links)
        with trace.use_span(span, True, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except BaseException as error:
                _failed(span, error, measured, attempt)
                raise
            finally:
                self._duration.record(time.perf_counter() - began, measured)

    def flush(self) -> None:
        """Hand over what the SDK has gathered: the process leaves without the exit handlers of Python."""
        tracers, meters = self._providers
        for provider in (tracers or trace.get_tracer_provider(), meters or metrics.get_meter_provider()):
            flush = getattr(provider, "force_flush", None)
            if flush is not None:
                flush(FLUSH_MS)

    # -- their parts ------------------------------------------------------------------------------------------------

    @contextmanager
    def _sending(self, facts: dict[str, AttributeValue], count: int) -> Iterator[Span]:
        measured = dict(facts)
        span = self._tracer.start_span(_title(facts), None, SpanKind.PRODUCER, facts)
        with trace.use_span(span, True, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except BaseException as error:
                _failed(span, error, measured)
                raise
            finally:
                self._sent.add(count, measured)

    def _origin(self, attempt: Any) -> tuple[Context, Sequence[Link]]:
        """The context in which an attempt begins, and what its span is linked to.

        Whatever this thread or this event loop did before is no part of it.
        """
        sent = propagate.extract(_carried(attempt), Context())
        if self._parent:
            return sent, ()
        context = trace.get_current_span(sent).get_span_context()
        # Its baggage stays: only the span is not the parent.
        return trace.set_span_in_context(trace.INVALID_SPAN, sent), [Link(context)] if context.is_valid else ()


def _facts(operation: str, queues: set[str]) -> dict[str, AttributeValue]:
    facts: dict[str, AttributeValue] = {
        names.SYSTEM: names.TASKQ,
        names.OPERATION_NAME: operation,
        names.OPERATION_TYPE: operation,
    }
    if len(queues) == 1:
        facts[names.DESTINATION] = next(iter(queues))
    return facts


def _title(facts: Mapping[str, AttributeValue]) -> str:
    return " ".join(str(facts[name]) for name in (names.OPERATION_NAME, names.DESTINATION) if name in facts)


def _failed(span: Span, error: BaseException, measured: dict[str, AttributeValue], attempt: Any = None) -> None:
    """Say of a span what went wrong, and of what is measured of which kind it was."""
    if isinstance(error, Retry) and not error.count_attempt:
        span.set_attribute(names.RETRY, True)  # asked for, like waiting for a lock: nothing has failed
        return
    kind = type(error)
    what = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    # A coroutine meets a cancellation, whatever was the reason for it.
    if getattr(attempt, "timed_out", False):
        what = "taskq.errors.TaskTimeout"
    measured[names.ERROR_TYPE] = what
    span.set_attribute(names.ERROR_TYPE, what)
    span.record_exception(error)
    span.set_status(StatusCode.ERROR, f"{what}: {error}" if str(error) else what)


def _carrier() -> dict[str, str]:
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def _carried(attempt: Any) -> dict[str, str]:
    """The headers of a message as texts, whoever has written it."""
    try:
        headers = attempt.headers
    except (TypeError, ValueError):
        return {}
    return {name: text for name, text in headers.items() if isinstance(text, str)}


def _with_headers(options: Any, carrier: Mapping[str, str]) -> Any:
    """The options of a call with our context; without it if there is no room: no message is refused for a trace."""
    small = {name: carrier[name] for name in TraceContextTextMapPropagator().fields if name in carrier}
    for headers in (carrier, small):
        try:
            return options.merge(headers=headers) if headers else options
        except InvalidOption as error:
            log.debug("headers have no room for %s: %s", ", ".join(headers), error)
    return options
