"""The exporter of one process: a page of metrics for each scrape, and of the namespace only if this process is elected.

Every worker that is scraped could tell the figures of the whole namespace, and then each of them would be counted once
per worker. So one process at a time has the place of the exporter: a key with an expiry, renewed at each scrape. Who is
scraped holds it; who dies, or is scraped no more, loses it after three of its scrapes have passed. A process that only
exports has a larger rank than a worker, and takes the place from it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from taskq import metric_names as names
from taskq.errors import BrokerUnavailable, TaskqError
from taskq.exposition import Page
from taskq.metrics import describe
from taskq.snapshot import Snapshot
from taskq.store import keys
from taskq.store.connection import SyncLink
from taskq.store.scripts import Call, load, run
from taskq.watching import Watch

log = logging.getLogger("taskq.exporter")

WORKER_RANK, OWN_RANK = 0, 1
LEAST_S: Final = 1.0
"""Nobody's scrapes make the broker look more often than this."""

_SHORTEST_MS, _LONGEST_MS, _FIRST_MS = 5_000, 180_000, 30_000
_SCRAPES = 3  # so many may be missed before the place is lost
_REMEMBERED = 4  # two who scrape take turns, and the longest pause counts

Look = Callable[[], Snapshot]


class Exporter:
    """Life: `page` at each scrape, from any thread; `close` gives the place back. Raises nothing of the broker's.

    `look` reads the namespace, `own` adds what this process knows of itself. `rank` decides who gets the place.
    """

    def __init__(
        self,
        link: SyncLink,
        namespace: str,
        look: Look,
        id: str,
        rank: int,
        own: Callable[[Page], None] = lambda page: None,
    ) -> None:
        self._link = link
        self._namespace = namespace
        self._look = look
        self._name = f"{rank}{id}"
        self._own = own
        self._lock = threading.Lock()
        self._seen: tuple[Snapshot | None, bool, float] = (None, False, 0.0)
        self._ended = -LEAST_S
        self._looks: deque[float] = deque(maxlen=_REMEMBERED)
        self._trouble = ""

    def page(self) -> Page:
        """What this process has to say now; the namespace is looked at again if the last look is a second old."""
        page = Page()
        snapshot, up, took = self._fresh()
        if snapshot is not None:
            describe(snapshot, page)
        page.add(names.BROKER_UP, up)
        page.add(names.EXPORTER_ELECTED, snapshot is not None)
        page.add(names.EXPORTER_LOOK_SECONDS, took)
        self._own(page)
        return page

    def close(self) -> None:
        """Leave the place to others. If we never had it, or the broker did not answer last time, nobody is asked."""
        try:
            if self._seen[1]:
                run(self._link, place(self._namespace, self._name, 0))
        except TaskqError as error:
            log.debug("the place of the exporter was not given back, and is free once it expires: %s", error)
        self._link.close()

    def _fresh(self) -> tuple[Snapshot | None, bool, float]:
        """The namespace if we are elected, whether the broker answered, and how long that took; one look at a time."""
        with self._lock:
            if time.monotonic() - self._ended >= LEAST_S:
                self._looks.append(time.monotonic())
                self._seen = self._again()
                self._ended = time.monotonic()
            return self._seen

    def _again(self) -> tuple[Snapshot | None, bool, float]:
        began, snapshot, up = time.monotonic(), None, True
        try:
            if run(self._link, place(self._namespace, self._name, self._lasts())):
                snapshot = self._look()
            self._say("")
        except TaskqError as error:
            up = not isinstance(error, BrokerUnavailable)
            self._say(str(error))
        return snapshot, up, time.monotonic() - began

    def _lasts(self) -> int:
        """For how long we want the place, in ms: until several scrapes like the last ones have not come."""
        looks = list(self._looks)
        if len(looks) < 2:
            return _FIRST_MS
        longest = max(after - before for before, after in pairwise(looks))
        return min(max(round(longest * _SCRAPES * 1000), _SHORTEST_MS), _LONGEST_MS)

    def _say(self, trouble: str) -> None:
        """Once when it begins and once when it is over, not at each scrape."""
        if bool(trouble) != bool(self._trouble):
            log.warning("metrics: %s", trouble or "the broker is back")
        self._trouble = trouble


def looking(link: SyncLink, namespace: str) -> Look:
    """The looks of an exporter: all that is exported, counted as far as the command line counts, and nothing else."""
    watch = Watch(link, namespace, failures=0, whole=True)
    return lambda: watch.look(samples=False)


def place(namespace: str, name: str, ttl_ms: int) -> Call[bool]:
    """Hold the place of the exporter for so long, 0 leaves it; answers if it is ours. `name` begins with our rank."""
    return Call(load("exporter"), [keys.exporter(namespace)], [name, ttl_ms], bool)
