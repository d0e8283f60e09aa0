"""Both links of one broker, and steps: what is asked of it one thing after the other, decided without I/O."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from taskq.errors import TaskqError
from taskq.store.connection import AsyncLink, Command, SyncLink
from taskq.store.scripts import Call, run, run_async, run_many, run_many_async

T = TypeVar("T")
Step: TypeAlias = "Call[Any] | Command | list[Call[Any]] | list[Command]"
Steps: TypeAlias = Generator[Step, Any, T]


@dataclass(frozen=True, slots=True)
class Links:
    """The two ends of one broker: for threads, and for event loops."""

    sync: SyncLink
    asynchronous: AsyncLink


def drive(link: SyncLink, steps: Steps[T]) -> T:
    """Walk through the steps: a script or a command is answered with its reply, a list of either with theirs."""
    try:
        step = next(steps)
        while True:
            try:
                reply = _asked(link, step)
            except TaskqError as error:
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as end:
        found: T = end.value
        return found


async def drive_async(link: AsyncLink, steps: Steps[T]) -> T:
    """`drive` in an event loop."""
    try:
        step = next(steps)
        while True:
            try:
                reply = await _awaited(link, step)
            except TaskqError as error:
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as end:
        found: T = end.value
        return found


def _asked(link: SyncLink, step: Step) -> Any:
    if isinstance(step, Call):
        return run(link, step)
    if not isinstance(step, list):
        return link.execute(*step)
    calls, commands = _sorted(step)
    return _whole(run_many(link, calls) if calls else link.pipeline(commands))


async def _awaited(link: AsyncLink, step: Step) -> Any:
    if isinstance(step, Call):
        return await run_async(link, step)
    if not isinstance(step, list):
        return await link.execute(*step)
    calls, commands = _sorted(step)
    return _whole(await run_many_async(link, calls) if calls else await link.pipeline(commands))


def _sorted(step: Sequence[Any]) -> tuple[list[Call[Any]], list[Command]]:
    calls = [one for one in step if isinstance(one, Call)]
    return calls, [] if calls else list(step)


def _whole(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, TaskqError):
            raise reply
    return replies
