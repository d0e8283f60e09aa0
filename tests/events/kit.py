"""A topic on a real server, things that handlers note, and consumers in processes that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taskq import Record, RetryPolicy, TaskQ
from taskq.store.spawn import die_with_parent

PATIENCE_S = 60.0  # how long a test waits for something that has to come; only a broken build waits so long
QUICK = RetryPolicy(max_attempts=3, base=0.01, cap=0.01)
ROOT = Path(__file__).resolve().parents[2]


class Noted:
    """What handlers saw, in the order in which they saw it; whoever waits is woken by each."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._changed = threading.Condition()

    def add(self, what: Any) -> None:
        with self._changed:
            self.all.append(what)
            self._changed.notify_all()

    def value(self, record: Record) -> None:
        """A handler."""
        self.add(record.value)

    def wait(self, until: Callable[[list[Any]], bool] | int) -> list[Any]:
        """Wait for so many, or until this holds; a copy of what is there then."""
        met = until if callable(until) else lambda seen: len(seen) >= until
        with self._changed:
            assert self._changed.wait_for(lambda: met(self.all), PATIENCE_S), self.all[-20:]
            return [*self.all]


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for something that nobody tells."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        threading.Event().wait(0.01)


class Consuming:
    """A process that consumes; what it writes to its pipe are lines."""

    def __init__(self, source: str, *arguments: str) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "workers"), str(ROOT / "dashboard")])
        self.process = subprocess.Popen(
            [sys.executable, "-c", source, *arguments],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            cwd=ROOT,
            text=True,
            preexec_fn=die_with_parent(),
        )

    def line(self) -> str:
        """The next line; '' at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def lines(self) -> Iterable[str]:
        """All lines to its end."""
        assert self.process.stdout is not None
        return [line.strip() for line in self.process.stdout]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def consuming(source: str, app: TaskQ, url: str, *arguments: str) -> Generator[Consuming]:
    """A process that runs this source, with URL and namespace as its first arguments."""
    one = Consuming(source, url, app.namespace, *arguments)
    try:
        yield one
    finally:
        one.end()
