"""A world with proxies in it: real workers that reach their server through something that breaks."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from taskq.inspector import Inspector
from taskq.message import encode, new_ids
from taskq.store.connection import SyncLink
from taskq.tasks.broker import Accepted, Outgoing
from taskq.tasks.lists import ListBroker
from taskq.tasks.queues import Queue, Transport
from taskq.tasks.stream_calls import StreamInfo
from tests.faults.history import History
from tests.faults.proxy import Proxy
from tests.faults.rules import PATIENCE_S, Fault
from tests.runtime.world import Worker, World
from tests.servers import RealServer

MISDEEDS = "tests.faults.misdeeds"


class Stage(World):
    """A `World` whose workers run `tests.faults.misdeeds`, and what each test ends with: `settled`."""

    def __init__(self, server: RealServer, namespace: str, lease: float = 10.0, transport: Transport = "list") -> None:
        super().__init__(server, namespace, lease)
        self.transport = transport
        if transport == "stream":
            work = Queue("work", transport=transport)
            self.env["GUARDED_TRANSPORT"] = transport
            self.app.declare(work)
            self.broker.declare(work)
        self.proxies: list[Proxy] = []
        self.accepted: dict[bytes, str] = {}
        self.disturbed: set[int] = set()
        self.late: set[int] = set()
        self.forgotten: set[str] = set()
        self.fallen: list[Worker] = []
        self._numbers = itertools.count()

    def proxy(self) -> Proxy:
        """Another way to the server, with faults on demand."""
        one = Proxy(self.server)
        self.proxies.append(one)
        return one

    def hire(
        self,
        *options: str,
        via: Proxy | None = None,
        wrap: Sequence[str] = (),
        log: Path | None = None,
        **env: str,
    ) -> Worker:
        """Start a worker: on the far side of a proxy, under another command, with its output going elsewhere."""
        url = {} if via is None else {"GUARDED_URL": via.url}
        command = [*wrap, sys.executable, "-m", "taskq_workers", "worker", f"{MISDEEDS}:app", *options]
        one = Worker(command, self.env | url | env, log or self.dir / f"hired-{next(self._numbers)}.log")
        if log is not None:  # what goes there cannot be read again
            one.log = self.dir / "nothing"
            one.log.touch()
        self.workers.append(one)
        return one

    def put(self, task: str, tag: str, *args: object, **options: Any) -> bytes:
        """Enqueue a task of `guarded` or `misdeeds` with its tag as first argument; what it becomes is audited."""
        module = "tests.runtime.guarded" if task in GUARDED else MISDEEDS
        given: dict[str, Any] = {"queue": "work", **options}
        sender = self.app.remote(f"{module}.{task}", **given)
        message = UUID(sender.enqueue(tag, *args).id).bytes
        self.accepted[message] = tag
        return message

    def producer(self, proxy: Proxy, enqueue_timeout: float = 2.0) -> ListBroker:
        """A broker whose calls go through a proxy; the caller closes it."""
        link = SyncLink(proxy.url)
        return ListBroker(link, self.namespace, self.broker.limits, enqueue_timeout, self.broker.queues)

    def outgoing(self, task: str, *args: object) -> Outgoing:
        """A message that is not sent yet, for a broker of the test's own."""
        body = encode(f"{MISDEEDS}.{task}", list(args), {}, 0)
        return Outgoing(new_ids(1)[0], body)

    def accept(self, producer: ListBroker, item: Outgoing, tag: str) -> None:
        """Enqueue through a broker of the test's own."""
        assert producer.enqueue("work", [item]) == [Accepted(item.id, True)]
        self.accepted[item.id] = tag

    def disturb(self, worker: Worker) -> None:
        """What this worker runs now may run again elsewhere: it is cut off, or stopped."""
        for pids in (self.disturbed, self.late):
            pids.update([worker.process.pid, *worker.children])

    def kill(self, pid: int) -> None:
        """SIGKILL one of our processes; what it ran may run again."""
        self.disturbed.update([pid, *children_of(pid)])
        os.kill(pid, signal.SIGKILL)

    def kill_worker(self, worker: Worker, once: Fault | None = None) -> None:
        """SIGKILL a supervisor, and with it its children, once a fault has fired; until it is gone."""
        if once is not None:
            once.wait()
        self.kill(worker.process.pid)
        worker.process.wait(PATIENCE_S)

    def history(self) -> History:
        """All that happened so far."""
        self._listen()
        heard = [said for said in self.heard if said.tag not in self.forgotten]
        return History.read(self.broker, "work", self.accepted, heard)

    def settled(self, *ids: bytes, dead: bool = False) -> None:
        """Wait until these messages (or all) are done; once nothing is under way the checker looks at the whole
        history. `dead` says that others may be dead letters or quarantined.
        """
        for message in ids or self.accepted:
            found = self.until_state(message, "o")
            assert found.result[:1] == b"d", found
        states = {found.state for found in self.broker.lookup("work", list(self.accepted))}
        if not ids or states <= set("oxq"):
            self.history().check(self.disturbed, self.late, dead=dead)

    @property
    def landing(self) -> str:
        """The key to which an enqueue appends."""
        names = self.broker.keys("work")
        return names.stream if names.streamed else names.ready_for(0)

    @property
    def stream(self) -> StreamInfo:
        """What the broker tells of the stream of the queue."""
        info = Inspector(self.broker.link, self.namespace).queue("work").stream
        assert info is not None, "this stage has list queues"
        return info

    def ready(self) -> int:
        """How many messages wait to be handed out."""
        names = self.broker.keys("work")
        back = int(self.broker.link.execute("LLEN", names.ready_for(0)))
        return back + self.stream.unread if names.streamed else back

    def runs(self, tag: str) -> int:
        """How often a message was started so far."""
        self._listen()
        return len(self.said("start", tag))

    def close(self) -> None:
        # Workers first: while a proxy is cut off they would only complain.
        for worker in self.workers:
            worker.end()
        for proxy in self.proxies:
            proxy.close()
        super().close()


def children_of(pid: int) -> list[int]:
    """The children of a process now."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
    return []


def newest_aof(server: RealServer) -> Path:
    """The part of the append-only file that is written to."""
    found = sorted(server.dir.glob("**/*.incr.aof")) or sorted(server.dir.glob("**/*.aof"))
    return found[-1]


GUARDED = {
    "quick", "aquick", "gated", "die", "never", "once", "hold_interpreter", "fails", "sleeps", "asleeps_too_long",
    "loops", "first",
}  # fmt: skip


@contextlib.contextmanager
def stage(server: RealServer, namespace: str, lease: float = 10.0, transport: Transport = "list") -> Generator[Stage]:
    """A stage that fails its test if a fault that was ordered has not fired."""
    one = Stage(server, namespace, lease, transport)
    try:
        yield one
        for proxy in one.proxies:
            proxy.must_have_fired()
    finally:
        one.close()
