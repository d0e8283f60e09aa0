"""What a thousand workers cost Redis that have little to do: their heartbeats, records and sweeps, by one process."""

from __future__ import annotations

import json
import time
from typing import Any

from benchmarks import app as bench_app
from benchmarks.bench import Bench
from benchmarks.figures import Report, Row, number, spread
from benchmarks.machine import Load
from benchmarks.server import Server
from taskq.message import encode, new_ids
from taskq.store import keys as store_keys
from taskq.tasks import calls
from taskq.tasks.broker import Mark, Outgoing, Seat
from taskq.tasks.lists import ListBroker

WORKERS = 1_000
RUNNING = 4
"""Messages that each of them runs meanwhile, each of a lease call of its own, as long tasks have it."""

_PIPELINE = 50  # workers whose commands travel together
_FORGET_MS = 3_600_000


def crowd(bench: Bench) -> Report:
    """CPU of Redis per second, if each worker beats once a second; a beat of all of them is measured, several times."""
    workers, beats = bench.size(WORKERS, 50), bench.size(10, 3)
    load = Load()
    with Server() as server:
        broker = ListBroker(server.link, bench_app.NAMESPACE)
        held = [_hold(broker) for _ in range(workers)]
        record = json.dumps({"state": "running", "running": [{"task": "shop.send"}] * RUNNING, "counters": {"done": 1}})
        costs: list[float] = []
        for beat in range(beats + 1):
            cpu = server.cpu()
            for start in range(0, workers, _PIPELINE):
                some = range(start, min(start + _PIPELINE, workers))
                commands = [part for at in some for part in _beat(broker, at, held[at], record, beat == 0)]
                broken = [one for one in server.link.pipeline(commands) if isinstance(one, Exception)]
                if broken:
                    raise broken[0]
            if beat:  # the first one marks what runs, and brings the scripts
                costs.append((server.cpu() - cpu) * 1e3)
    cost = spread(costs)
    report = Report(data={"ms": costs, "workers": workers, **load.others()})
    each = (
        f"{number(cost.middle / workers * 1e3, 0)} us a worker and second: extend, sweep, record, {RUNNING} leases each"
    )
    what = f"{workers:,} workers: Redis CPU for heartbeats and sweeps, ms a second"
    report.add(Row("processes", what, cost.show(0), beside=each))
    bench.say(f"crowd of {workers:,}: {cost.show(0)} ms of Redis CPU a second")
    return report


def _hold(broker: ListBroker) -> tuple[list[bytes], list[Mark]]:
    """A worker's lease calls, and what of them runs."""
    body, seat = encode("shop.send", [1], {}, int(time.time() * 1000)), Seat()
    tokens: list[bytes] = []
    marks: list[Mark] = []
    for one in new_ids(RUNNING):
        broker.enqueue(bench_app.DRAIN, [Outgoing(one, body)])
        ticket = seat.ticket(bench_app.DRAIN)
        (delivery,) = broker.lease(bench_app.DRAIN, ticket, 1).deliveries
        tokens.append(ticket.token)
        marks.append(Mark(delivery.id, delivery.token))
    return tokens, marks


def _beat(
    broker: ListBroker, worker: int, held: tuple[list[bytes], list[Mark]], record: str, first: bool
) -> list[tuple[Any, ...]]:
    """One second of one worker: what its supervisor sends, as `taskq_workers.keeper` does."""
    keys, limits, namespace = broker.keys(bench_app.DRAIN), broker.limits, bench_app.NAMESPACE
    name, now = f"host-{worker}", int(time.time() * 1000)
    extend = calls.extend(keys, held[0], held[1] if first else [], limits)
    sweep = calls.sweep(keys, limits)
    scripts = [call.full_command() if first else call.command() for call in (extend, sweep)]
    return [
        *scripts,
        ("EXISTS", store_keys.layout(namespace)),
        ("SET", store_keys.worker_record(namespace, name), record, "PX", 10_000),
        ("ZADD", store_keys.workers(namespace), now, name),
        ("ZREMRANGEBYSCORE", store_keys.workers(namespace), "-inf", now - _FORGET_MS),
    ]
