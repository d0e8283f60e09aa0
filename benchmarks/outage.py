"""Outage: what Redis does to a worker, and how soon it works again once Redis is back.

It works again when it has leased anew (the queue's fence has grown) and something has started after that: what it had
leased before the fault proves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import app as bench_app
from benchmarks.bench import Bench, wait_for
from benchmarks.figures import Report, Row, number, percentile
from benchmarks.processes import MeasurementFailed, Running, environment, worker_command
from benchmarks.server import Server
from taskq.errors import BrokerUnavailable
from taskq.store.keys import queue_keys

BACK_S = 1.0
MESSAGES = 30_000
SLOTS = 10
_DOWN_S = 3.0
_ON_DISK_S = 2.2  # the append-only file is written to disk each second
_PATIENCE_S = 60.0
_POLL_S = 0.002
_keys = queue_keys(bench_app.NAMESPACE, bench_app.NAP)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to the server; it is back when `act` returns. `repeats`: what ran may run again."""

    name: str
    act: Callable[[Server], None]
    repeats: bool = False


def _crash(server: Server) -> None:
    server.kill()
    time.sleep(_DOWN_S)
    server.start_again()


def _freeze(server: Server) -> None:
    server.pause()
    time.sleep(_DOWN_S)
    server.go_on()


FAULTS = (
    # With fsync each second, a crash of the process alone loses nothing that was written; of the host, a second.
    Fault("killed, restarted from its append-only file", _crash, repeats=True),
    Fault("stopped for 3 s", _freeze),
    Fault("all connections cut", lambda server: server.execute("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")),
    Fault("scripts flushed", lambda server: server.execute("SCRIPT", "FLUSH", "SYNC")),
)


def measure(bench: Bench) -> Report:
    """Every fault on one worker, `rounds` times. Raises MeasurementFailed if a message is lost or an attempt burned."""
    report = Report()
    times: dict[str, list[float]] = {fault.name: [] for fault in FAULTS}
    again: dict[str, int] = dict.fromkeys(times, 0)
    with Server(durable=True) as server:
        env = environment(server.url, bench.ledger_path)
        with Running([worker_command(server.url, bench_app.NAP, 1, SLOTS)], env, bench.log("outage")) as worker:
            for _ in range(bench.size(max(bench.rounds, 5), 1)):
                for fault in FAULTS:
                    times[fault.name].append(_one(bench, server, worker, fault))
                    repeated = bench.ledger.again(MESSAGES)
                    again[fault.name] += repeated
                    if repeated and not fault.repeats:
                        raise MeasurementFailed(f"Redis {fault.name}: {repeated} messages ran twice")
                    bench.say(
                        f"Redis {fault.name}: working again after {times[fault.name][-1]:.3f} s, {repeated} again"
                    )
    for name, seconds in times.items():
        worst = max(seconds)
        beside = f"p50 {number(percentile(seconds, 0.5), 3)}, {len(seconds)} times; none lost, {again[name]} ran again"
        report.add(
            Row(
                "outage",
                f"Redis {name}: working again, longest s",
                number(worst, 3),
                f"<= {BACK_S:g}",
                worst <= BACK_S,
                beside,
            )
        )
        report.data[name] = {"seconds": seconds, "again": again[name]}
    return report


def _one(bench: Bench, server: Server, worker: Running, fault: Fault) -> float:
    """One fault in the middle of work; answers the seconds from its end until the worker works again."""
    bench.ledger.clear(MESSAGES)
    bench_app.app.broker(server.url)
    bench_app.nap.enqueue_many([(slot,) for slot in range(MESSAGES)])
    wait_for("it works", lambda: bench.ledger.seen or bench.ledger.full(1), _PATIENCE_S)
    time.sleep(_ON_DISK_S)
    fault.act(server)
    back = time.monotonic()
    fence = _fence(server)
    leased = wait_for("it leases again", lambda: _fence(server) > fence, _PATIENCE_S, _POLL_S)
    wait_for("it works again", lambda: bench.ledger.last(MESSAGES) >= leased, _PATIENCE_S, _POLL_S)
    took = bench.ledger.first_after(MESSAGES, leased) - back
    wait_for("all messages are settled", lambda: not server.execute("HLEN", _keys.body), _PATIENCE_S)
    worker.check_failed()
    missing = bench.ledger.missing(MESSAGES)
    burned = server.execute("HGET", _keys.meta, "retried") or server.execute("ZCARD", _keys.dead)
    if missing or burned:
        raise MeasurementFailed(f"Redis {fault.name}: {missing} messages lost, attempts burned: {burned}")
    return took


def _fence(server: Server) -> int:
    """How far the queue's leases have come."""
    while True:
        try:
            return int(server.execute("HGET", _keys.meta, "fence") or 0)
        except BrokerUnavailable:  # a connection from before the fault; the next one is new
            continue
