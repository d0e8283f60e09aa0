"""`python -m benchmarks`: measure lines of the budgets side by side, print one table, write everything as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks import (
    answers,
    drains,
    due,
    events,
    features,
    growth,
    idle,
    lasting,
    looks,
    machine,
    outage,
    peer_drains,
    pickup,
    plot,
    recovery,
    scale,
    server,
    singles,
    stalls,
    stores,
    storm,
    streams,
)
from benchmarks.bench import Bench
from benchmarks.figures import Report, Row, as_json, markdown, table
from benchmarks.processes import ROOT
from taskq import __version__

DEFAULT = ("P1", "P2", "P3", "P5", "P8")
TOGETHER = ("P1", "P2", "P3")
"""These are read from the same drains."""

ALONE: Mapping[str, Callable[[Bench], Report]] = {
    "P4": singles.measure,
    "P5": stores.bulk,
    "P6": pickup.measure,
    "P7": answers.measure,
    "P8": stores.memory,
    "P9": idle.memory,
    "P10": idle.trips,
    "P11": growth.growth,
    "P12": events.plain,
    "P12b": events.packed,
    "P13": stalls.measure,
    "P13-stream": stalls.measure_streams,
    "peers": peer_drains.measure,
    "features": features.measure,
    "sizes": scale.sizes,
    "queues": scale.queues,
    "processes": scale.processes,
    "lengths": growth.lengths,
    "aof": scale.aof,
    "streams": streams.measure,
    "due": due.measure,
    "look": looks.measure,
    "recovery": recovery.measure,
    "outage": outage.measure,
    "storm": storm.measure,
    "lasting": lasting.measure,
}
RESULTS = ROOT / "benchmarks" / "results" / "latest.json"
_NOTE = "Redis on the loopback interface, no persistence (outage: append-only file, fsync each second)."


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("lines", nargs=-1, type=click.Choice([*TOGETHER, *ALONE]), metavar="[LINE]...")
@click.option("--quick", is_flag=True, help="Small and soon over; for seeing that it works, not for figures.")
@click.option("--rounds", type=click.IntRange(1), help="Interleaved rounds; 5, or 1 with --quick.")
@click.option(
    "--json",
    "path",
    type=click.Path(path_type=Path),
    default=RESULTS,
    help="Where the JSON goes; beside it a table and a picture.",
)
def main(lines: tuple[str, ...], quick: bool, rounds: int | None, path: Path) -> None:
    """Measure LINES of the budgets, P1 to P13 and P12b (P1 P2 P3 P5 P8 if none is named), or of what else there is:
    peers, features, sizes, queues, processes, lengths, aof, P13-stream, streams, due, look, recovery, outage, storm,
    lasting.

    Exit code 0 even if a budget is missed: the table says NO. 1 if something could not be measured.
    """
    for name in [name for name in os.environ if name.startswith("TASKQ_") and name != "TASKQ_SERVER_BINARY"]:
        del os.environ[name]  # a broker of the caller's must not be measured, let alone filled
    wanted = list(dict.fromkeys(lines or DEFAULT))
    load, begun = machine.Load(), time.monotonic()
    with Bench(quick, rounds or (1 if quick else 5)) as bench:
        reports, failed = run(bench, wanted)
        about = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "taskq": __version__,
            "commit": machine.commit(ROOT),
            "server": str(server.choose()),
            "note": _NOTE,
            "quick": quick,
            "rounds": bench.rounds,
            "seconds": round(time.monotonic() - begun, 1),
            "machine": {**machine.describe(), **load.others()},
        }
    rows = [row for name in wanted for row in reports[name].rows]
    print(f"\n{table(rows)}\n\n{summary(about)}")
    write(path, {name: reports[name] for name in wanted}, about)
    sys.exit(1 if failed else 0)


def write(path: Path, reports: Mapping[str, Report], about: Mapping[str, Any]) -> None:
    """All of it as JSON, the table as Markdown, and the drain rates as a picture if they were measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(reports, about), indent=1) + "\n", "utf-8")
    page, picture = path.with_suffix(".md"), path.with_suffix(".png")
    rows = [row for report in reports.values() for row in report.rows]
    page.write_text(f"{markdown(rows)}\n\n{summary(about)}\n", "utf-8")
    why = plot.draw(picture, plot.bars(reports), about)
    print(f"written to {path}, {page.name}" + (f"; no picture: {why}" if why else f", {picture.name}"))


def run(bench: Bench, wanted: Sequence[str]) -> tuple[dict[str, Report], bool]:
    """One report per line, also for those that failed; and whether any did."""
    reports: dict[str, Report] = {}
    failed = False
    together = [name for name in wanted if name in TOGETHER]
    parts: list[tuple[list[str], Callable[[], dict[str, Report]]]] = []
    if together:
        parts.append((together, lambda: drains.measure(bench, together)))
    parts += [([name], partial(_alone, bench, name)) for name in wanted if name in ALONE]
    for names, measure in parts:
        try:
            reports |= measure()
        except Exception as error:
            traceback.print_exc()
            failed = True
            for name in names:
                reports[name] = Report([Row(name, "could not be measured", "-", beside=str(error)[:200])])
                reports[name].data = {"failed": str(error)}
    return reports, failed


def _alone(bench: Bench, name: str) -> dict[str, Report]:
    return {name: ALONE[name](bench)}


def summary(about: Mapping[str, Any]) -> str:
    """What the table has to be read with, in two lines."""
    where = about["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in where["packages"].items() if number)
    commit = f" ({about['commit']})" if about["commit"] else ""
    quick = " QUICK run: these are no figures to quote." if about["quick"] else ""
    return (
        f"{about['at']}, taskq {about['taskq']}{commit} on {about['server']}, Python {where['python']}, {packages}; "
        f"{where['cores']} cores of {where['cpu']}; others' load {where['others']:.0%}, steal {where['steal']:.0%}; "
        f"{about['rounds']} rounds.\n{_NOTE}{quick}"
    )


if __name__ == "__main__":
    main()
