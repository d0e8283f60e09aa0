"""Where traces come in: what `taskq.telemetry` hangs into the topics of an app, and nothing if it does not."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from taskq.events.record import Event


class Tracer(Protocol):
    """`publishing` is a span around a publish and gives the headers of its records; `headers` are those of what a
    handler causes; `handler` puts a span around each call of a function.
    """

    def publishing(self, topic: str, count: int) -> AbstractContextManager[dict[str, str]]: ...
    def headers(self) -> dict[str, str]: ...
    def handler(self, group: str, function: Callable[..., Any], *, is_async: bool) -> Callable[..., Any]: ...


Tracers = Callable[[], "Tracer | None"]
"""Asked when something is published or begun, since an app may be instrumented after its topics were named."""


def none() -> None:
    """No tracer."""
    return


@contextmanager
def traced(tracer: Tracer | None, topic: str, items: Iterable[Any]) -> Generator[Iterable[Any]]:
    """Publish these inside of a span; they carry its context, but those that carry one already keep it."""
    if tracer is None:
        yield items
        return
    events = [*items]
    with tracer.publishing(topic, len(events)) as headers:
        yield [_carrying(item, headers) for item in events]


def _carrying(item: Any, headers: Mapping[str, str]) -> Event:
    event = item if type(item) is Event else Event(item)
    if event.headers is None:
        return event._replace(headers=headers)
    if not isinstance(event.headers, Mapping) or any(name in event.headers for name in headers):
        return event
    return event._replace(headers={**headers, **event.headers})


def with_headers(tracer: Tracer | None, headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """The headers of what a handler causes."""
    if tracer is None or (headers is not None and not isinstance(headers, Mapping)):
        return headers
    return {**tracer.headers(), **(headers or {})}
