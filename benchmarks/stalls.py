"""P13: the longest time that any script of ours makes Redis stand still, with a million messages queued."""

from __future__ import annotations

from benchmarks import slowlog
from benchmarks.bench import Bench
from benchmarks.figures import Report, Row, number
from benchmarks.load import HeavyQueue
from benchmarks.machine import Load
from benchmarks.server import Server

BUDGET_MS = 10.0
RUNS = 3
_NAMED = 4


def measure(bench: Bench) -> Report:
    """Three runs, each on a server of its own; a stall counts if the same script has it in two of them."""
    count, rounds = bench.size(1_000_000, 100_000), bench.size(400, 60)
    runs: list[dict[str, float]] = []
    memory: list[int] = []
    untried: set[str] = set()
    load = Load()
    for turn in range(RUNS):
        runs.append(_run(count, rounds, memory, untried))
        worst = max(runs[-1].items(), key=lambda item: item[1], default=("none", 0.0))
        bench.say(f"run {turn + 1} of {RUNS}, {count:,} queued: longest {worst[0]} {worst[1]:.1f} ms")
    stalls = slowlog.recurring(runs)
    ours = {name: stalls.get(name, 0.0) for name in slowlog.script_names()}
    order = sorted(ours, key=lambda name: -ours[name])
    longest = ours[order[0]]
    below = f"below {slowlog.THRESHOLD_US / 1000:g}"
    named = ", ".join(f"{name} {number(ours[name], 1) if ours[name] else below}" for name in order[:_NAMED])
    ran = f"NOT TRIED: {', '.join(sorted(untried))}" if untried else f"all {len(ours)} scripts ran"
    beside = f"{named}; {ran}; {max(memory) / 2**30:.1f} GiB"
    still = max(slowlog.noise(run) for run in runs)
    if still:
        beside += f"; the machine itself stood still for up to {number(still, 1)} ms"
    report = Report(data={"count": count, "runs": runs, "recurring": stalls, "memory": memory, **load.others()})
    value = number(longest, 1) if longest else below
    what = f"longest stall, {count:,} queued, ms"
    report.add(Row("P13", what, value, f"<= {BUDGET_MS:g}", longest <= BUDGET_MS and not untried, beside))
    return report


def _run(count: int, rounds: int, memory: list[int], untried: set[str]) -> dict[str, float]:
    with Server() as server:
        names = slowlog.prepare(server)
        queue = HeavyQueue(server, count, rounds)
        queue.fill()
        memory.append(server.memory())
        queue.run()
        untried.update(set(names.values()) - queue.used)
        return slowlog.read(server, names)
