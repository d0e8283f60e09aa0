"""Spans and measures of OpenTelemetry, as an exporter in memory receives them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from taskq import Retry, RetryPolicy, TaskQ, current
from taskq import conventions as names
from taskq.errors import ConfigError, InvalidArguments
from taskq.tasks import registry
from taskq.telemetry import _Telemetry, instrument
from taskq.testing import Memory, memory


class Scene:
    """An app in memory, and what was told of it."""

    def __init__(self, **options: Any) -> None:
        self.app = TaskQ("shop")
        self.spans = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.reader = InMemoryMetricReader()
        meters = MeterProvider([self.reader])
        instrument(self.app, tracer_provider=self.tracers, meter_provider=meters, **options)
        self.tracer = self.tracers.get_tracer("shop")
        self.ran: list[Any] = []
        self._tasks()

    def _tasks(self) -> None:
        @self.app.task(name="shop.send", queue="mail", retry=RetryPolicy(max_attempts=2, base=1))
        def send(order: int) -> None:
            self.ran.append((order, current().headers))
            with self.tracer.start_as_current_span("inside"):
                if order < 0:
                    raise ValueError(f"no order {order}")

        @self.app.task(name="shop.asend", queue="mail")
        async def asend(order: int) -> None:
            await asyncio.sleep(0)
            with self.tracer.start_as_current_span("inside"):
                self.ran.append((order, baggage.get_baggage("tenant")))

        @self.app.task(name="shop.other", queue="other", retry=RetryPolicy(max_attempts=2, base=1))
        def other(order: int) -> None:
            if current().deliveries == 1:
                raise Retry(after=1, count_attempt=order == 1)

        self.send, self.asend, self.other = send, asend, other

    def told(self, prefix: str) -> list[ReadableSpan]:
        """Spans that have ended, in that order."""
        return [span for span in self.spans.get_finished_spans() if span.name.startswith(prefix)]

    def measured(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture(autouse=True)
def local_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "allow_local", True)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def bench(scene: Scene) -> Iterator[Memory]:
    with memory(scene.app) as q:
        yield q


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def context_of(span: ReadableSpan) -> trace.SpanContext:
    context: trace.SpanContext | None = span.context
    assert context is not None
    return context


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def linked_to(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


# -- one message


def test_an_enqueue_is_a_span_and_its_attempt_is_linked_to_it(scene: Scene, bench: Memory) -> None:
    with scene.tracer.start_as_current_span("request"):
        handle = scene.send.enqueue(1)
    bench.run_until_idle()
    (sent,), (processed,), (inside,) = scene.told("send"), scene.told("process"), scene.told("inside")
    assert (sent.name, sent.kind, processed.name, processed.kind) == (
        *("send mail", SpanKind.PRODUCER),
        *("process mail", SpanKind.CONSUMER),
    )
    assert facts(sent) == {
        names.SYSTEM: "taskq",
        names.OPERATION_NAME: "send",
        names.OPERATION_TYPE: "send",
        names.DESTINATION: "mail",
        names.MESSAGE_ID: handle.id,
        names.TASK: "shop.send",
        names.CREATED: True,
    }
    assert facts(processed) == {
        names.SYSTEM: "taskq",
        names.OPERATION_NAME: "process",
        names.OPERATION_TYPE: "process",
        names.DESTINATION: "mail",
        names.MESSAGE_ID: handle.id,
        names.TASK: "shop.send",
        names.ATTEMPT: 1,
    }
    (request,) = scene.told("request")
    assert parent_of(sent) == context_of(request).span_id
    assert linked_to(processed) == [context_of(sent).span_id]
    assert processed.parent is None
    assert context_of(processed).trace_id != context_of(sent).trace_id
    assert parent_of(inside) == context_of(processed).span_id
    assert processed.status.status_code is StatusCode.UNSET


def test_the_context_travels_as_traceparent_beside_other_headers(scene: Scene, bench: Memory) -> None:
    scene.send.options(headers={"colour": "red"}).enqueue(1)
    bench.run_until_idle()
    (sent,) = scene.told("send")
    ((_, headers),) = scene.ran
    assert headers["colour"] == "red"
    context = context_of(sent)
    assert headers["traceparent"].startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")


def test_an_attempt_may_be_the_child_of_its_enqueue() -> None:
    scene = Scene(parent=True)
    with memory(scene.app) as q:
        scene.send.enqueue(1)
        q.run_until_idle()
    (sent,), (processed,) = scene.told("send"), scene.told("process")
    assert parent_of(processed) == context_of(sent).span_id
    assert context_of(processed).trace_id == context_of(sent).trace_id
    assert not processed.links


@pytest.mark.parametrize("parent", [False, True])
def test_baggage_travels_to_the_task(parent: bool) -> None:
    scene = Scene(parent=parent)
    with memory(scene.app) as q:
        token = attach(baggage.set_baggage("tenant", "acme"))
        try:
            scene.asend.enqueue(1)
        finally:
            detach(token)
        q.run_until_idle()
    assert scene.ran == [(1, "acme")]


async def test_coroutines_on_both_ends_are_told_alike(scene: Scene, bench: Memory) -> None:
    async def send(order: int) -> str:
        with scene.tracer.start_as_current_span(f"request {order}"):
            handle = await scene.asend.aenqueue(order)
        return str(handle.id)

    ids = await asyncio.gather(*(send(order) for order in range(5)))
    await bench.arun_until_idle()
    sent = {facts(span)[names.MESSAGE_ID]: span for span in scene.told("send")}
    processed = {facts(span)[names.MESSAGE_ID]: span for span in scene.told("process")}
    requests = [context_of(span).span_id for span in sorted(scene.told("request"), key=lambda span: span.name)]
    assert sent.keys() == processed.keys() == set(ids)
    assert [parent_of(sent[one]) for one in ids] == requests
    for one in ids:
        assert linked_to(processed[one]) == [context_of(sent[one]).span_id]
    parents = {parent_of(span) for span in scene.told("inside")}
    assert parents == {context_of(span).span_id for span in processed.values()}


# -- bulks


def test_a_bulk_is_one_span_that_all_its_messages_link_to(scene: Scene, bench: Memory) -> None:
    scene.send.enqueue_many([(1,), (2,), (3,)])
    bench.run_until_idle()
    (sent,), processed = scene.told("send"), scene.told("process")
    assert sent.name == "send mail"
    assert (facts(sent)[names.BATCH_COUNT], facts(sent)[names.DESTINATION]) == (3, "mail")
    assert names.MESSAGE_ID not in facts(sent)
    assert [linked_to(span) for span in processed] == [[context_of(sent).span_id]] * 3


async def test_a_bulk_over_several_queues_has_no_destination(scene: Scene, bench: Memory) -> None:
    await scene.app.aenqueue_many([scene.send.call(1), scene.other.options(headers={"a": "b"}).call(2)])
    await bench.arun_until_idle()
    (sent,) = scene.told("send")
    assert (sent.name, facts(sent)[names.BATCH_COUNT]) == ("send", 2)
    assert {linked_to(span)[0] for span in scene.told("process")} == {context_of(sent).span_id}


def test_an_enqueue_after_a_bulk_has_a_span_of_its_own_again(scene: Scene, bench: Memory) -> None:
    with pytest.raises(InvalidArguments):
        scene.send.enqueue_many([(1, 2, 3)])
    scene.send.enqueue(1)
    bulk, one = scene.told("send")
    assert bulk.status.status_code is StatusCode.ERROR
    assert facts(bulk)[names.ERROR_TYPE] == "taskq.errors.InvalidArguments"
    assert facts(one)[names.CREATED] is True


def test_a_follow_up_carries_the_context_of_the_message_that_it_follows(scene: Scene, bench: Memory) -> None:
    scene.send.options(then=scene.send.call(2)).enqueue(1)
    own = scene.send.options(headers={"traceparent": "mine"}).call(4)
    scene.send.options(then=own).enqueue(3)
    bench.run_until_idle()
    first, second = scene.told("send")
    links = [linked_to(span) for span in scene.told("process")]
    assert sorted(links) == sorted([[context_of(first).span_id]] * 2 + [[context_of(second).span_id], []])
    assert [headers["traceparent"] for order, headers in scene.ran if order == 4] == ["mine"]


# -- failures


def test_each_failed_attempt_is_an_error_with_its_kind(scene: Scene, bench: Memory) -> None:
    scene.send.enqueue(-1)
    bench.run_until_idle(raise_errors=False)
    first, second = scene.told("process")
    assert [facts(span)[names.ATTEMPT] for span in (first, second)] == [1, 2]
    (sent,) = scene.told("send")
    for span in (first, second):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError: no order -1")
        assert facts(span)[names.ERROR_TYPE] == "ValueError"
        assert [event.name for event in span.events] == ["exception"]
        assert linked_to(span) == [context_of(sent).span_id], "a retry is linked to the same enqueue"


def test_a_retry_that_was_asked_for_is_no_error_unless_it_counts(scene: Scene, bench: Memory) -> None:
    scene.other.enqueue(0)
    scene.other.enqueue(1)
    bench.run_until_idle()
    spans = [span for span in scene.told("process") if span.events or facts(span).get(names.RETRY)]
    assert sorted((span.status.status_code.name, facts(span).get(names.ERROR_TYPE)) for span in spans) == sorted(
        [("UNSET", None), ("ERROR", "taskq.errors.Retry")], key=str
    )


def test_a_call_that_is_refused_is_an_error_of_its_producer(scene: Scene, bench: Memory) -> None:
    with pytest.raises(InvalidArguments):
        scene.send.enqueue("a", "b")  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    (sent,) = scene.told("send")
    assert facts(sent)[names.ERROR_TYPE] == "taskq.errors.InvalidArguments"


def test_headers_without_room_for_a_context_are_sent_as_they_are(scene: Scene, bench: Memory) -> None:
    token = attach(baggage.set_baggage("tenant", "x" * 3_000))
    try:
        scene.send.options(headers={"large": "x" * 6_000}).enqueue(1)
        scene.send.options(headers={"large": "x" * 8_180}).enqueue(2)
    finally:
        detach(token)
    bench.run_until_idle()
    assert [sorted(headers) for _, headers in sorted(scene.ran)] == [["large", "traceparent"], ["large"]]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": ""},
        {"traceparent": "00-x"},
        {"traceparent": f"00-{0:032x}-{0:016x}-01"},
        {"traceparent": 7, "tracestate": None},
        {"traceparent": "\u2028" * 50, "baggage": "=;,\0"},
    ],
)
def test_a_context_that_cannot_be_read_is_none(headers: dict[str, Any]) -> None:
    context, links = _Telemetry(False, None, None)._origin(SimpleNamespace(headers=headers))
    assert not links
    assert not trace.get_current_span(context).get_span_context().is_valid


# -- measures


def test_what_is_sent_and_run_is_measured(scene: Scene, bench: Memory) -> None:
    scene.send.enqueue(1)
    scene.send.enqueue_many([(2,), (-3,)])
    bench.run_until_idle(raise_errors=False)
    measured = scene.measured()
    assert sum(point.value for point in measured[names.SENT_MESSAGES]) == 3
    consumed = {dict(point.attributes)[names.TASK]: point.value for point in measured[names.CONSUMED_MESSAGES]}
    assert consumed == {"shop.send": 4}
    took = {dict(point.attributes).get(names.ERROR_TYPE): point.count for point in measured[names.PROCESS_DURATION]}
    assert took == {None: 2, "ValueError": 2}
    for point in measured[names.PROCESS_DURATION]:
        assert point.explicit_bounds == names.DURATION_BOUNDS
        assert names.MESSAGE_ID not in dict(point.attributes), "an id would make a series for each message"


# -- without it


def test_an_app_is_instrumented_once(scene: Scene) -> None:
    with pytest.raises(ConfigError, match="already"):
        instrument(scene.app)


def test_an_app_that_is_not_instrumented_never_meets_opentelemetry() -> None:
    program = (
        "import sys, taskq; taskq.TaskQ('a'); sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_the_library_the_way_out_is_said() -> None:
    program = "import sys; sys.modules['opentelemetry'] = None; import taskq.telemetry"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert "install taskq-redis[otel]" in done.stderr
    assert "ConfigError" in done.stderr
