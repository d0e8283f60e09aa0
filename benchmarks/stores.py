"""P5 and P8: how fast a bulk goes in, and what a queued message takes of Redis' memory."""

from __future__ import annotations

import os
import time

from benchmarks import app as bench_app
from benchmarks import raw_loop
from benchmarks.bench import Bench
from benchmarks.cells import BULK
from benchmarks.figures import Report, Row, number, spread
from benchmarks.machine import Load
from benchmarks.server import Server
from taskq.message import new_ids
from taskq.store.connection import SyncLink
from taskq.tasks.broker import Outgoing
from taskq.tasks.lists import ListBroker

BULK_RATE = 100_000.0
BODY_BYTES = 200
MEMORY_BYTES = 350.0


def bulk(bench: Bench) -> Report:
    """P5: `enqueue_many` of 1,000 calls, beside a pipeline of 1,000 pushes of the same bytes."""
    report, load = Report(), Load()
    count = bench.size(200_000, 30_000)
    ours: list[float] = []
    client_us: list[float] = []
    redis_us: list[float] = []
    pushes: list[float] = []
    for turn in range(bench.rounds):
        with Server() as server:
            cpu, mine, before = server.cpu(), time.process_time(), time.perf_counter()
            _enqueue_all(server, count)
            elapsed, mine = time.perf_counter() - before, time.process_time() - mine
            ours.append(count / elapsed)
            client_us.append(mine / count * 1e6)
            redis_us.append((server.cpu() - cpu) / count * 1e6)
        pushes.append(_push_all(count))
        bench.say(f"round {turn + 1} of {bench.rounds}, enqueue_many: {ours[-1]:,.0f}/s, LPUSH {pushes[-1]:,.0f}/s")
    rate = spread(ours)
    beside = (
        f"client {spread(client_us).show(1)} us, Redis {spread(redis_us).show(1)} us a task; "
        f"pipelined LPUSH: {spread(pushes).show(0)}/s"
    )
    report.add(
        Row(
            "P5",
            "enqueue_many of 1,000, tasks/s",
            rate.show(0),
            f">= {BULK_RATE:,.0f}",
            rate.middle >= BULK_RATE,
            beside,
        )
    )
    report.data = {
        "count": count,
        "rate": ours,
        "client_us": client_us,
        "redis_us": redis_us,
        "lpush_pipeline_1000": pushes,
        **load.others(),
    }
    return report


def _enqueue_all(server: Server, count: int) -> None:
    bench_app.app.broker(server.url)
    for start in range(0, count, BULK):
        bench_app.noop.enqueue_many([(slot,) for slot in range(start, start + BULK)])


def _push_all(count: int) -> float:
    body = os.urandom(60)
    with Server() as server, raw_loop.connect(server.url) as client:
        before = time.perf_counter()
        for _ in range(0, count, BULK):
            pipe = client.pipeline(transaction=False)
            for _ in range(BULK):
                pipe.lpush("plain", body)
            pipe.execute()
        return count / (time.perf_counter() - before)


def memory(bench: Bench) -> Report:
    """P8: bytes of `used_memory` per queued message whose stored body is 200 bytes."""
    report = Report()
    for count in (20_000, 100_000):
        each = _bytes_each(count)
        raw = _raw_bytes_each(count)
        report.add(
            Row(
                "P8",
                f"Redis memory, {count:,} queued, bytes/task",
                number(each, 0),
                f"<= {MEMORY_BYTES:g}",
                each <= MEMORY_BYTES,
                f"of which {BODY_BYTES} are the body; list and hash alone: {number(raw, 0)}",
            )
        )
        report.data[str(count)] = {"taskq": each, "list_and_hash": raw}
        bench.say(f"memory at {count:,}: {each:.0f} bytes")
    return report


def _bytes_each(count: int) -> float:
    with Server() as server:
        broker = ListBroker(SyncLink(server.url, timeout=60.0), bench_app.NAMESPACE)
        broker.enqueue("warm", [Outgoing(new_ids(1)[0], b"x")])  # scripts and the connection are not the queue's
        before = server.memory()
        for _ in range(0, count, BULK):
            broker.enqueue(bench_app.DRAIN, [Outgoing(one, os.urandom(BODY_BYTES)) for one in new_ids(BULK)])
        used = server.memory() - before
        broker.close()
        return used / count


def _raw_bytes_each(count: int) -> float:
    with Server() as server:
        server.execute("RPUSH", "warm", "x")
        before = server.memory()
        for _ in range(0, count, BULK):
            ids = new_ids(BULK)
            server.execute("HSET", raw_loop.BODIES, *[item for one in ids for item in (one, os.urandom(BODY_BYTES))])
            server.execute("RPUSH", raw_loop.LIST, *ids)
        return (server.memory() - before) / count
