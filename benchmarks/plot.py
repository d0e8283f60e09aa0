"""The picture of the drain rates: bars by name, with the day, the machine and the commit on it. Needs matplotlib."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Report, number, spread

OURS, RAW, PEERS = "#c23b22", "#9aa5b1", "#4a6fa5"

# By the name of the plan: what the bar is called.
BARS = {
    "taskq-async-p1": "taskq, 1 process, coroutines",
    "dramatiq-p1t10": "dramatiq, 10 threads",
    "dramatiq-p2t4": "dramatiq, at its fastest here",
    "bullmq-c10": "bullmq (Node), 10 at a time",
    "bullmq-c100": "bullmq (Node), 100 at a time",
    "taskq-default": "taskq, as shipped",
    "taskq-sync-p1": "taskq, 1 process of 10",
    "taskq-sync-p2": "taskq, 2 processes of 10",
    "raw-p1": "raw loop, 1 process",
    "raw-p2": "raw loop, 2 processes",
}


def bars(reports: Mapping[str, Report]) -> list[tuple[str, float, str]]:
    """Names, median rates and colours, from what P1 and peers have measured."""
    found: dict[str, tuple[float, str]] = {}
    for line in ("P1", "peers"):
        for name, runs in reports[line].data.items() if line in reports else ():
            if isinstance(runs, list) and runs and "rate" in runs[0]:
                colour = OURS if name.startswith("taskq") else RAW if name.startswith("raw") else PEERS
                found[BARS.get(name, name)] = (spread([run["rate"] for run in runs]).middle, colour)
    return [(name, rate, colour) for name, (rate, colour) in found.items()]


def caption(about: Mapping[str, Any]) -> str:
    where = about["machine"]
    quick = ", QUICK: no figures to quote" if about["quick"] else ""
    return (
        f"{about['at'][:10]}, taskq {about['taskq']} at {about['commit'] or 'no commit'}, {about['server']}, "
        f"Python {where['python']},\n{where['cores']} cores of {where['cpu']}, {about['rounds']} round(s){quick}"
    )


def draw(path: Path, found: Sequence[tuple[str, float, str]], about: Mapping[str, Any]) -> str:
    """Write the picture; answers why there is none, or nothing."""
    if not found:
        return "no drain was measured"
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
    except ImportError:
        return "matplotlib is not here (the extra 'bench')"
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(9, 1.4 + 0.42 * len(found)))
    names, rates, colours = zip(*reversed(found), strict=True)
    drawn = axes.barh(names, rates, color=colours)
    axes.bar_label(drawn, [number(rate, 0) for rate in rates], padding=4)
    axes.set_xlim(0, max(rates) * 1.15)
    axes.set_title("No-op tasks drained per second, results off", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.text(0.01, 0.01, caption(about), fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return ""
