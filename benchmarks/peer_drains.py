"""peers: the drains of the other queues, each bounded, beside taskq with two processes in the same rounds."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.cells import Drain, Plan, drain, peer_plan, taskq_plan
from benchmarks.figures import Report, Row, ratios, spread
from benchmarks.peer_tuning import OTHERS, Tuning

COUNT = 5_000
_OURS = "taskq-sync-p2"


def measure(bench: Bench) -> Report:
    """Each peer with ten slots and as it is fastest; one that fails is told, and the others go on."""
    count = bench.size(COUNT, 500)
    plans: dict[str, Plan] = {_OURS: taskq_plan(bench.size(100_000, 20_000), 2)}
    report, missing = Report(), dict[str, str]()
    for tuning in OTHERS:
        if bench.peer(tuning.peer).python:
            plans[tuning.name] = peer_plan(bench, count, tuning)
        else:
            missing[tuning.name] = bench.peer(tuning.peer).why
    cells: dict[str, list[Drain]] = {name: [] for name in plans}
    for turn in range(bench.rounds):
        for name, plan in plans.items():
            if name in missing:
                continue
            try:
                got = drain(bench, plan)
            except Exception as error:
                missing[name] = str(error).rpartition(" | ")[2][:200]  # of what it wrote, the last line
                bench.say(f"{name} could not be measured: {missing[name]}")
                continue
            cells[name].append(got)
            bench.say(f"round {turn + 1} of {bench.rounds}, {name}: {got.rate:,.0f}/s of {got.count:,} tasks")
    report.data = {name: [one.as_dict() for one in runs] for name, runs in cells.items() if runs}
    report.add(
        Row("peers", "taskq, 2 processes of 10 slots, tasks/s", spread([one.rate for one in cells[_OURS]]).show(0))
    )
    for tuning in OTHERS:
        report.add(_row(bench, tuning, cells, missing))
    return report


def _row(bench: Bench, tuning: Tuning, cells: dict[str, list[Drain]], missing: dict[str, str]) -> Row:
    what = f"  {tuning.peer}, {'ten slots' if tuning.name.endswith('-10') else 'as it is fastest'}"
    if tuning.name in missing:
        return Row("peers", what, "not available", beside=missing[tuning.name])
    theirs, ours = cells[tuning.name], cells[_OURS]
    rate, share = spread([one.rate for one in theirs]), ratios([one.rate for one in ours], [one.rate for one in theirs])
    cost = f"worker {spread([one.worker_us for one in theirs]).show(0)} us"
    beside = f"taskq {share.show(1)} x; {cost}; {bench.peer(tuning.peer).version} {tuning.shown}"
    return Row("peers", what, rate.show(0), beside=beside)
