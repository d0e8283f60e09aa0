"""The course of the demo: server, worker, messages, one kill, and the account from the ledger."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from taskq.errors import ResultError, ResultTimeout, TaskFailed, TaskqError
from taskq.settings import URL_VARIABLE
from taskq.store import embedded
from taskq.store.spawn import die_with_parent
from taskq.tasks.batch import Batch
from taskq.values import count_of
from taskq_workers.demo import ledger
from taskq_workers.demo.corpus import broken_file, standard_library
from taskq_workers.demo.ledger import Account, Line, Reader
from taskq_workers.demo.tasks import Indexed, app, index_file

SLOTS = 2  # the work is pure computing: more threads in one interpreter would only wait for each other
KILL_AT = 0.4  # of the files done
STALL_S = 60.0
_LOOK_S = 0.05
_COUNT_S = 0.5
_END_S = 30.0
_OVER = frozenset({"done", "dead", "cancelled", "expired", "unknown", "quarantined"})


class Screen(Protocol):
    """Where the demo says what happens."""

    def event(self, text: str) -> None: ...
    def progress(self, done: int, dead: int, total: int) -> None: ...


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What `taskq demo` is told; `files` None means all."""

    files: int | None = None
    children: int = 2
    keep: bool = False


@dataclass(slots=True)
class Kill:
    """The killed child: its process, the moment, what it ran, and after how many seconds each of these ran again."""

    pid: int
    at: float
    victims: tuple[str, ...] = ()
    again: dict[str, float] = field(default_factory=dict[str, float])
    told: bool = False


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo found; `failed` are the dead letters with their reasons, `figures` what was indexed."""

    account: Account
    seconds: float
    figures: tuple[Indexed, ...]
    failed: tuple[tuple[str, str], ...]
    kill: Kill | None
    complete: bool

    @property
    def rate(self) -> float:
        return self.account.done / self.seconds if self.seconds else 0.0


def run_demo(options: DemoOptions, screen: Screen) -> DemoReport:
    """Run it from nothing to the report; leaves nothing behind unless `keep`."""
    root, files = standard_library(options.files)
    folder = Path(tempfile.mkdtemp(prefix="taskq-demo-"))
    try:
        if options.files is None and (broken := broken_file(root, folder)):
            screen.event("this Python comes without its tests, and so without a file that fails: one is added")
            files.append(broken)
        with embedded.own(folder) as server:
            screen.event(f"server   {server.url} (pid {server.pid}), data in {folder}")
            with _broker(server.url), _worker(folder, server.url, options.children) as process:
                screen.event(f"worker   pid {process.pid}: {options.children} children with {SLOTS} slots each")
                return _Run(root, files, folder, process, screen).go()
    finally:
        if options.keep:
            screen.event(f"kept     {folder}: ledger, worker.log and the server's data")
        else:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _broker(url: str) -> Generator[None]:
    app.broker(url)
    try:
        yield
    finally:
        app.close()


@contextlib.contextmanager
def _worker(folder: Path, url: str, children: int) -> Generator[subprocess.Popen[bytes]]:
    """`taskq worker` as anybody would start it, in the demo's folder, so that no settings of a project reach it."""
    command = [sys.executable, "-m", "taskq_workers", "worker", "taskq_workers.demo.tasks:app"]
    command += ["-p", str(children), "-c", str(SLOTS)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("TASKQ_")}
    env |= {URL_VARIABLE: url, ledger.VARIABLE: str(folder / "ledger")}
    if path := env.get("PYTHONPATH"):  # relative parts mean this directory, not the worker's
        env["PYTHONPATH"] = os.pathsep.join(str(Path(part).resolve()) for part in path.split(os.pathsep))
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,  # Ctrl+C is for the demo, which then stops its worker
            preexec_fn=die_with_parent(),
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Run:
    """From the enqueueing to the report."""

    def __init__(
        self, root: Path, files: list[Path], folder: Path, process: subprocess.Popen[bytes], screen: Screen
    ) -> None:
        self._root = root
        self._files = files
        self._log = folder / "worker.log"
        self._process = process
        self._screen = screen
        self._reader = Reader(folder / "ledger")
        self._lines: list[Line] = []
        self._done: set[str] = set()
        self._kill: Kill | None = None

    def go(self) -> DemoReport:
        began = time.monotonic()
        batch = index_file.enqueue_many([(str(path),) for path in self._files])
        self._screen.event(f"enqueued {count_of(len(batch), 'message')}, one per source file of {self._root}")
        complete = self._watch(batch)
        seconds = time.monotonic() - began
        self._look()
        return self._report(batch, seconds, complete)

    def _watch(self, batch: Batch[Indexed]) -> bool:
        """Until every message is over; False if nothing has happened for a while."""
        counted = moved = time.monotonic()
        dead = 0
        while True:
            now = time.monotonic()
            if self._look():
                moved = now
            if self._process.poll() is not None:
                raise TaskqError(f"the worker ended with code {self._process.returncode}: {_last_line(self._log)}")
            self._disturb(len(batch))
            if now - counted > _COUNT_S:
                counted, counts = now, batch.counts()
                dead = counts.get("dead", 0)
                if counts.keys() <= _OVER:
                    return True
            self._screen.progress(len(self._done), dead, len(batch))
            if now - moved > STALL_S:
                self._screen.event(f"nothing has happened for {STALL_S:g} s; giving up")
                return False
            time.sleep(_LOOK_S)  # a file that others append to cannot be waited for

    def _look(self) -> bool:
        fresh = self._reader.new()
        self._lines += fresh
        self._done.update(line.id for line in fresh if line.event == "done")
        return bool(fresh)

    def _disturb(self, total: int) -> None:
        """Once, in the middle: kill the child that runs most. Then tell when its messages run again."""
        if self._kill is None:
            if len(self._done) >= KILL_AT * total:
                self._kill_one()
            return
        kill = self._kill
        kill.victims = tuple(ledger.running(self._lines, kill.pid))
        kill.again = ledger.started_again(self._lines, kill.victims, kill.at)
        if not kill.told and len(kill.again) == len(kill.victims):
            kill.told = True
            if kill.victims:
                slowest = max(kill.again.values())
                self._screen.event(
                    f"again    all {len(kill.victims)} that it ran were running again {slowest:.2f} s later"
                )

    def _kill_one(self) -> None:
        pids = {line.pid for line in self._lines}
        busy = {pid: len(ledger.running(self._lines, pid)) for pid in pids}
        pid = max(busy, key=lambda pid: busy[pid])
        if not busy[pid]:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self._kill = Kill(pid, time.monotonic())
            self._screen.event(f"kill -9  child {pid}, which was running {busy[pid]} of them")

    def _report(self, batch: Batch[Indexed], seconds: float, complete: bool) -> DemoReport:
        figures: list[Indexed] = []
        failed: list[tuple[str, str]] = []
        dead: list[str] = []
        for path, handle in zip(self._files, batch, strict=True):
            try:
                figures.append(handle.result(timeout=0))
            except TaskFailed as error:
                dead.append(handle.id)
                failed.append((self._name(path), f"{error.type}: {error.remote_message}"))
            except ResultTimeout:
                continue  # still waiting or running: the account calls it lost
            except ResultError as error:
                failed.append((self._name(path), str(error)))
        account = ledger.settle_account(batch.ids, dead, self._lines)
        return DemoReport(account, seconds, tuple(figures), tuple(failed), self._kill, complete)

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._root) if path.is_relative_to(self._root) else path.name)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1].strip() if lines else "it said nothing"
