"""Stream queues: their drain beside the raw stream loop, and what they cost beside list queues, in one run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from benchmarks import app as bench_app
from benchmarks import raw_loop, raw_stream
from benchmarks.bench import Bench, wait_for
from benchmarks.cells import BULK, Drain, Gate, Plan, drain, raw_plan, taskq_plan
from benchmarks.figures import Report, Row, number, ratios, spread
from benchmarks.processes import worker_command
from benchmarks.server import Server
from benchmarks.stores import BODY_BYTES
from taskq import Queue, Retain
from taskq.message import new_ids
from taskq.store.connection import SyncLink
from taskq.store.keys import queue_keys
from taskq.tasks.broker import LEASE_MESSAGES, Finished, Outgoing, Seat
from taskq.tasks.lists import ListBroker
from taskq.tasks.queues import Transport

RAW_RATIO = 0.6
_QUIET_S = 10.0
_KEEP_ALL = Retain(count=2**40, bytes=2**50)
_KEEP_NONE = Retain(count=0)


def stream_plan(count: int, processes: int) -> Plan:
    """`taskq worker` on a stream queue, as `taskq_plan` does it on a list queue."""
    keys = queue_keys(bench_app.NAMESPACE, bench_app.AUDIT, True)

    def fill(server: Server) -> None:
        bench_app.app.broker(server.url)
        for start in range(0, count, BULK):
            bench_app.snoop.enqueue_many([(slot,) for slot in range(start, min(start + BULK, count))])

    def close(server: Server) -> None:
        bench_app.app.broker(server.url).pause(bench_app.AUDIT)
        server.execute("DEL", keys.wake)

    return Plan(
        f"stream-p{processes}",
        count,
        fill,
        lambda server: [worker_command(server.url, bench_app.AUDIT, processes)],
        lambda server: not server.execute("HLEN", keys.body),
        Gate(processes, close, lambda server: bench_app.app.broker(server.url).resume(bench_app.AUDIT)),
    )


def raw_stream_plan(count: int, processes: int) -> Plan:
    """The raw stream loop, in one or more processes."""

    def fill(server: Server) -> None:
        with raw_loop.connect(server.url) as client:
            raw_stream.fill(client, count)

    command = [sys.executable, "-m", "benchmarks.raw_stream"]
    return Plan(
        f"raw-stream-p{processes}",
        count,
        fill,
        lambda server: [command] * processes,
        lambda server: not server.execute("XLEN", raw_stream.STREAM),
        Gate(processes, lambda _: None, lambda server: server.execute("RPUSH", raw_loop.GO, *["1"] * processes)),
    )


def measure(bench: Bench) -> Report:
    """The drain and the table of costs."""
    count = bench.size(200_000, 30_000)
    plans = [make(count, processes) for processes in (1, 2) for make in (raw_stream_plan, stream_plan)]
    plans += [raw_plan(count, 1), taskq_plan(count, 1)]
    cells: dict[str, list[Drain]] = {plan.name: [] for plan in plans}
    for turn in range(bench.rounds):
        for plan in plans:
            got = drain(bench, plan)
            cells[plan.name].append(got)
            bench.say(
                f"round {turn + 1} of {bench.rounds}, {plan.name}: {got.rate:,.0f}/s, worker {got.worker_us:.1f} us, "
                f"redis {got.redis_us:.1f} us, others {got.others:.0%}, steal {got.steal:.0%}"
            )
    report = Report(data={name: [one.as_dict() for one in runs] for name, runs in cells.items()})
    for processes in (1, 2):
        report.add(*_drain_rows(cells, processes))
    report.add(*_cost_rows(bench, cells))
    report.add(_returned(bench))
    return report


def _drain_rows(cells: dict[str, list[Drain]], processes: int) -> list[Row]:
    mine = [one.rate for one in cells[f"stream-p{processes}"]]
    raw = [one.rate for one in cells[f"raw-stream-p{processes}"]]
    ratio = ratios(mine, raw)
    noise = max(one.others for one in cells[f"stream-p{processes}"])
    rows = [
        Row(
            "streams",
            f"drain of a stream queue, {processes} process(es) of 10 slots, tasks/s",
            spread(mine).show(0),
            beside=f"up to {noise:.0%} of the machine was others'",
        ),
        Row(
            "streams",
            "  of the raw stream loop",
            ratio.show(2),
            f">= {RAW_RATIO:g}",
            ratio.middle >= RAW_RATIO,
            f"XREADGROUP of 100, XACK, XDEL: {spread(raw).show(0)}/s",
        ),
    ]
    if processes == 1:
        lists = ratios([one.rate for one in cells["taskq-sync-p1"]], [one.rate for one in cells["raw-p1"]])
        rows.append(Row("streams", "  a list queue, of its own raw loop", lists.show(2), beside="the same run"))
    return rows


def _cost_rows(bench: Bench, cells: dict[str, list[Drain]]) -> list[Row]:
    """Lists against streams, one row a figure: value is the stream queue's, beside it the list queue's."""
    stream, lists = cells["stream-p1"], cells["taskq-sync-p1"]
    rows = []
    for what, name in (
        ("drain, tasks/s", "rate"),
        ("Redis CPU, enqueue, us/task", "enqueue_redis_us"),
        ("Redis CPU, lease and settle, us/task", "redis_us"),
        ("worker CPU, us/task", "worker_us"),
    ):
        beside = f"list queue: {spread([getattr(one, name) for one in lists]).show(1)}"
        rows.append(Row("streams", what, spread([getattr(one, name) for one in stream]).show(1), beside=beside))
    count = bench.size(100_000, 20_000)
    for what, index in (("queued", 0), ("finished and retained", 1)):
        figures = [_memory(count, transport)[index] for transport in ("stream", "list")]
        beside = f"list queue: {number(figures[1], 0)}; {BODY_BYTES} bytes are the body"
        rows.append(Row("streams", f"Redis memory per message {what}, bytes", number(figures[0], 0), beside=beside))
    figures = [_log_bytes(count, transport) for transport in ("stream", "list")]
    beside = f"list queue: {number(figures[1], 0)}"
    rows.append(Row("streams", "append-only file per message, bytes", number(figures[0], 0), beside=beside))
    return rows


@contextmanager
def _queue(transport: Transport, retain: Retain, *, durable: bool = False) -> Generator[tuple[Server, ListBroker]]:
    with Server(durable=durable) as server:
        broker = ListBroker(SyncLink(server.url, timeout=60.0), bench_app.NAMESPACE)
        broker.enqueue("warm", [Outgoing(new_ids(1)[0], b"x")])
        if transport == "stream":
            broker.declare(Queue("q", transport="stream", retain=retain))
            broker.declare(Queue("warm-stream", transport="stream"))
            broker.enqueue("warm-stream", [Outgoing(new_ids(1)[0], b"x")])
        for name in ("warm", "warm-stream") if transport == "stream" else ("warm",):
            _finish(broker, name)  # the server keeps the texts of scripts, which are no messages
            broker.sweep(name)
        try:
            yield server, broker
        finally:
            broker.close()


def _fill(broker: ListBroker, count: int) -> None:
    for _ in range(0, count, BULK):
        broker.enqueue("q", [Outgoing(one, os.urandom(BODY_BYTES)) for one in new_ids(BULK)])


def _finish(broker: ListBroker, queue: str = "q") -> None:
    seat = Seat()
    while held := broker.lease(queue, seat.ticket(queue), LEASE_MESSAGES).deliveries:
        broker.ack(queue, [Finished(one.id, one.token) for one in held], seat.op(queue, "ack"))


def _memory(count: int, transport: Transport) -> tuple[float, float]:
    """Bytes per queued and per finished message; everything is retained."""
    with _queue(transport, _KEEP_ALL) as (server, broker):
        before = server.memory()
        _fill(broker, count)
        queued = server.memory() - before
        _finish(broker)
        wait_for("freed memory", lambda: server.info("memory")["lazyfree_pending_objects"] == "0", _QUIET_S)
        return queued / count, (server.memory() - before) / count


def _log_bytes(count: int, transport: Transport) -> float:
    """Bytes of the append-only file per message: enqueued, leased, acknowledged, trimmed."""
    with _queue(transport, _KEEP_NONE, durable=True) as (server, broker):
        before = _log_size(server)
        _fill(broker, count)
        _finish(broker)
        broker.sweep("q")
        return (_log_size(server) - before) / count


def _log_size(server: Server) -> int:
    """Once nothing is written any more."""
    last, size = -1, int(server.info("persistence")["aof_current_size"])
    while size != last:
        time.sleep(1.2)  # everysec: what is in the buffer is written within a second
        last, size = size, int(server.info("persistence")["aof_current_size"])
    return size


def _returned(bench: Bench) -> Row:
    """What is left after a drain, beside one retained window."""
    count, kept = bench.size(200_000, 30_000), 1_000
    with _queue("stream", Retain(count=kept)) as (server, broker):
        before = server.memory()
        _fill(broker, count)
        full = (server.memory() - before) / count
        _finish(broker)
        broker.sweep("q")
        left, window = server.memory() - before, full * (kept + LEASE_MESSAGES)
    what = f"memory left after {count:,} messages, {kept:,} retained, bytes"
    beside = f"as many queued messages and one block take that much; {number(full * count / 2**20, 0)} MiB when full"
    return Row("streams", what, number(left, 0), f"<= {number(window, 0)}", left <= window, beside)
