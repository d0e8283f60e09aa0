"""What a real worker tells of each message: its spans, and the lines that are logged while it runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from taskq import Handle
from taskq.telemetry import instrument
from tests.runtime.world import World, world
from tests.servers import RealServer

OBSERVED = "tests.runtime.observed"


class Observed:
    """A world whose app and worker are traced."""

    def __init__(self, here: World) -> None:
        self.here = here
        self.sent = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.sent))
        instrument(here.app, tracer_provider=provider)
        self.spans = here.dir / "spans"
        self.worker = here.worker("--log-format", "json", app=f"{OBSERVED}:app", OBSERVED_SPANS=str(self.spans))

    def task(self, name: str) -> Any:
        return self.here.app.remote(f"{OBSERVED}.{name}", queue="work")

    def ended(self) -> list[dict[str, Any]]:
        """The spans of the worker, once that has ended: nothing is flushed before."""
        assert self.worker.terminate() == 0
        return [json.loads(line) for line in self.spans.read_text().splitlines()]

    def links(self) -> dict[str, str]:
        """The span under which each message was sent, by its id; those of a bulk are under ''."""
        found = {}
        for span in self.sent.get_finished_spans():
            context: Any = span.context
            found[str((span.attributes or {}).get("messaging.message.id", ""))] = f"0x{context.span_id:016x}"
        return found

    def lines(self) -> list[dict[str, Any]]:
        """What the worker and its child have logged."""
        return [json.loads(line) for line in self.worker.text().splitlines() if line.startswith("{")]


@pytest.fixture
def observed(server: RealServer, namespace: str) -> Iterator[Observed]:
    with world(server, namespace) as here:
        yield Observed(here)


def of(spans: list[dict[str, Any]], handle: Handle[Any]) -> list[dict[str, Any]]:
    return [span for span in spans if span["attributes"].get("messaging.message.id") == handle.id]


def linked_to(span: dict[str, Any]) -> list[str]:
    return [link["context"]["span_id"] for link in span["links"]]


def test_attempts_in_a_worker_are_linked_to_their_enqueues(observed: Observed) -> None:
    async def ask() -> Handle[Any]:
        return await observed.task("coroutine").aenqueue("a")  # type: ignore[no-any-return]

    sync, coroutine = observed.task("plain").enqueue("s"), asyncio.run(ask())
    twice, later, never = (observed.task(name).enqueue(name) for name in ("twice", "later", "never"))
    batch = observed.task("plain").enqueue_many([("b",), ("c",)])
    traces = {handle.id: handle.result(timeout=40) for handle in (sync, coroutine)}
    assert (twice.result(timeout=40), later.result(timeout=40)) == (2, "later")
    assert [len(trace) for trace in batch.results(timeout=40)] == [32, 32]
    observed.here.until(lambda: never.status() == "dead", "one to be dead")
    spans, links = observed.ended(), observed.links()
    for handle in (sync, coroutine):
        (span,) = of(spans, handle)
        assert (span["name"], span["kind"]) == ("process work", "SpanKind.CONSUMER")
        assert linked_to(span) == [links[handle.id]]
        assert span["parent_id"] is None
        assert span["context"]["trace_id"] == f"0x{traces[handle.id]}", "it was current inside the task"
        assert span["status"]["status_code"] == "UNSET"
    (inner, *_) = [span for span in spans if span["name"] == "inside"]
    assert inner["parent_id"] in [span["context"]["span_id"] for span in spans if span["name"] == "process work"]
    assert [linked_to(span) for span in spans if linked_to(span) == [links[""]]] == [[links[""]]] * 2
    first, second = of(spans, twice)
    assert [span["attributes"]["taskq.attempt"] for span in (first, second)] == [1, 2]
    assert [span["status"]["status_code"] for span in (first, second)] == ["ERROR", "UNSET"]
    assert first["attributes"]["error.type"] == "ConnectionError"
    assert linked_to(first) == linked_to(second) == [links[twice.id]]
    assert [span["status"]["status_code"] for span in of(spans, never)] == ["ERROR", "ERROR"]
    assert [span["status"]["status_code"] for span in of(spans, later)] == ["UNSET", "UNSET"]


def test_lines_of_a_task_tell_which_message_they_belong_to(observed: Observed) -> None:
    plain, coroutine = observed.task("plain").enqueue("s"), observed.task("coroutine").enqueue("a")
    twice = observed.task("twice").enqueue("again")
    traces = {handle.id: handle.result(timeout=40) for handle in (plain, coroutine)}
    assert twice.result(timeout=40) == 2
    lines = observed.lines()
    own = {line["message"]: line for line in lines if line["logger"] == "shop.mail" and "twice" not in line["message"]}
    workers = {line["taskq_worker"] for line in lines if line["process"] == "child-1"}
    assert len(workers) == 1
    for text, handle in (("plain s", plain), ("coroutine a", coroutine)):
        line = own[text]
        assert {name: line[name] for name in line if name.startswith("taskq_")} == {
            "taskq_message": handle.id,
            "taskq_task": f"{OBSERVED}.{text.split()[0]}",
            "taskq_queue": "work",
            "taskq_attempt": 1,
            "taskq_worker": next(iter(workers)),
            "taskq_trace": traces[handle.id],
        }
    assert [line["taskq_attempt"] for line in lines if line["message"] == "twice again"] == [1, 2]
    (retry,) = [line for line in lines if line["message"].startswith("retry ")]
    assert (retry["taskq_message"], retry["taskq_attempt"], retry["level"]) == (twice.id, 1, "warning")
    assert all("taskq_message" not in line for line in lines if line["process"] == "worker")
