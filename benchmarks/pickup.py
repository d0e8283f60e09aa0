"""P6: how soon an idle worker starts what is enqueued, beside a bare BLPOP, dramatiq and huey."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from benchmarks import app as bench_app
from benchmarks.bench import Bench, wait_for
from benchmarks.figures import Report, Row, number, percentile, ratios, spread
from benchmarks.peer_tuning import TEN_HUEY, TEN_SLOTS, Tuning
from benchmarks.peers import Peer
from benchmarks.processes import ROOT, Running, environment, python_command, worker_command
from benchmarks.raw_loop import connect
from benchmarks.raw_wake import CALLS
from benchmarks.server import Server

RATIO = 2.0
P99_MS = 5.0
PAUSES_S = (0.005, 0.035)
"""Between two calls: long enough for the worker to be idle again, and never in step with anything."""

PEERS = (TEN_SLOTS, TEN_HUEY)
_PATIENCE_S = 60.0
_WARM = 10


def measure(bench: Bench) -> Report:
    """Each round: the bare loop, taskq, the peers; milliseconds from before the enqueue call to the start."""
    count = bench.size(400, 40) + _WARM
    waits: dict[str, list[list[float]]] = {"raw": [], "taskq": []}
    peers = {tuning.peer: tuning for tuning in PEERS if bench.peer(tuning.peer).python}
    for turn in range(bench.rounds):
        waits["raw"].append(_bare(bench, count))
        waits["taskq"].append(_taskq(bench, count))
        for name, tuning in peers.items():
            waits.setdefault(name, []).append(_peer(bench, count, tuning))
        told = ", ".join(f"{name} p50 {percentile(runs[-1], 0.5):.2f} ms" for name, runs in waits.items())
        bench.say(f"round {turn + 1} of {bench.rounds}, pick-up: {told}")
    return _report(waits, {tuning.peer: bench.peer(tuning.peer) for tuning in PEERS})


def _report(waits: dict[str, list[list[float]]], peers: dict[str, Peer]) -> Report:
    half, late = ({name: [percentile(run, at) for run in runs] for name, runs in waits.items()} for at in (0.5, 0.99))
    p50, p99, ratio = spread(half["taskq"]), spread(late["taskq"]), ratios(half["taskq"], half["raw"])
    beside = f"bare BLPOP: p50 {spread(half['raw']).show(2)}, p99 {spread(late['raw']).show(2)}"
    report = Report(data={"p50": half, "p99": late})
    report.add(
        Row("P6", "idle worker, enqueue call to start, p50 ms", p50.show(2), beside=beside),
        Row("P6", "  of a bare BLPOP wake", ratio.show(2), f"<= {RATIO:g}", ratio.middle <= RATIO),
        Row("P6", "  p99 ms", p99.show(2), f"<= {P99_MS:g}", p99.middle <= P99_MS),
    )
    for name, peer in peers.items():
        if name not in half:
            report.add(Row("P6", f"  {name}, p50 ms", "-", ">= ours", None, f"{name} not available: {peer.why}"))
            continue
        theirs, beside = spread(half[name]), f"{peer.version}: p99 {number(spread(late[name]).middle, 1)} ms"
        report.add(Row("P6", f"  {name}, p50 ms", theirs.show(2), ">= ours", theirs.middle >= p50.middle, beside))
    return report


def _probe(bench: Bench, count: int, send: Callable[[int], object]) -> list[float]:
    """Calls with pauses in between; milliseconds for each but the first few, which open connections."""
    asked: list[float] = []
    for slot in range(count):
        time.sleep(random.uniform(*PAUSES_S))
        asked.append(time.monotonic())
        send(slot)
    return _waits(bench, count, asked)


def _waits(bench: Bench, count: int, asked: Sequence[float]) -> list[float]:
    wait_for("every call to start", lambda: bench.ledger.started(range(count)) == count, _PATIENCE_S)
    starts = bench.ledger.starts(range(count))
    return [(at - before) * 1e3 for (at, _), before in zip(starts, asked, strict=True)][_WARM:]


@contextmanager
def _worker(bench: Bench, server: Server, command: Sequence[str], name: str, blocked: int) -> Generator[None]:
    """A worker that waits on the server, and has for a moment."""
    with Running([command], environment(server.url, bench.ledger_path), bench.log(name)) as running:

        def waits() -> bool:
            running.check_failed()
            return int(server.info("clients")["blocked_clients"]) >= blocked

        wait_for("the worker to wait for work", waits, _PATIENCE_S)
        time.sleep(0.5)
        yield


def _taskq(bench: Bench, count: int) -> list[float]:
    bench.ledger.clear(count)
    with Server() as server:
        bench_app.app.broker(server.url)
        with _worker(bench, server, worker_command(server.url, bench_app.DRAIN), "pickup", 1):
            return _probe(bench, count, bench_app.noop.enqueue)


def _bare(bench: Bench, count: int) -> list[float]:
    bench.ledger.clear(count)
    loop = python_command("benchmarks.raw_wake")
    with Server() as server, connect(server.url) as client, _worker(bench, server, loop, "raw-wake", 1):
        return _probe(bench, count, lambda slot: client.rpush(CALLS, orjson.dumps((slot, False))))


def _peer(bench: Bench, count: int, tuning: Tuning) -> list[float]:
    """It has an environment of its own: a process there enqueues, and notes in the ledger when it is about to."""
    bench.ledger.clear(2 * count)
    peer, log = bench.peer(tuning.peer), bench.log(f"pickup-{tuning.peer}")
    with Server() as server:
        env = environment(server.url, bench.ledger_path)
        with Running(tuning.commands(peer, server.url), env, log) as running:
            ask = [str(peer.python), "-m", f"benchmarks.peer_{tuning.peer}", str(count), *map(str, PAUSES_S)]
            _ran(ask, env, log)
            running.check_failed()
            asked = [at for at, _ in bench.ledger.starts(range(count, 2 * count))]
            return _waits(bench, count, asked)


def _ran(command: Sequence[str], env: dict[str, str], log: Path) -> None:
    with log.open("ab") as output:
        subprocess.run(command, env=env, cwd=ROOT, stdout=output, stderr=output, timeout=_PATIENCE_S * 2, check=True)
