"""Importing an app from the name that people give: `shop.app:app`, `shop.app.app`, or `shop.app` if it holds one app.

Every way this can fail has its own sentence: what was searched, what was found instead, and the nearest names.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from taskq.errors import AppImportError, TaskqError
from taskq.settings import read_settings

MARK = "_is_taskq_app"


def load_app(path: str, *, folder: Path | None = None) -> Any:
    """Import and return the app named by `path`; `folder` (the current directory) is searched first.

    Then the folder of the `pyproject.toml` that names an app, for commands that are given further down. Raises
    `AppImportError`, with the error of the module as its cause if the module itself failed.
    """
    here = _search(folder)
    name, colon, attribute = path.partition(":")
    _check(path, name, attribute if colon else None)
    if colon:
        return _app_in(_import(name, path, here), attribute, path)
    if not _is_there(name) and "." in name and _is_there(name.rpartition(".")[0]):
        parent, _, attribute = name.rpartition(".")
        return _app_in(_import(parent, path, here), attribute, path)
    return _only_app(_import(name, path, here), path)


def _search(folder: Path | None) -> list[str]:
    """Put the folders to look in on the module path, each once, and answer them."""
    first = (folder or Path.cwd()).resolve()
    settings = read_settings(first)
    places = [str(first)]
    if settings.app is not None and settings.project_root != first:
        places.append(str(settings.project_root))
    at = 0
    for place in places:
        if place not in sys.path:
            sys.path.insert(at, place)
        at = sys.path.index(place) + 1
    return places


def _check(path: str, name: str, attribute: str | None) -> None:
    if path.endswith(".py") or "/" in path or "\\" in path:
        dotted = path.partition(":")[0].removesuffix(".py").strip("./").replace("/", ".").replace("\\", ".")
        raise AppImportError(f"{path!r} is a file; name the module and the app in it, like {dotted}:app")
    parts = [*name.split("."), *(attribute.split(".") if attribute is not None else [])]
    # `_` in front: a module that is run as a script may begin with a digit, as our examples do
    if not all(part and f"_{part}".isidentifier() for part in parts):
        raise AppImportError(f"{path!r} names no app; write module:attribute, like shop.app:app")


def _is_there(name: str) -> bool:
    """Whether a module of this name can be found; the packages above it are imported for that."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        # Either the package above is missing, or it is not a package; anything else is its own failure.
        return error.name is None or not (name == error.name or name.startswith(f"{error.name}."))
    except Exception:  # noqa: BLE001 - the import below meets it again and tells where it happened
        return True


def _import(name: str, path: str, here: list[str]) -> ModuleType:
    try:
        return importlib.import_module(name)
    except TaskqError:
        raise  # a task registered twice, say: it names its own way out
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise AppImportError(_not_found(missing, path, here)) from error
        raise AppImportError(_failed(name, path, error)) from error
    except (Exception, SystemExit) as error:
        raise AppImportError(_failed(name, path, error)) from error


def _not_found(missing: str, path: str, here: list[str]) -> str:
    parent, _, last = missing.rpartition(".")
    where = list(getattr(sys.modules.get(parent), "__path__", ())) if parent else here
    if parent and not where:
        return f"cannot import {path!r}: {parent} is a module, not a package, so {missing} cannot be inside it"
    searched = f"the package {parent}" if parent else f"{', '.join(here)} and the installed packages"
    hint = _nearest(last, (module.name for module in pkgutil.iter_modules(where)))
    return f"cannot import {path!r}: there is no module {missing!r}; searched {searched}{hint}"


def _failed(name: str, path: str, error: BaseException) -> str:
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return f"cannot import {path!r}: the module {name} was found, but raised {what}{_place(error)}"


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    return f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _is_machinery(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or filename in (__file__, importlib.__file__)


def _app_in(module: ModuleType, attribute: str, path: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise AppImportError(
                f"cannot import {path!r}: {_named(found)} has no {part!r}{_nearest(part, dir(found))}{_apps(module)}"
            ) from None
    if not _is_app(found):
        kind = "a class" if isinstance(found, type) else f"of type {type(found).__name__}"
        raise AppImportError(f"{path!r} is {kind}, not a TaskQ app{_apps(module)}")
    return found


def _only_app(module: ModuleType, path: str) -> Any:
    apps = _apps_of(module)
    if len(apps) == 1:
        return next(iter(apps.values()))
    if not apps:
        raise AppImportError(f"the module {path!r} holds no TaskQ app; write one there, like app = TaskQ('shop')")
    raise AppImportError(f"the module {path!r} holds several apps; say which: {_choices(module, apps)}")


def _is_app(value: object) -> bool:
    return not isinstance(value, type) and getattr(value, MARK, False) is True


def _apps_of(module: ModuleType) -> dict[str, Any]:
    unique: dict[int, tuple[str, Any]] = {}
    for name, value in vars(module).items():
        if _is_app(value):
            unique.setdefault(id(value), (name, value))  # `celery = app` is the same app under two names
    return dict(unique.values())


def _apps(module: ModuleType) -> str:
    apps = _apps_of(module)
    return f"; it holds {_choices(module, apps)}" if apps else f"; {module.__name__} holds no TaskQ app"


def _choices(module: ModuleType, apps: Iterable[str]) -> str:
    return ", ".join(f"{module.__name__}:{name}" for name in apps)


def _named(value: Any) -> str:
    return str(getattr(value, "__name__", type(value).__name__))


def _nearest(name: str, known: Iterable[str]) -> str:
    public = [other for other in known if not other.startswith("_")]
    close = difflib.get_close_matches(name, public, n=3)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
