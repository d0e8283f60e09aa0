"""Waiting for outcomes in threads: one listener per process and app, whatever the number of those who wait.

A caller enters its messages and looks at once, together with whatever others have entered meanwhile; one thread holds
the look at a time, so all of them share one connection. What is not over is left to the listener: one daemon thread
with a subscription of its own. It starts with the first caller who has to wait and ends when nobody has for a while.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Protocol, Self

from taskq.errors import BrokerError, TaskqError
from taskq.store.subscription import Notice
from taskq.tasks.broker import Found
from taskq.tasks.waiting import LINGER_S, POLL_S, Key, Table, Waiter

_DRAIN = 1_000  # notices taken before a look, so that a burst becomes few looks
_PIECE_S = 0.5  # one wait: nothing can be raised in a thread while it waits, not even the time limit of its task


class Subscription(Protocol):
    """What the listener needs of `taskq.store.subscription.SyncSubscription`."""

    def add(self, *channels: str) -> None: ...
    def remove(self, *channels: str) -> None: ...
    def get(self, timeout: float) -> Notice | None: ...
    def close(self) -> None: ...


class Source(Protocol):
    """Where outcomes are read and heard of."""

    def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]: ...
    def subscribe(self) -> Subscription: ...
    def channel(self, queue: str) -> str: ...


class Results:
    """Everybody in this process who waits for outcomes of one app; thread-safe, and a fork starts empty."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()  # the table and the listener's life; never held during I/O
        self._looking = threading.Lock()  # one look at a time
        self._table = Table()
        self._listener: _Listener | None = None

    def watch(self, keys: Iterable[Key]) -> Watch:
        """Wait for messages: `with results.watch(keys) as watch: watch.get(key, deadline)`."""
        return Watch(self, keys)

    def close(self) -> None:
        """End the listener; who still waits is told."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._table.fail(BrokerError("the app was closed while a result was waited for"))
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()

    def enter(self, waiter: Waiter) -> None:
        """Begin to wait: one look now, the listener for the rest. Raises what the look met."""
        if self._pid != os.getpid():
            self._reset()  # the parent's waiters and locks are none of ours
        with self._lock:
            self._table.add(waiter)
        self.look()
        if waiter.error is None and len(waiter.found) < len(waiter.keys):
            self._listen(queue for queue, _ in waiter.keys)

    def leave(self, waiter: Waiter) -> None:
        with self._lock:
            self._table.drop(waiter)

    def look(self) -> None:
        """Look at all that is worth it."""
        with self._looking:
            with self._lock:
                parts = list(self._table.take())
            for queue, ids in parts:
                try:
                    founds = self._source.lookup(queue, ids)
                except TaskqError as error:
                    with self._lock:
                        self._table.fail(error, queue, ids)
                else:
                    with self._lock:
                        self._table.tell(queue, ids, founds)

    def hear(self, notices: Sequence[Notice], channels: dict[str, str]) -> None:
        """Note what notices say; after a new connection anything may have been missed."""
        with self._lock:
            for notice in notices:
                if notice.kind == "message":
                    self._table.hear(channels.get(notice.channel, ""), notice.data)
                elif notice.kind == "connected":
                    self._table.doubt()

    def tidy(self, listener: _Listener, now: float) -> bool:
        """The chores of a second: doubt everything, leave channels that nobody needs; True ends an idle listener.

        From then on the next one who has to wait starts another.
        """
        with self._lock:
            self._table.doubt()
            old = listener.unused(self._table.queues(), now)
            if len(old) == len(listener.channels):
                self._listener = None if self._listener is listener else self._listener
                return True
            listener.leave(old)
        return False

    def abandon(self, listener: _Listener, error: Exception) -> None:
        """The listener died of a mistake: nobody may wait for it for ever."""
        with self._lock:
            if self._listener is listener:
                self._listener = None
                self._table.fail(BrokerError(f"waiting for results ended: {type(error).__name__}: {error}"))

    def _listen(self, queues: Iterable[str]) -> None:
        names = {self._source.channel(queue): queue for queue in queues}
        with self._lock:
            listener = self._listener
            if listener is None:
                listener = self._listener = _Listener(self, self._source.subscribe())
                listener.expect(names)
                threading.Thread(target=listener.run, name="taskq-results", daemon=True).start()
            else:
                listener.expect(names)


class _Listener:
    """The one thread that hears of outcomes. Its channels change only under the lock of `Results`."""

    def __init__(self, results: Results, subscription: Subscription) -> None:
        self.channels: dict[str, str] = {}
        self._used: dict[str, float] = {}
        self._results = results
        self._subscription = subscription
        self._stopped = False

    def expect(self, names: dict[str, str]) -> None:
        """Listen to these channels too; when they are in force, a `connected` makes everybody look again."""
        fresh = [channel for channel in names if channel not in self.channels]
        self.channels.update(names)
        self._used.update(dict.fromkeys(names, time.monotonic()))
        if fresh:
            self._subscription.add(*fresh)

    def unused(self, busy: set[str], now: float) -> list[str]:
        """Channels that nobody has needed for a while: a busy queue tells of every message there is."""
        self._used.update((channel, now) for channel, queue in self.channels.items() if queue in busy)
        return [channel for channel, used in self._used.items() if now - used > LINGER_S]

    def leave(self, channels: list[str]) -> None:
        for channel in channels:
            del self.channels[channel], self._used[channel]
        if channels:
            self._subscription.remove(*channels)

    def stop(self) -> None:
        self._stopped = True
        self._subscription.remove(*self.channels)  # its answer wakes the thread

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:
            self._results.abandon(self, error)
            raise
        finally:
            self._subscription.close()

    def _run(self) -> None:
        poll = time.monotonic() + POLL_S
        while not self._stopped:
            self._results.hear(self._notices(poll - time.monotonic()), self.channels)
            now = time.monotonic()
            if now >= poll:
                poll = now + POLL_S
                if self._results.tidy(self, now):
                    return
            self._results.look()

    def _notices(self, timeout: float) -> list[Notice]:
        notices: list[Notice] = []
        notice = self._subscription.get(max(0.0, timeout))
        while notice is not None:
            notices.append(notice)
            if len(notices) >= _DRAIN:
                break
            notice = self._subscription.get(0.0)
        return notices


class Watch:
    """One caller's wait, from `with` to its end."""

    __slots__ = ("_bell", "_results", "_waiter")

    def __init__(self, results: Results, keys: Iterable[Key]) -> None:
        self._bell = threading.Event()
        self._results = results
        self._waiter = Waiter(keys, self._bell)

    def __enter__(self) -> Self:
        try:
            self._results.enter(self._waiter)
        except BaseException:
            self._results.leave(self._waiter)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._results.leave(self._waiter)

    @property
    def seen(self) -> Found | None:
        """What the last look saw of a message that is not over."""
        return self._waiter.seen

    def get(self, key: Key, deadline: float | None) -> Found | None:
        """The outcome of one message, or None if it has none at `deadline` (monotonic seconds, None: no limit)."""
        waiter = self._waiter
        while (found := waiter.found.get(key)) is None:
            if waiter.error is not None:
                raise waiter.error
            self._bell.clear()
            if key in waiter.found or waiter.error is not None:
                continue  # it came between the look and the clear
            left = _PIECE_S if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return waiter.found.get(key)
            self._bell.wait(min(left, _PIECE_S))
        return found
