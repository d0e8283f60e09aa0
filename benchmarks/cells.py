"""One drain: messages queued first, then workers started; how fast they go, and what that costs both sides."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks import app as bench_app
from benchmarks import peer_tuning, raw_loop
from benchmarks.bench import Bench, wait_for
from benchmarks.ledger import Ledger
from benchmarks.machine import Load, Samples
from benchmarks.peer_tuning import Tuning
from benchmarks.processes import MeasurementFailed, Running, environment, shipped_command, worker_command
from benchmarks.server import Server
from taskq.store.keys import queue_keys
from taskq.tasks.outgoing import Call

BULK = 1_000
PEER_S = 20.0
"""A drain of a peer is over after so long, whatever is left: some would take minutes."""
_STALLED_S = 30.0
_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Drain:
    """The figures of one drain. Rates per second; CPU in microseconds per task; shares of all cores."""

    name: str
    count: int
    rate: float
    worker_us: float
    redis_us: float
    enqueue_us: float
    enqueue_redis_us: float
    again: int
    others: float
    steal: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Gate:
    """Holds work back until `waiting` processes wait for it, so that all of them start on it at one moment."""

    waiting: int
    close: Callable[[Server], None]
    open: Callable[[Server], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drained: how it is queued, by which programs, and when all of it has been accounted for.

    With `most_s` it is over after so many seconds at the latest, and what has started until then counts. `beside` goes
    on while it lasts. A `durable` server syncs an append-only file each second.
    """

    name: str
    count: int
    fill: Callable[[Server], None]
    commands: Callable[[Server], Sequence[Sequence[str]]]
    settled: Callable[[Server], bool]
    gate: Gate | None = None
    more: Mapping[str, str] | None = None
    once: bool = True
    most_s: float | None = None
    beside: Callable[[Running], AbstractContextManager[object]] = lambda _: nullcontext()
    durable: bool = False


def drain(bench: Bench, plan: Plan) -> Drain:
    """Run one plan on a server of its own. Raises MeasurementFailed if a task was lost, or run twice."""
    bench.ledger.clear(plan.count)
    load = Load()
    with Server(durable=plan.durable) as server:
        cpu, before = server.cpu(), time.monotonic()
        plan.fill(server)
        filling, filled = time.monotonic() - before, server.cpu()
        if plan.gate:
            plan.gate.close(server)
        env = environment(server.url, bench.ledger_path, plan.more)
        with Running(plan.commands(server), env, bench.log(plan.name)) as workers, plan.beside(workers):
            samples = Samples(workers.pids)
            if plan.gate:
                _all_wait(server, plan.gate.waiting, workers)
                samples.take()
                plan.gate.open(server)
            _watch(bench.ledger, plan, workers, samples)
            while not plan.settled(server):
                workers.check_failed()
                time.sleep(0.005)
            samples.take()
            end = time.monotonic()
        used = server.cpu()
    count = plan.count if plan.most_s is None else bench.ledger.started(range(plan.count))
    first, last = bench.ledger.span(plan.count)
    again = bench.ledger.again(plan.count)
    if again and plan.once:
        raise MeasurementFailed(f"{plan.name}: {again} of {plan.count} tasks ran more than once")
    return Drain(
        plan.name,
        count,
        (count - 1) / (last - first),
        (samples.at(end) - samples.at(first)) / count * 1e6,
        (used - filled) / count * 1e6,
        filling / plan.count * 1e6,
        (filled - cpu) / plan.count * 1e6,
        again,
        **load.others(),
    )


def _all_wait(server: Server, count: int, workers: Running) -> None:
    def waiting() -> bool:
        workers.check_failed()
        return int(server.info("clients")["blocked_clients"]) >= count

    wait_for(f"{count} processes wait for work", waiting, _STALLED_S + count)  # they start at the same time


def _watch(ledger: Ledger, plan: Plan, workers: Running, samples: Samples) -> None:
    """Until every task has started; reads CPU meanwhile. A drain that stands still has failed."""
    progress, moved, began = -1, time.monotonic(), 0.0
    while not ledger.full(plan.count):
        samples.take()
        workers.check_failed()
        if plan.most_s is not None and (started := ledger.started(range(plan.count))):
            began = began or time.monotonic()
            if time.monotonic() - began > plan.most_s and started > 1:
                return
        if ledger.seen != progress:
            progress, moved = ledger.seen, time.monotonic()
        elif time.monotonic() - moved > _STALLED_S:
            missing = ledger.missing(plan.count)
            raise MeasurementFailed(f"{plan.name} stands still; {missing} of {plan.count} missing: {workers.tail()}")
        time.sleep(_LOOK_S)


