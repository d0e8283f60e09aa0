"""What can be worked on now, or at a later moment, for threads and event loops that wait for it."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol


class Item(Protocol):
    """Something that waits for a turn, or has one; both flags belong to `Ready`."""

    queued: bool
    busy: bool


class Ready:
    """A queue in which each item is at most once; whoever takes one has it alone until `done`. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: deque[Item] = deque()
        self._later: list[tuple[float, int, Item]] = []
        self._order = itertools.count()
        self._wakers: list[Callable[[], None]] = []
        self.closed = False

    def add(self, item: Item) -> None:
        """Let an item have a turn; nothing happens if it waits for one or has one."""
        with self._changed:
            if item.queued or item.busy:
                return
            item.queued = True
            self._items.append(item)
            self._changed.notify()
        self._wake()

    def add_later(self, item: Item, at: float) -> None:
        """Let an item have a turn at a moment of `time.monotonic()`."""
        with self._changed:
            heapq.heappush(self._later, (at, next(self._order), item))
            self._changed.notify()
        self._wake()

    def take(self, timeout: float) -> Item | None:
        """The next item, or None after `timeout` seconds or when it is closed."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not self.closed:
                item, wait = self._next()
                if item is not None:
                    return item
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(min(left, wait))
        return None

    def done(self, item: Item) -> None:
        """The turn is over; whether there is to be another is for the caller to see."""
        with self._changed:
            item.busy = False

    def poll(self) -> tuple[Item | None, float]:
        """The next item if there is one, else after how many seconds to look again."""
        with self._changed:
            return self._next()

    def on_change(self, waker: Callable[[], None]) -> None:
        """Call `waker` whenever something was added; from any thread."""
        self._wakers.append(waker)

    def close(self) -> None:
        """Wake everybody; nothing is given out any more."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        self._wake()

    def _next(self) -> tuple[Item | None, float]:
        now, wait = time.monotonic(), 3600.0
        while self._later:
            at, _, item = self._later[0]
            if at > now:
                wait = at - now
                break
            heapq.heappop(self._later)
            if not (item.queued or item.busy):
                item.queued = True
                self._items.append(item)
        if not self._items:
            return None, wait
        item = self._items.popleft()
        item.queued, item.busy = False, True
        return item, 0.0

    def _wake(self) -> None:
        for waker in self._wakers:
            waker()
