"""What a worker says of itself while it is there: one record with an expiry, and its name in the list of workers.

With it goes the question whether the broker still has its data: a server that comes back empty looks like an idle one.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from taskq import __version__
from taskq.message import id_text
from taskq.store import keys, layout
from taskq_workers.config import WorkerConfig
from taskq_workers.process import Child, Hello
from taskq_workers.sightings import Counters
from taskq_workers.wires import Wire

log = logging.getLogger("taskq.worker")

EVERY_S = 1.0
TTL_MS = 10_000
_FORGET_MS = 3_600_000
_RUNS_SHOWN = 100
_TOTALS = ("done", "failed", "retried", "dead", "lost")


def new_worker_id() -> str:
    """Host and process for people, and random characters: both come again after a restart."""
    return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"


class Presence:
    """The record of one worker."""

    def __init__(self, worker: str, config: WorkerConfig, hello: Hello) -> None:
        self._worker = worker
        self._namespace = hello.namespace
        self._list = keys.workers(hello.namespace)
        self._record = keys.worker_record(hello.namespace, worker)
        self._layout = keys.layout(hello.namespace)
        self._forgotten = False
        self._next = 0.0
        self.stored: float | None = None
        """The monotonic time at which the broker last took the record."""
        self._lock = threading.Lock()  # the main thread buries, the keeper's writes
        self._ended: dict[str, int] = dict.fromkeys(_TOTALS, 0)
        self._buried: set[int] = set()
        self._facts: dict[str, Any] = {
            "id": worker,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": __version__,
            "python": platform.python_version(),
            "app": hello.app,
            "queues": list(hello.queues),
            "consumes": list(hello.consumes),
            "processes": config.processes,
            "concurrency": config.concurrency,
            "started": int(time.time() * 1000),
        }

    @property
    def worker(self) -> str:
        """The id of the worker."""
        return self._worker

    def due(self) -> float:
        """The monotonic time of the next record."""
        return self._next

    def bury(self, child: Child) -> None:
        """Keep what a child has counted that has ended; its table is still there."""
        with child.table() as table, self._lock:
            if table is not None and child.index not in self._buried:
                self._buried.add(child.index)
                _add(self._ended, table.counters())

    def hurry(self) -> None:
        """The record is due now."""
        self._next = 0.0

    def wires(self, now: float, server_ms: float, children: Sequence[Child], state: str) -> list[Wire]:
        """The record and the entry in the list; also drops entries of workers that died an hour ago."""
        if now < self._next:
            return []
        self._next = now + EVERY_S
        record = json.dumps(self._facts | {"at": int(server_ms), "state": state} | self.told(children, now))
        what = "cannot store the record of this worker"
        wires = [Wire("cannot look for the layout number", None, ("EXISTS", self._layout), then=self._looked)]
        if self._forgotten:
            wires = [Wire("cannot store the layout number", layout.raise_to(self._namespace), then=self._renewed)]
        return [
            *wires,
            Wire(what, None, ("SET", self._record, record, "PX", TTL_MS), then=self._taken),
            Wire(what, None, ("ZADD", self._list, int(server_ms), self._worker)),
            Wire(what, None, ("ZREMRANGEBYSCORE", self._list, "-inf", int(server_ms) - _FORGET_MS)),
        ]

    def _taken(self, _: bytes) -> None:
        self.stored = time.monotonic()

    def _looked(self, there: int) -> None:
        if there:
            return
        self._forgotten = True
        log.error(
            "the broker has lost its data (the layout number of namespace %r is gone): what waited there is lost, and"
            " outcomes of before are refused. The work goes on; `taskq doctor` tells how the server keeps its data",
            self._namespace,
        )

    def _renewed(self, _: int) -> None:
        self._forgotten = False

    def farewell(self) -> list[Wire]:
        """Takes the record away at the end."""
        what = "cannot remove the record of this worker"
        return [Wire(what, None, ("DEL", self._record)), Wire(what, None, ("ZREM", self._list, self._worker))]

    def told(self, children: Sequence[Child], now: float) -> dict[str, Any]:
        """Children, what they run, and what they and those before them have counted; from any thread."""
        with self._lock:
            totals: dict[str, int] = dict(self._ended)
            buried = set(self._buried)
        shown: list[dict[str, Any]] = []
        runs: list[dict[str, Any]] = []
        for child in children:
            with child.table() as table:
                if table is None:
                    continue
                counters, state, running, tokens = table.counters(), table.state, table.running(), len(table.held())
            if child.index not in buried:
                _add(totals, counters)
            shown.append(
                {
                    "index": child.index,
                    "pid": child.pid,
                    "state": state.name.lower(),
                    "alone": child.alone,
                    "running": len(running),
                    "leases": tokens,
                }
            )
            runs += [
                {
                    "id": id_text(run.id),
                    "task": child.task(run.task),
                    "queue": child.queue(run.queue),
                    "seconds": round(now - run.started, 1),
                    "limit": round(run.hard - run.started, 1) if run.hard else None,
                    "child": child.index,
                    "slot": run.slot,
                }
                for run in running
            ]
        return {"children": shown, "running": runs[:_RUNS_SHOWN], "counters": totals}


def _add(totals: dict[str, int], counters: Counters) -> None:
    for name in totals:
        totals[name] += getattr(counters, name)
