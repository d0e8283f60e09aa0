"""How much memory a run needs as time goes by: supervisors, children, and what the server says it uses."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.stage import Stage, children_of

EVERY_S = 5.0


@dataclass
class Memory:
    """Readings in MiB: (seconds since the start, largest supervisor, largest child, server)."""

    readings: list[tuple[float, float, float, float]] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _next: float = 0.0

    def look(self, here: Stage) -> None:
        """Take a reading if it is time for one."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_S
        supervisors = [worker.process.pid for worker in here.workers]
        children = [pid for supervisor in supervisors for pid in children_of(supervisor)]
        used = here.broker.link.execute("INFO", "memory")
        server = next(int(line[12:]) for line in used.splitlines() if line.startswith(b"used_memory:"))
        top = [max(map(resident, pids), default=0.0) for pids in (supervisors, children)]
        self.readings.append((now - self._began, top[0], top[1], server / 1_048_576))

    def __str__(self) -> str:
        """The first and last tenth of the readings, by their medians, and the growth per hour between them."""
        if len(self.readings) < 4:
            return "too short for a word on memory"
        part = max(len(self.readings) // 10, 1)
        first, last = (_middle(part) for part in (self.readings[1 : 1 + part], self.readings[-part:]))
        hours = max(last[0] - first[0], 1.0) / 3600
        names = ("supervisor", "child", "server")
        return ", ".join(
            f"{name} {first[n]:.1f} -> {last[n]:.1f} MiB ({(last[n] - first[n]) / hours:+.1f} MiB/h)"
            for n, name in enumerate(names, start=1)
        )


def resident(pid: int) -> float:
    """Resident memory of a process in MiB; 0 if it has gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGESIZE") / 1_048_576
    except OSError:
        return 0.0


def _middle(readings: list[tuple[float, float, float, float]]) -> list[float]:
    return [sorted(column)[len(column) // 2] for column in zip(*readings, strict=True)]
