"""An app that is watched: its spans go to a file, its tasks log, and one of them fails once."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from taskq import Retry, RetryPolicy, TaskQ, current
from taskq.telemetry import instrument

log = logging.getLogger("shop.mail")
QUICKLY = RetryPolicy(max_attempts=2, base=0.01, cap=0.01)


class FileExporter(SpanExporter):
    """One line of JSON for each span, appended as a whole."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        lines = "".join(json.dumps(json.loads(span.to_json())) + "\n" for span in spans)
        target = os.open(Path(os.environ["OBSERVED_SPANS"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(target, lines.encode())
        os.close(target)
        return SpanExportResult.SUCCESS


app = TaskQ(os.environ.get("GUARDED_NAMESPACE", "observed"), url=os.environ.get("GUARDED_URL"))
if "OBSERVED_SPANS" in os.environ:
    provider = TracerProvider()
    # Far slower than any test: what arrives was flushed when the process ended.
    provider.add_span_processor(BatchSpanProcessor(FileExporter(), schedule_delay_millis=600_000))
    trace.set_tracer_provider(provider)
    instrument(app)


@app.task(queue="work", result_ttl=60)
def plain(tag: str) -> str:
    log.warning("plain %s", tag)
    with trace.get_tracer("shop").start_as_current_span("inside"):
        return f"{trace.get_current_span().get_span_context().trace_id:032x}"


@app.task(queue="work", result_ttl=60)
async def coroutine(tag: str) -> str:
    await asyncio.sleep(0)
    log.warning("coroutine %s", tag)
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


@app.task(queue="work", retry=QUICKLY, result_ttl=60)
def twice(tag: str) -> int:
    """Fails once."""
    log.warning("twice %s", tag)
    if current().attempt == 1:
        raise ConnectionError(f"no route to {tag}")
    return current().attempt


@app.task(queue="work", retry=QUICKLY)
def never(tag: str) -> None:
    """Fails always."""
    raise ValueError(f"no {tag}")


@app.task(queue="work", retry=QUICKLY, result_ttl=60)
def later(tag: str) -> str:
    """Asks for another run that spends no attempt."""
    if current().deliveries == 1:
        raise Retry(after=0.01, count_attempt=False)
    return tag
