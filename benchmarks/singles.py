"""P4: one enqueue at a time, and fifty in flight, beside a bare script that stores the same bytes, same client."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio

from benchmarks import app as bench_app
from benchmarks import raw_loop
from benchmarks.bench import Bench
from benchmarks.figures import Report, Row, ratios, spread
from benchmarks.machine import Load
from benchmarks.server import Server
from taskq import TaskQ
from taskq.store.keys import queue_keys

RATIO = 0.9
IN_FLIGHT = 50
_PART = 250
"""Ours and the bare script take turns in parts of so many calls: what slows the machine slows both."""

STORE = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('RPUSH', KEYS[2], ARGV[1])
"""
_KEYS = ("bare:bodies", "bare:ids")

Single = Callable[[], object]
Awaited = Callable[[], Awaitable[object]]


def measure(bench: Bench) -> Report:
    """Both; the ratio is taken round by round."""
    report, load = Report(), Load()
    parts = bench.size(20, 3)
    sync: list[tuple[float, float]] = []
    flight: list[tuple[float, float]] = []
    for turn in range(bench.rounds):
        with Server() as server:
            sync.append(_one_by_one(server, parts))
        with Server() as server:
            flight.append(asyncio.run(_in_flight(server, parts, _stored_body(server))))
        bench.say(
            f"round {turn + 1} of {bench.rounds}, single enqueue: {sync[-1][0]:,.0f}/s (bare {sync[-1][1]:,.0f}/s), "
            f"{IN_FLIGHT} in flight: {flight[-1][0]:,.0f}/s (bare {flight[-1][1]:,.0f}/s)"
        )
    others = f"others' load {load.others()['others']:.0%}"
    for what, rates in (("enqueue, one after the other", sync), (f"aenqueue, {IN_FLIGHT} in flight", flight)):
        ours, bare = [one[0] for one in rates], [one[1] for one in rates]
        ratio = ratios(ours, bare)
        report.add(
            Row("P4", f"{what}, calls/s", spread(ours).show(0), beside=others),
            Row(
                "P4",
                "  of a bare EVALSHA of the same bytes",
                ratio.show(2),
                f">= {RATIO:g}",
                ratio.middle >= RATIO,
                f"{spread(bare).show(0)}/s, redis-py as taskq uses it",
            ),
        )
        report.data[what] = {"ours": ours, "bare": bare}
    return report


def _stored_body(server: Server) -> bytes:
    """The bytes that one call of the task stores."""
    bench_app.app.broker(server.url)
    bench_app.noop.enqueue(1)
    (body,) = server.execute("HVALS", queue_keys(bench_app.NAMESPACE, bench_app.DRAIN).body)
    return bytes(body)


def _one_by_one(server: Server, parts: int) -> tuple[float, float]:
    body = _stored_body(server)
    with raw_loop.connect(server.url) as client:
        sha = client.script_load(STORE)

        def bare() -> object:
            return client.evalsha(sha, 2, *_KEYS, os.urandom(16), body)

        slots = iter(range(1_000_000))

        def ours() -> object:
            return bench_app.noop.enqueue(next(slots))

        for call in (ours, bare):
            _timed(call)
        seconds = [(_timed(ours), _timed(bare)) for _ in range(parts)]
    return parts * _PART / sum(one for one, _ in seconds), parts * _PART / sum(one for _, one in seconds)


def _timed(call: Single) -> float:
    begin = time.perf_counter()
    for _ in range(_PART):
        call()
    return time.perf_counter() - begin


async def _in_flight(server: Server, parts: int, body: bytes) -> tuple[float, float]:
    client: Any = redis.asyncio.Redis.from_url(server.url, max_connections=IN_FLIGHT)
    sha = await client.script_load(STORE)
    async with TaskQ(bench_app.NAMESPACE, url=server.url) as app:
        task, slots = app.remote(bench_app.noop.name, queue=bench_app.DRAIN, result_ttl=0), iter(range(1_000_000))

        def bare() -> Awaitable[object]:
            sent: Awaitable[object] = client.evalsha(sha, 2, *_KEYS, os.urandom(16), body)
            return sent

        def ours() -> Awaitable[object]:
            return task.aenqueue(next(slots))

        for call in (ours, bare):
            await _gathered(call)
        mine = theirs = 0.0
        for _ in range(parts):
            mine += await _gathered(ours)
            theirs += await _gathered(bare)
    await client.aclose()
    count = parts * _PART * 4
    return count / mine, count / theirs


async def _gathered(call: Awaited) -> float:
    """Four parts of calls, by fifty who each make the next one when the one before is answered."""
    left = iter(range(_PART * 4))

    async def caller() -> None:
        for _ in left:
            await call()

    begin = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - begin
