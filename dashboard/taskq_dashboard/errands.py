"""What takes long happens here, on threads of its own, so that the screen never waits: looks, pages, orders."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

from taskq.errors import BrokerUnavailable, TaskqError
from taskq_dashboard.source import Source
from taskq_dashboard.state import (
    Advanced,
    Count,
    Counted,
    Do,
    Event,
    Failed,
    Finished,
    Found,
    Looked,
    Lost,
    Message,
    Open,
    Order,
    Read,
    ReadPage,
)

Post: TypeAlias = Callable[[Event | BaseException], object]
"""Takes what has happened to the loop, from any thread; an exception is a mistake of ours and ends the dashboard."""

_DONE = {"retry": "retried", "cancel": "cancelled", "delete": "deleted"}
_LEAVING_S = 5.0


class _Stopped(Exception):
    """Somebody asked for the end."""


class Errands:
    """Runs them. `close` ends them all, after the step that each is in."""

    def __init__(self, source: Source, interval: float, post: Post) -> None:
        self._source = source
        self._interval = interval
        self._post = post
        self._ended = threading.Event()
        self._stop = threading.Event()
        self._wanted: queue.SimpleQueue[ReadPage | Open | None] = queue.SimpleQueue()
        self._counting: Count | None = None
        self._focus = ""
        self._threads: list[threading.Thread] = []
        self._begin(self._watch)
        self._begin(self._read)

    def focus(self, queue: str) -> None:
        """The queue that each look from now on shall read."""
        self._focus = queue

    def read(self, effect: ReadPage | Open) -> None:
        """Read something; of several pages that wait only the last is read."""
        self._wanted.put(effect)

    def count(self, effect: Count) -> None:
        """Count; an older count is given up."""
        self._counting = effect
        self._begin(lambda: self._count(effect))

    def do(self, effect: Do) -> None:
        """Carry out an order."""
        self._stop.clear()
        self._begin(lambda: self._do(effect.order))

    def stop(self) -> None:
        """End the order that is being carried out, after the step that it is in."""
        self._stop.set()

    def close(self) -> None:
        """End everything; waits for a moment, since an order may be in the middle of a step."""
        self._ended.set()
        self._stop.set()
        self._counting = None
        self._wanted.put(None)
        until = time.monotonic() + _LEAVING_S
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))

    def _begin(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - the loop raises it, once the terminal is whole again
                if not self._ended.is_set():
                    self._post(error)

        self._threads = [one for one in self._threads if one.is_alive()]
        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    # -- the threads ---------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                event: Event = Looked(self._source.look(self._focus))
            except TaskqError as error:
                event = Lost(str(error), time.time() * 1000)
            self._post(event)
            self._ended.wait(max(self._interval - (time.monotonic() - began), 0.05))

    def _read(self) -> None:
        while (effect := self._wanted.get()) is not None:
            if isinstance(effect, Open):
                self._open(effect)
            elif self._wanted.empty():
                try:
                    self._post(Read(self._source.page(effect.want)))
                except BrokerUnavailable:
                    continue  # the look says so, and the page is asked for again
                except TaskqError as error:
                    self._post(Failed(str(error)))

    def _open(self, effect: Open) -> None:
        try:
            message = Message(effect.queue, effect.id, self._source.message(effect.queue, effect.id))
        except TaskqError as error:
            message = Message(effect.queue, effect.id, problem=str(error))
        self._post(Found(message))

    def _count(self, effect: Count) -> None:
        def tell(_: int) -> None:
            if self._counting is not effect:
                raise _Stopped

        try:
            self._post(Counted(effect.want, self._source.count(effect.want, tell)))
        except _Stopped:
            return
        except TaskqError as error:
            self._post(Failed(str(error)))

    def _do(self, order: Order) -> None:
        told = 0

        def tell(done: int) -> None:
            nonlocal told
            told = done
            self._post(Advanced(done))
            if self._stop.is_set():
                raise _Stopped

        so_far = f"{_DONE.get(order.verb, order.verb)} {{:,}}" + (f" of {order.count:,}" if order.count else "")
        try:
            event = Finished(order, self._source.carry_out(order, tell))
        except _Stopped:
            event = Finished(order, f"stopped: {so_far.format(told)}")
        except TaskqError as error:
            text = f"{so_far.format(told)}, then: {error}" if order.verb in _DONE else str(error)
            event = Finished(order, text, good=False)
        self._post(event)
