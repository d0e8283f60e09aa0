"""Trouble with the broker, said once: when it begins, when it ends, and each other complaint once a minute."""

from __future__ import annotations

import logging
import threading
import time

from taskq.errors import TaskqError

log = logging.getLogger("taskq.events")

AGAIN_S = 60.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 0.5


class TroubleLog:
    """Whether the broker can be reached, as all threads of one consumer see it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._since = 0.0
        self._pause = 0.0
        self._told: dict[str, float] = {}

    def began(self, error: TaskqError) -> float:
        """A call found no broker; answers the seconds to wait before the next try."""
        with self._lock:
            if not self._since:
                self._since = time.monotonic()
                log.warning("%s: broker unreachable; retrying (%s)", self._name, error)
            self._pause = min(max(self._pause * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            return self._pause

    def ended(self) -> None:
        """A call was answered; at first it may be one that was answered before others found no broker."""
        if self._since and time.monotonic() - self._since > LONGEST_PAUSE_S:
            with self._lock:
                since, self._since, self._pause = self._since, 0.0, 0.0
            if since:
                log.warning("%s: broker is back after %.1f s", self._name, time.monotonic() - since)

    def complain(self, error: TaskqError) -> float:
        """The broker answered, but refuses: said again only after a minute. Answers the seconds to wait."""
        text, now = str(error), time.monotonic()
        with self._lock:
            if now - self._told.get(text, -AGAIN_S) >= AGAIN_S:
                self._told = {old: at for old, at in self._told.items() if now - at < AGAIN_S}
                self._told[text] = now
                log.error("%s: %s", self._name, text)
        return LONGEST_PAUSE_S
