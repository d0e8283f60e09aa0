"""A real worker against a real server, and a way to wait for what its tasks say."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from taskq import TaskQ
from taskq.store import keys
from taskq.store.spawn import die_with_parent
from taskq.tasks.broker import Found
from taskq.tasks.calls import Limits
from taskq.tasks.lists import ListBroker
from tests.servers import RealServer

PATIENCE_S = 40.0
"""How long a test waits for something that has to come; only a broken build waits so long."""

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Said:
    """What a task said: a word, its tag, the process, the fence and the attempt."""

    word: str
    tag: str
    pid: int
    fence: int
    attempt: int


class Worker:
    """One `taskq worker` process with its children."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path, stdout: int | None = None) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                env=env,
                stdout=out if stdout is None else stdout,
                stderr=out,
                cwd=ROOT,
                preexec_fn=die_with_parent(),
            )

    @property
    def children(self) -> list[int]:
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text("ascii")
        return [int(pid) for pid in text.split()]

    def signal_all(self, number: signal.Signals) -> None:
        for pid in [*self.children, self.process.pid]:
            os.kill(pid, number)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def end(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                self.signal_all(signal.SIGCONT)
            self.process.kill()
            self.process.wait(PATIENCE_S)

    def text(self) -> str:
        return self.log.read_text("utf-8", "replace")


class World:
    """One namespace on one server, the app of `guarded`, and any number of workers."""

    def __init__(self, server: RealServer, namespace: str, lease: float = 10.0) -> None:
        self.server = server
        self.namespace = namespace
        self.dir = Path(tempfile.mkdtemp(prefix="tqw-"))
        self.ledger = self.dir / "ledger"
        self.ledger.touch()
        self._lines = self.ledger.open(encoding="utf-8", newline="\n")
        self._bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._bell.bind(str(self.dir / "bell"))
        self.heard: list[Said] = []
        self.workers: list[Worker] = []
        self.env = os.environ | {
            "GUARDED_NAMESPACE": namespace,
            "GUARDED_URL": server.url,
            "GUARDED_LEASE": str(lease),
            "GUARDED_LEDGER": str(self.ledger),
            "GUARDED_BELL": str(self.dir / "bell"),
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "workers", "dashboard")),
        }
        self.broker = ListBroker(server.link(), namespace, Limits(lease=int(lease * 1000)))
        self.app = TaskQ(namespace, url=server.url, lease=lease)

    def worker(
        self, *options: str, app: str = "tests.runtime.guarded:app", stdout: int | None = None, **env: str
    ) -> Worker:
        """Start a worker; wait for what it says with `hear`. `stdout` is a descriptor instead of its log."""
        command = [sys.executable, "-m", "taskq_workers", "worker", app, *options]
        one = Worker(command, self.env | env, self.dir / f"worker-{len(self.workers)}.log", stdout)
        self.workers.append(one)
        return one

    def until_present(self, count: int) -> None:
        """Wait until so many workers have said that they are there."""
        key = keys.workers(self.namespace)
        self.until(lambda: self.broker.link.execute("ZCARD", key) == count, f"{count} workers")

    def enqueue(self, task: str, *args: Any, **options: Any) -> bytes:
        """Enqueue a task of `guarded` by name; answers the raw id."""
        given: Any = {"queue": "work"} | options
        sender = self.app.remote(f"tests.runtime.guarded.{task}", **given)
        return UUID(sender.enqueue(*args).id).bytes

    def gate(self, name: str) -> str:
        """The path of a gate that is closed until `open_gate`."""
        return str(self.dir / f"gate-{name}")

    def open_gate(self, name: str) -> None:
        Path(self.gate(name)).touch()

    # -- waiting ----------------------------------------------------------------------------------------------------

    def hear(self, word: str, tag: str, count: int = 1) -> list[Said]:
        """Wait until a tag has been said with a word so many times; answers all of them."""
        self.until(lambda: len(self.said(word, tag)) >= count, f"{count} x {word} {tag}")
        return self.said(word, tag)

    def said(self, word: str, tag: str) -> list[Said]:
        return [one for one in self.heard if (one.word, one.tag) == (word, tag)]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition, looking again at each word of a task and at least every 20 ms."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self._listen()
            if condition():
                return
            if time.monotonic() > deadline:
                logs = "\n".join(worker.text()[-4000:] for worker in self.workers)
                raise AssertionError(f"waited {PATIENCE_S} s for {what}; heard {self.heard[-20:]}\n{logs}")
            select.select([self._bell], [], [], 0.02)

    def until_elapsed(self, seconds: float) -> None:
        """Let a fault last for so long; what is said meanwhile is heard."""
        deadline = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= deadline, "time to pass")

    def _listen(self) -> None:
        while select.select([self._bell], [], [], 0)[0]:
            self._bell.recv(16)
        while True:
            start, line = self._lines.tell(), self._lines.readline()
            if not line.endswith("\n"):
                self._lines.seek(start)  # the end of the file, or a line that is being written: it may be seen in parts
                return
            if line.endswith(" .\n"):
                word, tag, pid, fence, attempt, _ = line.split(" ")
                self.heard.append(Said(word, tag, int(pid), int(fence), int(attempt)))

    def found(self, id: bytes) -> Found:
        return self.broker.lookup("work", [id])[0]

    def until_state(self, id: bytes, *states: str) -> Found:
        """Wait until a message is in one of these states (letters, see lookup.lua)."""
        self.until(lambda: self.found(id).state in states, f"{id.hex()} in {states}, it is {self.found(id)}")
        return self.found(id)

    def counter(self, name: str) -> int:
        return int(self.broker.link.execute("HGET", self.broker.keys("work").meta, name) or 0)

    def close(self) -> None:
        for worker in self.workers:
            worker.end()
        self._bell.close()
        self._lines.close()
        self.broker.close()
        self.app.close()
        shutil.rmtree(self.dir, ignore_errors=True)


@contextlib.contextmanager
def world(server: RealServer, namespace: str, lease: float = 10.0) -> Generator[World]:
    one = World(server, namespace, lease)
    try:
        yield one
    finally:
        one.close()
