"""Recovery: how soon the messages of a killed child are ready again, and what a killed supervisor leaves."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks import app as bench_app
from benchmarks.bench import Bench, wait_for
from benchmarks.figures import Report, Row, number, percentile
from benchmarks.machine import alive
from benchmarks.processes import MeasurementFailed, Running, environment, worker_command
from benchmarks.server import Server
from taskq.store import keys

READY_S = 0.2
ORPHANS_S = 1.0
LEASE_S = 2.0
SLOTS = 10
QUICK, HELD = 2_000, 60
"""Short tasks first, so that the child expects more of them and leases all; then tasks that fill its slots and wait."""

_PATIENCE_S = 20.0
_CHILD_AGE_S = 1.1  # a child that dies younger makes the supervisor wait before it starts the next
_POLL_S = 0.0005
_keys = keys.queue_keys(bench_app.NAMESPACE, bench_app.HOLD)


@dataclass(slots=True)
class Kills:
    """What was read, kill by kill; seconds."""

    ready: list[float] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    again: int = 0
    orphans: list[float] = field(default_factory=list)
    elsewhere: list[float] = field(default_factory=list)


def measure(bench: Bench) -> Report:
    """Children first, then supervisors; raises MeasurementFailed if a message is lost."""
    kills = Kills()
    _kill_children(bench, kills, bench.size(60, 5))
    _kill_supervisors(bench, kills, bench.size(10, 2))
    report = Report(data={name: getattr(kills, name) for name in Kills.__slots__})
    p50, p99 = percentile(kills.ready, 0.5), percentile(kills.ready, 0.99)
    waiting = min(kills.held) - SLOTS
    report.add(
        Row(
            "recovery",
            f"child killed {len(kills.ready)} times: messages ready again, p99 s",
            number(p99, 3),
            f"<= {READY_S:g}",
            p99 <= READY_S,
            f"p50 {number(p50, 3)}; {SLOTS} running and at least {waiting} waiting in it; none lost",
        ),
        Row(
            "recovery",
            f"supervisor killed {len(kills.orphans)} times: its children gone, longest s",
            number(max(kills.orphans), 3),
            f"<= {ORPHANS_S:g}",
            max(kills.orphans) <= ORPHANS_S,
        ),
        Row(
            "recovery",
            "its running messages run elsewhere, longest s",
            number(max(kills.elsewhere), 2),
            f"<= {LEASE_S + 1:g}",
            max(kills.elsewhere) <= LEASE_S + 1,
            f"lease {LEASE_S:g} s; p50 {number(percentile(kills.elsewhere, 0.5), 2)}",
        ),
    )
    return report


def _fill(bench: Bench, server: Server, gate: int) -> range:
    """Queue one cycle's messages; answers the slots of those that hold."""
    bench.ledger.clear(QUICK + HELD)
    holding = range(QUICK, QUICK + HELD)
    bench_app.app.broker(server.url)
    calls: list[Any] = [bench_app.quick.call(slot) for slot in range(QUICK)]
    calls += [bench_app.hold.call(slot, gate) for slot in holding]
    bench_app.app.enqueue_many(calls)
    return holding


def _finish(bench: Bench, server: Server, holding: range, gate: int) -> None:
    """Let everything run to its end; a message that does not is lost."""
    bench.ledger.gate = gate
    wait_for("all messages are settled", lambda: not server.execute("HLEN", _keys.body), _PATIENCE_S)
    missing = len(holding) - bench.ledger.started(holding)
    if missing:
        raise MeasurementFailed(f"{missing} messages were lost")
    if server.execute("ZCARD", _keys.dead):
        raise MeasurementFailed("a message was dead-lettered for a crash that it did not cause twice")


def _kill_children(bench: Bench, kills: Kills, times: int) -> None:
    with Server() as server:
        env = environment(server.url, bench.ledger_path)
        command = worker_command(server.url, bench_app.HOLD, 1, SLOTS)
        with Running([command], env, bench.log("recovery")) as worker:
            for gate in range(1, times + 1):
                _kill_child(bench, server, worker, kills, gate)
                if gate % 10 == 0 or gate == times:
                    bench.say(f"child killed {gate} times: longest {max(kills.ready):.3f} s")


def _kill_child(bench: Bench, server: Server, worker: Running, kills: Kills, gate: int) -> None:
    holding = _fill(bench, server, gate)
    wait_for("ten are running", lambda: bench.ledger.started(holding) >= SLOTS, _PATIENCE_S)
    (child,) = worker.children()
    born = time.monotonic()  # of the one that will take its place
    tokens: set[bytes] = set(server.execute("HKEYS", _keys.held))
    kills.held.append(sum(int(count) for count in server.execute("HVALS", _keys.left)))
    died = time.monotonic()
    os.kill(child, signal.SIGKILL)
    back = wait_for(
        "the messages are ready again",
        lambda: tokens.isdisjoint(server.execute("HKEYS", _keys.held)),
        _PATIENCE_S,
        _POLL_S,
    )
    kills.ready.append(back - died)
    _finish(bench, server, holding, gate)
    kills.again += bench.ledger.again(QUICK + HELD)
    worker.check_failed()
    time.sleep(max(_CHILD_AGE_S - (time.monotonic() - born), 0.0))


def _kill_supervisors(bench: Bench, kills: Kills, times: int) -> None:
    for gate in range(1, times + 1):
        with Server() as server:
            env = environment(server.url, bench.ledger_path, {"BENCH_LEASE": str(LEASE_S)})
            command = worker_command(server.url, bench_app.HOLD, 2, SLOTS)
            with Running([command], env, bench.log("doomed")) as doomed:
                _kill_supervisor(bench, server, doomed, kills, gate)
        bench.say(
            f"supervisor killed {gate} times: children gone after {kills.orphans[-1]:.3f} s, "
            f"run elsewhere after {kills.elsewhere[-1]:.2f} s"
        )


def _kill_supervisor(bench: Bench, server: Server, doomed: Running, kills: Kills, gate: int) -> None:
    """Its running messages are those that have started and cannot end before the gate is opened."""
    holding = _fill(bench, server, gate)
    wait_for("all its slots run", lambda: bench.ledger.started(holding) >= 2 * SLOTS, _PATIENCE_S)
    env = environment(server.url, bench.ledger_path, {"BENCH_LEASE": str(LEASE_S)})
    running = [slot for slot, (_, count) in zip(holding, bench.ledger.starts(holding), strict=True) if count]
    children = doomed.children()
    with Running([worker_command(server.url, bench_app.HOLD, 2, SLOTS)], env, bench.log("heir")):
        wait_for("the other worker is there", lambda: _workers(server) >= 2, _PATIENCE_S)
        died = time.monotonic()
        doomed.kill()
        gone = wait_for("its children are gone", lambda: not any(alive(pid) for pid in children), _PATIENCE_S, 0.002)
        kills.orphans.append(gone - died)
        bench.ledger.gate = gate  # what the other worker has taken meanwhile may end, and so make room
        wait_for(
            "what ran there runs elsewhere",
            lambda: all(count > 1 for _, count in bench.ledger.starts(running)),
            _PATIENCE_S,
            0.005,
        )
        kills.elsewhere.append(max(at for at, _ in bench.ledger.starts(running)) - died)
        _finish(bench, server, holding, gate)


def _workers(server: Server) -> int:
    count: int = server.execute("ZCARD", keys.workers(bench_app.NAMESPACE))
    return count
