"""Handlers of records in a child: each subscription of the app is a member or consumer of its own, beside the tasks.

1. `start` begins a thread that starts one subscription after the other; what cannot start is said, and tried again.
2. The same thread looks once a second whether one has ended by itself or is stuck in a handler, and looks after topics.
3. `close` ends all of them side by side: what runs may finish and is committed, then partitions are given up.

It is imported only for apps that have topics. Plain handlers run on threads, `async def` ones on the child's loop.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from taskq.errors import BrokerUnavailable, ConfigError, MemberFenced, TaskqError
from taskq.events import metering
from taskq.events.hub import Events
from taskq.events.parts import OrderedPart, Part
from taskq_workers.outage import Outage
from taskq_workers.topic_care import TopicCare

log = logging.getLogger("taskq.worker")

LOOK_S = 1.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
START_S = 60.0  # how long a start on the event loop may take
CLOSE_S = 2.0  # beyond what a close was given


@dataclass
class Running:
    """One subscription in this child."""

    part: Part
    in_loop: bool
    started: bool = False
    over: bool = False  # it cannot go on, and another try would do harm
    due: float = 0.0
    pause: float = 0.0


class Consuming:
    """What an app is subscribed to, in one child. `call` runs a coroutine on the child's loop within seconds."""

    def __init__(self, events: Events, call: Callable[[Coroutine[Any, Any, Any], float], Any], processes: int) -> None:
        self._running = [Running(part, part.is_async) for part in events.parts()]
        for one in self._running:
            _check_member(one.part, processes)
        self._call = call
        self._events = events
        self._care = TopicCare(events)
        self._outage = Outage()
        self._stopping = threading.Event()
        self._closers: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._main, name="taskq-consume", daemon=True)
        self.stuck = ""

    @property
    def names(self) -> list[str]:
        """What is consumed, for people."""
        return [one.part.name for one in self._running]

    @property
    def is_async(self) -> bool:
        """Whether the event loop is needed."""
        return any(one.in_loop for one in self._running)

    def start(self) -> None:
        """Begin; nothing is raised: what the broker refuses now it may take later."""
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Begin to end: nothing starts any more, and what runs may take `timeout` seconds. See `closed`."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._stopping.set()
        if self._thread.ident is not None:
            self._closers = [threading.Thread(target=self._close_all, args=(timeout,), name="taskq-close", daemon=True)]
            self._closers[0].start()

    def closed(self) -> bool:
        """Whether all have ended."""
        return not any(thread.is_alive() for thread in self._closers)

    def abandon(self, timeout: float) -> None:
        """Wait no longer for handlers: leave the groups now; what they had is not committed, and comes again."""
        for one in self._running:
            if one.started:
                one.part.abandon()
        deadline = time.monotonic() + timeout
        for thread in self._closers:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def measured(self) -> dict[str, Any] | None:
        """How long handlers and commits took so far, and how often; None if nobody wants to know."""
        meter = metering.current()
        return None if meter is None else meter.told()

    # -- the thread --------------------------------------------------------------------------------------------------

    def _main(self) -> None:
        declared = False
        while not self._stopping.is_set():
            try:
                if not declared:
                    self._declare()
                    declared = True
                for one in self._running:
                    self._look(one)
                self._care.look()
                self._outage.ended()
            except BrokerUnavailable as error:
                self._outage.began(error)
            except TaskqError as error:
                self._outage.complain("topics could not be looked after", error)
            except Exception:  # the other subscriptions go on, whatever is wrong with this one
                log.exception("an error of its own in what runs subscriptions")
            self._stopping.wait(LOOK_S)

    def _declare(self) -> None:
        """Store what the app says of its topics, so that a shared group finds them. Raises BrokerUnavailable."""
        for name, topic in self._events.declared.items():
            try:
                topic.properties()
            except BrokerUnavailable:
                raise
            except TaskqError as error:
                self._outage.complain(f"topic {name} cannot be used", error)

    def _look(self, one: Running) -> None:
        if self._stopping.is_set() or one.over:
            return
        if not one.started:
            if time.monotonic() >= one.due:
                self._start(one)
            return
        part = one.part
        if isinstance(part, OrderedPart) and part.stuck and not self.stuck:
            self.stuck = f"a handler of {part.name} that runs for too long"
        if part.failure is not None:
            failure = part.failure
            self._close(one, 0.0)
            one.over = isinstance(failure, MemberFenced)
            self._again(one)

    def _start(self, one: Running) -> None:
        try:
            if one.in_loop:
                self._call(_enter(one.part), START_S)
            else:
                one.part.start()
        except BrokerUnavailable:
            self._close(one, 0.0)
            self._again(one)
            raise
        except TaskqError as error:
            self._close(one, 0.0)
            self._again(one)
            self._outage.complain(f"{one.part.name} cannot be consumed", error)
            return
        one.started, one.pause = True, 0.0

    def _again(self, one: Running) -> None:
        one.started = False
        one.pause = min(max(one.pause * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        one.due = time.monotonic() + one.pause

    # -- the end -----------------------------------------------------------------------------------------------------

    def _close_all(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        self._thread.join(timeout)  # it may be in the middle of a start
        rest = max(deadline - time.monotonic(), 0.0)
        threads = [
            threading.Thread(target=self._close, args=(one, rest), name="taskq-close", daemon=True)
            for one in self._running
            if one.started
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(rest + CLOSE_S * 3)

    def _close(self, one: Running, timeout: float) -> None:
        try:
            if one.in_loop:
                with contextlib.suppress(TimeoutError):
                    self._call(one.part.aclose(timeout), timeout + CLOSE_S * 2)
            else:
                one.part.close(timeout)
        except TaskqError as error:
            log.warning("%s was not left in order: %s", one.part.name, error)
        except Exception:
            log.exception("%s was not left in order", one.part.name)


async def _enter(part: Part) -> None:
    await part.__aenter__()


def _check_member(part: Part, processes: int) -> None:
    if isinstance(part, OrderedPart) and part.consumer.options.member and processes > 1:
        raise ConfigError(
            f"{part.name} has member={part.consumer.options.member!r}, which can be the name of one process only, and"
            f" this worker has {processes}: run it with --processes 1, or leave the name out"
        )
