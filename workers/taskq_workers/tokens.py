"""The lease calls of a child, counted: which are announced, and how much of each is not settled yet."""

from __future__ import annotations

import threading

from taskq_workers.table import Table


class TokenBook:
    """Announce before the call is sent, count when its answer is there, free when nothing is left of it."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._held: dict[bytes, list[int]] = {}

    def announce(self, queue: int, token: bytes) -> bool:
        """Write the call into the shared table; False if that has no room, and then it must not be sent."""
        entry = self._table.announce(queue, token)
        if entry is None:
            return False
        with self._lock:
            self._held[token] = [entry, 0]
        return True

    def leased(self, token: bytes, count: int) -> None:
        """The call was answered with so many messages."""
        with self._lock:
            held = self._held[token]
            held[1] += count
            if held[1] <= 0:
                self._drop(token, held[0])

    def settled(self, token: bytes, count: int) -> None:
        """So many messages of a call are off our hands."""
        with self._lock:
            held = self._held.get(token)
            if held is None:
                return
            held[1] -= count
            if held[1] <= 0:
                self._drop(token, held[0])

    def extended(self, token: bytes) -> float:
        """The monotonic time from which the last heartbeat counts that had this call extended; 0 if there was none."""
        with self._lock:
            held = self._held.get(token)
            return 0.0 if held is None else self._table.extended(held[0])

    def entries(self) -> dict[int, bytes]:
        """The tokens by their entry in the table."""
        with self._lock:
            return {held[0]: token for token, held in self._held.items()}

    @property
    def outstanding(self) -> int:
        """Messages that are held and not settled."""
        with self._lock:
            return sum(held[1] for held in self._held.values())

    def _drop(self, token: bytes, entry: int) -> None:
        del self._held[token]
        self._table.free(entry)
