"""One child process as its supervisor sees it: the process, its table, and the two pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from taskq.errors import ConfigError
from taskq.tasks.calls import Limits
from taskq.tasks.queues import Queue, Retain, Transport
from taskq_workers.config import CHILD_VARIABLE, WorkerConfig
from taskq_workers.sightings import HeldToken, Running
from taskq_workers.table import Command, State, Table

CHILD_COMMAND = (sys.executable, "-m", "taskq_workers.child")

_LETTERS = {Command.QUIET: b"q", Command.DRAIN: b"d", Command.GIVE_BACK: b"g"}
_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Hello:
    """What a child says of itself once its app is imported.

    `url` may hold a password; `lease` in seconds; `aliases` are the names besides `tasks` under which it runs messages.
    `queues` are those that it serves, `task_queues` those of its tasks, `declared` those of which the app says more.
    `schedules` are what its code declares, as they are stored, `consumes` says which records it handles, `hooks` if its
    code wants to be told of failures or dead letters.
    """

    app: str
    namespace: str
    lease: float
    url: str = field(repr=False)
    limits: Limits
    tasks: tuple[str, ...]
    queues: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    task_queues: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ()
    source: str = ""
    python: str = ""
    version: str = ""
    declared: tuple[Queue, ...] = ()
    consumes: tuple[str, ...] = ()
    hooks: bool = False

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Hello:
        """The hello in a line of a child. Names that this release does not know are left out."""
        try:
            limits = {name: value for name, value in fields.get("limits", {}).items() if name in Limits.__slots__}
            texts = {name: str(fields.get(name, "")) for name in ("source", "python", "version")}
            return cls(
                app=str(fields["app"]),
                namespace=str(fields["namespace"]),
                lease=float(fields["lease"]),
                url=str(fields["url"]),
                limits=Limits(**limits),
                tasks=tuple(fields["tasks"]),
                queues=tuple(fields["queues"]),
                aliases=tuple(fields.get("aliases", ())),
                task_queues=tuple(fields.get("task_queues", ())),
                declared=tuple(_queue(*item) for item in fields.get("declared", ())),
                schedules=tuple(fields.get("schedules", ())),
                consumes=tuple(map(str, fields.get("consumes", ()))),
                hooks=bool(fields.get("hooks", False)),
                **texts,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"a child said hello in a way that cannot be read: {error!r}") from error


def _queue(name: str, transport: Transport, retain: str) -> Queue:
    return Queue(name, transport, Retain.read(retain) if transport == "stream" else None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why the supervisor ends a child, and which messages are to blame for it.

    `kind` is 'timeout' (the ids ran past their hard limit), 'cancel' (they were cancelled, with leave to end the
    child) or 'stop' (nobody is to blame).
    """

    kind: str
    ids: frozenset[bytes] = frozenset()


