"""Reading as a member of a group by a plain loop: `for record in topic.subscribe(...)`, or `async for`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, cast

from taskq.errors import InvalidOption, TaskqError
from taskq.events.consumer import Consumer
from taskq.events.holding import Holding
from taskq.events.log import Log
from taskq.events.runners import LOOK_S
from taskq.events.subscription import Subscription
from taskq.events.turns import COMMIT_S, Lost, Outcome, Run, Turn

BEGIN_S = 10.0


class _Walk:
    """One turn under way: whoever iterates drives it, and gets the records of its runs."""

    def __init__(self, holding: Holding, steps: Turn) -> None:
        self.holding = holding
        self.steps = steps
        self.run: Run | None = None
        self.done = 0
        self.given = False  # whether a record is with the user
        self.begun = 0.0

    def next(self) -> Any:
        """The next record or batch of the run, None if it is over or has to stop here."""
        run = self.run
        if run is None:
            return None
        if self.given:
            self.done += 1 if run.each else len(run.records)
            self.given = False
        holding = self.holding
        if self.done >= len(run.records) or not run.may_begin():
            return None
        now = time.monotonic()
        if self.done and now - self.begun > COMMIT_S and not run.committed:
            return None
        self.begun = self.begun or now
        holding.began, self.given = now, True
        return run.records[self.done] if run.each else list(run.records)

    def outcome(self) -> Outcome:
        """What became of the run."""
        self.holding.began, self.run, self.given = 0.0, None, False
        return Outcome(self.done)

    def leave(self) -> Outcome:
        """What became of it when the loop is left: the record in hand is not done, unless it was committed before."""
        if self.run is not None and self.run.committed and self.given:
            self.done += 1 if self.run.each else len(self.run.records)
        return self.outcome()

    def start(self, run: Run) -> None:
        self.run, self.done, self.begun = run, 0, 0.0


class Reading:
    """The records of a topic for a group, in a loop of yours.

    A record counts as done when the next one is asked for; then it is committed soon, or at once by `commit`. What was
    not committed when the loop is left comes again. Use it in a `with` block, or `close` it.
    """

    def __init__(self, topic: Log, options: Subscription) -> None:
        if options.by_key or options.delivery == "exactly_once":
            raise InvalidOption("a loop takes one record after the other and no transactions: register a function")
        self.consumer = Consumer(topic, options, None)
        self._started = False
        self._walk: _Walk | None = None
        self._changed: asyncio.Event | None = None
        self._step: asyncio.Task[None] | None = None  # goes on if who awaits it is cancelled

    # -- in threads -------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Join the group; what is published from now on is not missed. Raises ConfigError, BrokerUnavailable."""
        if not self._started:
            self._started = True
            self.consumer.start()
            self.consumer.wait_begun(BEGIN_S)
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self.start()

    def __next__(self) -> Any:
        while True:
            if self._walk is None:
                holding = self._take()
                if holding is None:
                    raise StopIteration
                self._walk = _Walk(holding, self.consumer.desk.turn(holding))
                self._drive(None)
            found = None if self._walk is None else self._walk.next()
            if found is not None:
                return found
            if self._walk is not None:
                self._drive(self._walk.outcome())

    def commit(self) -> None:
        """Commit all records up to the one in hand."""
        walk = self._walk
        if walk is not None and walk.run is not None:
            walk.next()
            self._drive(walk.outcome())

    def close(self) -> None:
        """Leave the group; the record in hand is not done."""
        self._abandon()
        if self._started:
            self.consumer.stop_reading(self._drain)

    def _take(self) -> Holding | None:
        desk = self.consumer.desk
        while not desk.stopping.is_set():
            item = desk.ready.take(LOOK_S)
            if item is not None:
                return cast("Holding", item)
        if desk.failure is not None:
            raise desk.failure
        return None

    def _drive(self, answer: Any) -> None:
        """Walk on until the turn wants records handled, or is over."""
        walk, desk = self._walk, self.consumer.desk
        assert walk is not None
        try:
            while True:
                step = walk.steps.send(answer)
                if isinstance(step, Run):
                    walk.start(step)
                    return
                answer = desk.ask(step, walk.holding)
        except StopIteration:
            pass
        except Lost as lost:
            desk.lose(walk.holding, lost.epoch)
        except TaskqError as error:
            desk.put_off(walk.holding, error)
        except Exception as error:
            desk.broke(error)
            raise
        self._walk = None
        desk.done(walk.holding)

    def _drain(self) -> None:
        """Give up what is to be given up."""
        item = self.consumer.desk.ready.take(0.01)
        if item is not None:
            holding = cast("Holding", item)
            self._walk = _Walk(holding, self.consumer.desk.turn(holding))
            self._drive(None)
            if self._walk is not None:
                self._drive(self._walk.outcome())

    def _abandon(self) -> None:
        walk = self._walk
        if walk is not None and walk.run is not None:
            self._drive(walk.leave())

    # -- in an event loop -------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return await self._astart()

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        await self._finish()
        await self._astart()
        while True:
            if self._walk is None:
                holding = await self._atake()
                if holding is None:
                    raise StopAsyncIteration
                self._walk = _Walk(holding, self.consumer.desk.turn(holding))
                await self._adrive(None)
            found = None if self._walk is None else self._walk.next()
            if found is not None:
                return found
            if self._walk is not None:
                await self._adrive(self._walk.outcome())

    async def acommit(self) -> None:
        """`commit`, awaited."""
        await self._finish()
        walk = self._walk
        if walk is not None and walk.run is not None:
            walk.next()
            await self._adrive(walk.outcome())

    async def aclose(self) -> None:
        """`close`, awaited."""
        await self._finish()
        walk = self._walk
        if walk is not None and walk.run is not None:
            await self._adrive(walk.leave())
        if self._started:
            await asyncio.to_thread(self.consumer.stop_reading, self._drain)

    async def _astart(self) -> Self:
        if self._changed is None:
            await self._shielded(self._abegin())
        return self

    async def _abegin(self) -> None:
        if self._changed is None:
            loop, changed = asyncio.get_running_loop(), asyncio.Event()
            await asyncio.to_thread(self.start)

            def wake() -> None:
                try:
                    loop.call_soon_threadsafe(changed.set)
                except RuntimeError:  # the loop has ended
                    return

            self.consumer.desk.ready.on_change(wake)
            self._changed = changed

    async def _shielded(self, steps: Coroutine[Any, Any, None]) -> None:
        """Let these steps come to their end, also if we are cancelled: the next call waits for them first."""
        self._step = asyncio.create_task(steps)
        await self._finish()

    async def _finish(self) -> None:
        if self._step is not None:
            try:
                await asyncio.shield(self._step)
            finally:
                if self._step.done():
                    self._step = None

    async def _atake(self) -> Holding | None:
        desk, changed = self.consumer.desk, self._changed
        assert changed is not None
        while not desk.stopping.is_set():
            changed.clear()
            item, wait = desk.ready.poll()
            if item is not None:
                return cast("Holding", item)
            try:
                async with asyncio.timeout(min(wait, LOOK_S)):
                    await changed.wait()
            except TimeoutError:
                continue
        if desk.failure is not None:
            raise desk.failure
        return None

    async def _adrive(self, answer: Any) -> None:
        await self._shielded(self._adriven(answer))

    async def _adriven(self, answer: Any) -> None:
        walk, desk = self._walk, self.consumer.desk
        assert walk is not None
        try:
            while True:
                step = walk.steps.send(answer)
                if isinstance(step, Run):
                    walk.start(step)
                    return
                answer = await desk.ask_async(step, walk.holding)
        except StopIteration:
            pass
        except Lost as lost:
            desk.lose(walk.holding, lost.epoch)
        except TaskqError as error:
            desk.put_off(walk.holding, error)
        except Exception as error:
            desk.broke(error)
            raise
        self._walk = None
        desk.done(walk.holding)
