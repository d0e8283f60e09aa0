"""A page of metrics: values by name and labels, and their text in the formats of Prometheus and OpenMetrics.

The text is made by `prometheus_client` (the extra `metrics`), which is imported when the first page is written.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final

from taskq.buckets import Histogram, bounds
from taskq.errors import ConfigError
from taskq.metric_names import Metric

OPENMETRICS: Final = "application/openmetrics-text"

_DOUBLINGS: Final = (8, 10, 12, 14, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 28, 32)
BOUNDS: Final = tuple((length, 2.0**length / 1e6) for length in _DOUBLINGS)
"""The bounds of our histograms: a binary length in microseconds, and the same in seconds, from 256 us to 72 minutes.

Each is the upper end of one of `taskq.buckets`, so nothing is estimated. A duration of exactly a bound counts above it.
"""


class Page:
    """What one answer to a scrape says; fill it, then `text`.

    >>> from taskq import metric_names
    >>> page = Page()
    >>> page.add(metric_names.QUEUE_PAUSED, 1, queue="mail")
    >>> page.value("taskq_queue_paused", queue="mail")
    1.0
    """

    def __init__(self) -> None:
        self._values: dict[Metric, dict[tuple[str, ...], float | Histogram]] = {}

    def add(self, metric: Metric, value: float | Histogram, **labels: str) -> None:
        """One value; of the same metric and labels the last one counts."""
        values = self._values.setdefault(metric, {})
        values[tuple(labels[name] for name in metric.labels)] = value if isinstance(value, Histogram) else float(value)

    def value(self, name: str, **labels: str) -> float | Histogram | None:
        """What the page says; None if it says nothing."""
        for metric, values in self._values.items():
            if metric.name == name:
                return values.get(tuple(labels.get(label, "") for label in metric.labels))
        return None

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """The page and its content type: OpenMetrics for who asks for it, else the plain format. Raises ConfigError."""
        client = library()
        if OPENMETRICS in accept:
            encoder = importlib.import_module("prometheus_client.openmetrics.exposition")
            return encoder.generate_latest(self), str(encoder.CONTENT_TYPE_LATEST)
        return client.generate_latest(self), "text/plain; version=0.0.4; charset=utf-8"

    def collect(self) -> Iterator[Any]:
        """The metrics as `prometheus_client` takes them from a collector."""
        families: Any = importlib.import_module("prometheus_client.metrics_core")
        for metric, values in self._values.items():
            if metric.kind == "histogram":
                family = families.HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
                for labels, value in values.items():
                    if isinstance(value, Histogram):
                        family.add_metric(labels, cumulative(value), estimated_sum(value))
            else:
                kind = families.CounterMetricFamily if metric.kind == "counter" else families.GaugeMetricFamily
                family = kind(metric.name, metric.help, labels=metric.labels)
                for labels, value in values.items():
                    family.add_metric(labels, value)
            yield family


def library() -> ModuleType:
    """`prometheus_client`; raises ConfigError with the way out if it is not installed."""
    try:
        return importlib.import_module("prometheus_client.exposition")
    except ImportError as error:
        raise ConfigError("metrics need the package prometheus_client: install taskq-redis[metrics]") from error


def cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    """How many durations were below each of our bounds, and all.

    >>> from taskq.buckets import bucket
    >>> cumulative(Histogram({bucket(200): 2, bucket(1_023): 1, bucket(1_024): 4}))[:3]
    [('0.000256', 2.0), ('0.001024', 3.0), ('0.004096', 7.0)]
    """
    rows: list[tuple[str, float]] = []
    left = sorted(histogram.counts.items())
    seen = at = 0
    for length, seconds in BOUNDS:
        while at < len(left) and left[at][0] < 2 * length + 2:  # bucket 2n + 1 ends at 2 ** n microseconds
            seen += left[at][1]
            at += 1
        rows.append((repr(seconds), float(seen)))
    return [*rows, ("+Inf", float(histogram.total))]


def estimated_sum(histogram: Histogram) -> float:
    """All durations together in seconds, each taken for the middle of its bucket: off by a fifth at most."""
    return sum(count * sum(bounds(number)) / 2 for number, count in histogram.counts.items())
