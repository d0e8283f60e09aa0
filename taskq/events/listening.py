"""Listening to broadcasts, from threads or in an event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from inspect import iscoroutinefunction
from types import TracebackType
from typing import Any, Self

from taskq.codec import Codec
from taskq.errors import BrokerUnavailable, TaskqError
from taskq.events.hearing import Gap, Heard, Hearing, Tally
from taskq.events.patterns import Pattern
from taskq.events.performing import cancelled
from taskq.store.links import Links
from taskq.store.subscription import AsyncSubscription, Notice, SyncSubscription
from taskq.store.topic_keys import broadcast as channel_of

log = logging.getLogger("taskq.events")

OnGap = Callable[[Gap], object]

LISTEN_S = 0.2  # how often a listening thread looks whether it is to end; it sends nothing
START_S = 30.0  # how long the start waits for a connection


class BroadcastSubscription:
    """Listens from `start` (or `with`, or the first message asked for) to `close`, and reconnects by itself.

    Use it from threads or from one event loop, not both. Handlers run one after the other, in the order of each
    publisher. Who is slow is cut off by the server, and hears of that as of a gap.
    """

    def __init__(
        self,
        links: Callable[[], Links],
        namespace: str,
        target: str | Pattern,
        codec: Codec,
        handler: Callable[[Heard], Any] | None,
        on_gap: OnGap | None,
    ) -> None:
        self._links = links
        self._prefix = channel_of(namespace, "")
        self._target = target
        self._hearing = Hearing(codec)
        self._handler = handler
        self._on_gap = on_gap
        self._ears: SyncSubscription | None = None
        self._async_ears: AsyncSubscription | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def tally(self) -> Tally:
        """What was heard and missed so far."""
        return self._hearing.tally

    # -- in threads

    def start(self) -> Self:
        """Begin to listen; what is published after this returns is heard. Raises BrokerUnavailable."""
        if self._ears is None:
            self._closed = False
            self._ears = self._links().sync.subscribe(*self._channels(), patterns=self._patterns())
            deadline = time.monotonic() + START_S
            while (notice := self._ears.get(LISTEN_S)) is None or notice.kind != "connected":
                self._must_go_on(notice, deadline)
            if self._handler is not None:
                self._thread = threading.Thread(target=self._listen, name="taskq-broadcast", daemon=True)
                self._thread.start()
        return self

    @property
    def is_async(self) -> bool:
        """Whether its handler is to run in an event loop."""
        return iscoroutinefunction(self._handler)

    @property
    def failure(self) -> TaskqError | None:
        """Why it has ended by itself: it does not."""
        return None

    def abandon(self) -> None:
        """Nothing is held, so there is nothing to be given up."""

    @property
    def name(self) -> str:
        """What is listened to, for people."""
        return f"broadcast {self._name}"

    def close(self, timeout: float = 30.0) -> None:
        """End; a handler that runs is waited for, up to `timeout` seconds."""
        self._closed = True
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        ears, self._ears = self._ears, None
        if ears is not None:
            ears.close()

    def _listen(self) -> None:
        for heard in self:
            try:
                made = self._handler(heard) if self._handler is not None else None
                if asyncio.iscoroutine(made):
                    asyncio.run(made)
            except BaseException as error:  # noqa: BLE001 - SystemExit and its kin end a message, not the listening
                self._failed(heard, error)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Heard:
        if self._closed:
            raise StopIteration
        ears = self._ears or self.start()._ears
        while ears is not None and not self._closed:
            heard = self._heard(ears.get(LISTEN_S))
            if heard is not None:
                return heard
        raise StopIteration

    # -- in an event loop

    async def astart(self) -> Self:
        """`start`, awaited; `async def` handlers run in this loop."""
        if self._async_ears is None:
            self._closed = False
            self._async_ears = self._links().asynchronous.subscribe(*self._channels(), patterns=self._patterns())
            deadline = time.monotonic() + START_S
            while (notice := await self._async_ears.get(1.0)) is None or notice.kind != "connected":
                self._must_go_on(notice, deadline)
            if self._handler is not None:
                self._task = asyncio.get_running_loop().create_task(self._alisten(self._handler))
        return self

    async def aclose(self, timeout: float = 30.0) -> None:
        """`close`, awaited."""
        self._closed = True
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            await asyncio.wait([task], timeout=timeout)
        ears, self._async_ears = self._async_ears, None
        if ears is not None:
            await ears.aclose()

    async def _alisten(self, handler: Callable[[Heard], Any]) -> None:
        async for heard in self:
            try:
                made = handler(heard) if iscoroutinefunction(handler) else await asyncio.to_thread(handler, heard)
                if asyncio.iscoroutine(made):
                    await made
            except BaseException as error:
                if cancelled(error):
                    raise
                self._failed(heard, error)

    async def __aenter__(self) -> Self:
        return await self.astart()

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Heard:
        if self._closed:
            raise StopAsyncIteration
        if self._async_ears is None:
            await self.astart()
        ears = self._async_ears
        while ears is not None and not self._closed:
            heard = self._heard(await ears.get(LISTEN_S))
            if heard is not None:
                return heard
        raise StopAsyncIteration

    # -- both

    def _channels(self) -> tuple[str, ...]:
        return (self._prefix + self._target,) if isinstance(self._target, str) else ()

    def _patterns(self) -> tuple[str, ...]:
        return (self._prefix + self._target.glob,) if isinstance(self._target, Pattern) else ()

    def _heard(self, notice: Notice | None) -> Heard | None:
        if notice is None:
            return None
        gap: Gap | None = None
        heard: Heard | None = None
        if notice.kind == "lost":
            self._hearing.lost()
            log.warning(
                "broadcast %s: the connection is lost; what is said now is missed (%s)", self._name, notice.error
            )
        elif notice.kind == "connected":
            gap = self._hearing.connected()
        else:
            channel = notice.channel.removeprefix(self._prefix)
            if isinstance(self._target, Pattern) and not self._target.matches(channel):
                return None  # the server's pattern lets more through
            heard, gap = self._hearing.message(channel, notice.data)
        if gap is not None:
            self._tell(gap)
        return heard

    def _tell(self, gap: Gap) -> None:
        missed = "an unknown number" if gap.missed is None else str(gap.missed)
        log.warning("broadcast %s: %s of messages was missed (%s)", gap.channel or self._name, missed, gap.reason)
        if self._on_gap is not None:
            try:
                self._on_gap(gap)
            except Exception:
                log.exception("broadcast %s: on_gap raised", self._name)

    def _failed(self, heard: Heard, error: BaseException) -> None:
        self._hearing.tally.failed += 1
        text = "broadcast %s: the handler failed; the message is not tried again"
        log.error(text, heard.channel, exc_info=error)

    def _must_go_on(self, notice: Notice | None, deadline: float) -> None:
        if self._closed or time.monotonic() > deadline:
            error = notice.error if notice is not None else None
            raise error or BrokerUnavailable(f"broadcast {self._name}: no connection within {START_S:g} s")

    @property
    def _name(self) -> str:
        return self._target if isinstance(self._target, str) else self._target.text

    def __repr__(self) -> str:
        return f"<BroadcastSubscription {self._name}, {self._hearing.tally}>"
