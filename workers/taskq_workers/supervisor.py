"""The supervisor: starts the children, watches them, replaces them, and ends them in order. It never imports the app.

One main loop without blocking calls; what has to wait for the broker is the keeper's, in a thread of its own. Children
are started by the main thread only: a child asks to be killed with its parent, and that is the thread it came from.
"""

from __future__ import annotations

import faulthandler
import logging
import selectors
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from taskq.errors import AppImportError, BrokerRefused, BrokerUnavailable, ConfigError, TaskqError
from taskq.store.connection import SyncLink
from taskq.tasks.lists import ListBroker
from taskq_workers import exits, signals
from taskq_workers.config import WorkerConfig
from taskq_workers.ending import drain, enforce, give_back
from taskq_workers.judging import Restarts, judge, late_start, names
from taskq_workers.keeper import Calls, Keeper
from taskq_workers.log import TRACE
from taskq_workers.measured import Measured
from taskq_workers.news import News
from taskq_workers.presence import Presence, new_worker_id
from taskq_workers.probes import Standing
from taskq_workers.process import CHILD_COMMAND, Child, Hello, Verdict
from taskq_workers.signals import Inbox
from taskq_workers.table import Command

log = logging.getLogger("taskq.worker")

HOPELESS_STARTS = 5
_LOOK_S = 0.25  # how often hard limits are looked at
_LAST_WORDS_S = 5.0
_SETTLE_S = 10.0

Ready = Callable[[Hello, SyncLink], None]


