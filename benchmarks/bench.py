"""What every measurement of one run shares: how thorough it is, where its files are, and what it tells meanwhile."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchmarks.ledger import Ledger
from benchmarks.peers import Peer, peer
from benchmarks.processes import MeasurementFailed

SLOTS = 400_000
_SHARED_MEMORY = Path("/dev/shm")  # only a private folder in it is used


@dataclass(slots=True)
class Bench:
    """One run of the benchmarks."""

    quick: bool
    rounds: int
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="taskq-bench-", dir=_memory_folder())))
    _ledger: Ledger | None = None
    _peers: dict[str, Peer] = field(default_factory=dict)

    @property
    def ledger_path(self) -> Path:
        return self.folder / "ledger"

    @property
    def ledger(self) -> Ledger:
        """One file for the whole run; each measurement clears what it uses of it."""
        if self._ledger is None:
            self._ledger = Ledger.create(self.ledger_path, SLOTS)
        return self._ledger

    def peer(self, name: str = "dramatiq") -> Peer:
        """One of the peers; its environment is made when it is first asked for."""
        if name not in self._peers:
            self.say(f"{name}: looking for its environment, making it if need be")
            self._peers[name] = peer(name)
        return self._peers[name]

    def size(self, full: int, quick: int) -> int:
        """How much of something this run measures."""
        return quick if self.quick else full

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def say(self, text: str) -> None:
        """Progress, on stderr: stdout is for the table."""
        print(f"bench: {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _memory_folder() -> str | None:
    """Mapped writes to a real disk would be written back while we measure."""
    return str(_SHARED_MEMORY) if _SHARED_MEMORY.is_dir() else None


def wait_for(what: str, done: Callable[[], object], seconds: float, pause: float = 0.02) -> float:
    """Look until it is so; answers the moment. Raises MeasurementFailed when the time is up."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"not within {seconds:g} s: {what}")
        time.sleep(pause)
    return time.monotonic()
