"""Calling what an app hooked in: start-up and shut-down around a child's life, failure and dead around attempts."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from taskq.errors import TaskqError
from taskq.message import id_text
from taskq.tasks import failure
from taskq.tasks.hooks import Hook, Hooks, Incident
from taskq_workers.attempt import Attempt
from taskq_workers.loop import LoopSlots

log = logging.getLogger("taskq.worker")

_TRACE_CHARS = 8_000  # it goes to the supervisor in one line of a pipe


class HookRunner:
    """Plain hooks run where the event happens; `async def` ones on the event loop."""

    def __init__(self, app_hooks: Hooks, loop: Callable[[], LoopSlots], worker: str) -> None:
        self._app = app_hooks
        self._loop = loop
        self._worker = worker

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

    def incident(self, kind: str, attempt: Attempt, error: BaseException) -> None:
        """Tell the app's and the task's hooks of a failed attempt; what they raise is logged and goes no further."""
        own: Hooks | None = getattr(attempt.plan.task, "hooks", None)
        hooks: list[Hook] = [*getattr(self._app, kind), *(getattr(own, kind) if own is not None else ())]
        if not hooks:
            return
        message, name = attempt.message, attempt.plan.name
        what = failure.of(error, "error", attempt.attempt_number, self._worker, name)
        incident = Incident(
            id_text(attempt.id), attempt.queue, name, what, error, tuple(message.args), dict(message.kwargs)
        )
        for hook in hooks:
            try:
                value = hook(incident)
                if inspect.isawaitable(value):
                    self._loop().post(_logged(value, hook))
            except BaseException:  # a sys.exit() in a hook must not end the slot that called it
                log.exception("hook %s failed", _name(hook))


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
