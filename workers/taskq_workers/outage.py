"""Trouble with the broker, said once: when it begins, when it ends, and each other complaint once a minute."""

from __future__ import annotations

import logging
import time
from datetime import datetime

from taskq.errors import TaskqError

log = logging.getLogger("taskq.worker")

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
