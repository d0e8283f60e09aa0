"""Importing the modules that an app names, with an error that says what was looked for and where."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

from taskq.errors import AppImportError
from taskq.names import did_you_mean, shown


def import_all(modules: Iterable[str]) -> None:
    """Import each module, in order."""
    for name in modules:
        if not isinstance(name, str) or not name:
            raise AppImportError(f"include: {shown(name)} is not the name of a module")
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
                raise _broken(name, error) from error
            raise AppImportError(
                f"include: there is no module {error.name!r}{did_you_mean(name, _siblings(name))}; searched in"
                f" {', '.join(path or '.' for path in sys.path)}"
            ) from error
        except Exception as error:
            raise _broken(name, error) from error


def _broken(name: str, error: Exception) -> AppImportError:
    return AppImportError(f"include: {name!r} cannot be imported: {type(error).__name__}: {error}")


def _siblings(name: str) -> list[str]:
    """The modules that stand where this one was looked for."""
    parent = name.rpartition(".")[0]
    spec = find_spec(parent) if parent in sys.modules else None
    if parent and (spec is None or spec.submodule_search_locations is None):
        return []
    places = None if spec is None else spec.submodule_search_locations
    prefix = f"{parent}." if parent else ""
    return [prefix + module.name for module in iter_modules(places)]
