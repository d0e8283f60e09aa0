"""The schedules of an app: those that its code declares, and those that are made and changed at run time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, Unpack

from taskq.backoff import pauses
from taskq.errors import ConfigError, DuplicateTask, InvalidOption, UnknownTask
from taskq.loops import warn_of_blocking
from taskq.names import check_name, did_you_mean, shown
from taskq.tasks import schedule_admin as admin
from taskq.tasks import schedule_options
from taskq.tasks.async_lists import AsyncListBroker
from taskq.tasks.brokers import Brokers
from taskq.tasks.calls import Limits
from taskq.tasks.handle import Handle
from taskq.tasks.lists import ListBroker
from taskq.tasks.outgoing import Stamp, Target
from taskq.tasks.schedule import Definition
from taskq.tasks.schedule_admin import ScheduleInfo
from taskq.tasks.schedule_options import Timing
from taskq.tasks.schedule_steps import Steps, adrive, drive
from taskq.tasks.task import Task

__all__ = ["ScheduleInfo", "Schedules"]

T = TypeVar("T")
Infos = list[ScheduleInfo]  # `list` is a method below
Names = list[str]

_PATIENCE_S = 2.0
_CALL = ("task", "args", "kwargs", "queue")


class Schedules:
    """`app.schedules`. Each method has a twin for event loops with an `a` in front.

    All raise the errors of `BrokerError`, and ConfigError for an app whose broker is no server. What is refused is
    refused before anything is stored.
    """

    def __init__(self, namespace: str, limits: Limits, brokers: Brokers, tasks: Mapping[str, Task[..., Any]]) -> None:
        self._namespace = namespace
        self._limits = limits
        self._brokers = brokers
        self._tasks = tasks
        self._declared: dict[str, tuple[Definition, Task[..., Any]]] = {}

    # -- in code -----------------------------------------------------------------------------------------------------

    def declare(self, definition: Definition, task: Task[..., Any]) -> None:
        """Enter what `@app.periodic` says. A name is given once; the task of a reloaded module may say it anew."""
        if self._tasks.get(task.name) is not task:
            raise UnknownTask(
                f"schedule {definition.name!r}: its task is not registered in this app, but in another one"
            )
        known = self._declared.get(definition.name)
        if known is not None and known[0].digest != definition.digest and self._tasks.get(task.name) is known[1]:
            raise DuplicateTask(f"schedule {definition.name!r} is declared twice; give one of them another name=")
        self._declared[definition.name] = (self._fitting(definition), task)

    def declared(self) -> tuple[Definition, ...]:
        """What the code of this app declares: what a worker of it brings about."""
        return tuple(definition for definition, _ in self._declared.values())

    # -- at run time -------------------------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        task: Task[..., Any] | str,
        cron: str | None = None,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        **timing: Unpack[Timing],
    ) -> ScheduleInfo:
        """Make a schedule that runs a registered task; a name is given once. See `TaskQ.periodic` for the options.

        Raises UnknownTask, InvalidOption, InvalidName, InvalidArguments, ConfigError for a name that is taken.
        """
        said = {"cron": cron, **timing}
        definition = schedule_options.define(name, self._stamp(task, queue), args, kwargs, said)
        return self._run(admin.add(self._namespace, self._fitting(definition)))

    def update(self, name: str, /, **changes: Any) -> ScheduleInfo:
        """Change what `add` said, by the same names; what is not named stays. Slots go on from the last one.

        With new `args` or `kwargs` both are new. Raises UnknownSchedule, ConfigError for one that is declared in code.
        """
        return self._run(admin.update(self._namespace, name, self._changed(changes)))

    def pause(self, name: str) -> ScheduleInfo:
        """Make no messages until `resume`. Raises UnknownSchedule."""
        return self._run(admin.hold(self._namespace, name, True))

    def resume(self, name: str) -> ScheduleInfo:
        """Go on with the next slot; those of the pause are not made up for. Raises UnknownSchedule."""
        return self._run(admin.hold(self._namespace, name, False))

    def remove(self, name: str) -> None:
        """Remove a schedule; its messages stay. Raises UnknownSchedule, ConfigError while live workers declare it."""
        return self._run(admin.remove(self._namespace, name))

    def run(self, name: str) -> Handle[Any]:
        """Enqueue its call now, beside its slots and even if it is paused. Raises UnknownSchedule."""
        return self._handle(*self._run(admin.run_now(self._namespace, name, self._limits)))

    def get(self, name: str) -> ScheduleInfo:
        """One schedule. Raises UnknownSchedule."""
        return self._run(admin.get(self._namespace, name))

    def list(self) -> Infos:
        """All schedules of the namespace, by name."""
        return self._run(admin.everything(self._namespace))

    def prune(self) -> Names:
        """Remove every orphaned schedule; answers their names."""
        return self._run(admin.prune(self._namespace))

    # -- the same in event loops -------------------------------------------------------------------------------------

    async def aadd(
        self,
        name: str,
        task: Task[..., Any] | str,
        cron: str | None = None,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        **timing: Unpack[Timing],
    ) -> ScheduleInfo:
        """`add`, awaited."""
        said = {"cron": cron, **timing}
        definition = schedule_options.define(name, self._stamp(task, queue), args, kwargs, said)
        return await self._arun(admin.add(self._namespace, self._fitting(definition)))

    async def aupdate(self, name: str, /, **changes: Any) -> ScheduleInfo:
        """`update`, awaited."""
        return await self._arun(admin.update(self._namespace, name, self._changed(changes)))

    async def apause(self, name: str) -> ScheduleInfo:
        """`pause`, awaited."""
        return await self._arun(admin.hold(self._namespace, name, True))

    async def aresume(self, name: str) -> ScheduleInfo:
        """`resume`, awaited."""
        return await self._arun(admin.hold(self._namespace, name, False))

    async def aremove(self, name: str) -> None:
        """`remove`, awaited."""
        return await self._arun(admin.remove(self._namespace, name))

    async def arun(self, name: str) -> Handle[Any]:
        """`run`, awaited."""
        return self._handle(*await self._arun(admin.run_now(self._namespace, name, self._limits)))

    async def aget(self, name: str) -> ScheduleInfo:
        """`get`, awaited."""
        return await self._arun(admin.get(self._namespace, name))

    async def alist(self) -> Infos:
        """`list`, awaited."""
        return await self._arun(admin.everything(self._namespace))

    async def aprune(self) -> Names:
        """`prune`, awaited."""
        return await self._arun(admin.prune(self._namespace))

    # -- inside ------------------------------------------------------------------------------------------------------

    def _fitting(self, definition: Definition) -> Definition:
        """A definition whose messages its queue takes. Raises InvalidOption."""
        self._brokers.queues.check(definition.queue, [definition.message(bytes(16), None, 0)])
        return definition

    def _run(self, steps: Steps[T]) -> T:
        warn_of_blocking("a method of schedules", "its twin with an 'a' in front")
        broker: object = self._brokers.ends().broker
        if not isinstance(broker, ListBroker):
            raise _no_server()
        return drive(broker.link, steps, pauses(time.monotonic() + _PATIENCE_S))

    async def _arun(self, steps: Steps[T]) -> T:
        broker: object = self._brokers.ends().async_broker
        if not isinstance(broker, AsyncListBroker):
            raise _no_server()
        return await adrive(broker.link, steps)

    def _handle(self, definition: Definition, id: bytes) -> Handle[Any]:
        name = str(definition.call["task"])
        task = self._tasks.get(name)
        target = Target(name) if task is None else task.stamp.target
        return Handle(self._brokers.ends(), definition.queue, id, True, target)

    def _stamp(self, task: object, queue: str | None) -> Stamp:
        """The call's options: those of a task that is registered here. Raises UnknownTask."""
        name = task.name if isinstance(task, Task) else task
        known = self._tasks.get(name) if isinstance(name, str) else None
        if known is None or (isinstance(task, Task) and known is not task):
            hint = did_you_mean(name, self._tasks)
            raise UnknownTask(f"a schedule runs a task that is registered in this app, not {shown(name)}{hint}")
        stamp = known.stamp
        return stamp if queue is None else stamp.with_options(stamp.options.merge(queue=check_name(queue)))

    def _changed(self, changes: Mapping[str, Any]) -> Callable[[Definition], Definition]:
        """What makes the new definition of the old one; all that can be checked before that, is."""
        timing = {name: value for name, value in changes.items() if name not in _CALL}
        schedule_options.check_names(timing)
        if not changes:
            raise InvalidOption("update() changes nothing: name what is to be new")
        if "queue" in changes:
            check_name(changes["queue"])
        if "task" in changes:
            self._stamp(changes["task"], None)

        def changed(old: Definition) -> Definition:
            call = old.call
            if not any(name in changes for name in _CALL):
                return schedule_options.change(old, None, (), {}, timing)
            if not any(name in changes for name in ("task", "args", "kwargs")):
                moved = dict(call) | {"queue": changes["queue"]}
                return replace(schedule_options.change(old, None, (), {}, timing), call=moved)
            stamp = self._stamp(changes.get("task", call["task"]), changes.get("queue", call["queue"]))
            return schedule_options.change(old, stamp, changes.get("args", ()), changes.get("kwargs", {}), timing)

        return changed


def _no_server() -> ConfigError:
    return ConfigError("schedules are kept on a server, and the broker of this app is in memory")
