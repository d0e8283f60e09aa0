"""Traces of records (statement 104): the context of a publish travels in headers through all that they pass."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from taskq import Event, Record, TaskQ, Topic
from taskq import conventions as names
from taskq.events.aggregates import Aggregates
from taskq.events.transaction import Transaction
from taskq.message import decode
from taskq.store.keys import queue_keys
from taskq.telemetry import instrument
from tests.events.ordered_kit import SOON, Scene, Seen
from tests.servers import RealServer


class Traced(Scene):
    """A scene with an app that is instrumented, and what its exporter got."""

    def __init__(self, server: RealServer, namespace: str, **options: Any) -> None:
        super().__init__(server, namespace, partitions=1)
        self.spans = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.tracer = tracers.get_tracer("shop")
        self.app = self.new_app()
        self.topic: Topic = self.app.topic("t")
        instrument(self.app, tracer_provider=tracers, **options)

    def told(self, title: str) -> list[ReadableSpan]:
        return [span for span in self.spans.get_finished_spans() if span.name == title]

    def told_so_many(self, title: str, count: int) -> list[ReadableSpan]:
        self.until(lambda: len(self.told(title)) >= count)
        return self.told(title)


@pytest.fixture
def scene(server: RealServer, namespace: str) -> Iterator[Traced]:
    made = Traced(server, namespace)
    yield made
    made.close()


def facts(span: ReadableSpan) -> dict[str, Any]:
    return {name: value for name, value in (span.attributes or {}).items() if name != names.SYSTEM}


def written(span: ReadableSpan) -> str:
    """Its context, as headers have it."""
    context = span.context
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def linked(span: ReadableSpan) -> list[str]:
    contexts = [link.context for link in span.links]
    return [f"00-{one.trace_id:032x}-{one.span_id:016x}-{one.trace_flags:02x}" for one in contexts]


def test_s104_a_publish_is_a_span_whose_context_its_records_carry(scene: Traced) -> None:
    with scene.tracer.start_as_current_span("request") as request:
        scene.topic.publish(1)
        scene.topic.publish_many([Event(2, headers={"a": "b"}), 3])
        scene.topic.publisher("name").publish(4, partition=0)
        Aggregates(scene.topic, initial=int, apply=lambda state, record: state).append("k", [5, 6])
    asyncio.run(apublish(scene))
    spans = scene.told("send t")
    assert [facts(span).get(names.BATCH_COUNT) for span in spans] == [None, 2, None, 2, None]
    assert {span.kind for span in spans} == {SpanKind.PRODUCER}
    inside = [span.parent is not None and span.parent.span_id == request.get_span_context().span_id for span in spans]
    assert inside == [True] * 4 + [False]
    records = scene.topic.read(0)
    expected = [written(spans[at]) for at in (0, 1, 1, 2, 3, 3, 4)]
    assert [record.headers["traceparent"] for record in records] == expected
    assert records[1].headers["a"] == "b"


async def apublish(scene: Traced) -> None:
    await scene.topic.apublish(7)
    await scene.app.aclose()


def test_s104_a_context_that_is_given_stays_and_without_instrument_there_is_none(scene: Traced) -> None:
    scene.topic.publish(1, headers={"traceparent": "mine"})
    scene.new_app().topic("t").publish(2)
    assert [record.headers for record in scene.topic.read(0)] == [{"traceparent": "mine"}, {}]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
@pytest.mark.parametrize("mode", ["partition", "key", "shared"])
def test_s104_each_call_of_a_handler_is_a_span_that_is_linked_to_the_publish(
    scene: Traced, mode: Any, kind: str
) -> None:
    def plain(record: Record) -> None:
        with scene.tracer.start_as_current_span("inside"):
            if record.value == 1 and record.attempt == 1:
                raise ValueError("once")

    async def coroutine(record: Record) -> None:
        await asyncio.sleep(0)
        plain(record)

    options: dict[str, Any] = {"group": "g", "mode": mode, "reset": "earliest", "retry": SOON}
    scene.app.subscribe("t", **options)(plain if kind == "plain" else coroutine)
    placed = scene.topic.publish_many([0, 1])
    with scene.app.consume():
        spans = scene.told_so_many("process t", 3)
    (sent,) = scene.told("send t")
    assert [linked(span) for span in spans] == [[written(sent)]] * 3
    failed = [span for span in spans if span.status.status_code is StatusCode.ERROR]
    assert [facts(span)[names.ERROR_TYPE] for span in failed] == ["ValueError"]
    ids = sorted((facts(span)[names.MESSAGE_ID], facts(span)[names.ATTEMPT]) for span in spans)
    one, two = (f"t/0/{where.offset}" for where in placed)
    assert ids == [(one, 1), (two, 1), (two, 2)]
    assert {(span.kind, facts(span)[names.GROUP], facts(span)[names.PARTITION]) for span in spans} == {
        (SpanKind.CONSUMER, "g", "0")
    }
    inner = {span.parent.span_id for span in scene.told("inside") if span.parent is not None}
    assert inner == {span.context.span_id for span in spans if span.context is not None}


def test_s104_a_batch_is_one_span_with_a_link_to_each_publish(scene: Traced) -> None:
    seen = Seen()
    scene.app.subscribe("t", group="g", reset="earliest", batch=10)(seen.add)
    for number in range(3):
        scene.topic.publish(number)
    with scene.app.consume():
        (span,) = scene.told_so_many("process t", 1)
    assert linked(span) == [written(one) for one in scene.told("send t")]
    assert facts(span)[names.BATCH_COUNT] == 3


def test_with_parent_the_handlers_span_is_a_child_of_the_publish(server: RealServer, namespace: str) -> None:
    scene = Traced(server, namespace, parent=True)
    scene.app.subscribe("t", group="g", reset="earliest")(lambda record: None)
    scene.topic.publish(1)
    with scene.app.consume():
        (span,) = scene.told_so_many("process t", 1)
    (sent,) = scene.told("send t")
    assert span.parent is not None
    assert sent.context is not None
    assert span.parent.span_id == sent.context.span_id
    scene.close()


def send(number: int) -> None: ...


def test_s104_what_goes_through_an_outbox_carries_the_context_of_its_handler(scene: Traced) -> None:
    out = scene.app.topic("out", partitions=1)
    task = scene.app.task(name="mail.send", queue="mail")(send)

    @scene.app.subscribe("t", group="g", reset="earliest", delivery="exactly_once")
    def handler(record: Record, transaction: Transaction) -> None:
        transaction.publish(out, record.value, headers={"a": "b"})
        transaction.enqueue(task.call(record.value))

    scene.topic.publish(1)
    with scene.app.consume():
        scene.until(lambda: len(bodies(scene.app, "mail")) == 1 and len(out.read(0)) == 1)
        (span,) = scene.told_so_many("process t", 1)
    assert out.read(0)[0].headers == {"a": "b", "traceparent": written(span)}
    assert headers_of(scene.app, "mail") == {"traceparent": written(span)}


def bodies(app: TaskQ, queue: str) -> list[bytes]:
    found: list[bytes] = app.events.links().sync.execute("HVALS", queue_keys(app.namespace, queue).body)
    return found


def headers_of(app: TaskQ, queue: str) -> Any:
    (body,) = bodies(app, queue)
    return decode(b"\0" * 16, body).headers


def test_s104_a_bridge_gives_each_task_the_context_of_its_record(scene: Traced) -> None:
    task = scene.app.task(name="mail.send", queue="mail")(send)
    scene.app.bridge("t", group="g", call=lambda record: task.call(record.value), reset="earliest")
    scene.topic.publish(1)
    with scene.app.consume():
        scene.until(lambda: len(bodies(scene.app, "mail")) == 1)
    (sent,) = scene.told("send t")
    assert headers_of(scene.app, "mail") == {"traceparent": written(sent)}


@pytest.mark.parametrize("on_error", ["block", "park"])
def test_s104_parked_dead_and_redriven_records_keep_the_context_of_their_publish(scene: Traced, on_error: Any) -> None:
    broken = [True]

    @scene.app.subscribe("t", group="g", reset="earliest", retry=SOON, on_error=on_error)
    def handler(record: Record) -> None:
        if broken and record.value == 1:
            raise ValueError("no")

    scene.topic.publish(1, key="k")
    scene.topic.publish(2, key="k")
    first, second = scene.told("send t")
    group = scene.topic.group("g")
    with scene.app.consume():
        scene.until(lambda: len(group.dead()) == 1)
        spans = scene.told_so_many("process t", 4)
        assert [linked(span) for span in spans] == [[written(first)]] * 3 + [[written(second)]]
        [letter] = group.dead()
        assert letter.info["headers"] == {"traceparent": written(first)}
        broken.clear()
        assert group.redrive([letter]) == []
        again = scene.told_so_many("process t", 5)[-1]
    assert linked(again) == [written(first)]
    assert scene.topic.read(0)[-1].headers["traceparent"] == written(first)


def test_s104_dead_letters_of_a_shared_group_keep_it_too(scene: Traced) -> None:
    broken = [True]

    def handler(record: Record) -> None:
        if broken:
            raise ValueError("no")

    scene.topic.publish(1)
    (sent,) = scene.told("send t")
    with scene.topic.subscribe(handler, group="m", mode="shared", reset="earliest", retry=SOON) as subscription:
        scene.until(lambda: len(subscription.dead()) == 1)
        assert subscription.dead()[0].record.headers == {"traceparent": written(sent)}
        broken.clear()
        assert subscription.redrive().redriven == 1
        spans = scene.told_so_many("process t", 4)
    assert [linked(span) for span in spans] == [[written(sent)]] * 4
    assert orjson.loads(orjson.dumps(facts(spans[-1])))[names.GROUP] == "m"
    assert not trace.get_current_span().get_span_context().is_valid
