"""P11 and lengths: whether a long queue is drained as fast as a short one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from benchmarks import app as bench_app
from benchmarks.bench import SLOTS, Bench
from benchmarks.cells import BULK, Drain, Plan, drain, taskq_plan
from benchmarks.figures import Report, Row, number, ratios, spread
from benchmarks.server import Server

RATIO = 0.9
SHORT, LONG = 10_000, 1_000_000
LENGTHS = (1_000, 10_000, 100_000, 1_000_000)


def growing_plan(length: int, measured: int) -> Plan:
    """A queue of `length` messages, of which the first `measured` are looked at: the rest only waits behind them."""
    plan = taskq_plan(measured, 1)

    def fill(server: Server) -> None:
        bench_app.app.broker(server.url)
        for start in range(0, length, BULK):
            end = min(start + BULK, length)
            bench_app.noop.enqueue_many([(slot if slot < measured else SLOTS - 1,) for slot in range(start, end)])

    settled: Callable[[Server], bool] = plan.settled if length <= measured else lambda _: True
    return replace(plan, name=f"taskq-of-{length}", fill=fill, settled=settled)


def growth(bench: Bench) -> Report:
    """P11: the first 10,000 of a million beside ten thousand; `--quick` has 30,000 instead of the million."""
    long, measured = bench.size(LONG, 30_000), bench.size(SHORT, 5_000)
    short: list[Drain] = []
    first: list[Drain] = []
    for turn in range(bench.rounds):
        short.append(drain(bench, growing_plan(measured, measured)))
        first.append(drain(bench, growing_plan(long, measured)))
        bench.say(
            f"round {turn + 1} of {bench.rounds}, growth: {short[-1].rate:,.0f}/s of {measured:,}, "
            f"{first[-1].rate:,.0f}/s of {long:,}"
        )
    rates = [one.rate for one in first], [one.rate for one in short]
    ratio = ratios(*rates)
    beside = f"{spread(rates[0]).show(0)}/s and {spread(rates[1]).show(0)}/s, the first {measured:,} of each"
    what = f"drain with {long:,} queued / with {measured:,}"
    report = Report(data={"long": rates[0], "short": rates[1]})
    report.add(Row("P11", what, ratio.show(2), f">= {RATIO:g}", ratio.middle >= RATIO, beside))
    return report


def lengths(bench: Bench) -> Report:
    """The rate, and what Redis does for it, by the length of the queue."""
    report = Report()
    for length in LENGTHS if not bench.quick else LENGTHS[:2]:
        measured = min(length, 20_000)
        found = [drain(bench, growing_plan(length, measured)) for _ in range(bench.rounds if length < LONG else 1)]
        report.data[str(length)] = [one.as_dict() for one in found]
        rate = spread([one.rate for one in found])
        filling = number(spread([one.enqueue_us for one in found]).middle * measured / length, 1)
        report.add(
            Row(
                "lengths",
                f"{length:,} queued, the first {measured:,}: tasks/s",
                rate.show(0),
                beside=f"enqueueing took {filling} us a task",
            )
        )
        bench.say(f"lengths, {length:,}: {rate.show(0)}/s")
    return report
