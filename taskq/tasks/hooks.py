"""What an app or a task wants to be told: lists of functions, plain or `async def`, called in the order of adding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from taskq.checks import takes
from taskq.errors import ConfigError
from taskq.names import shown
from taskq.tasks.failure import Failure

Hook: TypeAlias = Callable[..., Any]
H = TypeVar("H", bound=Hook)
Kind: TypeAlias = Literal["startup", "shutdown", "failure", "dead"]


@dataclass(frozen=True, slots=True)
class Incident:
    """What `on_failure` and `on_dead` are told: which message, what happened, and the exception where there is one.

    A process that died left no exception: then `error` is None, and `failure` says how it ended. Such an incident
    is told by another process of the worker, at least once unless the worker ends before, and `args` and `kwargs` are
    empty if the message is no longer there by then.
    """

    id: str
    queue: str
    task: str
    failure: Failure
    error: BaseException | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Hooks:
    """The functions of one app or one task.

    `startup` and `shutdown` run without arguments in each child process. `failure` gets an `Incident` after each failed
    attempt, `dead` one when a message became a dead letter.
    """

    startup: list[Hook] = field(default_factory=list[Hook])
    shutdown: list[Hook] = field(default_factory=list[Hook])
    failure: list[Hook] = field(default_factory=list[Hook])
    dead: list[Hook] = field(default_factory=list[Hook])


def add(hooks: Hooks, kind: Kind, function: H) -> H:
    """Enter a function and give it back, so that it can be done by a decorator."""
    if not callable(function):
        raise ConfigError(f"a hook is a function, not {shown(function)}")
    takes(function, f"on_{kind} hook", *(("incident",) if kind in ("failure", "dead") else ()))
    own: list[Hook] = getattr(hooks, kind)
    own.append(function)
    return function
