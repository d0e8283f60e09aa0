"""Records of a shared group one by one, for `for` and `async for`."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from taskq.errors import Reject, Retry
from taskq.events.handling import Chosen, Route
from taskq.events.record import Record
from taskq.events.shared_consumer import SharedConsumer
from taskq.events.shared_options import Filter
from taskq.events.shared_state import Item


class Feed:
    """A queue of what is in hand. What was given out is settled by id, or when the next record is asked for."""

    def __init__(self, consumer: SharedConsumer, wanted: Filter | None) -> None:
        self._consumer = consumer
        self._chosen = Chosen([Route(lambda record: None, wanted)])
        self._ready: deque[Item] = deque()
        self._changed = threading.Condition()
        self._wakers: list[Callable[[], None]] = []
        self._out: dict[str, Item] = {}  # given out and not settled
        self._current: Record | None = None
        self._ended = False

    def put(self, items: list[Item]) -> None:
        with self._changed:
            if not self._ended:
                self._ready.extend(items)
                self._wake()
                return
        for item in items:
            self._consumer.give_back(item)

    def give_back(self) -> None:
        """Give back what was not given out."""
        with self._changed:
            self._ended = True
            items, self._ready = [*self._ready], deque()
            self._wake()
        for item in items:
            self._consumer.give_back(item)

    def close(self) -> None:
        """Give back what was given out and not settled."""
        self.give_back()
        for item in [*self._out.values()]:
            self._consumer.give_back(item)
        self._out.clear()
        self._current = None

    def _wake(self) -> None:
        self._changed.notify_all()
        wakers, self._wakers = self._wakers, []
        for waker in wakers:
            waker()

    # -- one after the other

    def next(self) -> Record | None:
        """Settle the last one, wait for another; None at the end."""
        self._pass_on()
        while True:
            with self._changed:
                while not self._ready and not self._ended:
                    self._changed.wait()
                if not self._ready:
                    return None
                item = self._ready.popleft()
            if (record := self._given(item)) is not None:
                return record

    async def anext(self) -> Record | None:
        """`next`, awaited; cancelling it loses nothing."""
        self._pass_on()
        loop = asyncio.get_running_loop()
        while True:
            come = asyncio.Event()
            with self._changed:
                item = self._ready.popleft() if self._ready else None
                if item is None:
                    if self._ended:
                        return None
                    self._wakers.append(lambda come=come: _tell(loop, come))  # type: ignore[misc]
            if item is None:
                await come.wait()
            elif (record := self._given(item)) is not None:
                return record

    def _given(self, item: Item) -> Record | None:
        found = self._chosen.pick(self._consumer, item)
        if found is None:
            return None
        self._current, _ = found
        self._out[self._current.id] = item
        return self._current

    def _pass_on(self) -> None:
        current, self._current = self._current, None
        if current is not None and self._consumer.options.ack == "auto":
            self.ack(current)

    # -- by id

    def ack(self, record: Record) -> bool:
        """It is done; False if it was settled here before."""
        item = self._out.pop(record.id, None)
        if item is not None:
            self._consumer.done(item)
        return item is not None

    def nack(self, record: Record, error: BaseException) -> bool:
        """It failed; what follows is the policy's word."""
        item = self._out.pop(record.id, None)
        if item is not None:
            self._consumer.failed(item, error)
        return item is not None

    def release(self, record: Record) -> bool:
        """It was not begun; somebody gets it at once, and no attempt is spent."""
        item = self._out.pop(record.id, None)
        if item is not None:
            self._consumer.give_back(item)
        return item is not None

    def broke(self, error: BaseException) -> None:
        """The body of the loop raised: the record that it had has failed, unless the program itself ends."""
        current, self._current = self._current, None
        if current is not None and isinstance(error, (Exception, Retry, Reject)):
            self.nack(current, error)


def _tell(loop: asyncio.AbstractEventLoop, come: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(come.set)
    except RuntimeError:
        return  # the loop is closed: nobody waits there
