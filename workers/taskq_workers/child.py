"""A child process: it imports the app, leases messages and runs them until its supervisor tells it to stop.

Life: read the settings; end with the parent, whatever happens; import the app; run start-up hooks; say hello; wait for
the supervisor to find the broker fit to work on; then fetch, run and settle. On the way out: stop fetching, give back
what has not started, let what runs end, store all outcomes, run shut-down hooks, leave. It never heartbeats: the
supervisor does that, so a busy interpreter loses no lease.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from taskq import message
from taskq.errors import AppImportError, ConfigError, TaskqError
from taskq.loading import load_app
from taskq.message import layout_name
from taskq.store.scripts import preload
from taskq.tasks.broker import Delivery, Seat
from taskq.tasks.outbox import relay
from taskq.tasks.transports import stream_scripts
from taskq.values import count_of
from taskq_workers import exits, streams
from taskq_workers.attempt import Plans
from taskq_workers.config import CHILD_VARIABLE, ChildSettings
from taskq_workers.demand import Demand, Source
from taskq_workers.executor import Executor
from taskq_workers.fetcher import Fetcher
from taskq_workers.greeting import hello
from taskq_workers.hooking import Bereaved, HookRunner, cause
from taskq_workers.intake import Intake
from taskq_workers.log import configure
from taskq_workers.loop import LoopSlots
from taskq_workers.progress import Words
from taskq_workers.report import Report
from taskq_workers.settle import Settler
from taskq_workers.slots import SlotPool, ThreadSlots
from taskq_workers.surroundings import collect_seldom, descriptor_left, end_with_parent, memory_mb
from taskq_workers.table import State, Table
from taskq_workers.ticker import Ticker
from taskq_workers.tokens import TokenBook

if TYPE_CHECKING:
    from taskq_workers.consuming import Consuming

log = logging.getLogger("taskq.worker")

SWITCH_INTERVAL_S = 0.001
"""How long a thread may keep the interpreter from others: the threads that fetch and settle must not wait for long."""

_FLUSH_S = 10.0
_HOOKS_FIRST_S = 3.0
_LEAVE_S = 2.0  # for leaving groups, when handlers are not waited for


class Child:
    """The parts of a child and their life; each part has a file of its own."""

    def __init__(self, settings: ChildSettings, app: Any) -> None:
        self.settings = settings
        self.app = app
        self.table = Table.attach(settings.table_fd, settings.concurrency)
        os.register_at_fork(after_in_child=self.table.disown)
        self.commands: SimpleQueue[str] = SimpleQueue()
        self._said = threading.Lock()
        self.queues = () if settings.events_only else settings.queues or tuple((name, 1) for name in app.task_queues())
        self.broker = app.broker(settings.url)
        self.seat = Seat()
        self.table.sign_in(self.seat.nonce)
        self.plans = Plans(app.tasks, app.middlewares, Words(self.broker).say)
        self.tokens = TokenBook(self.table)
        self.report = Report(settings.worker, settings.verbosity > 0)
        self.pool = SlotPool(settings.concurrency)
        self._loop: LoopSlots | None = None
        self._loop_lock = threading.Lock()
        self.hooks = HookRunner(app.hooks, self.loop_slots)
        self.bereaved = Bereaved(self.hooks, app, self.broker, lambda number: self.say(told=number))
        self.settler = Settler(
            self.broker, self.seat, self.tokens, self.report.lost, self._relay, lambda: self.executor.lost_tokens
        )
        index = {name: number for number, (name, _) in enumerate(self.queues)}
        lease_s = self.broker.limits.lease / 1000
        self.executor = Executor(
            self.broker,
            self.table,
            self.settler.put,
            self.report,
            self.hooks.incident,
            index,
            lambda token: self.tokens.extended(token) + lease_s,
        )
        self.intake = Intake(self.plans, self.settler.put, settings.worker, settings.alone)
        self.threads = ThreadSlots(self.pool, self.executor, self.table, self._hungry)
        known = frozenset([*app.tasks, *(layout_name(number) for number in range(1, message.LAYOUT + 1))])
        source = Source(self.queues, settings.strict_order, settings.alone, settings.burst, known)
        demand = self._demand = Demand(settings.concurrency, self._busy, self._waiting, self._completed)
        self.fetcher = Fetcher(
            self.broker, self.seat, source, self.tokens, demand, self._deliver, self.table.recall_number
        )
        self.ticker: Ticker | None = None
        self.events = None if settings.no_events or not app.has_events else _consuming(settings, app, self.loop_slots)
        self._retiring = False

    # -- what the parts ask of each other ---------------------------------------------------------------------------

    def loop_slots(self) -> LoopSlots:
        """The event loop, made when something first needs it: an app of plain functions never does."""
        with self._loop_lock:
            if self._loop is None:
                self._loop = LoopSlots(self.pool, self.executor, self.table, self._hungry)
                self._loop.share_with(self.threads)
                self.threads.share_with(self._loop)
                self._loop.start()
            return self._loop

    def _hungry(self) -> None:
        self.fetcher.hungry()

    def _busy(self) -> int:
        return self.threads.busy + (self._loop.busy if self._loop else 0)

    def _waiting(self) -> int:
        return len(self.threads.work) + (len(self._loop.work) if self._loop else 0)

    def _consumes(self) -> bool:
        return self.events is not None and not self.events.closed()

    def _completed(self) -> int:
        return self.threads.completed + (self._loop.completed if self._loop else 0)

    def _deliver(self, deliveries: list[Delivery], recall: int, fresh_until: float) -> None:
        threads, loop = self.intake.sort(deliveries, recall, fresh_until)
        # More is asked for at half of this answer, or of what the next tenth of a second takes: a fetch is several
        # answers, and with less than that left the slots would be idle before the next ones are here.
        mark = self._demand.ahead // 2
        if threads:
            self.threads.low = max(len(threads) // 2, mark)
            self.threads.feed(threads)
        if loop:
            slots = self.loop_slots()
            slots.low = max(len(loop) // 2, mark)
            slots.feed(loop)

    def _relay(self, queue: str) -> None:
        try:
            relay(self.broker, queue, publish=self.app.record_publisher() if self.app.has_events else None)
        except TaskqError as error:
            log.warning("follow-ups of %s wait in its outbox: %s", queue, error)

    def say(self, **words: Any) -> None:
        """One line of JSON to the supervisor."""
        with self._said:
            os.write(self.settings.up_fd, json.dumps(words).encode() + b"\n")

    # -- life -------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """From start-up hooks to the exit code."""
        preload("tasks")
        stream_scripts()
        self.say(imported=True)
        self.hooks.start(self.app.hooks.startup)
        if any(task.is_async for task in self.app.tasks.values()) or (self.events and self.events.is_async):
            self.loop_slots()
        self.ticker = Ticker(
            self.table, self.executor, self.threads, self._loop, self.tokens, self.report, self._each_second
        )
        self.table.tick(time.monotonic())
        self.table.set_state(State.RUNNING)
        names = [name for name, _ in self.queues]
        consumes = [] if self.events is None else self.events.names
        limits, hooks = self.broker.limits, self.bereaved.wanted
        self.say(hello=hello(self.settings, self.app, limits, self.plans.names, names, consumes, hooks=hooks))
        self.settler.start()
        self.ticker.start()
        while True:
            try:
                command = self.commands.get(timeout=0.1)
            except Empty:
                if self.fetcher.finished():
                    if self.fetcher.unseen:
                        self.say(unseen=self.fetcher.unseen)
                    return self._leave(self.settings.drain_timeout)
                if self.fetcher.refused or self.settler.failed:
                    return self._leave(0.0)
                if self.fetcher.failed:
                    return self._leave(self.settings.drain_timeout)
                continue
            if command == "run":
                self.bereaved.wait(_HOOKS_FIRST_S)  # what ended the process before may soon end this one
                for name, _ in self.queues:
                    self._relay(name)  # a dead child may have left follow-ups that only the app's codecs can write
                if not self.settings.events_only:
                    self.fetcher.start()
                if self.events is not None:
                    self.events.start()
            elif command == "quiet":
                self.table.set_state(State.QUIET)
                self.fetcher.stop()
                if self.events is not None:
                    self.events.close(self.settings.drain_timeout)
            elif command in ("drain", "retire"):
                return self._leave(self.settings.drain_timeout)
            elif command == "give back":
                return self._leave(0.0)

    def _each_second(self, completed: int) -> None:
        settings = self.settings
        self._measured()
        if self._retiring:
            return
        if settings.max_tasks_per_child and completed >= settings.max_tasks_per_child:
            self._retire(count_of(completed, "task"))
        elif settings.max_memory_mb and (used := memory_mb()) > settings.max_memory_mb:
            self._retire(f"{used} MiB of memory")
        elif self.events is not None and self.events.stuck:
            self._retire(self.events.stuck)
        elif not descriptor_left():
            self._retire("its last file descriptor")

    def _retire(self, why: str) -> None:
        self._retiring = True
        log.info("this child retires after %s", why)
        self.say(retiring=why)
        self.commands.put("retire")

    def _leave(self, drain: float) -> int:
        """Stop in order; what still runs after `drain` seconds is cut off, and the supervisor gives it back."""
        self.table.set_state(State.DRAINING)
        self.fetcher.stop()
        self._give_back_waiting()
        self.threads.stop()
        deadline = time.monotonic() + drain
        if self.events is not None:
            self.events.close(drain)
        while (self._busy() or self._consumes() or self.bereaved.busy) and time.monotonic() < deadline:
            try:
                if self.commands.get(timeout=0.02) == "give back":
                    break
            except Empty:
                self._give_back_waiting()
        if self.events is not None and self._consumes():
            log.warning("handlers of records were cut off; what they had comes again elsewhere")
            self.events.abandon(_LEAVE_S)
        if self._loop is not None:
            self._loop.cut_off(1.0)
        # What may run only once does not run again; whoever finds it lost says so.
        cut_off = self.threads.busy - sum(attempt.plan.once for _, attempt in self.threads.current())
        cut_off += self._loop.given_back + self._loop.busy if self._loop else 0
        self.bereaved.leave()
        # What has ended in good time may use what is left of it: an outage of the broker may be over soon.
        if not self.settler.flush(max(deadline - time.monotonic(), 0.0) + _FLUSH_S):
            log.error("outcomes could not be stored; their tasks run again elsewhere")
        if cut_off > 0:
            words = ("tasks were", "they run") if cut_off > 1 else ("task was", "it runs")
            log.warning("%d %s cut off; %s again elsewhere", cut_off, *words)
        try:
            self.hooks.run(self.app.hooks.shutdown)
        except BaseException:  # a sys.exit() in it, too: there are outcomes to store
            log.exception("a shut-down hook failed")
        self.settler.stop(_FLUSH_S)
        self.report.each_second()  # the last second's outcomes, too
        self._count()
        self._measured()
        self.table.set_state(State.DONE)
        return exits.OK

    def _measured(self) -> None:
        told = None if self.events is None else self.events.measured()
        if told is not None:
            self.say(measured=told)

    def _count(self) -> None:
        retried, dead = self.report.retried_count, self.report.dead_count
        self.table.set_counters(self.report.done_count, retried + dead, retried, dead, self.report.lost_count)

    def _give_back_waiting(self) -> None:
        for work in [self.threads.work] + ([self._loop.work] if self._loop else []):
            while True:
                try:
                    self.executor.release(work.popleft())
                except IndexError:
                    break


def _consuming(settings: ChildSettings, app: Any, slots: Callable[[], LoopSlots]) -> Consuming:
    """What runs the handlers of records; only now are events imported."""
    from taskq.events import metering
    from taskq_workers.consuming import Consuming

    if settings.measured:
        metering.begin()
    return Consuming(app.events, lambda work, timeout: slots().call(work, timeout), settings.processes)


def _listen(fd: int, commands: SimpleQueue[str], lost: Callable[[bytes], None]) -> None:
    """Obey the supervisor; when its end of the pipe is gone, so is this process: nobody extends its leases now."""
    words = {b"r": "run", b"q": "quiet", b"d": "drain", b"g": "give back"}
    orders = os.fdopen(fd, "rb")
    while True:
        byte = orders.read(1)
        if not byte:
            os._exit(exits.FORCED)
        if byte == b"s":
            faulthandler.dump_traceback(all_threads=True)
        elif byte == b"h":
            lost(orders.readline())
        elif byte in words:
            commands.put(words[byte])


def main() -> None:
    """The process; always leaves through `os._exit`, so that a thread of a task cannot keep it."""
    settings = ChildSettings.from_json(os.environ.pop(CHILD_VARIABLE))
    end_with_parent(settings.parent)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Ctrl+C reaches the whole group; the supervisor decides. A handler, since ignoring is inherited by programs.
        signal.signal(number, lambda *_: None)
    streams.guard()
    configure(settings.log_format, settings.verbosity, f"child-{settings.index}", settings.worker)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    collect_seldom()
    try:
        code = _serve(settings)
    except TaskqError as error:
        words = {"error": str(error), "code": exits.code_for(error), "hopeless": isinstance(error, _Outside)}
        words["traceback"] = cause(error)
        os.write(settings.up_fd, json.dumps(words).encode() + b"\n")
        code = exits.code_for(error)
    except Exception:
        log.exception("this child ends because of an error of its own")
        code = exits.FAILED
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a closed terminal or a full disk must not keep the process
            stream.flush()
    os._exit(code)


class _Outside(ConfigError):
    """The broker cannot be used, and what names it is no file of the project: a change there mends nothing."""


def _check_broker(settings: ChildSettings, app: Any) -> None:
    try:
        if app.broker_url(settings.url).url.startswith("memory:"):
            raise ConfigError("memory:// lives in one process, so a worker cannot reach it: name a server")
    except ConfigError as error:
        if settings.url is None and not os.environ.get("TASKQ_URL"):
            raise
        raise _Outside(str(error)) from error


def _serve(settings: ChildSettings) -> int:
    app = load_app(settings.app)
    try:
        app.load_includes()
    except ImportError as error:
        raise AppImportError(f"cannot import a module of include=: {error}") from error
    _check_broker(settings, app)
    if settings.events_only and not app.has_events:
        raise ConfigError(
            "events-only, and this app is subscribed to nothing: put @app.subscribe(...) above a function"
        )
    child = Child(settings, app)
    orders = (settings.down_fd, child.commands, child.bereaved.put)
    threading.Thread(target=_listen, args=orders, name="taskq-orders", daemon=True).start()
    return child.run()


if __name__ == "__main__":
    main()