class Child:
    """Made with its process running. Only the main thread starts and reaps; the keeper reads the table.

    `retiring` says why it will not be there much longer, and so why its end is no surprise.
    """

    def __init__(
        self, config: WorkerConfig, worker: str, index: int, command: Sequence[str], *, alone: bool = False
    ) -> None:
        self.index = index
        self.alone = alone
        self.imported = False
        self.hello: Hello | None = None
        self.awaited = False  # that it takes long to say hello has been told
        self.error: str | None = None
        self.trace = ""  # where that error happened, if the user needs to know
        self.hopeless = False  # no change of a file mends that error
        self.retiring: str | None = None
        self.verdict: Verdict | None = None
        self.silent = False
        self.overdue: frozenset[bytes] = frozenset()
        self.overdue_ends = self.give_back_at = self.kill_at = float("inf")
        self.started = time.monotonic()
        self._lock = threading.Lock()
        self._partial = b""
        settings = config.child(worker, index, alone=alone)
        self._table: Table | None = Table.create(settings.concurrency)
        self.up, up_end = os.pipe()
        down_end, self._down = os.pipe()
        given = settings.with_descriptors(self._table.fileno(), up_end, down_end)
        try:
            self.process = subprocess.Popen(
                list(command),
                env=os.environ | {CHILD_VARIABLE: given.to_json()},
                stdin=subprocess.DEVNULL,
                pass_fds=(given.table_fd, up_end, down_end),
                # Ctrl+C in a terminal goes to its foreground group: it is for the supervisor alone.
                process_group=0,
            )
        finally:
            os.close(up_end)
            os.close(down_end)
        os.set_blocking(self.up, False)
        os.set_blocking(self._down, False)

    def __repr__(self) -> str:
        return f"child {self.index} (pid {self.pid})"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def age(self) -> float:
        return time.monotonic() - self.started

    # -- to and from the child ---------------------------------------------------------------------------------------

    def read(self) -> list[dict[str, Any]]:
        """The lines that have arrived, parsed; what is not a line of JSON is skipped."""
        lines: list[dict[str, Any]] = []
        while True:
            try:
                data = os.read(self.up, _READ_BYTES)
            except BlockingIOError:
                return lines
            if not data:
                self.silent = True
                return lines
            *whole, self._partial = (self._partial + data).split(b"\n")
            for line in whole:
                try:
                    value = json.loads(line)
                except ValueError:
                    continue
                if isinstance(value, dict):
                    lines.append(value)

    def send(self, command: Command) -> None:
        """Tell the child to quiet, drain or give back; never blocks, and a child that is gone is no error."""
        with self.table() as table:
            if table is not None:
                table.send(command)
        self._write(_LETTERS[command])

    def go(self) -> None:
        """Let it fetch: the broker is one that it may work on."""
        self._write(b"r")

    def dump_stacks(self) -> None:
        """Ask for the stacks of all threads, on its stderr."""
        self._write(b"s")

    def tell(self, line: bytes) -> bool:
        """Give it something to tell the hooks of its app; False if its pipe takes no more.

        The line is shorter than `PIPE_BUF`: such a one is written whole or not at all.
        """
        return self._write(b"h" + line + b"\n")

    def kill(self, verdict: Verdict) -> None:
        """End the process at once, and what its tasks have started and left in its group; its death is then judged by
        the verdict.
        """
        self.verdict = verdict
        if self.process.poll() is None:  # not reaped, so the number still means this group
            os.killpg(self.pid, signal.SIGKILL)

    def _write(self, letters: bytes) -> bool:
        try:
            os.write(self._down, letters)
        except (BrokenPipeError, BlockingIOError):
            return False
        return True

    # -- its table ---------------------------------------------------------------------------------------------------

    @contextmanager
    def table(self) -> Generator[Table | None]:
        """The table, or None once the child has been buried; it stays open inside the block."""
        with self._lock:
            yield self._table

    def running(self) -> list[Running]:
        with self.table() as table:
            return [] if table is None else table.running()

    def held(self) -> list[HeldToken]:
        with self.table() as table:
            return [] if table is None else table.held()

    def queue(self, index: int) -> str:
        """The name behind a queue index of the table."""
        return self.hello.queues[index] if self.hello is not None and index < len(self.hello.queues) else ""

    def task(self, index: int) -> str:
        """The name behind a task index of the table, or '?'."""
        return self.hello.tasks[index] if self.hello is not None and index < len(self.hello.tasks) else "?"

    @property
    def orderly(self) -> bool:
        """Whether it ended by itself and in order; what then still shows as running was cut off, and is innocent."""
        with self.table() as table:
            return self.process.returncode == 0 and table is not None and table.state is State.DONE

    # -- its end -----------------------------------------------------------------------------------------------------

    def how_it_died(self) -> str:
        """In words, as the function of that name says it."""
        return how_it_died(self.process.returncode)

    def close(self) -> None:
        """Close the pipes and the table; the process has been reaped."""
        os.close(self.up)
        os.close(self._down)
        with self._lock:
            if self._table is not None:
                self._table.close()
            self._table = None


def how_it_died(code: int | None) -> str:
    """An exit code in words.

    >>> how_it_died(-9), how_it_died(3)
    ('signal 9 (SIGKILL)', 'exit code 3')
    """
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"
