"""features: what each feature costs a drain, beside the plain drain of the same round."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from benchmarks import app as bench_app
from benchmarks import featured
from benchmarks.bench import Bench
from benchmarks.cells import Drain, Plan, calls_plan, drain
from benchmarks.figures import Report, Row, ratios, spread
from benchmarks.processes import MeasurementFailed, worker_command
from benchmarks.server import Server, free_port

PLAIN, LARGE = "plain", "an argument of 2 KiB"
METRICS, TRACING = "metrics, read once a second", "tracing, spans dropped"
NEEDED = {METRICS: "prometheus_client", TRACING: "opentelemetry.sdk"}
TEXT = ("customer 4711 ordered 3 kettles, 2 of them blue; " * 42)[:2_048]
TRACEPARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
_SCRAPE_S = 1.0
_SOON_S = 0.05
_LONGER = 6  # so many times the tasks, that it is read while they run


def plans(count: int) -> dict[str, Plan]:
    """A drain for each feature, by what it is called in the table; those that cannot run here are left out."""
    drained, noop = bench_app.DRAIN, bench_app.noop
    found = {
        PLAIN: calls_plan("plain", count, drained, noop.call),
        "results kept": calls_plan("results", count, bench_app.KEEP, bench_app.kept.call),
        METRICS: _scraped(calls_plan("metrics", count * _LONGER, drained, noop.call)),
        "one middleware": _featured(calls_plan("middleware", count, drained, noop.call), featured.MIDDLEWARE),
        "unique keys": calls_plan("unique", count, drained, lambda slot: noop.options(unique=str(slot)).call(slot)),
        "five priorities": calls_plan(
            "priorities", count, drained, lambda slot: noop.options(priority=slot % 5 - 2).call(slot)
        ),
        "stream transport": calls_plan("stream", count, bench_app.AUDIT, bench_app.snoop.call),
        LARGE: calls_plan("large", count, drained, lambda slot: bench_app.weigh.call(slot, TEXT)),
        "  the same, compressed": calls_plan(
            "compressed", count, drained, lambda slot: bench_app.squeezed.call(slot, TEXT)
        ),
    }
    traced = calls_plan("tracing", count, drained, noop.options(headers=TRACEPARENT).call)
    found[TRACING] = _featured(traced, featured.TRACING)
    return {what: plan for what, plan in found.items() if what not in NEEDED or _is_here(NEEDED[what])}


def _is_here(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its package
        return False


def _featured(plan: Plan, feature: str) -> Plan:
    def commands(server: Server) -> Sequence[Sequence[str]]:
        return [worker_command(server.url, bench_app.DRAIN, app="benchmarks.featured:app")]

    return replace(plan, commands=commands, more={featured.VARIABLE: feature})


def _scraped(plan: Plan) -> Plan:
    port = free_port()

    def commands(server: Server) -> Sequence[Sequence[str]]:
        return [[*worker_command(server.url, bench_app.DRAIN), "--metrics-port", str(port)]]

    return replace(plan, commands=commands, beside=lambda _: _scraping(port))


@contextmanager
def _scraping(port: int) -> Generator[None]:
    """Somebody reads the metrics; raises MeasurementFailed if they never could."""
    stop, read = threading.Event(), 0

    def scrape() -> None:
        nonlocal read
        while not stop.is_set():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                    read += len(answer.read()) > 0
            except OSError:
                pass  # it does not listen yet
            stop.wait(_SCRAPE_S if read else _SOON_S)  # a quick machine is done within a second

    thread = threading.Thread(target=scrape, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if not read:
        raise MeasurementFailed("the metrics of the worker were never read")


def measure(bench: Bench) -> Report:
    """All of them, round by round."""
    found = plans(bench.size(30_000, 5_000))
    cells: dict[str, list[Drain]] = {what: [] for what in found}
    for turn in range(bench.rounds):
        for what, plan in found.items():
            got = drain(bench, plan)
            cells[what].append(got)
            bench.say(
                f"round {turn + 1} of {bench.rounds}, {what.strip()}: {got.rate:,.0f}/s, "
                f"worker {got.worker_us:.1f} us, Redis {got.redis_us:.1f} us"
            )
    report = Report(rows(cells), {what: [one.as_dict() for one in runs] for what, runs in cells.items()})
    for what in NEEDED.keys() - cells.keys():
        report.add(Row("features", what, "not available", beside=f"{NEEDED[what]} is not here (the extra 'bench')"))
    return report


def rows(cells: dict[str, list[Drain]]) -> list[Row]:
    """Rate, and what it is of the plain drain; CPU beside it."""

    def column(what: str, figure: Callable[[Drain], float]) -> list[float]:
        return [figure(one) for one in cells[what]]

    made: list[Row] = []
    for what in cells:
        base = LARGE if what.startswith(" ") else PLAIN
        rate, share = spread(column(what, _rate)), ratios(column(what, _rate), column(base, _rate))
        value = rate.show(0) if what == base else f"{rate.show(0)} = {share.show(2)} x {'' if base == LARGE else PLAIN}"
        figures: list[Any] = [
            (name, spread(column(what, get)), spread(column(base, get)))
            for name, get in (("worker", _worker), ("Redis", _redis), ("enqueue", _enqueue))
        ]
        beside = ", ".join(
            f"{name} {mine.show(1)} us" + ("" if what == base else f" ({mine.middle - plain.middle:+.1f})")
            for name, mine, plain in figures
        )
        made.append(
            Row("features", f"drain, {what}, tasks/s" if what == PLAIN else what, value.rstrip(" x"), beside=beside)
        )
    return made


def _rate(one: Drain) -> float:
    return one.rate


def _worker(one: Drain) -> float:
    return one.worker_us


def _redis(one: Drain) -> float:
    return one.redis_us


def _enqueue(one: Drain) -> float:
    return one.enqueue_us
