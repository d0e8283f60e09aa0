"""Trouble with the broker, said once: when it begins and when it ends; each other complaint once a minute."""

from __future__ import annotations

import logging
import threading
import time

from taskq.errors import BrokerUnavailable, TaskqError

log = logging.getLogger("taskq.events")

_AGAIN_S = 60.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5


class Outage:
    """Whether the broker can be reached, as the threads of one subscription see it together."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._since = 0.0
        self._pause = 0.0
        self._told: dict[str, float] = {}

    def met(self, error: TaskqError) -> float:
        """A call failed; answers the seconds to wait before the next try."""
        with self._lock:
            now = time.monotonic()
            if not isinstance(error, BrokerUnavailable):
                if now - self._told.get(str(error), -_AGAIN_S) >= _AGAIN_S:
                    self._told = {text: at for text, at in self._told.items() if now - at < _AGAIN_S}
                    self._told[str(error)] = now
                    log.error("%s: %s", self._name, error)
                return _LONGEST_PAUSE_S
            if not self._since:
                self._since = now
                log.warning("%s: broker unreachable; retrying (%s)", self._name, error)
            self._pause = min(max(self._pause * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            return self._pause

    def over(self) -> None:
        """A call was answered; at first it may be one that was answered before others found no broker."""
        if self._since and time.monotonic() - self._since > _LONGEST_PAUSE_S:
            with self._lock:
                since, self._since, self._pause = self._since, 0.0, 0.0
            if since:
                log.warning("%s: broker is back after %.1f s", self._name, time.monotonic() - since)
