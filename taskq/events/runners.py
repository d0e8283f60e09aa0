"""Runners: they walk through turns, on threads for plain functions and in an event loop for coroutine functions."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, wait

from taskq.errors import TaskqError
from taskq.events.desk import Desk, holding_of
from taskq.events.performing import Handler, perform, perform_async
from taskq.events.ready import Item
from taskq.events.turns import Lost, Run

LOOK_S = 1.0


def walk(desk: Desk, item: Item, handler: Handler) -> None:
    """One turn, on this thread."""
    holding = holding_of(item)
    try:
        steps = desk.turn(item)
        step = next(steps)
        while True:
            answer = perform(handler, step) if isinstance(step, Run) else desk.ask(step, holding)
            step = steps.send(answer)
    except StopIteration:
        pass
    except Lost as lost:
        desk.lose(holding, lost.epoch)
    except TaskqError as error:
        desk.put_off(holding, error)
    except BaseException as error:  # noqa: BLE001 - said in full, and the consumer ends
        desk.broke(error)
    finally:
        desk.done(item)


async def walk_async(desk: Desk, item: Item, handler: Handler) -> None:
    """The same in an event loop."""
    holding = holding_of(item)
    try:
        steps = desk.turn(item)
        step = next(steps)
        while True:
            if isinstance(step, Run):
                step = steps.send(await perform_async(handler, step))
            else:
                step = steps.send(await desk.ask_async(step, holding))
    except StopIteration:
        pass
    except Lost as lost:
        desk.lose(holding, lost.epoch)
    except TaskqError as error:
        desk.put_off(holding, error)
    except Exception as error:  # noqa: BLE001 - said in full, and the consumer ends
        desk.broke(error)
    finally:
        desk.done(item)


def slots(desk: Desk) -> int:
    """How many turns may run side by side."""
    options = desk.plan.options
    if options.alone:
        return 1
    return options.concurrency if options.by_key else min(options.concurrency, desk.properties.partitions)


class Threads:
    """Runs a plain function on threads."""

    def __init__(self, desk: Desk, handler: Handler) -> None:
        self.desk, self.handler = desk, handler
        count = slots(desk)
        self._threads = [threading.Thread(target=self._run, name=f"taskq-run-{at}", daemon=True) for at in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self, timeout: float) -> None:
        for thread in self._threads:
            thread.join(timeout)

    def _run(self) -> None:
        ready = self.desk.ready
        while not ready.closed:
            item = ready.take(LOOK_S)
            if item is not None:
                walk(self.desk, item, self.handler)


class Loop:
    """Runs a coroutine function in an event loop that it is given, or in one of its own, on one thread."""

    def __init__(self, desk: Desk, handler: Handler, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.desk, self.handler = desk, handler
        self._loop = loop
        self._serving: Future[None] | None = None
        self._thread = threading.Thread(target=self._run, name="taskq-run-loop", daemon=True)

    def start(self) -> None:
        if self._loop is None:
            self._thread.start()
        else:
            self._serving = asyncio.run_coroutine_threadsafe(serve(self.desk, self.handler), self._loop)

    def end(self, timeout: float) -> None:
        if self._serving is None:
            self._thread.join(timeout)
        else:
            wait([self._serving], timeout)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        await serve(self.desk, self.handler)
        await self.desk.links.asynchronous.aclose()


async def serve(desk: Desk, handler: Handler) -> None:
    """Run a coroutine function in the running event loop until the consumer ends."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(changed.set)
        except RuntimeError:  # the loop has ended
            return

    desk.ready.on_change(wake)
    running: set[asyncio.Task[None]] = set()
    most = slots(desk)
    while not desk.ready.closed:
        changed.clear()
        item, wait = desk.ready.poll() if len(running) < most else (None, LOOK_S)
        if item is None:
            try:
                async with asyncio.timeout(min(wait, LOOK_S)):
                    await changed.wait()
            except TimeoutError:
                pass
            continue
        task = asyncio.create_task(walk_async(desk, item, handler))
        running.add(task)
        task.add_done_callback(running.discard)
        task.add_done_callback(lambda _: changed.set())
    if running:
        await asyncio.wait(running, timeout=LOOK_S)