# -- what is drained ---------------------------------------------------------------------------------------------------


def taskq_plan(count: int, processes: int, *, is_async: bool = False) -> Plan:
    """`taskq worker` with 10 slots in each process: leases, fencing, heartbeats and settling as always."""
    keys = queue_keys(bench_app.NAMESPACE, bench_app.DRAIN)
    task = bench_app.anoop if is_async else bench_app.noop
    ready, aside = keys.ready_for(0), f"{keys.base}aside"

    def fill(server: Server) -> None:
        bench_app.app.broker(server.url)
        for start in range(0, count, BULK):
            task.enqueue_many([(slot,) for slot in range(start, min(start + BULK, count))])

    def close(server: Server) -> None:
        server.execute("RENAME", ready, aside)
        server.execute("DEL", keys.wake)

    def opened(server: Server) -> None:
        server.execute("RENAME", aside, ready)
        server.execute("RPUSH", keys.wake, "1")

    return Plan(
        f"taskq-{'async' if is_async else 'sync'}-p{processes}",
        count,
        fill,
        lambda server: [worker_command(server.url, bench_app.DRAIN, processes)],
        lambda server: not server.execute("HLEN", keys.body),
        Gate(processes, close, opened),
    )


def shipped_plan(count: int) -> Plan:
    """`taskq worker` without a word about processes and slots."""

    def commands(server: Server) -> Sequence[Sequence[str]]:
        return [shipped_command(server.url, bench_app.DRAIN)]

    return replace(taskq_plan(count, 1), name="taskq-default", commands=commands)


def calls_plan(
    name: str,
    count: int,
    queue: str,
    call: Callable[[int], Call[Any]],
    *,
    processes: int = 1,
    slots: int = 10,
    bulk: int = BULK,
) -> Plan:
    """Calls of any kind in one queue, of either transport, drained by `taskq worker`; paused until all wait."""

    def fill(server: Server) -> None:
        bench_app.app.broker(server.url)
        for start in range(0, count, bulk):
            bench_app.app.enqueue_many([call(slot) for slot in range(start, min(start + bulk, count))])

    def close(server: Server) -> None:
        broker = bench_app.app.broker(server.url)
        broker.pause(queue)
        server.execute("DEL", broker.keys(queue).wake)

    def settled(server: Server) -> bool:
        return not server.execute("HLEN", bench_app.app.broker(server.url).keys(queue).body)

    return Plan(
        name,
        count,
        fill,
        lambda server: [worker_command(server.url, queue, processes, slots)],
        settled,
        Gate(processes, close, lambda server: bench_app.app.broker(server.url).resume(queue)),
    )


def raw_plan(count: int, processes: int) -> Plan:
    """The raw consume loop, in one or more processes."""

    def fill(server: Server) -> None:
        with raw_loop.connect(server.url) as client:
            raw_loop.fill(client, count)

    command = [sys.executable, "-m", "benchmarks.raw_loop"]
    return Plan(
        f"raw-p{processes}",
        count,
        fill,
        lambda server: [command] * processes,
        lambda server: not server.execute("EXISTS", raw_loop.BODIES, raw_loop.RUNNING),
        Gate(processes, lambda _: None, lambda server: server.execute("RPUSH", raw_loop.GO, *["1"] * processes)),
    )


def peer_plan(bench: Bench, count: int, tuning: Tuning, most_s: float | None = PEER_S) -> Plan:
    """A peer with one tuning; it may run a task twice, and that is its own affair."""
    peer = bench.peer(tuning.peer)
    more = peer_tuning.settings(tuning, peer)

    def fill(server: Server) -> None:
        env = environment(server.url, bench.ledger_path, more)
        peer_tuning.fill(peer, count, env, bench.log(f"{tuning.peer}-fill"), tuning.peer)

    return Plan(
        tuning.name,
        count,
        fill,
        lambda server: tuning.commands(peer, server.url),
        lambda server: True,
        more=more,
        once=False,
        most_s=most_s,
    )
