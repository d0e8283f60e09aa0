"""How dramatiq is run: with ten slots in one process, and as it is fastest on two cores."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers import Peer
from benchmarks.processes import ROOT

_FILL_S = 300.0


@dataclass(frozen=True, slots=True)
class Tuning:
    """Command line options and environment of one way to run it."""

    name: str
    options: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        return " ".join([*self.options, *(f"{name}={value}" for name, value in self.environment.items())])


TEN_SLOTS = Tuning("dramatiq-p1t10", ("-p", "1", "-t", "10"))
BEST = Tuning("dramatiq-p2t4", ("-p", "2", "-t", "4"), {"dramatiq_queue_prefetch": "100"})


def fill(peer: Peer, count: int, env: Mapping[str, str], log: Path) -> None:
    """Queue `count` calls, by dramatiq itself."""
    with log.open("ab") as output:
        command = [str(peer.python), "-m", "benchmarks.peer_dramatiq", str(count)]
        subprocess.run(command, env=dict(env), cwd=ROOT, stdout=output, stderr=output, timeout=_FILL_S, check=True)