class Supervisor:
    """Life: `run`, in the main thread, until the worker has ended; answers its exit code.

    `on_ready` is called once, with the first hello and a link to the broker, `watch` in every turn of the main loop;
    what they raise ends the worker.
    """

    def __init__(
        self,
        config: WorkerConfig,
        on_ready: Ready | None = None,
        *,
        command: Sequence[str] = CHILD_COMMAND,
        watch: Callable[[], None] | None = None,
    ) -> None:
        self.worker = new_worker_id()
        self._config = config
        self._on_ready = on_ready
        self._command = command
        self._watch = watch
        self._children: list[Child] = []
        self._started = 0
        self._starts: list[float] = []
        self._restarts = Restarts()
        self._keeper: Keeper | None = None
        self._presence: Presence | None = None
        self._inbox = Inbox()
        self._selector = selectors.DefaultSelector()
        self._state = "starting"
        self._stops = 0
        self._code = exits.OK
        self._fatal: TaskqError | None = None
        self._to_recheck = False
        self._broken = False
        self._traced: str | None = None
        self._unseen: dict[str, str] = {}
        self._news = News()
        self._turned = time.monotonic()
        self.measured = Measured()

    def run(self) -> int:
        """Raises the error that kept the worker from starting: app not importable, broker not there or refused."""
        self._selector.register(self._inbox, selectors.EVENT_READ)
        with self._inbox.installed():
            self._starts = [0.0] * self._config.processes
            try:
                while not self._finished():
                    self._turn()
            finally:
                self._leave()
        if self._fatal is not None:
            raise self._fatal
        if self._unseen and self._config.burst and not self._stops:
            queue, why = min(self._unseen.items())
            more = f" (nor at {len(self._unseen) - 1} more)" if len(self._unseen) > 1 else ""
            raise BrokerRefused(f"the burst could not look at queue {queue}{more}: {why}")
        return self._code

    def request_reload(self) -> None:
        """Replace every child by a fresh one; from any thread."""
        self._inbox.ask(self._reload)

    def request_stop(self) -> None:
        """As one SIGTERM; from any thread."""
        self._inbox.ask(self._stop)

    # -- what others look at, from any thread ------------------------------------------------------------------------

    def standing(self) -> Standing:
        """How this worker stands, for its probes."""
        now, keeper, presence = time.monotonic(), self._keeper, self._presence
        stored = None if presence is None else presence.stored
        return Standing(
            state=self._state,
            turned=now - self._turned,
            serving=any(child.hello is not None for child in self._children),
            recorded=None if stored is None else now - stored,
            outage=keeper is not None and keeper.outage,
        )

    def told(self) -> dict[str, Any]:
        """What the record of this worker says of its children; empty before the first of them has said hello."""
        return {} if self._presence is None else self._presence.told(self._children, time.monotonic())

    # -- the loop ----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._look_around()
        now = self._turned = time.monotonic()
        for at in [at for at in self._starts if at <= now]:
            self._starts.remove(at)
            self._start()
        self._selector.select(max(min([_LOOK_S, *(at - now for at in self._starts)]), 0.0))
        numbers, asked = self._inbox.take()
        for number in numbers:
            self._signal(number)
        for call in asked:
            call()
        for child in self._children:
            self._listen(child)
        for child in [child for child in self._children if child.process.poll() is not None]:
            self._bury(child)
        self._news.hand(self._children, last=bool(self._stops))
        for child in self._children:
            if why := enforce(child, time.monotonic(), self._config.kill_grace):
                self._retire(child, why)
            elif why := late_start(child, self._config.app):
                log.warning("%s is not there yet after %.0f s: %s", child, child.age, why)

    def _look_around(self) -> None:
        try:
            if self._watch is not None and not self._stops:
                self._watch()
        except TaskqError as error:
            self._give_up(error)

    def _finished(self) -> bool:
        if self._children or self._starts:
            return False
        if self._stops or not self._config.burst:
            return bool(self._stops)
        return not self._burst_goes_on()

    def _burst_goes_on(self) -> bool:
        """All children found nothing more. What a dead one left, or what must run alone, may be there again."""
        recheck, self._to_recheck = self._to_recheck, False
        if self._keeper is not None and self._keeper.settle(_SETTLE_S):
            _, asked = self._inbox.take()
            for call in asked:
                call()
        if (recheck or self._news.pending) and not self._children:
            self._unseen.clear()
            self._starts.append(0.0)
        return bool(self._children or self._starts)

    def _leave(self) -> None:
        for child in self._children:  # only if the loop itself failed
            child.kill(Verdict("stop"))
            child.process.wait()
        if self._keeper is not None and not self._keeper.stop(_LAST_WORDS_S):
            log.warning("the broker does not answer; what is still held comes back when its leases lapse")
        for call in self._inbox.take()[1]:  # the last deaths
            call()
        self._news.close()
        self._selector.close()
        self._inbox.close()

    # -- birth -------------------------------------------------------------------------------------------------------

    def _start(self, *, alone: bool = False) -> None:
        self._started += 1
        try:
            child = Child(self._config, self.worker, self._started, self._command, alone=alone)
        except OSError as error:
            log.error("cannot start a child, trying again in a second: %s", error)
            self._starts.append(time.monotonic() + 1.0)
            return
        self._children = [*self._children, child]
        self._selector.register(child.up, selectors.EVENT_READ)
        if self._state == "quiet":
            child.send(Command.QUIET)
        log.debug("%s starts%s", child, " to run suspects alone" if alone else "")

    def _start_alone(self) -> None:
        """Something waits that two crashes have in common; it runs in a child where it can harm nobody."""
        if self._state == "running" and not any(child.alone for child in self._children):
            log.warning("messages that were running in two crashes now run alone, in a child of their own")
            self._start(alone=True)

    def _listen(self, child: Child) -> None:
        if child.silent:
            return
        for line in child.read():
            if "hello" in line and child.hello is None:
                self._hello(child, line["hello"])
            elif "retiring" in line:
                self._retire(child, str(line["retiring"]))
            elif "error" in line:
                child.error = str(line["error"])
                child.hopeless = bool(line.get("hopeless")) or line.get("code") == exits.UNREACHABLE
                child.trace = str(line.get("traceback", ""))
            elif "measured" in line:
                self.measured.heard(child.index, line["measured"])
            elif "imported" in line:
                child.imported = True
            elif "told" in line:
                self._news.heard(line["told"])
            elif "unseen" in line:
                self._unseen |= line["unseen"]
        if child.silent:
            self._selector.unregister(child.up)

    def _hello(self, child: Child, fields: dict[str, object]) -> None:
        try:
            child.hello = hello = Hello.read(fields)
            if self._keeper is None:
                self._open(hello)
            if self._keeper is not None:
                self._keeper.declare(hello.schedules)
            self._news.wanted = hello.hooks
            self._news.hand([child], last=bool(self._stops))  # before it may fetch, see its `run`
            child.go()
        except TaskqError as error:
            self._give_up(error)

    def _open(self, hello: Hello) -> None:
        """The first child knows the app, and so which broker is meant: begin to keep its leases."""
        link = SyncLink(hello.url)
        if self._on_ready is not None:
            self._on_ready(hello, link)
        calls = Calls(
            children=lambda: self._children,
            state=lambda: self._state,
            end=lambda child, verdict: self._inbox.ask(lambda: self._end(child, verdict)),
            alone=lambda: self._inbox.ask(self._start_alone),
            lost=lambda losses: self._inbox.ask(lambda: self._news.add(losses)),
        )
        broker = ListBroker(link, hello.namespace, hello.limits)
        for queue in hello.declared:
            try:
                broker.declare(queue)
            except BrokerRefused as error:
                if error.code != "WRONGTYPE":
                    raise
                log.error("cannot declare queue %s: %s", queue.name, error)  # the other queues can be served
        self._presence = Presence(self.worker, self._config, hello)
        self._keeper = Keeper(broker, self._presence, calls, hello.queues, hello.tasks + hello.aliases)
        self._keeper.start()
        self._state = "running" if self._state == "starting" else self._state

    # -- death -------------------------------------------------------------------------------------------------------

    def _bury(self, child: Child) -> None:
        self._listen(child)
        if child.trace and child.error != self._traced:  # several children fail in the same way
            self._traced = child.error
            log.error("what kept %s from starting:", child, extra={TRACE: child.trace.rstrip()})
        death = judge(child, self.worker)
        if self._presence is not None:
            self._presence.bury(child)
        self.measured.ended(child.index)
        self._news.ended(child)
        self._children = [other for other in self._children if other is not child]
        if not child.silent:
            self._selector.unregister(child.up)
        if self._keeper is not None and death.held:
            self._keeper.bury(death)
            self._to_recheck = True
        expected = child.orderly
        child.close()
        if not (self._stops or child.alone or child.retiring or (expected and self._config.burst)):
            self._replace(child)
        if not expected and self._fatal is None:  # that error is told by whoever called us
            self._tell(child, death.how, names(death))

    def _replace(self, child: Child) -> None:
        pause = self._restarts.pause(child.age, served=child.hello is not None)
        waits = self._config.reload and not child.hopeless
        if self._keeper is None and not self._broken:
            if child.error is None and self._restarts.quick >= HOPELESS_STARTS:
                child.error = f"the children die while they start: {child.how_it_died()}"
            if child.error is not None and not waits:
                self._give_up(_error(child.process.returncode, child.error))
                return
        if child.error is not None and waits:
            self._broken = True
        if self._broken and child.hello is None:
            return  # a change of the project starts all of them anew
        self._starts.append(time.monotonic() + pause)

    def _tell(self, child: Child, how: str, ran: str) -> None:
        if child.error is not None:
            log.error("%s could not start: %s%s", child, child.error, "; waiting for a change" if self._broken else "")
        elif child.retiring is not None and child.hello is None:
            log.info("%s was ended before it had started: %s", child, child.retiring)
        elif self._stops and not ran:
            log.info("%s ended: %s", child, how)
        else:
            log.error("%s died: %s; %s", child, how, f"it ran {ran}" if ran else "it ran nothing")

    def _retire(self, child: Child, why: str) -> None:
        """It ends soon by itself; its successor starts now."""
        if child.retiring is None:
            child.retiring = why
            log.info("%s is replaced: %s", child, why)
            if not self._stops and not child.alone:
                self._starts.append(0.0)

    def _end(self, child: Child, verdict: Verdict) -> None:
        if child in self._children and child.verdict is None:
            child.kill(verdict)

    # -- the end -----------------------------------------------------------------------------------------------------

    def _signal(self, number: int) -> None:
        if number in signals.STOP:
            self._stop()
        elif number == signals.QUIET and not self._stops:
            log.info("quiet: running tasks finish, nothing new starts")
            self._state = "quiet"
            for child in self._children:
                child.send(Command.QUIET)
        elif number == signals.STACKS:
            faulthandler.dump_traceback(sys.stderr, all_threads=True)
            for child in self._children:
                child.dump_stacks()

    def _stop(self) -> None:
        """First time: finish what runs. Second: give it back. Third: end at once."""
        self._stops += 1
        self._state = "draining"
        self._starts.clear()
        if self._stops == 1 and self._fatal is None:
            busy, patience = sum(len(child.running()) for child in self._children), self._config.drain_timeout
            words = ("task has", "it") if busy == 1 else ("tasks have", "them")
            text = "draining: %d %s %g s to finish; a second signal gives %s back"
            log.info(text, busy, words[0], patience, words[1])
        elif self._stops > 1:
            self._code = exits.FORCED
        for child in self._children:
            if child.hello is None or self._stops > 2:
                child.kill(Verdict("stop"))  # one that has not said hello holds nothing
            elif self._stops == 2:
                give_back(child)
            else:
                drain(child, self._config.drain_timeout)

    def _reload(self) -> None:
        if self._stops:
            return
        for child in self._children:
            if child.retiring is None:
                self._retire(child, "reload")
                if child.hello is None:
                    child.kill(Verdict("stop"))  # it holds nothing that would have to be finished
                else:
                    drain(child, self._config.drain_timeout)
        if self._broken:
            self._broken = False
            self._starts = [0.0] * self._config.processes

    def _give_up(self, error: TaskqError) -> None:
        if self._fatal is None:
            self._fatal = error
            self._stop()


def _error(code: int, text: str) -> TaskqError:
    kinds: dict[int, type[TaskqError]] = {
        exits.USAGE: ConfigError,
        exits.NO_APP: AppImportError,
        exits.UNREACHABLE: BrokerUnavailable,
    }
    return kinds.get(code, TaskqError)(text)  # what it ran into itself, a start-up hook say, is a failure: 1
