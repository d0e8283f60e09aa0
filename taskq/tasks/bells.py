"""Waiting for bells in a cluster, where one blocking call reaches one slot, and so one queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from taskq.errors import TaskqError
from taskq.store.connection import SyncLink


class ClusterBells:
    """One thread per queue, which waits while somebody waits here; a bell that rings meanwhile is kept for the next."""

    def __init__(self, link: SyncLink) -> None:
        self._link = link
        self._rung: SimpleQueue[str | TaskqError] = SimpleQueue()
        self._waiting: set[str] = set()
        self._lock = threading.Lock()

    def wait(self, keys: Sequence[str], seconds: float) -> str | None:
        """The key of a bell that rang within so many seconds, or None; raises what a waiting connection met."""
        deadline = time.monotonic() + seconds
        with self._lock:
            for key in keys:
                if key not in self._waiting:
                    self._waiting.add(key)
                    threading.Thread(target=self._listen, args=(key, seconds), name="taskq-bell", daemon=True).start()
        while True:
            try:
                rung = self._rung.get(timeout=max(deadline - time.monotonic(), 0))
            except Empty:
                return None
            if isinstance(rung, TaskqError):
                raise rung
            if rung in keys:
                return rung

    def _listen(self, key: str, seconds: float) -> None:
        try:
            reply = self._link.blocking(seconds, "BLPOP", key, max(seconds, 0.01))
        except TaskqError as error:
            reply = None
            self._rung.put(error)
        finally:
            with self._lock:
                self._waiting.discard(key)
        if reply is not None:
            self._rung.put(key)
