"""Events (P12, P12b): publishing and ordered consuming beside raw XADD and XREAD loops, and beside FastStream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import raw_events
from benchmarks.bench import Bench
from benchmarks.figures import Report, Row, number, spread
from benchmarks.machine import Load
from benchmarks.peers import Peer
from benchmarks.processes import ROOT, MeasurementFailed
from benchmarks.raw_events import BATCH, values
from benchmarks.server import Server
from taskq import Event, TaskQ

NAMESPACE = "bench"
PLAIN, PACKED = "plain", "packed"
_PARTITIONS = 8
_PATIENCE_S = 300.0
_BUDGETS = {
    "publish": 150_000,
    "batch": 100_000,
    "record": 30_000,
    "async": 30_000,
    "packed publish": 400_000,
    "packed batch": 250_000,
}
_WHAT = {
    "publish": "publish_many of 1,000 events without keys, events/s",
    "publish keyed": "publish_many of 1,000 events with keys, 8 partitions",
    "batch": "ordered group, batch handler, one fenced commit a batch, records/s",
    "record": "ordered group, handler of single records",
    "async": "ordered group, coroutine of single records",
    "packed publish": "packed topic, publish_many of 1,000 events, events/s",
    "packed batch": "packed topic, batch handler, records/s",
    "raw publish": "raw: a script of 1,000 XADD",
    "raw read": "raw: XREAD of 500, decode, one fenced commit",
    "raw packed publish": "raw: one XADD of 100 records",
    "raw packed read": "raw: XREAD of 10 entries of 100 records",
    "peer publish": "FastStream, broker.publish, one after the other",
    "peer read": "FastStream, subscriber of a stream",
}


def plain(bench: Bench) -> Report:
    """P12: single entries, and FastStream."""
    steps = {
        "raw publish": raw_events.publish,
        "publish": lambda server, count: _publish(server, count, PLAIN, keyed=False),
        "publish keyed": lambda server, count: _publish(server, count, PLAIN, keyed=True),
        "raw read": raw_events.consume,
        "batch": lambda server, count: _consume(server, count, PLAIN, "batch"),
        "record": lambda server, count: _consume(server, count, PLAIN, "record"),
        "async": lambda server, count: _consume(server, count, PLAIN, "async"),
    }
    report = _measure(bench, "P12", steps)
    peer = bench.peer("faststream")
    for what in ("peer publish", "peer read"):
        if peer.python is None:
            report.add(Row("P12", _WHAT[what], "not available", beside=peer.why))
            continue
        found = [_peer(peer, bench.size(10_000, 1_000), what.removeprefix("peer ")) for _ in range(bench.rounds)]
        report.add(Row("P12", _WHAT[what], spread(found).show(0), beside=peer.version))
        report.data[what] = found
    return report


def packed(bench: Bench) -> Report:
    """P12b: many records in an entry."""
    steps = {
        "raw packed publish": raw_events.publish_packed,
        "packed publish": lambda server, count: _publish(server, count, PACKED, keyed=False),
        "raw packed read": raw_events.consume_packed,
        "packed batch": lambda server, count: _consume(server, count, PACKED, "batch"),
    }
    return _measure(bench, "P12b", steps)


def _measure(bench: Bench, line: str, steps: dict[str, Callable[[Server, int], float]]) -> Report:
    """Each round does all steps, on a server of its own: what reads finds what was published before."""
    count = bench.size(200_000, 20_000)
    found: dict[str, list[float]] = {name: [] for name in steps}
    load = Load()
    for turn in range(bench.rounds):
        with Server() as server:
            _declare(server)
            for name, step in steps.items():
                found[name].append(step(server, count))
                bench.say(f"{line}, round {turn + 1} of {bench.rounds}, {name}: {number(found[name][-1])}/s")
    others = f"others' load {load.others()['others']:.0%}"
    report = Report(data=dict(found))
    for name, rates in found.items():
        budget, rate = _BUDGETS.get(name), spread(rates)
        told = f">= {budget:,}" if budget else ""
        report.add(Row(line, _WHAT[name], rate.show(0), told, rate.middle >= budget if budget else None, others))
    return report


def _declare(server: Server) -> None:
    with TaskQ(NAMESPACE, url=server.url) as app:
        app.topic(PLAIN, partitions=_PARTITIONS).properties()
        app.topic(PACKED, partitions=_PARTITIONS, packed=True).properties()


def _publish(server: Server, count: int, topic: str, *, keyed: bool) -> float:
    with TaskQ(NAMESPACE, url=server.url) as app:
        # A name of its own for what is keyed: what is consumed afterwards are the others.
        target = app.topic("keyed", partitions=_PARTITIONS) if keyed else app.topic(topic)
        target.publish_many([0])
        begin = time.perf_counter()
        for start in range(0, count, BATCH):
            made: Sequence[Any] = values(start, BATCH)
            if keyed:
                made = [Event(value, key=f"key-{value['order'] % 5_000}") for value in made]
            target.publish_many(made)
        return count / (time.perf_counter() - begin)


def _consume(server: Server, count: int, topic: str, kind: str) -> float:
    told = json.dumps({"url": server.url, "namespace": NAMESPACE, "topic": topic, "count": count, "kind": kind})
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "workers", "dashboard"))}
    return _told([sys.executable, "-m", "benchmarks.event_member", told], env)


def _peer(peer: Peer, count: int, what: str) -> float:
    with Server() as server:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_URL": server.url}
        return _told([str(peer.python), "-m", "benchmarks.peer_faststream", what, str(count)], env)


def _told(command: Sequence[str], env: dict[str, str]) -> float:
    """The rate that a program prints as its last line."""
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise MeasurementFailed(f"{command[2]} ended with code {done.returncode}: {' | '.join(lines[-3:])}")
    return float(done.stdout.split()[-1])
