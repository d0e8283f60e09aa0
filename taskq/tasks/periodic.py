"""`@app.periodic`: a task that runs by itself, declared where it is written."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from taskq.errors import InvalidOption
from taskq.names import check_name, shown
from taskq.tasks import schedule_options
from taskq.tasks.schedule_options import Timing
from taskq.tasks.schedules import Schedules
from taskq.tasks.task import AsyncTask, SyncTask, Task

P = ParamSpec("P")
T = TypeVar("T")


class PeriodicOptions(Timing, total=False):
    """What can be said in `@app.periodic`, beside its cron line."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    queue: str | None
    name: str | None


class PeriodicDecorator(Protocol):
    """What `app.periodic(...)` gives: it makes a task of a function, or takes one, and declares a schedule for it."""

    # A task can be called like its function: the first that fits is taken, which is what is meant here.
    @overload
    def __call__(self, function: AsyncTask[P, T], /) -> AsyncTask[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: SyncTask[P, T], /
    ) -> SyncTask[P, T]: ...
    @overload
    def __call__(self, function: Task[P, T], /) -> Task[P, T]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> AsyncTask[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> SyncTask[P, T]: ...


def periodic(
    cron: object, said: Mapping[str, Any], schedules: Schedules, register: Callable[..., Any]
) -> PeriodicDecorator:
    """The decorator; what can be checked without the function is checked now."""
    if cron is not None and not isinstance(cron, str):
        raise InvalidOption(f"periodic({shown(cron)}): write @app.periodic('*/5 * * * *') or @app.periodic(every=30)")
    timing: dict[str, Any] = {"cron": cron, **said}
    args, kwargs = timing.pop("args", ()), timing.pop("kwargs", {})
    queue, name = timing.pop("queue", None), timing.pop("name", None)
    schedule_options.check_names(timing)
    if queue is not None:
        check_name(queue)

    def declare(given: Any) -> Any:
        task: Task[..., Any] = given if isinstance(given, Task) else register(given, {"queue": queue} if queue else {})
        stamp = task.stamp if queue is None else task.stamp.with_options(task.stamp.options.merge(queue=queue))
        known = task.name if name is None else name
        schedules.declare(schedule_options.define(known, stamp, args, kwargs, timing), task)
        return task

    return declare
