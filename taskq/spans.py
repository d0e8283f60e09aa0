"""Spans of OpenTelemetry and what they tell: what the traces of tasks and of records share. Needs the extra `otel`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Span, StatusCode
from opentelemetry.util.types import AttributeValue

from taskq import conventions as names
from taskq.errors import Retry

bulk_headers: ContextVar[dict[str, str] | None] = ContextVar("taskq_bulk_headers", default=None)
"""The context of the bulk whose calls are being looked at here: each of its messages carries it."""


class Step:
    """One operation with its span, from its begin to `end`; it is current inside each `with` block of `active`.

    `base` is what is current beside it; None leaves what there is.
    """

    __slots__ = ("_base", "_end", "carried", "facts", "makes_handle", "span")

    def __init__(
        self,
        span: Span,
        facts: dict[str, AttributeValue],
        end: Callable[[dict[str, AttributeValue]], None],
        base: Context | None = None,
    ) -> None:
        self.span = span
        self.facts = facts
        self.carried: dict[str, str] | None = None
        self.makes_handle = False
        self._end = end
        self._base = base

    @contextmanager
    def active(self) -> Generator[None]:
        mark = None if self.carried is None else bulk_headers.set(self.carried)
        try:
            token = attach(trace.set_span_in_context(self.span, self._base))
            try:
                yield
            finally:
                detach(token)
        finally:
            if mark is not None:
                bulk_headers.reset(mark)

    def done(self, outcome: Any) -> None:
        """It came to something."""
        if self.makes_handle:
            self.span.set_attribute(names.MESSAGE_ID, outcome.id)
            self.span.set_attribute(names.CREATED, outcome.created)
        self.end()

    def end(self, error: BaseException | None = None, timed_out: bool = False) -> None:
        if error is not None:
            failed(self.span, error, self.facts, timed_out)
        self._end(self.facts)
        self.span.end()


def facts_of(operation: str, places: set[str]) -> dict[str, AttributeValue]:
    """What a span of an operation tells of it; `places` are the places or the topic."""
    facts: dict[str, AttributeValue] = {
        names.SYSTEM: names.TASKQ,
        names.OPERATION_NAME: operation,
        names.OPERATION_TYPE: operation,
    }
    if len(places) == 1:
        facts[names.DESTINATION] = next(iter(places))
    return facts


def title(facts: Mapping[str, AttributeValue]) -> str:
    """The name of a span."""
    return " ".join(str(facts[name]) for name in (names.OPERATION_NAME, names.DESTINATION) if name in facts)


def failed(span: Span, error: BaseException, facts: dict[str, AttributeValue], timed_out: bool) -> None:
    """Say of a span what went wrong, and of what is measured of which kind it was."""
    if isinstance(error, Retry) and not error.count_attempt:
        span.set_attribute(names.RETRY, True)  # asked for, like waiting for a lock: nothing has failed
        return
    kind = type(error)
    what = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if timed_out:
        what = "taskq.errors.TaskTimeout"  # a coroutine meets a cancellation, whatever was the reason for it
    facts[names.ERROR_TYPE] = what
    span.set_attribute(names.ERROR_TYPE, what)
    span.record_exception(error)
    span.set_status(StatusCode.ERROR, f"{what}: {error}" if str(error) else what)


def current_headers() -> dict[str, str]:
    """The current context as headers."""
    found: dict[str, str] = {}
    propagate.inject(found)
    return found
