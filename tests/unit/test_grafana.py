"""The dashboard for Grafana asks for nothing that taskq does not serve."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq import metric_names as names

BOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "dashboard" / "grafana" / "taskq.json").read_text("utf-8")
)
METRICS = {metric.name: metric for metric in names.ALL}
OF_SCRAPE = {"instance", "le"}  # what Prometheus adds to each target, and to each bucket


def expressions() -> Iterator[str]:
    for panel in BOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def served(name: str) -> names.Metric:
    """The metric that a name in an expression is of."""
    if name not in METRICS:
        base = re.sub("_(bucket|sum|count)$", "", name)
        assert base in METRICS, f"{name} is not served"
        assert METRICS[base].kind == "histogram", f"{name} is no histogram"
        return METRICS[base]
    assert METRICS[name].kind != "histogram", f"{name} has buckets, a sum and a count"
    return METRICS[name]


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_each_expression_asks_for_metrics_and_labels_that_are_served(expression: str) -> None:
    found = [served(name) for name in re.findall(r"\btaskq_\w+", expression)]
    assert found, "it asks for no metric of ours"
    labels = {label for metric in found for label in metric.labels} | OF_SCRAPE
    asked = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in re.split(r",\s*", group)}
    asked |= set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
    assert asked <= labels
    for metric in found:
        rated = re.search(rf"(rate|increase)\({metric.name}", expression) is not None
        assert rated == (metric.kind != "gauge") or "label_values" in expression, "what only grows is shown as a rate"
    assert expression.count("(") == expression.count(")")


def test_every_metric_is_shown() -> None:
    shown = {served(name).name for expression in expressions() for name in re.findall(r"\btaskq_\w+", expression)}
    assert shown == set(METRICS)


def test_panels_have_numbers_and_places_of_their_own() -> None:
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & cells, panel["title"]
        taken |= cells
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels if panel["type"] != "row")
