"""P1, P2 and P3: the drain beside the raw loop and beside dramatiq, in interleaved rounds of one run."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from benchmarks.bench import Bench
from benchmarks.cells import Drain, Plan, drain, peer_plan, raw_plan, shipped_plan, taskq_plan
from benchmarks.figures import Report, Row, number, ratios, spread
from benchmarks.peer_tuning import BEST, BULLMQ_BEST, BULLMQ_TEN, TEN_SLOTS, Tuning
from benchmarks.processes import MeasurementFailed

PEER_RATIO = 10.0
NODE_RATIO = 5.0
RAW_RATIO = 0.6
SYNC_US, ASYNC_US = 15.0, 25.0
REDIS_US = 14.0

ONE, TWO, ASYNC, SHIPPED = "taskq-sync-p1", "taskq-sync-p2", "taskq-async-p1", "taskq-default"
RAW_ONE, RAW_TWO = "raw-p1", "raw-p2"

Cells = dict[str, list[Drain]]


def measure(bench: Bench, lines: Sequence[str]) -> dict[str, Report]:
    """Those of P1, P2 and P3 that are asked for; one set of drains serves them all."""
    plans = _plans(bench, lines)
    cells: Cells = {plan.name: [] for plan in plans}
    for turn in range(bench.rounds):
        for plan in plans:
            got = _drained(bench, plan, cells)
            if got is None:
                continue
            cells[plan.name].append(got)
            bench.say(
                f"round {turn + 1} of {bench.rounds}, {plan.name}: {got.rate:,.0f}/s, worker {got.worker_us:.1f} us, "
                f"redis {got.redis_us:.1f} us, others {got.others:.0%}, steal {got.steal:.0%}"
            )
    makers = {"P1": drain_rows, "P2": _worker_rows, "P3": _redis_rows}
    reports = {}
    for line in lines:
        reports[line] = Report(makers[line](bench, cells))
        reports[line].data = {name: [one.as_dict() for one in runs] for name, runs in cells.items()}
    return reports


def _drained(bench: Bench, plan: Plan, cells: Cells) -> Drain | None:
    """One drain; a peer that fails is told and left out, as if it were not here."""
    if plan.name not in cells:
        return None
    try:
        return drain(bench, plan)
    except (MeasurementFailed, subprocess.SubprocessError) as error:
        if plan.once:
            raise
        bench.say(f"{plan.name} is left out: {error}")
        del cells[plan.name]
        return None


def _plans(bench: Bench, lines: Sequence[str]) -> list[Plan]:
    ours = bench.size(200_000, 30_000)
    plans = [raw_plan(ours, 1), taskq_plan(ours, 1)]
    if "P2" in lines:
        plans.append(taskq_plan(bench.size(150_000, 20_000), 1, is_async=True))
    if "P1" in lines:
        plans += [raw_plan(ours, 2), taskq_plan(ours, 2), shipped_plan(ours)]
        plans += _peer_plans(bench, bench.size(10_000, 3_000), (TEN_SLOTS, BEST))
        plans += _peer_plans(bench, bench.size(40_000, 5_000), (BULLMQ_TEN, BULLMQ_BEST))
    return plans


def _peer_plans(bench: Bench, count: int, tunings: Sequence[Tuning]) -> list[Plan]:
    """Those of a peer, if it is here; what is quicker gets half as much again."""
    peer = bench.peer(tunings[0].peer)
    if peer.python is None:
        bench.say(f"{tunings[0].peer} not available: {peer.why}")
        return []
    return [peer_plan(bench, count + count * at // 2, tuning) for at, tuning in enumerate(tunings)]


def _rates(cells: Cells, name: str) -> list[float]:
    return [one.rate for one in cells.get(name, [])]


def drain_rows(bench: Bench, cells: Cells) -> list[Row]:
    rows: list[Row] = []
    if SHIPPED in cells:
        rate = spread(_rates(cells, SHIPPED))
        rows.append(Row("P1", "drain, worker as shipped, tasks/s", rate.show(0), beside=_noise(cells[SHIPPED])))
    for what, ours, tuning, raw in (
        ("1 process of 10 slots", ONE, TEN_SLOTS, RAW_ONE),
        ("2 processes of 10 slots", TWO, BEST, RAW_TWO),
    ):
        mine, theirs, ceiling = _rates(cells, ours), _rates(cells, tuning.name), _rates(cells, raw)
        rows.append(Row("P1", f"drain, {what}, tasks/s", spread(mine).show(0), beside=_noise(cells[ours])))
        budget = f">= {PEER_RATIO:g} x dramatiq"
        if theirs:
            ratio = ratios(mine, theirs)
            beside = f"{bench.peer().version} {tuning.shown}: {spread(theirs).show(0)}/s"
            rows.append(Row("P1", "  as a multiple", ratio.show(2), budget, ratio.middle >= PEER_RATIO, beside))
        else:
            rows.append(Row("P1", "  as a multiple", "-", budget, None, "dramatiq not available"))
        ratio = ratios(mine, ceiling)
        beside = f"raw loop: {spread(ceiling).show(0)}/s"
        rows.append(
            Row("P1", "  of the raw loop", ratio.show(2), f">= {RAW_RATIO:g}", ratio.middle >= RAW_RATIO, beside)
        )
    rows.append(_bullmq_row(bench, cells))
    return rows


def _bullmq_row(bench: Bench, cells: Cells) -> Row:
    """Two processes of ours beside bullmq as it is fastest."""
    what, budget = "2 processes as a multiple of bullmq's best", f">= {NODE_RATIO:g} x bullmq"
    tunings = [tuning for tuning in (BULLMQ_TEN, BULLMQ_BEST) if cells.get(tuning.name)]
    if not tunings:
        return Row("P1", what, "-", budget, None, f"bullmq not available: {bench.peer('bullmq').why}".rstrip(": "))
    best = max(tunings, key=lambda tuning: spread(_rates(cells, tuning.name)).middle)
    ratio = ratios(_rates(cells, TWO), _rates(cells, best.name))
    told = "; ".join(f"{tuning.options[-1]}: {spread(_rates(cells, tuning.name)).show(0)}/s" for tuning in tunings)
    beside = f"{bench.peer('bullmq').version}, concurrency {told}"
    return Row("P1", what, ratio.show(2), budget, ratio.middle >= NODE_RATIO, beside)


def _worker_rows(bench: Bench, cells: Cells) -> list[Row]:
    raw = f"raw loop: {spread([one.worker_us for one in cells[RAW_ONE]]).show(1)} us"
    peer = cells.get(TEN_SLOTS.name, [])
    if peer:
        raw += f"; dramatiq: {spread([one.worker_us for one in peer]).show(0)} us"
    rows = []
    for what, name, limit in (("sync", ONE, SYNC_US), ("async", ASYNC, ASYNC_US)):
        cost, rate = spread([one.worker_us for one in cells[name]]), spread(_rates(cells, name))
        beside = f"at {rate.show(0)}/s; {raw}"
        rows.append(
            Row("P2", f"worker CPU, {what}, us/task", cost.show(1), f"<= {limit:g}", cost.middle <= limit, beside)
        )
    return rows


def _redis_rows(bench: Bench, cells: Cells) -> list[Row]:
    def total(name: str) -> list[float]:
        return [one.enqueue_redis_us + one.redis_us for one in cells[name]]

    cost = spread(total(ONE))
    enqueue, rest = spread([one.enqueue_redis_us for one in cells[ONE]]), spread([one.redis_us for one in cells[ONE]])
    parts = (
        f"enqueue {number(enqueue.middle, 1)}, lease and settle {number(rest.middle, 1)}; "
        f"raw loop: {spread(total(RAW_ONE)).show(1)} us"
    )
    if TEN_SLOTS.name in cells:
        parts += f"; dramatiq: {spread(total(TEN_SLOTS.name)).show(0)} us"
    return [Row("P3", "Redis CPU, us/task", cost.show(1), f"<= {REDIS_US:g}", cost.middle <= REDIS_US, parts)]


def _noise(runs: Sequence[Drain]) -> str:
    others, steal = max(run.others for run in runs), max(run.steal for run in runs)
    return f"up to {others:.0%} of the machine was others', {steal:.0%} stolen"
