"""What the tests of the supervisor share: a worker process with fake children, and waiting for what they tell."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from taskq.message import new_ids
from taskq.store.connection import SyncLink
from taskq.tasks.broker import Delivery, Found, Outgoing, Seat
from taskq.tasks.calls import Limits
from taskq.tasks.failure import parse
from taskq.tasks.lists import ListBroker
from tests.runtime.fake_child import QUEUE
from tests.servers import RealServer

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60


class FakeWorker:
    """A running supervisor with fake children on a real server."""

    def __init__(self, server: RealServer, namespace: str, lease_ms: int = 2000) -> None:
        self.server = server
        self.namespace = namespace
        self._lines: list[str] = []
        self._spoken = threading.Condition()
        self.lease_ms = lease_ms
        self.link = SyncLink(server.url)
        self.broker = ListBroker(self.link, namespace, Limits(lease=lease_ms))
        self.process: subprocess.Popen[bytes] | None = None
        self.told_at = f"fake:{namespace}"
        self._client = server.client()
        self._ears: Any = self._client.pubsub()  # type: ignore[no-untyped-call]
        self._ears.subscribe(self.broker.keys(QUEUE).channel)
        self._heard = b""

    def start(self, env: dict[str, str] | None = None, **config: Any) -> None:
        path = os.pathsep.join(str(ROOT / part) for part in (".", "workers"))
        fake = {"FAKE_NAMESPACE": self.namespace, "FAKE_LEASE_MS": str(self.lease_ms), "PYTHONPATH": path}
        program = Path(__file__).with_name("fake_worker.py")
        self.process = subprocess.Popen(
            [sys.executable, str(program), json.dumps({"url": self.server.url} | config)],
            env=os.environ | fake | (env or {}),
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with self._spoken:
                self._lines.append(line.decode())
                self._spoken.notify_all()

    def close(self) -> None:
        process = self.process
        if process is not None:
            process.kill()
            process.wait(PATIENCE_S)
            self._reader.join(PATIENCE_S)  # the children hold the pipe, and end with their supervisor
            if process.stderr is not None:
                process.stderr.close()
        self._ears.close()
        self._client.close()
        self.link.close()

    def said(self) -> str:
        """What supervisor and children have written so far; all of it once they have ended."""
        if self.process is not None and self.process.poll() is not None:
            self._reader.join(PATIENCE_S)
        with self._spoken:
            return "".join(self._lines)

    def says(self, words: str) -> None:
        """Wait until they have written these words."""
        with self._spoken:
            said = self._spoken.wait_for(lambda: any(words in line for line in self._lines), PATIENCE_S)
            assert said, f"{words!r} was never said: {self._lines}"

    # -- the queue

    def enqueue(self, *bodies: str) -> list[bytes]:
        ids = new_ids(len(bodies))
        self.broker.enqueue(QUEUE, [Outgoing(one, body.encode()) for one, body in zip(ids, bodies, strict=True)])
        return ids

    def lease(self) -> list[Delivery]:
        """What another worker would get now."""
        return self.broker.lease(QUEUE, Seat().ticket(QUEUE), 10).deliveries

    def find(self, id: bytes) -> Found:
        return self.broker.lookup(QUEUE, [id])[0]

    def history(self, id: bytes) -> list[dict[str, Any]]:
        return parse(self.find(id).lines)

    # -- waiting

    def _next(self, wanted: str) -> dict[str, Any]:
        for _ in range(PATIENCE_S):
            reply = self.link.blocking(1.0, "BLPOP", self.told_at, 1.0)
            if reply is not None:
                found: dict[str, Any] = json.loads(reply[1])
                return found
            assert self.process is None or self.process.poll() is None, f"it ended; log: {self.said()}"
        raise AssertionError(f"no event of {wanted}; log: {self.said()}")

    def event(self, event: str, **facts: Any) -> dict[str, Any]:
        """The next event of that name with these facts; those before it are passed over."""
        while True:
            found = self._next(f"{event} {facts}")
            if found["event"] == event and facts.items() <= found.items():
                return found

    def events(self, *wanted: tuple[str, str]) -> list[dict[str, Any]]:
        """One event for each (name, body), in whatever order they come."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        while len(found) < len(wanted):
            event = self._next(f"{wanted}, only {list(found)}")
            key = (event["event"], event.get("body", ""))
            if key in wanted:
                found.setdefault(key, event)
        return [found[key] for key in wanted]

    def told(self, id: bytes) -> None:
        """Wait until an outcome of the message was announced."""
        while id not in self._heard:
            notice = self._ears.get_message(timeout=PATIENCE_S)
            assert notice is not None, f"nothing was announced; log: {self.said()}"
            if notice["type"] == "message":
                self._heard += notice["data"]

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def exit_code(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE_S)


def wait_for_end(pid: int) -> None:
    """Until a process is gone that need not be ours."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], PATIENCE_S)[0], f"process {pid} is still there"
    finally:
        os.close(handle)
