"""Which functions may be tasks, what they are called, and the table of an app's tasks."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from taskq.errors import ConfigError, DuplicateTask, UnknownTask
from taskq.names import check_task_name, did_you_mean, shown

allow_local = False
"""Lifted by `taskq.testing`: closures may be tasks where producer and worker are one process."""

MAIN = "__main__"


class Registrable(Protocol):
    """What the registry asks of a task."""

    @property
    def name(self) -> str: ...
    @property
    def function(self) -> Callable[..., Any]: ...


T = TypeVar("T", bound=Registrable)


class Registry(Mapping[str, T], Generic[T]):
    """The tasks of one app by name, aliases included.

    A name is given once. Only the same function of the same file may take its place, as a reload makes it: one that
    stands further down in a module that is imported once is another function.
    """

    __slots__ = ("_by_name", "_imports")

    def __init__(self) -> None:
        self._by_name: dict[str, T] = {}
        self._imports: dict[str, object] = {}  # by name: the spec of its module, which each import makes anew

    def add(self, task: T, aliases: Iterable[str] = ()) -> None:
        """Enter a task under its name and its aliases, or under none of them."""
        names = [task.name, *aliases]
        for name in names:
            known = self._by_name.get(check_task_name(name))
            if known is not None and not (
                _same_source(known.function, task.function)
                and (_code(known.function) == _code(task.function) or self._imports[name] is not _import(task.function))
            ):
                raise DuplicateTask(
                    f"task {name!r} is registered twice: {_place(known.function)} and {_place(task.function)};"
                    " give one of them another name="
                )
        self._by_name.update(dict.fromkeys(names, task))
        self._imports.update(dict.fromkeys(names, _import(task.function)))

    def find(self, name: str) -> T:
        """The task of that name; `UnknownTask` names the nearest."""
        task = self._by_name.get(name)
        if task is None:
            raise UnknownTask(f"no task {shown(name)} is registered in this app{did_you_mean(name, self._by_name)}")
        return task

    def __getitem__(self, name: str) -> T:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        return f"Registry({', '.join(self._by_name)})"


def task_function(given: object) -> Callable[..., Any]:
    """The function in what was decorated; `ConfigError` for what a worker could not find by its name, or not run."""
    function: Any = given.__func__ if isinstance(given, staticmethod) else given
    if isinstance(function, classmethod) or inspect.ismethod(function):
        raise _refused(function, "a method has no object to run on in a worker; use a function or a static method")
    if isinstance(function, type) or not inspect.isroutine(function):
        raise _refused(function, "a task is a function; write one that calls this")
    if not inspect.isfunction(function):
        raise _refused(function, "a task is a function written in Python; write one that calls this")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise _refused(function, "a generator function only makes a generator when it is called; return a list")
    if function.__name__ == "<lambda>":
        raise _refused(function, "a lambda has no name that a worker could know; use def")
    _check_scope(function)
    return function


def _check_scope(function: Callable[..., Any]) -> None:
    if allow_local:
        return
    if "<locals>" in function.__qualname__:
        raise _refused(
            function, "a function inside another one cannot be found by a worker; move it to the top level of a module"
        )
    first = next(iter(inspect.signature(function).parameters), "")
    if "." in function.__qualname__ and first in ("self", "cls"):
        raise _refused(function, "a method has no object to run on in a worker; use a function or a static method")


def task_name(function: Callable[..., Any], given: str | None = None) -> str:
    """The name of a task: the given one, else `module.qualname` as another process would import it."""
    if given is not None:
        return check_task_name(given)
    return check_task_name(f"{_module_name(function)}.{function.__qualname__.replace('<locals>', 'locals')}")


def _module_name(function: Callable[..., Any]) -> str:
    module = function.__module__
    if module != MAIN or allow_local:
        return module
    return main_name(sys.modules.get(MAIN), Path.cwd(), function.__qualname__)


def main_name(main: Any, cwd: Path, what: str = "task") -> str:
    """The name under which another process, started in `cwd`, imports the module that runs as `__main__`.

    `python -m shop.mail` says it itself; for `python shop/mail.py` it is the path from `cwd`. `ConfigError` if there
    is no such name: in an interactive session, or for a file elsewhere.
    """
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    if file is not None and (path := (cwd / file).resolve()).is_relative_to(cwd.resolve()) and path.suffix == ".py":
        return ".".join(path.relative_to(cwd.resolve()).with_suffix("").parts)
    where = "a session without a file" if file is None else f"{file}, which is not below {cwd}"
    raise ConfigError(
        f"{what} is defined in __main__, in {where}, so no worker could import it: put it into a module, or set name="
    )


def _same_source(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    return one.__qualname__ == other.__qualname__ and _file(one) == _file(other)


def _import(function: Callable[..., Any]) -> object:
    """What stands for one run of the module that the function is in: reloading gives a module another spec.

    A script has none; it runs once, so its file stands for it. What is neither (a session) is never the same again.
    """
    names: dict[str, Any] = getattr(inspect.unwrap(function), "__globals__", {})
    return names.get("__spec__") or names.get("__file__") or object()


def _file(function: Callable[..., Any]) -> str:
    return _code(function)[0]


def _place(function: Callable[..., Any]) -> str:
    file, line = _code(function)
    return f"{function.__qualname__} in {file}:{line}"


def _code(function: Callable[..., Any]) -> tuple[str, int]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else (function.__module__, 0)


def _refused(given: object, why: str) -> ConfigError:
    name = getattr(given, "__qualname__", None) or shown(given)
    return ConfigError(f"{name} cannot be a task: {why}")
