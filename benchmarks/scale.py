"""sizes, queues, processes, aof: the drain as its surroundings grow."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from benchmarks import app as bench_app
from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.cells import BULK, Drain, Plan, calls_plan, drain
from benchmarks.crowd import crowd
from benchmarks.figures import Report, Row, number, ratios, spread
from benchmarks.idle import pss_mib
from benchmarks.processes import Running, worker_command
from benchmarks.server import Server
from taskq.tasks.outgoing import Call

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
QUEUES = (1, 10, 100, 1_000)
PROCESSES = (1, 2, 4, 8, 16, 32, 64)
SLOTS_EACH = 2
_PAYLOAD = 64 * 1_048_576  # bytes of arguments in one drain, at most
_BULK_BYTES = 4 * 1_048_576
_CHILD_MIB = 60  # what a child may take at worst, to see beforehand whether so many fit


def sizes(bench: Bench) -> Report:
    """Tasks whose argument is a text of so many bytes."""
    report = Report()
    for size in SIZES if not bench.quick else (100, 10_000, 1_000_000):
        count = min(bench.size(50_000, 2_000), max(_PAYLOAD // size // (8 if bench.quick else 1), 8))
        call, bulk = partial(_weighing, "x" * size), max(min(BULK, _BULK_BYTES // size), 1)
        plan = calls_plan(f"size-{size}", count, bench_app.DRAIN, call, bulk=bulk)
        found = [drain(bench, plan) for _ in range(bench.rounds)]
        report.data[str(size)] = [one.as_dict() for one in found]
        rate = spread([one.rate for one in found])
        beside = f"{number(rate.middle * size / 1e6, 1)} MB/s, {_costs(found)}; {count:,} tasks"
        report.add(Row("sizes", f"drain, arguments of {size:,} bytes, tasks/s", rate.show(0), beside=beside))
        bench.say(f"sizes, {size:,} bytes: {rate.show(0)}/s")
    return report


def _weighing(text: str, slot: int) -> Call[None]:
    return bench_app.weigh.call(slot, text)


def queues(bench: Bench) -> Report:
    """The same number of tasks, spread over so many queues of one worker."""
    report = Report()
    count = bench.size(40_000, 4_000)
    for many in QUEUES if not bench.quick else (1, 100):
        found = [drain(bench, _spread_plan(count, many)) for _ in range(bench.rounds if many < QUEUES[-1] else 1)]
        report.data[str(many)] = [one.as_dict() for one in found]
        rate = spread([one.rate for one in found])
        report.add(Row("queues", f"drain of {many:,} queues, tasks/s", rate.show(0), beside=_costs(found)))
        bench.say(f"queues, {many:,}: {rate.show(0)}/s")
    return report


def _spread_plan(count: int, many: int) -> Plan:
    names = [f"q{at}" for at in range(many)]
    plan = calls_plan(
        f"queues-{many}",
        count,
        names[0],
        lambda slot: bench_app.noop.options(queue=names[slot * many // count]).call(slot),
    )

    def settled(server: Server) -> bool:
        return not any(server.link.pipeline([("HLEN", bench_app.app.broker().keys(name).body) for name in names]))

    def commands(server: Server) -> Sequence[Sequence[str]]:
        return [worker_command(server.url, ",".join(names))]

    # Without a door: with so many queues there is no one moment at which all of them are opened.
    return replace(plan, commands=commands, settled=settled, gate=None)


def processes(bench: Bench) -> Report:
    """Children with two slots each; then what a crowd of workers costs Redis that have nothing to do."""
    report = Report()
    count = bench.size(60_000, 5_000)
    for many in PROCESSES if not bench.quick else (1, 4):
        needed, free = many * _CHILD_MIB, machine.available_mib()
        if needed > free:
            beside = f"they may take {needed:,} MiB, and {free:,.0f} are free"
            report.add(Row("processes", f"{many} children", "left out", beside=beside))
            continue
        memory: list[float] = []
        plan = calls_plan(
            f"processes-{many}", count, bench_app.DRAIN, bench_app.noop.call, processes=many, slots=SLOTS_EACH
        )
        plan = replace(plan, beside=partial(_weighed, memory))
        found = [drain(bench, plan) for _ in range(bench.rounds if many < 16 else 1)]
        report.data[str(many)] = [one.as_dict() | {"pss_mib": pss} for one, pss in zip(found, memory, strict=True)]
        rate, pss = spread([one.rate for one in found]), spread(memory)
        what = f"drain by {many} child{'ren' if many > 1 else ''} of {SLOTS_EACH} slots, tasks/s"
        beside = f"PSS of the worker {pss.show(0)} MiB, {_costs(found)}"
        report.add(Row("processes", what, rate.show(0), beside=beside))
        bench.say(f"processes, {many}: {rate.show(0)}/s, {pss.show(0)} MiB")
    more = crowd(bench)
    report.add(*more.rows)
    report.data["crowd"] = more.data
    return report


@contextmanager
def _weighed(memory: list[float], workers: Running) -> Generator[None]:
    """What a worker and its children take of memory when all is done: a look at them costs CPU, so not meanwhile."""
    yield
    memory.append(sum(map(pss_mib, machine.tree(workers.pids))))


def aof(bench: Bench) -> Report:
    """With an append-only file that is synced each second, beside none, in the same rounds."""
    count = bench.size(60_000, 5_000)
    plain = calls_plan("memory", count, bench_app.DRAIN, bench_app.noop.call)
    durable = replace(plain, name="aof", durable=True)
    cells: dict[bool, list[Drain]] = {False: [], True: []}
    for turn in range(bench.rounds):
        for is_durable, plan in ((False, plain), (True, durable)):
            cells[is_durable].append(drain(bench, plan))
        bench.say(
            f"round {turn + 1} of {bench.rounds}, aof: {cells[True][-1].rate:,.0f}/s, "
            f"none: {cells[False][-1].rate:,.0f}/s"
        )
    report = Report(data={"aof" if name else "none": [one.as_dict() for one in runs] for name, runs in cells.items()})
    ours, bare = [one.rate for one in cells[True]], [one.rate for one in cells[False]]
    report.add(
        Row("aof", "drain, nothing kept on disk, tasks/s", spread(bare).show(0), beside=_costs(cells[False])),
        Row("aof", "drain, appendfsync everysec, tasks/s", spread(ours).show(0), beside=_costs(cells[True])),
        Row("aof", "  of that without", ratios(ours, bare).show(2)),
    )
    return report


def _costs(found: Sequence[Drain]) -> str:
    worker, redis = spread([one.worker_us for one in found]), spread([one.redis_us for one in found])
    filling = spread([one.enqueue_redis_us for one in found])
    return f"worker {worker.show(1)} us, Redis {redis.show(1)} us and {filling.show(1)} us for the enqueueing"
