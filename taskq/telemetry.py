"""Traces and metrics by OpenTelemetry: `instrument(app)`, once, where the app is made. Needs the extra `otel`.

Each enqueue is a span `send <queue>`; its context travels in the headers of the message, as `traceparent`. Each attempt
is a span `process <queue>` that is linked to it: a retry after an hour is no part of the trace of a web request. With
`parent=True` it is its child instead. A bulk is one span. What a task does inside its span becomes part of that.

This uses the API alone. Where spans go is for the SDK, which the application sets up, or does not: then nothing is
recorded, and each call costs some tens of microseconds more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakSet

from taskq import conventions as names
from taskq.errors import ConfigError, InvalidOption
from taskq.message import id_text
from taskq.middleware import Handler, Middleware, Middlewares, is_pending

try:
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    from opentelemetry.util.types import AttributeValue

    from taskq.record_telemetry import RecordTracer
    from taskq.spans import Step, bulk_headers, current_headers, facts_of, title
except ImportError as missing:
    raise ConfigError("taskq.telemetry needs the package opentelemetry-api: install taskq-redis[otel]") from missing

log = logging.getLogger("taskq.telemetry")

FLUSH_MS = 5_000
_SCOPE = "taskq"
_instrumented: WeakSet[Any] = WeakSet()


class Instrumentable(Protocol):
    """What is needed of an app."""

    @property
    def middlewares(self) -> Middlewares: ...

    record_tracer: Any

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
    app.middlewares.add("enqueue", _around(one.send))
    app.middlewares.add("enqueue_many", _around(one.send_many))
    app.middlewares.add("execute", _around(one.process))
    app.on_shutdown(one.flush)
    app.record_tracer = RecordTracer(one)


class _Telemetry:
    """The three middlewares of one app, and what they count."""

    def __init__(
        self,
        parent: bool,
        tracer_provider: trace.TracerProvider | None,
        meter_provider: metrics.MeterProvider | None,
    ) -> None:
        self._parent = parent
        self._providers = tracer_provider, meter_provider
        self.tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self.sent = meter.create_counter(names.SENT_MESSAGES, "{message}", "Messages that were sent to the broker.")
        self.consumed = meter.create_counter(names.CONSUMED_MESSAGES, "{message}", "Attempts that were begun.")
        self.duration = meter.create_histogram(
            names.PROCESS_DURATION,
            "s",
            "How long attempts took.",
            explicit_bucket_boundaries_advisory=list(names.DURATION_BOUNDS),
        )

    # -- the middlewares: what each begins; None if nothing --------------------------------------------------------

    def send(self, request: Any) -> Step | None:
        """The enqueueing of one call."""
        carrier = bulk_headers.get()
        if carrier is not None:
            request.options = _with_headers(request.options, carrier)
            return None
        step = self._sending(facts_of(names.SEND, {request.options.queue}) | {names.TASK: request.task}, 1)
        step.makes_handle = True
        with step.active():
            request.options = _with_headers(request.options, current_headers())
        return step

    def send_many(self, request: Any) -> Step:
        """A bulk, whose calls then pass `send` without spans of their own."""
        step = self._sending(facts_of(names.SEND, request.queues), len(request.items))
        step.span.set_attribute(names.BATCH_COUNT, len(request.items))
        with step.active():
            step.carried = current_headers()
        return step

    def process(self, request: Any) -> Step:
        """One attempt."""
        attempt = request.attempt
        facts = facts_of(names.PROCESS, {attempt.queue}) | {names.TASK: request.task}
        self.consumed.add(1, facts)
        origin, links = self._origin(attempt)
        more = {names.MESSAGE_ID: id_text(attempt.id), names.ATTEMPT: attempt.attempt_number}
        began = time.perf_counter()
        span = self.tracer.start_span(title(facts), origin, SpanKind.CONSUMER, facts | more, links)
        return Step(span, facts, lambda measured: self.duration.record(time.perf_counter() - began, measured), origin)

    def flush(self) -> None:
        """Hand over what the SDK has gathered: the process leaves without the exit handlers of Python."""
        tracers, meters = self._providers
        for provider in (tracers or trace.get_tracer_provider(), meters or metrics.get_meter_provider()):
            flush = getattr(provider, "force_flush", None)
            if flush is not None:
                flush(FLUSH_MS)

    # -- their parts ------------------------------------------------------------------------------------------------

    def _sending(self, facts: dict[str, AttributeValue], count: int) -> Step:
        span = self.tracer.start_span(title(facts), None, SpanKind.PRODUCER, facts)
        return Step(span, facts, lambda measured: self.sent.add(count, measured))

    def _origin(self, attempt: Any) -> tuple[Context, Sequence[Link]]:
        """The context in which an attempt begins, and what its span is linked to.

        Whatever this thread or this event loop did before is no part of it.
        """
        return self.origin(_carried(attempt))

    def origin(self, carried: Mapping[str, str]) -> tuple[Context, Sequence[Link]]:
        """The same for what was sent with these headers."""
        sent = propagate.extract(carried, Context()) if carried else Context()
        if self._parent:
            return sent, ()
        context = trace.get_current_span(sent).get_span_context()
        # Its baggage stays: only the span is not the parent.
        return trace.set_span_in_context(trace.INVALID_SPAN, sent), [Link(context)] if context.is_valid else ()


def _around(begin: Callable[[Any], Step | None]) -> Middleware[Any, Any]:
    """A middleware that makes a step of what the handler does.

    A coroutine may be awaited in another context than the one in which it was made, so each has the span by itself.
    """

    def middleware(handler: Handler[Any, Any]) -> Handler[Any, Any]:
        def handle(request: Any) -> Any:
            step = begin(request)
            if step is None:
                return handler(request)
            try:
                with step.active():
                    outcome = handler(request)
            except BaseException as error:
                step.end(error, _timed_out(request))
                raise
            if is_pending(outcome):
                return _wait(step, outcome, request)
            step.done(outcome)
            return outcome

        return handle

    return middleware


async def _wait(step: Step, outcome: Awaitable[Any], request: Any) -> Any:
    try:
        with step.active():
            result = await outcome
    except BaseException as error:
        step.end(error, _timed_out(request))
        raise
    step.done(result)
    return result


def _timed_out(request: Any) -> bool:
    return bool(getattr(getattr(request, "attempt", None), "timed_out", False))


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
