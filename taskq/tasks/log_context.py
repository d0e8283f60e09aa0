"""Which message a log record belongs to: a filter for `logging`, and the same facts for other loggers.

Nothing is stored for this around an attempt: the facts are read from what `taskq.current()` reads, when a line is
logged. Threads that a task starts by itself are outside, as they are for every context variable.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

from taskq.message import id_text
from taskq.tasks.context import Running, running

FIELDS: Final = ("taskq_message", "taskq_task", "taskq_queue", "taskq_attempt", "taskq_worker", "taskq_trace")
"""What the filter sets on each record; texts, but for the number of the attempt. Empty is what does not apply."""


def log_context() -> dict[str, Any]:
    """The facts of the attempt that is running here, by the names in `FIELDS`; empty outside a task.

    `taskq_trace` is there if a span of OpenTelemetry is current; the worker is known to its filter only.
    """
    attempt = running.get(None)
    return {} if attempt is None else facts(attempt)


def named(id: bytes, task: str, queue: str) -> dict[str, Any]:
    """What is known of a message that nobody runs."""
    return {"taskq_message": id_text(id), "taskq_task": task, "taskq_queue": queue}


def facts(attempt: Running) -> dict[str, Any]:
    """The same of an attempt at hand."""
    found = named(attempt.id, attempt.task_name, attempt.queue) | {"taskq_attempt": attempt.attempt_number}
    trace = _trace_id()
    return found | {"taskq_trace": trace} if trace else found


class LogContext(logging.Filter):
    """Adds `FIELDS` to each record, and holds none back; for handlers.

    A record that brings some of them already, by `extra=`, keeps those.

    >>> record = logging.LogRecord("shop", logging.INFO, "shop.py", 1, "hello", (), None)
    >>> LogContext("host-1").filter(record), record.taskq_worker, record.taskq_task
    (True, 'host-1', '')
    """

    def __init__(self, worker: str = "") -> None:
        super().__init__()
        self._outside = dict.fromkeys(FIELDS, "") | {"taskq_worker": worker}

    def filter(self, record: logging.LogRecord) -> bool:
        record.__dict__.update(self._outside | log_context() | record.__dict__)
        return True


def _trace_id() -> str:
    """That of the current span, if OpenTelemetry was imported by anybody."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""
