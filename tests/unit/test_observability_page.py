"""docs/observability.md tells of each metric what the code tells, and its examples are meant as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taskq import conventions
from taskq import metric_names as names
from taskq.exposition import BOUNDS
from taskq_workers.listener import MOST
from taskq_workers.probes import SILENT_S, STUCK_S, Standing, unready

PAGE = (Path(__file__).parents[2] / "docs" / "observability.md").read_text("utf-8")


def row(metric: names.Metric) -> str:
    return f"| `{metric.name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.help} |"


@pytest.mark.parametrize(
    ("heading", "metrics"), [("### Of the namespace", names.NAMESPACE), ("### Of the process", names.PROCESS)]
)
def test_the_tables_are_those_of_the_code(heading: str, metrics: tuple[names.Metric, ...]) -> None:
    section = PAGE.partition(heading)[2].partition("\n### ")[0]
    told = [line for line in section.splitlines() if line.startswith("| `")]
    assert told == [row(metric) for metric in metrics]


def test_every_name_on_the_page_is_served() -> None:
    told = set(re.findall(r"\btaskq_[a-z_]+", PAGE))
    fields = {"taskq_message", "taskq_task", "taskq_queue", "taskq_attempt", "taskq_worker", "taskq_trace"}
    assert told - fields == {metric.name for metric in names.ALL}


def test_figures_on_the_page_are_those_of_the_code() -> None:
    assert (len(BOUNDS), BOUNDS[0][1], round(BOUNDS[-1][1] / 60)) == (16, 0.000256, 72)
    assert "16 powers of two of a microsecond, from 256 µs to 72 minutes" in PAGE
    assert f"turned within {STUCK_S:.0f} s" in PAGE
    assert f"our record within {SILENT_S:.0f} s" in PAGE
    assert f"{MOST} of them at a" in PAGE
    for standing in (Standing("draining", 0), Standing("running", 0, outage=True), Standing("running", 0, recorded=1)):
        assert f"`{unready(standing)}`" in PAGE
    told = set(re.findall(r"messaging\.[a-z_.]+[a-z]", PAGE)) - {"messaging.system"}
    assert told <= {value for name, value in vars(conventions).items() if name.isupper() and isinstance(value, str)}


@pytest.mark.parametrize("text", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_examples_compile(text: str) -> None:
    compile(text, "observability.md", "exec")
