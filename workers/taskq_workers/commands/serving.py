"""What a worker serves over HTTP, if it is told to: its metrics and its probes."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from taskq import metric_names as names
from taskq.exporter import WORKER_RANK, Exporter, looking
from taskq.exposition import Page, library
from taskq.metrics import slots_of
from taskq.store.connection import SyncLink
from taskq_workers.config import WorkerConfig
from taskq_workers.listener import Answer, Listener, Route
from taskq_workers.measured import Measured, histogram
from taskq_workers.probes import Standing, stuck, unready
from taskq_workers.process import Hello

log = logging.getLogger("taskq.worker")

CHILD_STATES = ("starting", "running", "quiet", "draining", "done")


class Watched(Protocol):
    """What is asked of a supervisor; both from any thread."""

    def standing(self) -> Standing: ...
    def told(self) -> dict[str, Any]: ...
    @property
    def measured(self) -> Measured: ...


class Pages:
    """The pages of one worker. Before it knows its broker there are only its own figures."""

    def __init__(self, config: WorkerConfig, worker: Watched) -> None:
        self._config = config
        self._worker = worker
        self._exporter: Exporter | None = None

    def connect(self, hello: Hello, id: str) -> None:
        """Export from now on what the broker tells as well, if metrics are wanted at all."""
        if self._config.metrics_port is not None and self._exporter is None:
            link = SyncLink(hello.url)
            look = looking(link, hello.namespace)
            self._exporter = Exporter(link, hello.namespace, look, id, WORKER_RANK, self.own)

    def close(self) -> None:
        if self._exporter is not None:
            self._exporter.close()

    def metrics(self, accept: str) -> Answer:
        """`/metrics`."""
        if self._exporter is not None:
            return page_answer(self._exporter.page(), accept)
        page = Page()
        page.add(names.BROKER_UP, 0)
        page.add(names.EXPORTER_ELECTED, 0)
        self.own(page)
        return page_answer(page, accept)

    def live(self, _: str) -> Answer:
        """`/livez`."""
        return probe_answer(stuck(self._worker.standing()))

    def ready(self, _: str) -> Answer:
        """`/readyz`."""
        return probe_answer(unready(self._worker.standing()))

    def own(self, page: Page) -> None:
        """What this worker knows of itself, by the words of its record."""
        told = self._worker.told()
        record = told | {"concurrency": self._config.concurrency}
        busy, slots = slots_of(record)
        page.add(names.WORKER_SLOTS, busy, state="busy")
        page.add(names.WORKER_SLOTS, max(slots - busy, 0), state="free")
        states = [child["state"] for child in told.get("children", ())]
        for state in CHILD_STATES:
            page.add(names.WORKER_CHILDREN, states.count(state), state=state)
        counters: Mapping[str, int] = told.get("counters", {})
        for outcome in ("done", "retried", "dead"):
            page.add(names.WORKER_ATTEMPTS, counters.get(outcome, 0), outcome=outcome)
        page.add(names.WORKER_LOST, counters.get("lost", 0))
        found = self._worker.measured.total()
        if found is not None:  # it handles no records, then
            for outcome in ("handled", "failed"):
                page.add(names.WORKER_RECORDS, found["records"].get(outcome, 0), outcome=outcome)
            page.add(names.WORKER_HANDLE_SECONDS, histogram(found["handling"]))
            page.add(names.WORKER_COMMIT_SECONDS, histogram(found["commits"]))
            page.add(names.WORKER_COMMITS_REFUSED, found["refused"])
        page.add(names.WORKER_READY, unready(self._worker.standing()) is None)


@contextmanager
def served(config: WorkerConfig, worker: Watched) -> Generator[Pages]:
    """Serve inside the block what the settings want. Raises ConfigError before that, if a port cannot be had."""
    pages = Pages(config, worker)
    probes: dict[str, Route] = {"/livez": pages.live, "/readyz": pages.ready}
    wanted: list[tuple[int, dict[str, Route]]] = []
    if config.metrics_port is not None:
        library()
        wanted.append((config.metrics_port, {"/metrics": pages.metrics} | probes))
    if config.health_port is not None and (config.health_port != config.metrics_port or not config.health_port):
        wanted.append((config.health_port, probes))
    with ExitStack() as stack:
        stack.callback(pages.close)
        for port, routes in wanted:
            listener = Listener(config.http_host, port, routes)
            stack.callback(listener.close)
            listener.start()
            log.info("serving %s at http://%s", ", ".join(routes), listener.address)
        yield pages


def page_answer(page: Page, accept: str) -> Answer:
    body, kind = page.text(accept)
    return Answer(200, body, kind)


def probe_answer(problem: str | None) -> Answer:
    """Yes, or no with the reason."""
    return Answer(200, b"ok\n") if problem is None else Answer(503, f"{problem}\n".encode())
