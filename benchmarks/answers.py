"""P7: from a call to its result, one after the other, and ten thousand results awaited at once."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import orjson

from benchmarks import app as bench_app
from benchmarks.bench import Bench, wait_for
from benchmarks.figures import Report, Row, percentile, ratios, spread
from benchmarks.peer_tuning import TEN_HUEY
from benchmarks.processes import ROOT, MeasurementFailed, Running, environment, python_command, worker_command
from benchmarks.raw_loop import connect
from benchmarks.raw_wake import ANSWERS, CALLS
from benchmarks.server import Server

RATE = 10_000.0
CONNECTIONS = 2
_PATIENCE_S = 60.0
_WARM = 10


def measure(bench: Bench) -> Report:
    """Milliseconds of single round trips beside BLPOP there and back; the rate of many, and their connections."""
    single, many = bench.size(400, 40), bench.size(10_000, 2_000)
    peer = bench.peer("huey")
    ours: list[float] = []
    bare: list[float] = []
    theirs: list[float] = []
    rates: dict[str, list[float]] = {"threads": [], "event loop": []}
    sockets = dict.fromkeys(rates, 0)
    for turn in range(bench.rounds):
        bare.append(_bare(bench, single + _WARM))
        if peer.python:
            theirs.append(_huey(bench, single + _WARM))
        with _worker(bench) as server:
            bench_app.app.broker(server.url)
            ours.append(_p50(lambda at: bench_app.kept.enqueue(at).result(_PATIENCE_S), single + _WARM))
            for how, fetch in (("threads", _all), ("event loop", _all_in_loop)):
                rate, used = _many(server, many, fetch)
                rates[how].append(rate)
                sockets[how] = max(sockets[how], used)
        told = ", ".join(f"{how} {found[-1]:,.0f}/s" for how, found in rates.items())
        bench.say(f"round {turn + 1} of {bench.rounds}, results: p50 {ours[-1]:.2f} ms (bare {bare[-1]:.2f}), {told}")
    report = Report(data={"p50_ms": ours, "bare_p50_ms": bare, "rates": rates, "connections": sockets})
    report.data["huey_p50_ms"] = theirs
    trip, limit = spread(ours), spread(theirs) if theirs else None
    beside = f"{ratios(ours, bare).show(2)} x BLPOP there and back, {spread(bare).show(2)} ms; "
    beside += f"{peer.version} -k thread -w 10" if peer.python else f"huey not available: {peer.why}"
    reached = None if limit is None else trip.middle <= limit.middle
    budget = "<= huey" if limit is None else f"<= huey, {limit.show(2)}"
    report.add(Row("P7", "call to result, one by one, p50 ms", trip.show(2), budget, reached, beside))
    for how, found in rates.items():
        each, what = spread(found), f"{many:,} results awaited at once, {how}"
        report.add(
            Row(
                "P7",
                f"{what}, results/s",
                each.show(0),
                f">= {RATE:,.0f}",
                each.middle >= RATE,
                "their enqueueing included",
            ),
            Row(
                "P7", "  connections opened for it", str(sockets[how]), f"<= {CONNECTIONS}", sockets[how] <= CONNECTIONS
            ),
        )
    return report


@contextmanager
def _worker(bench: Bench) -> Generator[Server]:
    with Server() as server:
        command = worker_command(server.url, bench_app.KEEP)
        with Running([command], environment(server.url, bench.ledger_path), bench.log("answers")) as running:
            wait_for("the worker to wait for work", lambda: _blocked(server, running), _PATIENCE_S)
            yield server


def _blocked(server: Server, running: Running) -> bool:
    running.check_failed()
    return int(server.info("clients")["blocked_clients"]) >= 1


def _p50(ask: Callable[[int], object], count: int) -> float:
    took: list[float] = []
    for at in range(count):
        begin = time.perf_counter()
        got = ask(at)
        took.append((time.perf_counter() - begin) * 1e3)
        if got != at:
            raise MeasurementFailed(f"call {at} was answered with {got!r}")
    return percentile(took[_WARM:], 0.5)


def _bare(bench: Bench, count: int) -> float:
    bench.ledger.clear(count)
    with Server() as server, connect(server.url) as client:
        env = environment(server.url, bench.ledger_path)
        with Running([python_command("benchmarks.raw_wake")], env, bench.log("raw-wake")) as running:
            wait_for("the bare loop to wait", lambda: _blocked(server, running), _PATIENCE_S)

            def ask(at: int) -> object:
                client.rpush(CALLS, orjson.dumps((at, True)))
                return orjson.loads(client.blpop(ANSWERS)[1])

            return _p50(ask, count)


def _huey(bench: Bench, count: int) -> float:
    """The peer whose results come soonest, with ten threads; a process of its environment asks."""
    bench.ledger.clear(count)
    peer = bench.peer("huey")
    with Server() as server:
        env = environment(server.url, bench.ledger_path, {"BENCH_RESULTS": "1"})
        with Running(TEN_HUEY.commands(peer, server.url), env, bench.log("answers-huey")) as running:
            ask = [str(peer.python), "-m", "benchmarks.peer_huey", str(count), "trips"]
            done = subprocess.run(
                ask, env=env, cwd=ROOT, capture_output=True, text=True, timeout=2 * _PATIENCE_S, check=False
            )
            running.check_failed()
    if done.returncode:
        raise MeasurementFailed(f"huey: {done.stderr.strip().splitlines()[-1:]}")
    return percentile([float(took) for took in done.stdout.split()][_WARM:], 0.5)


# -- many at once


def _all(count: int) -> list[int]:
    return list(bench_app.kept.enqueue_many([(at,) for at in range(count)]).results(_PATIENCE_S))


def _all_in_loop(count: int) -> list[int]:
    async def fetch() -> list[int]:
        batch = await bench_app.kept.aenqueue_many([(at,) for at in range(count)])
        found = [value async for value in batch.aresults(_PATIENCE_S)]
        await bench_app.app.aclose()
        return found

    return asyncio.run(fetch())


def _many(server: Server, count: int, fetch: Callable[[int], list[int]]) -> tuple[float, int]:
    """The rate, the enqueueing included, and how many connections more than before this process had meanwhile."""
    bench_app.app.close()
    with _connections(server.port) as most:
        begin = time.perf_counter()
        found = fetch(count)
        took = time.perf_counter() - begin
    if found != list(range(count)):
        raise MeasurementFailed(f"of {count} results {len(found)} came, or in another order")
    return count / took, most()


@contextmanager
def _connections(port: int) -> Generator[Callable[[], int]]:
    """How many connections to a port this process has at most inside the block, beside those from before."""
    before, most, stop = _open_sockets(port), 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not stop.wait(0.005):
            most = max(most, len(_open_sockets(port) - before))

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    try:
        yield lambda: most
    finally:
        stop.set()
        looker.join()


def _open_sockets(port: int) -> set[str]:
    """The inodes of our sockets whose other end is that port."""
    lines = [line.split() for line in Path("/proc/self/net/tcp").read_text("ascii").splitlines()[1:]]
    to_it = {f"socket:[{fields[9]}]" for fields in lines if int(fields[2].rpartition(":")[2], 16) == port}
    return {target for name in Path("/proc/self/fd").iterdir() if (target := _target(name)) in to_it}


def _target(name: Path) -> str:
    try:
        return str(name.readlink())
    except OSError:  # it was closed meanwhile
        return ""
