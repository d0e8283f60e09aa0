"""Calling what an app hooked in: start-up and shut-down around a child's life, failure and dead around attempts."""

from __future__ import annotations

import inspect
import json
import logging
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from taskq.errors import TaskqError
from taskq.message import Message, decode, id_text
from taskq.store.scripts import run
from taskq.tasks.failure import Failure
from taskq.tasks.hooks import Hook, Hooks, Incident
from taskq.tasks.lists import ListBroker
from taskq_workers.attempt import Attempt
from taskq_workers.loop import LoopSlots

log = logging.getLogger("taskq.worker")

_TRACE_CHARS = 8_000  # it goes to the supervisor in one line of a pipe


class HookRunner:
    """Plain hooks run where the event happens; `async def` ones on the event loop."""

    def __init__(self, app_hooks: Hooks, loop: Callable[[], LoopSlots]) -> None:
        self._app = app_hooks
        self._loop = loop

    def start(self, hooks: Iterable[Hook]) -> None:
        """Call start-up hooks; raises one `TaskqError` that names the hook which raised, with its error as cause."""
        for hook in hooks:
            try:
                self.run([hook])
            except TaskqError:
                raise  # the broker does not answer, say: it has an exit code of its own
            except (Exception, SystemExit) as error:
                what = "".join(traceback.format_exception_only(error)).strip()
                raise TaskqError(f"the start-up hook {_name(hook)} raised {what}") from error

    def run(self, hooks: Iterable[Hook]) -> None:
        """Call start-up or shut-down hooks, one after the other; an error of one goes to the caller."""
        for hook in hooks:
            value = hook()
            if inspect.isawaitable(value):
                self._loop().call(_wait(value))

    def incident(self, kind: str, attempt: Attempt, what: Failure, error: BaseException | None) -> None:
        """Tell the app's and the task's hooks of a failed attempt; what they raise is logged and goes no further."""
        if hooks := self.hooks(kind, attempt.plan.task):
            message, name = attempt.message, attempt.plan.name
            told = Incident(
                id_text(attempt.id), attempt.queue, name, what, error, tuple(message.args), dict(message.kwargs)
            )
            for hook in hooks:
                self.tell(hook, told, lambda work: self._loop().post(work))

    def hooks(self, kind: str, task: object) -> list[Hook]:
        """The functions that want to hear of this, those of the app before those of the task."""
        own: Hooks | None = getattr(task, "hooks", None)
        return [*getattr(self._app, kind), *(getattr(own, kind) if own is not None else ())]

    def tell(
        self, hook: Hook, incident: Incident, loop: Callable[[Coroutine[Any, Any, None]], Any] | None = None
    ) -> None:
        """Call one hook; `loop` takes what an `async def` one makes, else it is waited for."""
        try:
            value = hook(incident)
            if inspect.isawaitable(value):
                (loop or self._loop().call)(_logged(value, hook))
        except BaseException:  # a sys.exit() in a hook must not end the slot that called it
            log.exception("hook %s failed", _name(hook))


class Bereaved:
    """Calls hooks for what the supervisor has judged, on a thread that is made with the first of it.

    `told` is called with the number of each once its hooks have been called: until then another child may have to.
    """

    def __init__(self, runner: HookRunner, app: Any, broker: ListBroker, told: Callable[[int], None]) -> None:
        self._runner = runner
        self._app = app
        self._broker = broker
        self._told = told
        self._inbox: SimpleQueue[bytes] = SimpleQueue()
        self._turn = threading.Condition()
        self._left = 0
        self._now: int | None = None  # the number of what is being told
        self._thread: threading.Thread | None = None

    @property
    def wanted(self) -> bool:
        """Whether anybody wants to hear of failures or dead letters."""
        hooks = [self._app.hooks, *(task.hooks for task in self._app.tasks.values())]
        return any(one.failure or one.dead for one in hooks)

    def put(self, line: bytes) -> None:
        with self._turn:
            self._left += 1
        self._inbox.put(line)
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="taskq-hooks", daemon=True)
            self._thread.start()

    def wait(self, timeout: float) -> bool:
        """Until all that was put has been told; False if that takes longer than `timeout` seconds."""
        with self._turn:
            return self._turn.wait_for(lambda: not self._left, max(timeout, 0.0))

    @property
    def busy(self) -> bool:
        return bool(self._left)

    def leave(self) -> None:
        """This child ends; a hook that has not returned by now has been called all the same."""
        if (number := self._now) is not None:
            log.warning("a hook that is told of a process that died was cut off")
            self._told(number)

    def _main(self) -> None:
        while True:
            line = self._inbox.get()
            try:
                words = json.loads(line)
                self._now = words["number"]
                self._tell(words["queue"], bytes.fromhex(words["id"]), Failure(**words["failure"]), words["dead"])
                self._told(words["number"])
            except Exception:
                log.exception("an error of its own keeps this child from telling hooks of a process that died")
            with self._turn:
                self._now = None
                self._left -= 1
                self._turn.notify_all()

    def _tell(self, queue: str, id: bytes, what: Failure, dead: bool) -> None:
        message = self._message(queue, id)
        name = what.task or (message.task if message else "")
        args, kwargs = (tuple(message.args), dict(message.kwargs)) if message else ((), {})
        incident = Incident(id_text(id), queue, name, replace(what, task=name), None, args, kwargs)
        for kind in ("failure", "dead") if dead else ("failure",):
            for hook in self._runner.hooks(kind, self._app.tasks.get(name)):
                self._runner.tell(hook, incident)

    def _message(self, queue: str, id: bytes) -> Message | None:
        """What the message was, if it is still there."""
        from taskq.tasks.operator_calls import examine  # most children never need it

        try:
            body = run(self._broker.link, examine(self._broker.keys(queue), id)).body
            return decode(id, body) if body else None
        except Exception as error:  # noqa: BLE001 - no right, no broker, a newer layout: hooks are told without it
            log.debug("hooks are told of %s without its arguments: %s", id_text(id), error)
            return None


def cause(error: BaseException) -> str:
    """The traceback of what lies behind an error of `HookRunner.start`, from the hook on; else nothing."""
    behind = error.__cause__
    if type(error) is not TaskqError or behind is None:
        return ""
    lines = traceback.format_exception(type(behind), behind, _beyond_us(behind.__traceback__))
    return "".join(lines)[-_TRACE_CHARS:]


def _beyond_us(trace: TracebackType | None) -> TracebackType | None:
    """The traceback below our last frame, and so without the loop between; all of it if there is nothing below."""
    ours, rest, below = Path(__file__).parent, trace, trace
    while rest is not None:
        ended, rest = rest, rest.tb_next
        if Path(ended.tb_frame.f_code.co_filename).is_relative_to(ours):
            below = rest
    return below or trace


def _name(hook: Hook) -> str:
    return f"{getattr(hook, '__module__', '')}.{getattr(hook, '__qualname__', hook)}".lstrip(".")


async def _wait(value: Any) -> Any:
    return await value


async def _logged(value: Coroutine[Any, Any, Any] | Any, hook: Hook) -> None:
    try:
        await value
    except Exception:
        log.exception("hook %s failed", _name(hook))
