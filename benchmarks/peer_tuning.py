"""How the peers are run: with ten slots, and as each is fastest on two cores. It is said beside their figures."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers import NODE_PEERS, Peer
from benchmarks.processes import ROOT

_FILL_S = 300.0
_NODE_PROGRAM = ROOT / "benchmarks" / "peer_bullmq.mjs"

# What stands before the options, after the program of the environment.
_COMMANDS = {
    "dramatiq": ("dramatiq", "benchmarks.peer_dramatiq"),
    "taskiq": ("taskiq", "worker", "benchmarks.peer_taskiq:broker", "--no-parse", "--log-level", "ERROR"),
    "huey": ("huey_consumer", "benchmarks.peer_huey.huey", "-n", "-q"),
    "celery": (
        *("celery", "-A", "benchmarks.peer_celery", "worker", "-l", "ERROR"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ),
    "rq": ("rq", "worker-pool", "-q"),
    "arq": ("arq", "benchmarks.peer_arq.Settings"),
}


@dataclass(frozen=True, slots=True)
class Tuning:
    """Command line options and environment of one way to run a peer; `copies` is how many such programs run."""

    name: str
    options: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    peer: str = "dramatiq"
    copies: int = 1

    @property
    def shown(self) -> str:
        several = [f"{self.copies} x"] if self.copies > 1 else []
        return " ".join([*several, *self.options, *(f"{name}={value}" for name, value in self.environment.items())])

    def commands(self, peer: Peer, url: str) -> list[list[str]]:
        """The programs to start."""
        if self.peer in NODE_PEERS:
            return [[str(peer.python), str(_NODE_PROGRAM), *self.options]] * self.copies
        program, *rest = _COMMANDS[self.peer]
        where = ["-u", url] if self.peer == "rq" else []
        return [[peer.program(program), *rest, *where, *self.options]] * self.copies


TEN_SLOTS = Tuning("dramatiq-p1t10", ("-p", "1", "-t", "10"))
BEST = Tuning("dramatiq-p2t4", ("-p", "2", "-t", "4"), {"dramatiq_queue_prefetch": "100"})
BULLMQ_TEN = Tuning("bullmq-c10", ("work", "10"), peer="bullmq")
BULLMQ_BEST = Tuning("bullmq-c100", ("work", "100"), peer="bullmq")

TEN_HUEY = Tuning("huey-10", ("-k", "thread", "-w", "10"), peer="huey")

OTHERS = (
    Tuning("taskiq-10", ("--workers", "1", "--max-async-tasks", "10", "--max-prefetch", "10"), peer="taskiq"),
    Tuning("taskiq-best", ("--workers", "2", "--max-async-tasks", "100", "--max-prefetch", "100"), peer="taskiq"),
    TEN_HUEY,
    Tuning("huey-best", ("-k", "process", "-w", "2"), peer="huey"),
    Tuning("celery-10", ("-c", "10"), peer="celery"),
    Tuning("celery-best", ("-c", "2"), {"BENCH_PREFETCH": "64"}, peer="celery"),
    Tuning("rq-10", ("-n", "10"), peer="rq"),
    Tuning("rq-best", ("-n", "2", "-w", "rq.worker.SimpleWorker"), peer="rq"),
    Tuning("arq-10", (), peer="arq"),
    Tuning(
        *("arq-best", ()),
        {"BENCH_MAX_JOBS": "100", "BENCH_POLL_DELAY": "0.01", "BENCH_READ_LIMIT": "500"},
        peer="arq",
        copies=2,
    ),
)


def settings(tuning: Tuning, peer: Peer) -> dict[str, str]:
    """The environment of the programs of a peer."""
    return {**tuning.environment, **({"BENCH_MODULES": str(peer.folder)} if tuning.peer in NODE_PEERS else {})}


def fill(peer: Peer, count: int, env: Mapping[str, str], log: Path, name: str = "dramatiq") -> None:
    """Queue `count` calls, by the peer itself."""
    command: Sequence[str] = [str(peer.python), "-m", f"benchmarks.peer_{name}", str(count)]
    if name in NODE_PEERS:
        command = [str(peer.python), str(_NODE_PROGRAM), "fill", str(count)]
    with log.open("ab") as output:
        subprocess.run(command, env=dict(env), cwd=ROOT, stdout=output, stderr=output, timeout=_FILL_S, check=True)
