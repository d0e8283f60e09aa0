"""Examples run as people run them: a real embedded server, `taskq worker`, and the example as a program beside it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from taskq.store import embedded
from tests.servers import need_server

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
RUN_TIMEOUT_S = 60
DRAIN_TIMEOUT_S = 30


@pytest.fixture(scope="session")
def embedded_url() -> Iterator[str]:
    need_server()
    with embedded.own() as server:
        yield server.url


@dataclass(frozen=True)
class Bench:
    """Where an example runs: its environment, its folder, and what is written on its way."""

    env: dict[str, str]
    tmp: Path

    @contextlib.contextmanager
    def worker(self, app: str, cwd: Path = EXAMPLES, verbose: bool = True) -> Generator[Path]:
        """`taskq worker` for an app, drained at the end; gives the path of its log."""
        log = self.tmp / "worker.log"
        command = [sys.executable, "-m", "taskq_workers", "worker", app, *(["-v"] if verbose else [])]
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=cwd, env=self.env, stdout=output, stderr=output)
        try:
            yield log
        except BaseException:
            print(log.read_text(errors="replace"))
            raise
        finally:
            process.terminate()
            try:
                code = process.wait(DRAIN_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
        assert code == 0, log.read_text(errors="replace")

    def python(self, *arguments: str, cwd: Path = EXAMPLES) -> str:
        """Run a program to its end and return what it printed; anything on stderr fails the test."""
        done = subprocess.run(
            [sys.executable, *arguments], cwd=cwd, env=self.env, capture_output=True, text=True, timeout=RUN_TIMEOUT_S
        )
        assert done.returncode == 0, done.stderr + done.stdout
        assert not done.stderr, done.stderr
        return done.stdout


@pytest.fixture
def bench(embedded_url: str, tmp_path: Path) -> Bench:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("TASKQ_")}
    paths = [str(ROOT / part) for part in ("", "workers", "dashboard")]
    return Bench(
        mine
        | {
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            "TASKQ_URL": embedded_url,
            "PAYMENTS_DB": str(tmp_path / "payments.sqlite3"),
            "BOOKSHOP_DB": str(tmp_path / "bookshop.sqlite3"),
        },
        tmp_path,
    )


@pytest.fixture
def run_example(bench: Bench) -> Callable[..., str]:
    """Run `examples/<name>.py` beside a worker of its app and return what it printed."""

    def run(name: str, worker: Callable[[str], AbstractContextManager[Path]] = bench.worker) -> str:
        with worker(f"{name}:app"):
            return bench.python(f"{name}.py")

    return run
