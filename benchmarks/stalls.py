"""P13: the longest time that any script of ours makes Redis stand still, with a million messages queued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks import operator_load, slowlog, steer_load, worst_load
from benchmarks.bench import Bench
from benchmarks.figures import Report, Row, number
from benchmarks.load import LARGE, HeavyQueue
from benchmarks.machine import Load
from benchmarks.server import Server
from benchmarks.stream_load import StreamQueue

BUDGET_MS = 10.0
LESS = 262_144
"""A second size of the largest bodies: what one of a mebibyte takes is partly the server's own."""

RUNS = 3
EXTREMES = 2_000
_NAMED = 4


@dataclass(frozen=True, slots=True)
class Run:
    """What one run gave: milliseconds by script, the longest and the usual; bytes; scripts that were not run."""

    longest: dict[str, float]
    usual: dict[str, float]
    memory: int
    untried: list[str]


def measure(bench: Bench) -> Report:
    """P13 of list queues."""
    return _measure(bench, "P13", HeavyQueue)


def measure_streams(bench: Bench) -> Report:
    """The same of stream queues: half of the messages are pending from the start."""
    return _measure(bench, "P13-stream", StreamQueue)


def _measure(bench: Bench, line: str, kind: type[HeavyQueue]) -> Report:
    """Both sizes of largest bodies, three runs of each in turn."""
    count, rounds = bench.size(1_000_000, 100_000), bench.size(400, 60)
    runs: dict[int, list[Run]] = {LARGE: [], LESS: []}
    load = Load()
    for turn in range(RUNS):
        for largest, found in runs.items():
            found.append(run(count, rounds, kind, largest))
            name, worst = max(found[-1].longest.items(), key=lambda item: item[1], default=("none", 0.0))
            bench.say(
                f"run {turn + 1} of {RUNS}, {count:,} queued, bodies to {largest // 1024} KiB: "
                f"longest {name} {worst:.1f} ms"
            )
    report = Report(data={"count": count, **load.others()})
    for largest, found in runs.items():
        _judge(report, line, kind, found, f"{count:,} queued, bodies to {largest // 1024} KiB")
    return report


def _judge(report: Report, line: str, kind: type[HeavyQueue], runs: Sequence[Run], what: str) -> None:
    """One row; a stall counts if the same script has it in two of the runs."""
    stalls = slowlog.recurring([one.longest for one in runs])
    ours = {name: stalls.get(name, 0.0) for name in slowlog.script_names(kind.transport)}
    worst = max(ours.values())
    untried = set[str]().union(*(one.untried for one in runs))
    value = number(worst, 1) if worst else f"below {slowlog.THRESHOLD_US / 1000:g}"
    reached = worst <= BUDGET_MS and not untried
    report.data[what] = {"runs": [asdict(one) for one in runs], "recurring": stalls, "untried": sorted(untried)}
    beside = _beside(runs, ours, untried, stalls)
    report.add(Row(line, f"longest stall, {what}, ms", value, f"<= {BUDGET_MS:g}", reached, beside))


def _beside(runs: Sequence[Run], ours: dict[str, float], untried: set[str], stalls: dict[str, float]) -> str:
    order = sorted((name for name in ours if ours[name]), key=lambda name: -ours[name])[:_NAMED]
    named = [
        f"{name} {number(ours[name], 1)} ({number(max(one.usual.get(name, 0) for one in runs), 1)})" for name in order
    ]
    ran = f"NOT TRIED: {', '.join(sorted(untried))}" if untried else f"all {len(ours)} scripts ran"
    floor = [f"{name} {number(stalls[name], 1)}" for name in (slowlog.BARE, slowlog.SHORTEST) if stalls.get(name)]
    alone = f"; by itself the server takes for the largest: {', '.join(floor)}" if floor else ""
    memory, still = max(one.memory for one in runs) / 2**30, max(slowlog.noise(one.longest) for one in runs)
    alone += f"; the machine itself stood still for up to {number(still, 1)} ms" if still else ""
    return f"{', '.join(named)}; {ran}; {memory:.1f} GiB{alone}"


def run(count: int, rounds: int, kind: type[HeavyQueue] = HeavyQueue, largest: int = LARGE) -> Run:
    """One run on a server of its own."""
    with Server() as server:
        names = slowlog.prepare(server, kind.transport)
        queue = kind(server, count, rounds, largest=largest)
        queue.fill()
        memory = server.memory()
        queue.run()
        operate(queue)
        extremes = kind(server, EXTREMES, rounds, "extremes", largest=largest)
        extremes.extremes()
        operate(extremes)
        worst = kind(server, 0, rounds, "worst", largest=largest)
        worst_load.run(worst)
        queue.end()
        slowlog.bare(server, largest)
        used = queue.used | extremes.used | worst.used
        found = slowlog.read(server, names)
        usual = {name: median(times) for name, times in found.items()}
        return Run(slowlog.longest(found), usual, memory, sorted(set(names.values()) - used))


def operate(queue: HeavyQueue) -> None:
    """What operators do, once the workers' part is over; the queue is empty at its end if it is a small one."""
    operator_load.look(queue)
    steer_load.steer(queue)
    held = [one for batch in queue.take(max(queue.rounds // 10, 1)) for one in batch]
    operator_load.give_up(queue, held)
    operator_load.look(queue)
    operator_load.empty(queue)
