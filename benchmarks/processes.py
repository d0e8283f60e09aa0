"""Processes under measurement: workers and peers, started without the caller's settings, ended with certainty."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from benchmarks import machine
from benchmarks.ledger import VARIABLE

ROOT = Path(__file__).parent.parent
_IMPORT_ROOTS = (ROOT, ROOT / "workers", ROOT / "dashboard")
_STOP_S = 15.0
_PR_SET_PDEATHSIG = 1


class MeasurementFailed(Exception):
    """Something was measured that must not be believed, or could not be measured."""


def environment(url: str, ledger: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The caller's environment without any setting of taskq, and with what a measured process needs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TASKQ_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # a process that compiles all it imports is no worker as people have it
    paths = os.pathsep.join(str(path) for path in _IMPORT_ROOTS)
    return {**kept, "PYTHONPATH": paths, "BENCH_URL": url, VARIABLE: str(ledger), **(more or {})}


def python_command(module: str) -> list[str]:
    """A module as a program, by the interpreter of this process."""
    return [sys.executable, "-m", module]


def worker_command(
    url: str, queue: str, processes: int = 1, slots: int = 10, *, app: str = "benchmarks.app:app"
) -> list[str]:
    """`taskq worker` for one queue of the benchmark's app."""
    return [*shipped_command(url, queue, app=app), "-p", str(processes), "-c", str(slots)]


def shipped_command(url: str, queue: str, *, app: str = "benchmarks.app:app") -> list[str]:
    """The same, with the number of processes and slots that the worker has by default."""
    return [*python_command("taskq_workers"), "worker", app, "--url", url, "-q", queue]


class Running:
    """Programs that run until the block ends. Their output goes to a file, of which errors show the end."""

    def __init__(self, commands: Sequence[Sequence[str]], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._processes: list[subprocess.Popen[bytes]] = []
        with log.open("ab") as output:
            for command in commands:
                self._processes.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        env=dict(env),
                        cwd=ROOT,
                        start_new_session=True,
                        preexec_fn=_die_with_parent(),
                    )
                )

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def children(self) -> list[int]:
        """The child processes of a worker, once they are there."""
        return [child for pid in self.pids for child in machine.children(pid)]

    def check_failed(self) -> None:
        """Raises if one of them has ended in failure: nothing more can come of it."""
        for process in self._processes:
            if process.poll():
                raise MeasurementFailed(f"{process.args!r} ended with code {process.returncode}: {self.tail()}")

    def kill(self) -> None:
        """At once, as the kernel would; what they started is left to notice by itself."""
        for process in self._processes:
            process.kill()
            process.wait(_STOP_S)

    def tail(self) -> str:
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return " | ".join(line.strip() for line in lines[-5:])

    def close(self) -> None:
        """In order if they can, and everything that they started too."""
        left = machine.tree(self.pids)
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_S)
        for pid in left:
            # Our own only: a process id is used again at the earliest after all others were.
            if pid not in self.pids and machine.alive(pid):
                os.kill(pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _die_with_parent() -> Callable[[], None] | None:
    """A benchmark that is killed must not leave workers behind; where the kernel can see to that, it does."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def after_fork() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    return after_fork
