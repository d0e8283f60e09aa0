"""Who waits for which messages: the part without I/O that both faces share.

Waiting goes subscribe, look, wait. Notices only say what is worth a look, and every second all that is waited for is
looked at again: a notice can be lost with its connection, and a message can end without one (nothing kept of it).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeAlias

from taskq.errors import BrokerUnavailable, TaskqError
from taskq.tasks.broker import LEASE_MESSAGES, Found
from taskq.tasks.outcomes import is_over

Key: TypeAlias = tuple[str, bytes]
"""A queue and an id in it."""

ID_BYTES = 16
POLL_S = 1.0
LINGER_S = 5.0
"""How long a subscription outlives its last waiter, so that call after call need not subscribe again."""


class Bell(Protocol):
    """What wakes a waiter: `threading.Event` or `asyncio.Event`."""

    def set(self) -> None: ...


class Waiter:
    """One caller and the messages that it waits for; `found` grows, `error` ends it."""

    __slots__ = ("bell", "error", "found", "fresh", "keys", "seen")

    def __init__(self, keys: Iterable[Key], bell: Bell) -> None:
        self.keys = list(dict.fromkeys(keys))
        self.bell = bell
        self.found: dict[Key, Found] = {}
        self.error: TaskqError | None = None
        self.fresh = True  # no look has told it anything yet
        self.seen: Found | None = None  # the last thing that was not an outcome, for the text of a time-out


class Table:
    """Waiters by message, and the messages that are worth a look. Not thread-safe by itself."""

    __slots__ = ("_unread", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[str, dict[bytes, list[Waiter]]] = {}
        self._unread: dict[str, dict[bytes, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, waiter: Waiter) -> None:
        """Enter a waiter; everything that it waits for is to be looked at."""
        for queue, raw in waiter.keys:
            self._waiting.setdefault(queue, {}).setdefault(raw, []).append(waiter)
            self._unread.setdefault(queue, {})[raw] = None

    def drop(self, waiter: Waiter) -> None:
        """Forget a waiter that has gone, however far it came."""
        for key in waiter.keys:
            if key not in waiter.found:
                self._leave(key, waiter)

    def queues(self) -> set[str]:
        """The queues in which something is waited for."""
        return set(self._waiting)

    def hear(self, queue: str, ids: bytes) -> None:
        """Ids that have an outcome, one after the other; those that nobody waits for are none of our business."""
        waiting = self._waiting.get(queue)
        if waiting:
            for at in range(0, len(ids), ID_BYTES):
                if (raw := ids[at : at + ID_BYTES]) in waiting:
                    self._unread.setdefault(queue, {})[raw] = None

    def doubt(self) -> None:
        """Look at everything again: notices may have been missed."""
        for queue, waiting in self._waiting.items():
            self._unread[queue] = dict.fromkeys(waiting)

    def take(self) -> Iterator[tuple[str, list[bytes]]]:
        """What is worth a look now, cut into what one script may carry."""
        unread, self._unread = self._unread, {}
        for queue, marked in unread.items():
            waiting = self._waiting.get(queue, {})
            ids = [raw for raw in marked if raw in waiting]
            for start in range(0, len(ids), LEASE_MESSAGES):
                yield queue, ids[start : start + LEASE_MESSAGES]

    def tell(self, queue: str, ids: Sequence[bytes], founds: Sequence[Found]) -> None:
        """Hand on what a look found; ring whoever got an outcome or hears for the first time."""
        ring: dict[Waiter, None] = {}
        waiting = self._waiting.get(queue, {})
        for raw, found in zip(ids, founds, strict=True):
            over = is_over(found)
            for waiter in waiting.get(raw, ()):
                if over or waiter.fresh:
                    ring[waiter] = None
                waiter.fresh = False
                if over:
                    waiter.found[queue, raw] = found
                else:
                    waiter.seen = found
            if over:
                waiting.pop(raw, None)
        if not waiting:
            self._waiting.pop(queue, None)
        for waiter in ring:
            waiter.bell.set()

    def fail(self, error: TaskqError, queue: str | None = None, ids: Iterable[bytes] = ()) -> None:
        """Tell those who wait for `ids` (without a queue: everybody) that a look failed.

        One that has been told something already waits an outage out: the next look may succeed.
        """
        if queue is None:
            waiters = {waiter for waiting in self._waiting.values() for group in waiting.values() for waiter in group}
        else:
            waiting = self._waiting.get(queue, {})
            waiters = {waiter for raw in ids for waiter in waiting.get(raw, ())}
        for waiter in waiters:
            if queue is None or waiter.fresh or not isinstance(error, BrokerUnavailable):
                waiter.error = error
                waiter.bell.set()

    def _leave(self, key: Key, waiter: Waiter) -> None:
        queue, raw = key
        waiting = self._waiting.get(queue)
        group = waiting.get(raw) if waiting else None
        if waiting is None or group is None or waiter not in group:
            return
        group.remove(waiter)
        if not group:
            del waiting[raw]
        if not waiting:
            del self._waiting[queue]
