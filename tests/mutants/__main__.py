"""Break one rule of one script after the other, and see whether some test notices.

python -m tests.mutants                        all of them
python -m tests.mutants lease.lua 'the token'  only those whose line has one of these words
python -m tests.mutants --write docs/mutants.md
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.catalogue import all_mutants
from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.mutant import Mutant, streamed
from tests.mutants.plugin import Result
from tests.mutants.report import Report, page

ROOT = Path(__file__).parents[2]
TESTS = (
    "tests/lua",
    "tests/model/test_conformance.py",
    *(f"tests/contract/test_{name}.py" for name in ("delivery", "identity", "loss", "lost_replies", "settling")),
)
STREAM_TESTS = (
    "tests/lua/test_stats.py",
    "tests/lua/test_streams.py",
    *(f"tests/lua/test_stream_{name}.py" for name in ("care", "guards", "large", "mending", "mixed", "moves")),
    *(f"tests/lua/test_stream_{name}.py" for name in ("notices", "reading", "repair", "replay", "rules", "settling")),
    "tests/model/test_conformance.py",
    *(f"tests/runtime/test_{name}.py" for name in ("history", "replay")),
    *(f"tests/contract/test_{name}.py" for name in ("delivery", "identity", "loss", "settling")),
)
TRACES = 300


class Runner:
    """Worker processes, each a pytest session over its share of the mutants."""

    def __init__(self, report: Report, jobs: int, limit: float) -> None:
        self.report, self.jobs, self.limit = report, jobs, limit
        self.lock = threading.Lock()

    def run(self, mutants: Sequence[Mutant], tests: Sequence[str]) -> None:
        shares = [mutants[at :: self.jobs] for at in range(self.jobs)]
        threads = [threading.Thread(target=self._worker, args=[share, tests]) for share in shares if share]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _worker(self, mutants: Sequence[Mutant], tests: Sequence[str]) -> None:
        here, there = os.pipe()
        task = {"mutants": [(mutant.script, mutant.name) for mutant in mutants], "out": there}
        env = os.environ | {"TASKQ_MUTANTS": json.dumps(task), "TASKQ_TRACES": str(TRACES), "PYTHONPATH": _path()}
        command = [sys.executable, "-m", "pytest", "-p", "tests.mutants.plugin", "-p", "no:xdist"]
        command += [
            "--ignore-glob=tests/lua/test_events_*",  # no script of these is among the mutants
            "-m",
            "slow or not slow",
            "-p",
            "no:cacheprovider",
            "--tb=line",
            "-q",
            "-o",
            f"timeout={self.limit}",
            *tests,
        ]
        with tempfile.TemporaryFile() as noise:
            child = subprocess.Popen(command, env=env, cwd=ROOT, pass_fds=[there], stdout=noise, stderr=noise)
            os.close(there)
            with os.fdopen(here) as lines:
                for line in lines:
                    with self.lock:
                        self.report.add(Result(**json.loads(line)))
            if child.wait():
                noise.seek(0)
                with self.lock:
                    self.report.lost(noise.read().decode(errors="replace")[-3000:])


def _path() -> str:
    return os.pathsep.join([str(ROOT), str(ROOT / "workers"), str(ROOT / "dashboard")])


def chosen(words: Sequence[str]) -> list[Mutant]:
    return [mutant for mutant in all_mutants() if not words or any(word in str(mutant) for word in words)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Mutants of the server's scripts.")
    parser.add_argument("words", nargs="*", help="only mutants whose line has one of these")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 8), help="processes (default: one a core)")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for one test (default: 60)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="store the result as a page")
    parser.add_argument("--quick", action="store_true", help="without tests/contract, for work on the catalogue")
    parser.add_argument("--list", action="store_true", help="name them, and run nothing")
    options = parser.parse_args()
    mutants = chosen(options.words)
    if options.list:
        print("\n".join(f"{mutant.rule:10}{mutant}" for mutant in mutants))
        return 0
    report = Report(mutants, EQUIVALENT)
    runner = Runner(report, options.jobs, options.timeout)
    for tests, of_streams in ((TESTS, False), (STREAM_TESTS, True)):
        wanted = [test for test in tests if not (options.quick and "/contract/" in test)]
        runner.run([mutant for mutant in mutants if streamed(mutant.script) == of_streams], wanted)
    print(report.totals())
    if options.write and report.good():
        options.write.write_text(page(report), "utf-8")
    return 0 if report.good() else 1


if __name__ == "__main__":
    sys.exit(main())
