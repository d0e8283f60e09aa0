"""The app of the benchmarks with one feature more, which `BENCH_FEATURE` names: `tracing` or `middleware`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from benchmarks.app import app

VARIABLE = "BENCH_FEATURE"
TRACING, MIDDLEWARE = "tracing", "middleware"

__all__ = ["app"]


def _trace() -> None:
    """Spans as a service has them: batched, to an exporter that drops them."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    from taskq.telemetry import instrument

    class Dropping(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Dropping()))
    instrument(app, tracer_provider=provider)


def _wrap() -> None:
    @app.middleware("execute")
    def around(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def handle(request: Any) -> Any:
            return handler(request)

        return handle


if os.environ.get(VARIABLE) == TRACING:
    _trace()
elif os.environ.get(VARIABLE) == MIDDLEWARE:
    _wrap()
