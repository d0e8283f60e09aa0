"""Calling what an app hooked in: start-up and shut-down around a child's life, failure and dead around attempts."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from taskq.message import id_text
from taskq.tasks import failure
from taskq.tasks.hooks import Hook, Hooks, Incident
from taskq_workers.attempt import Attempt
from taskq_workers.loop import LoopSlots

log = logging.getLogger("taskq.worker")


class HookRunner:
    """Plain hooks run where the event happens; `async def` ones on the event loop."""

    def __init__(self, app_hooks: Hooks, loop: Callable[[], LoopSlots], worker: str) -> None:
        self._app = app_hooks
        self._loop = loop
        self._worker = worker

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
                log.exception("hook %s failed", getattr(hook, "__qualname__", hook))


async def _wait(value: Any) -> Any:
    return await value


async def _logged(value: Coroutine[Any, Any, Any] | Any, hook: Hook) -> None:
    try:
        await value
    except Exception:
        log.exception("hook %s failed", getattr(hook, "__qualname__", hook))
