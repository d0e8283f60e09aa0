"""The look of a dashboard: what it costs the server, with many queues and a million messages waiting."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from typing import Any

from benchmarks import app as bench_app
from benchmarks.bench import Bench, wait_for
from benchmarks.cells import drain, taskq_plan
from benchmarks.figures import Report, Row, number, spread
from benchmarks.machine import cpu_of, tree
from benchmarks.processes import MeasurementFailed, Running, environment
from benchmarks.server import Server
from taskq import Queue
from taskq.message import encode, new_ids
from taskq.store import keys as store_keys
from taskq.store.connection import SyncLink
from taskq.store.keys import queue_keys
from taskq.store.scripts import run
from taskq.tasks.broker import Outgoing, Seat
from taskq.tasks.lists import ListBroker
from taskq.tasks.statistics import RECENT, SLOT_MS, SLOTS, sample
from taskq.watching import Watch

BUDGET_MS = 5.0
SHARE, ADDED = 10.0, 3.0  # per cent
LOOK_S = 0.5
_TASKS, _COUNTS, _BUCKETS, _WORKERS = 4, 6, 25, 10
_LINE = b'{"kind":"error","type":"shop.Refused","task":"shop.send","attempt":1,"worker":"host-1","message":"%s"}'


class _Counted(SyncLink):
    """A link that counts its round trips."""

    trips = 0

    def execute(self, *args: Any, timeout: float | None = None) -> Any:
        self.trips += 1
        return super().execute(*args, timeout=timeout)

    def pipeline(self, commands: Any, *, timeout: float | None = None) -> list[Any]:
        self.trips += 1
        return super().pipeline(commands, timeout=timeout)


def measure(bench: Bench) -> Report:
    """Looks with and without samples; raises MeasurementFailed if one took more than one round trip."""
    queues, messages = bench.size(50, 30), bench.size(1_000_000, 6_000)
    report = Report()
    with Server() as server:
        bench.say(f"look: filling {queues} queues with {messages:,} messages")
        _fill(server, queues, messages)
        link = _Counted(server.url, timeout=60)
        watch = Watch(link, "bench")
        watch.look()
        for what, samples in (("without samples", False), ("with samples", True)):
            costs = [_cost(server, watch, link, bench.size(20, 6), samples) for _ in range(bench.rounds)]
            cpu, inside = spread([cost[0] for cost in costs]), spread([cost[1] for cost in costs])
            report.add(
                Row(
                    "look",
                    f"{queues} queues, {messages:,} messages, a look {what}: Redis CPU, ms",
                    cpu.show(),
                    f"<= {BUDGET_MS:g}",
                    cpu.middle <= BUDGET_MS,
                    f"{number(inside.middle)} ms of it in {costs[0][2]} scripts; one round trip; every queue is busy"
                    ", and is read at every other look",
                )
            )
            report.data[what] = {"cpu_ms": cpu.values, "commands_ms": inside.values, "commands": costs[0][2]}
        link.close()
        report.add(_process(bench, server))
    report.add(_beside(bench, report))
    return report


def _process(bench: Bench, server: Server) -> Row:
    """CPU of a dashboard that looks twice a second, as a share of one core."""
    bench.say("look: a dashboard beside it")
    seconds = bench.size(20, 5)
    env = environment(server.url, bench.ledger_path)
    with Running([_screen(server, "bench")], env, bench.log("screen")) as screen:
        wait_for("the dashboard looks", lambda: int(server.info("clients")["connected_clients"]) > 1, 60.0)
        time.sleep(2.0)  # what it does once is not what it costs
        screen.check_failed()
        before, redis = cpu_of(tree(screen.pids)), server.cpu()
        time.sleep(seconds)
        screen.check_failed()
        spent, redis = cpu_of(tree(screen.pids)) - before, server.cpu() - redis
    share = 100 * spent / seconds
    beside = f"Redis meanwhile: {number(100 * redis / seconds)} % of a core"
    what = "the dashboard at 160x48, twice a second, % of a core"
    return Row("look", what, number(share), f"<= {SHARE:g}", share <= SHARE, beside)


def _beside(bench: Bench, report: Report) -> Row:
    """What an open dashboard adds to the Redis CPU of a drain."""
    count = bench.size(200_000, 30_000)
    plain = taskq_plan(count, 1)
    watched = replace(
        plain,
        name="watched",
        commands=lambda server: [*plain.commands(server), _screen(server, bench_app.NAMESPACE)],
    )
    found: dict[str, list[float]] = {"plain": [], "watched": []}
    for turn in range(bench.rounds):
        for name, plan in (("plain", plain), ("watched", watched)):
            got = drain(bench, plan)
            found[name].append(got.redis_us)
            bench.say(
                f"look: round {turn + 1} of {bench.rounds}, {name}: {got.rate:,.0f}/s, redis {got.redis_us:.2f} us"
            )
    added = spread([100 * (with_it / without - 1) for without, with_it in zip(*found.values(), strict=True)])
    report.data["drain"] = found
    beside = f"{spread(found['plain']).show(2)} us a task without, {spread(found['watched']).show(2)} with it"
    what = "an open dashboard adds to the Redis CPU of a drain, %"
    return Row("look", what, added.show(1), f"<= {ADDED:g}", added.middle <= ADDED, beside)


def _screen(server: Server, namespace: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.screen", server.url, namespace]


def _cost(server: Server, watch: Watch, link: _Counted, looks: int, samples: bool) -> tuple[float, float, int]:
    """Milliseconds of CPU of the server, of that inside of scripts, and how many scripts; the mean of some looks.

    `looks` is even: a look reads half of the queues, and two of them read all.
    """
    queues = [queue.name for queue in watch.look(samples=samples).queues]
    server.execute("CONFIG", "RESETSTAT")
    spent, link.trips = 0.0, 0
    for _ in range(looks):
        server.link.pipeline([("HINCRBY", queue_keys("bench", name).meta, "done", 1) for name in queues])
        time.sleep(LOOK_S)  # as a dashboard does; every queue has settled something, and samples grow old
        before = server.cpu()
        watch.look(samples=samples)
        spent += server.cpu() - before
    if link.trips != looks:
        raise MeasurementFailed(f"{looks} looks took {link.trips} round trips")
    scripts = server.commands()["evalsha"]
    return spent * 1e3 / looks, scripts["usec"] / 1e3 / looks, round(scripts["calls"] / looks)


def _fill(server: Server, queues: int, messages: int) -> None:
    """Every fifth is a stream queue; all have leases, delayed messages, counters, failures and samples."""
    broker = ListBroker(server.link, "bench")
    body = encode("shop.send", ["x" * 100], {}, 1)
    for number_ in range(queues):
        queue = f"queue-{number_}"
        if number_ % 5 == 4:
            broker.declare(Queue(queue, transport="stream"))
        ids = new_ids(messages // queues)
        for start in range(0, len(ids), 1_000):
            broker.enqueue(queue, [Outgoing(one, body) for one in ids[start : start + 1_000]], 60)
        broker.enqueue(queue, [Outgoing(one, body, due=-3_600_000) for one in new_ids(200)], 60)
        seat = Seat()
        for _ in range(20):
            broker.lease(queue, seat.ticket(queue), 10)
        _figures(server.link, broker, queue)
    record = json.dumps({"state": "running", "running": [{"task": "shop.send"}] * 8, "counters": {"done": 1}})
    for number_ in range(_WORKERS):
        server.execute("ZADD", store_keys.workers("bench"), 1, f"host-{number_}")
        server.execute("SET", store_keys.worker_record("bench", f"host-{number_}"), record)


def _figures(link: SyncLink, broker: ListBroker, queue: str) -> None:
    keys = broker.keys(queue)
    for task in range(_TASKS):
        counts = [part for letter in "dfrxce" for part in (f"{letter} shop.task-{task}", 123_456)]
        spans = [part for at in range(_BUCKETS) for what in "RW" for part in (f"{what}{20 + at} shop.task-{task}", 999)]
        link.execute("HSET", keys.stats, *counts, *spans)
    entry = b"r" + bytes(16) + b"1800000000000" + _LINE % (b"x" * 300)
    link.execute("LPUSH", keys.recent, *[entry] * RECENT)
    for slot in range(SLOTS):
        link.execute("HINCRBY", keys.meta, "done", 1)
        run(link, sample(keys, str(1_800_000_000_000 + slot * SLOT_MS)))
