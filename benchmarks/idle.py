"""P9 and P10: what a worker takes while it has nothing to do, and what it costs to start."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from benchmarks import app as bench_app
from benchmarks import machine
from benchmarks.bench import Bench, wait_for
from benchmarks.figures import Report, Row, number, spread
from benchmarks.gathering import Gathering
from benchmarks.processes import ROOT, MeasurementFailed, Running, environment, python_command, worker_command
from benchmarks.server import Server

MEMORY_MIB = 60.0
HELP_MS = 150.0
TRIPS = 2.0

_PATIENCE_S = 60.0
_SETTLE_S = 3.0  # what a start leaves to do is done by then
_OURS = ("info", "config|resetstat", "config", "hello", "client|setinfo", "ping")


@contextmanager
def _idle(bench: Bench, *, traced: bool = False) -> Generator[tuple[Server, Running, Gathering]]:
    """One worker with one child and one queue, that waits for work and has for a while; and its way to the server.

    `traced`: with the OpenTelemetry SDK, which redis-py imports wherever it is installed. taskq does not install it.
    """
    with Server() as server, Gathering(server.port) as way:
        command = worker_command(way.url, bench_app.DRAIN)
        env = environment(server.url, bench.ledger_path, _compiled(bench))
        if not traced:
            hidden = bench.folder / "hidden"
            hidden.mkdir(exist_ok=True)
            (hidden / "opentelemetry.py").write_text("raise ImportError('hidden: it does not come with taskq')\n")
            env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(hidden), env.get("PYTHONPATH"))))
        cpu_ms([*command, "--burst"], env)  # whoever compiles takes more memory, and keeps it
        with Running([command], env, bench.log("idle")) as running:

            def waits() -> bool:
                running.check_failed()
                return int(server.info("clients")["blocked_clients"]) >= 1

            wait_for("the worker to wait for work", waits, _PATIENCE_S)
            time.sleep(_SETTLE_S)
            yield server, running, way


def _compiled(bench: Bench) -> dict[str, str]:
    """Settings with which bytecode is kept, as it is where taskq is installed, whatever the caller's Python does."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(bench.folder / "bytecode")}


def memory(bench: Bench) -> Report:
    """P9: proportional set size of supervisor and child; CPU of the shortest command; how long the import takes."""
    _ = bench.ledger
    sdk = find_spec("opentelemetry") and find_spec("opentelemetry.sdk")
    sizes, more = _sizes(bench), _sizes(bench, traced=True) if sdk else []
    beside = f"{len(sizes)} processes: {', '.join(number(size, 1) for size in sizes)}"
    if more:
        beside += f"; {number(sum(more), 1)} where the OpenTelemetry SDK is installed: redis-py imports it"
    times = bench.size(10, 3)
    asked = [*python_command("taskq_workers"), "--help"]
    commands = {
        name: [sys.executable, "-c", text] for name, text in (("bare", "pass"), ("import", "from taskq import TaskQ"))
    }
    commands["help"] = asked
    env = environment("", Path(os.devnull), _compiled(bench))
    for command in commands.values():
        cpu_ms(command, env)
    found = {name: spread([cpu_ms(command, env) for _ in range(times)]) for name, command in commands.items()}
    shown, bare, imported = found["help"], found["bare"], found["import"]
    report = Report(
        data={"pss_mib": sizes, "traced_pss_mib": more, "help_ms": shown.values, "import_ms": imported.values}
    )
    report.add(
        Row(
            "P9",
            "idle worker, supervisor and one child, PSS MiB",
            number(sum(sizes), 1),
            f"<= {MEMORY_MIB:g}",
            sum(sizes) <= MEMORY_MIB,
            beside,
        ),
        Row("P9", "taskq --help, CPU ms", shown.show(0), f"<= {HELP_MS:g}", shown.middle <= HELP_MS),
        Row(
            "P9",
            "from taskq import TaskQ, CPU ms beyond an empty Python",
            number(imported.middle - bare.middle, 0),
            beside=f"an empty Python: {bare.show(0)}",
        ),
    )
    return report


def _sizes(bench: Bench, *, traced: bool = False) -> list[float]:
    with _idle(bench, traced=traced) as (_, running, _):
        return [pss_mib(pid) for pid in machine.tree(running.pids)]


def pss_mib(pid: int) -> float:
    """Memory of a process, pages that it shares counted in proportion. Raises MeasurementFailed if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError as error:
        raise MeasurementFailed(f"the memory of process {pid} cannot be read: {error}") from error
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def cpu_ms(command: Sequence[str], env: Mapping[str, str]) -> float:
    """CPU that a command takes from its start to its end, in milliseconds."""
    process = subprocess.Popen(command, env=dict(env), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise MeasurementFailed(f"{command!r} ended with code {process.returncode}")
    return (used.ru_utime + used.ru_stime) * 1e3


def trips(bench: Bench) -> Report:
    """P10: what an idle worker asks of its server, per second."""
    _ = bench.ledger
    seconds = bench.size(60, 10)
    with _idle(bench) as (server, running, way):
        server.execute("CONFIG", "RESETSTAT")
        begin, before = time.monotonic(), way.trips
        time.sleep(seconds)
        asked, elapsed = way.trips - before, time.monotonic() - begin
        commands = server.commands()
        running.check_failed()
    calls = {name: told["calls"] / elapsed for name, told in commands.items() if name not in _OURS}
    rate = asked / elapsed
    often = sorted(calls, key=lambda name: -calls[name])
    report = Report(data={"trips": rate, "commands": calls})
    report.add(
        Row(
            "P10",
            f"idle worker, one child, one queue, {seconds} s: round trips a second",
            number(rate, 2),
            f"<= {TRIPS:g}",
            rate <= TRIPS,
            "counted on the way to the server; a pipeline is one",
        ),
        Row(
            "P10",
            "  commands a second, those inside scripts too",
            number(sum(calls.values()), 2),
            beside=", ".join(f"{name} {number(calls[name], 2)}" for name in often[:8]),
        ),
    )
    return report
