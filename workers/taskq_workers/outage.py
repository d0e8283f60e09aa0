"""Trouble with the broker, said once: when it begins, when it ends, and each other complaint once a minute.

And how one shard of a cluster that is away does not keep the others waiting.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime

from taskq.errors import BrokerRefused, BrokerUnavailable, TaskqError
from taskq.store.connection import SyncLink

log = logging.getLogger("taskq.worker")

_RUN_ID = re.compile(r"^run_id:(\w+)", re.MULTILINE)
_AGAIN_S = 60.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5


class Outage:
    """Whether the broker can be reached, as one thread sees it."""

    def __init__(self) -> None:
        self._since = 0.0
        self._pause = 0.0
        self._told: dict[str, float] = {}

    @property
    def lasts(self) -> bool:
        return self._since > 0

    def began(self, error: TaskqError) -> float:
        """A call found no broker; answers the seconds to wait before the next try."""
        if not self._since:
            self._since = time.monotonic()
            clock = f"{datetime.now().astimezone():%H:%M:%S}"
            log.warning("broker unreachable since %s; retrying (%s)", clock, error)
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        return self._pause

    def ended(self) -> None:
        """A call was answered."""
        if self._since:
            log.warning("broker is back after %.1f s", time.monotonic() - self._since)
        self._since = self._pause = 0.0

    def complain(self, what: str, error: TaskqError) -> None:
        """The broker answered, but refuses; waiting does not cure that, so it is said again only after a minute."""
        text = f"{what}: {error}"
        now = time.monotonic()
        if now - self._told.get(text, -_AGAIN_S) >= _AGAIN_S:
            self._told = {old: at for old, at in self._told.items() if now - at < _AGAIN_S}
            self._told[text] = now
            log.error("%s", text)


class Identity:
    """Which server process answers: one that was restarted, or has taken over, may lack what was written last."""

    def __init__(self) -> None:
        self._known = ""
        self._made = 0

    def look(self, link: SyncLink) -> None:
        """Behind each new connection, ask who answers, and say so if it is another one than before. In a cluster there
        is not one to ask.
        """
        made, self._made = self._made, link.made
        if made == self._made or link.url.kind == "cluster":
            return
        try:
            found = _RUN_ID.search(str(link.execute("INFO", "server"), "ascii", "replace"))
        except BrokerRefused:
            return  # not everybody may ask
        told = found[1] if found else ""
        if self._known and told != self._known:
            log.warning(
                "another server process answers now: one that was restarted has what its disk had, one that took over"
                " what it had received, and the writes of the last moments may be missing"
            )
        self._known = told


class Parts:
    """The parts of a round that may need different shards: in a cluster, one that is away leaves the others alone.

    A single server is not asked again after it did not answer, since each try may take a whole time-out.
    """

    def __init__(self, link: SyncLink) -> None:
        self._cluster = link.url.kind == "cluster"
        self._lost: BrokerUnavailable | None = None

    @contextmanager
    def part(self) -> Generator[None]:
        try:
            yield
        except BrokerUnavailable as error:
            if not self._cluster:
                raise
            self._lost = error

    def end(self) -> None:
        """Raises BrokerUnavailable if a part was not answered: it is then due again."""
        if self._lost is not None:
            raise self._lost
