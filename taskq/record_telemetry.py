"""Traces of records: a span for each publish and each call of a handler. `taskq.telemetry.instrument` makes it.

The context of a publish travels in the headers of its records, whatever they pass through: outboxes, parked records,
dead letters that are published again. What a handler causes by its transaction carries the context of its span.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final, Protocol

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind

from taskq import conventions as names
from taskq.middleware import is_pending
from taskq.spans import Step, current_headers, facts_of, title

MOST_LINKS: Final = 128  # of the span of a batch; so many the SDK keeps


class Instruments(Protocol):
    """What spans and measures of one app are made with."""

    tracer: trace.Tracer
    sent: metrics.Counter
    consumed: metrics.Counter
    duration: metrics.Histogram

    def origin(self, carried: Mapping[str, str]) -> tuple[Context, Sequence[Link]]: ...


class RecordTracer:
    """What `taskq.events.tracing.Tracer` says."""

    def __init__(self, instruments: Instruments) -> None:
        self._with = instruments

    @contextmanager
    def publishing(self, topic: str, count: int) -> Generator[dict[str, str]]:
        """A span around a publish of so many records; gives the headers that they are to carry."""
        facts = facts_of(names.SEND, {topic})
        more = {names.BATCH_COUNT: count} if count != 1 else {}
        span = self._with.tracer.start_span(title(facts), None, SpanKind.PRODUCER, facts | more)
        step = Step(span, facts, lambda measured: self._with.sent.add(count, measured))
        try:
            with step.active():
                yield current_headers()
        except BaseException as error:
            step.end(error)
            raise
        step.end()

    def headers(self) -> dict[str, str]:
        """What a record or a task that a handler causes is to carry."""
        return current_headers()

    def handler(self, group: str, function: Callable[..., Any], *, is_async: bool) -> Callable[..., Any]:
        """The function with a span around each call, for a record or a list of them."""

        @wraps(function)
        def plain(got: Any, *more: Any) -> Any:
            step = self._processing(group, got)
            try:
                with step.active():
                    outcome = function(got, *more)
            except BaseException as error:
                step.end(error)
                raise
            if is_pending(outcome):
                return _awaited(step, outcome)
            step.end()
            return outcome

        @wraps(function)
        async def coroutine(got: Any, *more: Any) -> Any:
            return await _awaited(self._processing(group, got), function(got, *more))

        return coroutine if is_async else plain

    def _processing(self, group: str, got: Any) -> Step:
        records = got if isinstance(got, list) else [got]
        facts = facts_of(names.PROCESS, {records[0].topic}) | {names.GROUP: group}
        context, links = Context(), list[Link]()
        self._with.consumed.add(len(records), facts)
        more: dict[str, Any] = {names.PARTITION: str(records[0].partition)}
        if isinstance(got, list):
            more[names.BATCH_COUNT] = len(records)
            origins = [self._with.origin(record.headers) for record in records[:MOST_LINKS]]
            links = [link for origin, some in origins for link in some or _linked(origin)]
        else:
            more |= {names.MESSAGE_ID: got.id, names.ATTEMPT: got.attempt}
            context, links[:] = self._with.origin(got.headers)
        began = time.perf_counter()
        span = self._with.tracer.start_span(title(facts), context, SpanKind.CONSUMER, facts | more, links)
        duration = self._with.duration
        return Step(span, facts, lambda measured: duration.record(time.perf_counter() - began, measured), context)


def _linked(origin: Context) -> list[Link]:
    """A batch has no single parent: it is linked to what its records would be children of."""
    context = trace.get_current_span(origin).get_span_context()
    return [Link(context)] if context.is_valid else []


async def _awaited(step: Step, outcome: Any) -> Any:
    try:
        with step.active():
            result = await outcome
    except BaseException as error:
        step.end(error)
        raise
    step.end()
    return result
