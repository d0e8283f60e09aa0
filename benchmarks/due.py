"""Time: how late what is delayed starts, at low load and when 100,000 messages come due in one minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import app as bench_app
from benchmarks.bench import Bench, wait_for
from benchmarks.figures import Report, Row, number, percentile
from benchmarks.processes import MeasurementFailed, Running, environment, worker_command
from benchmarks.server import Server
from taskq.store.keys import queue_keys

LATE_S = 0.05
WINDOW_S = 60.0
_AHEAD_S = 2.0
_PROBE_EVERY_S = 0.1
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Probe:
    """A message of another queue: its slot in the ledger, and when it was enqueued."""

    slot: int
    at: float


def measure(bench: Bench) -> Report:
    """Both; raises MeasurementFailed if a message was lost, or run twice."""
    report = Report()
    late = _at_low_load(bench, bench.size(200, 40))
    worst = max(late)
    report.add(
        Row(
            "due",
            f"{len(late)} delayed messages, ten a second, one idle worker: start after due time, longest s",
            number(worst, 3),
            f"<= {LATE_S:g}",
            worst <= LATE_S,
            f"p50 {number(percentile(late, 0.5), 3)}, p99 {number(percentile(late, 0.99), 3)}",
        )
    )
    count, window = bench.size(100_000, 10_000), bench.size(int(WINDOW_S), 6)
    before, during, lags = _in_one_minute(bench, count, window)
    report.add(
        Row(
            "due",
            f"{count:,} messages due within {window} s: none lost, none twice; start after due time, p99 s",
            number(percentile(lags, 0.99), 2),
            beside=f"p50 {number(percentile(lags, 0.5), 3)}, longest {number(max(lags), 2)}",
        ),
        Row(
            "due",
            "  another queue meanwhile: from enqueue to start, p99 s",
            number(percentile(during, 0.99), 3),
            beside=f"p50 {number(percentile(during, 0.5), 4)}; before: p50 {number(percentile(before, 0.5), 4)}, "
            f"p99 {number(percentile(before, 0.99), 3)}; same worker, 2 processes of 10 slots",
        ),
    )
    report.data = {"late": late, "lags_p99": percentile(lags, 0.99), "before": before, "during": during}
    return report


def _at_low_load(bench: Bench, count: int) -> list[float]:
    bench.ledger.clear(count)
    with Server() as server:
        bench_app.app.broker(server.url)
        with _worker(bench, server, bench_app.DRAIN, 1):
            begin = time.monotonic() + _AHEAD_S
            dues = [begin + slot * _PROBE_EVERY_S for slot in range(count)]
            for slot, due in enumerate(dues):
                bench_app.noop.options(delay=due - time.monotonic()).enqueue(slot)
            _all_started(bench, range(count))
    return [at - due for (at, _), due in zip(bench.ledger.starts(range(count)), dues, strict=True)]


def _in_one_minute(bench: Bench, count: int, window: int) -> tuple[list[float], list[float], list[float]]:
    """Latencies of another queue before and during, and how late the many were; seconds."""
    probes_most = int((window + _PATIENCE_S) / _PROBE_EVERY_S)
    bench.ledger.clear(count + probes_most)
    with Server() as server:
        bench_app.app.broker(server.url)
        ahead = count / 10_000 + 5 * _AHEAD_S  # to enqueue them, to start the worker, and to look at it before
        first = time.monotonic() + ahead
        dues: list[float] = []
        for start in range(0, count, 1_000):
            slots = range(start, min(start + 1_000, count))
            due = [first + slot * window / count for slot in slots]
            now = time.monotonic()
            calls = [
                bench_app.noop.options(delay=max(at - now, 0.001)).call(slot)
                for slot, at in zip(slots, due, strict=True)
            ]
            bench_app.app.enqueue_many(calls)
            dues += due
        queues = f"{bench_app.DRAIN},{bench_app.HOLD}"
        with _worker(bench, server, queues, 2):
            before = _probe(count, lambda: time.monotonic() < first - 0.2)
            delayed = queue_keys(bench_app.NAMESPACE, bench_app.DRAIN).delayed
            during = _probe(count + len(before), lambda: bool(server.execute("ZCARD", delayed)))
            _all_started(bench, range(count + len(before) + len(during)))
    probes = bench.ledger.starts(range(count, count + len(before) + len(during)))
    waits = [at - probe.at for (at, _), probe in zip(probes, [*before, *during], strict=True)]
    lags = [at - due for (at, _), due in zip(bench.ledger.starts(range(count)), dues, strict=True)]
    return waits[: len(before)] or [0.0], waits[len(before) :], lags


def _probe(first: int, goes_on: Callable[[], bool]) -> list[Probe]:
    probes: list[Probe] = []
    while goes_on():
        probes.append(Probe(first + len(probes), time.monotonic()))
        bench_app.quick.enqueue(probes[-1].slot)
        time.sleep(_PROBE_EVERY_S)
    return probes


def _worker(bench: Bench, server: Server, queues: str, processes: int) -> Running:
    env = environment(server.url, bench.ledger_path)
    running = Running([worker_command(server.url, queues, processes)], env, bench.log("due"))

    def waits() -> bool:
        running.check_failed()
        return int(server.info("clients")["blocked_clients"]) >= processes

    wait_for("the worker to wait for work", waits, _PATIENCE_S)
    return running


def _all_started(bench: Bench, slots: Sequence[int] | range) -> None:
    wait_for("every message to start", lambda: bench.ledger.started(slots) == len(slots), _PATIENCE_S, 0.2)
    time.sleep(1.0)  # what would run a second time does so now
    twice = sum(1 for _, count in bench.ledger.starts(slots) if count > 1)
    if twice:
        raise MeasurementFailed(f"{twice} messages ran twice")
