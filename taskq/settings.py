"""Project settings: `[tool.taskq]` of the nearest `pyproject.toml`, read once and frozen; and which broker is meant."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from taskq.errors import BrokerUnavailable, ConfigError
from taskq.names import shown

FILE = "pyproject.toml"
URL_VARIABLE = "TASKQ_URL"
SERVER_DATA = ".taskq"
"""Where the embedded server of a project keeps its data: it is there once one was started."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a project says about itself; `values` is the whole `[tool.taskq]` table, `source` the file it is from."""

    project_root: Path
    source: Path | None = None
    app: str | None = None
    url: str | None = field(default=None, repr=False)  # may hold a password
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class BrokerChoice:
    """A broker URL and, in words for people, where it was given."""

    url: str = field(repr=False)
    source: str


def read_settings(start: Path | None = None) -> Settings:
    """Return the settings of the project around `start` (the current directory by default).

    The nearest `pyproject.toml` upwards marks the project; without one the project is `start` itself.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return _from_file(folder / FILE)
    return Settings(here)


def _from_file(path: Path) -> Settings:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    tool = document.get("tool", {})
    table = tool.get("taskq", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: [tool.taskq] is not a table")
    return Settings(path.parent, path, _text(path, table, "app"), _text(path, table, "url"), MappingProxyType(table))


def _text(path: Path, table: Mapping[str, Any], name: str) -> str | None:
    value = table.get(name)
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ConfigError(f"{path}: [tool.taskq] {name} must be a text that is not empty, not {shown(value)}")
    return value


def broker_url(
    explicit: str | None,
    env: Mapping[str, str],
    app_url: str | None,
    settings: Settings,
    attach: Callable[[Path], str | None] | None = None,
) -> BrokerChoice:
    """Return the broker that is meant: `--url`, `TASKQ_URL`, the app's `url=`, `[tool.taskq] url`, in that order.

    Without any of them `attach` is asked for the running embedded server of the project. If there is none, this is
    a `ConfigError`: a guess would give every host that lost its setting a queue of its own. A project that had one
    gets `BrokerUnavailable`: it does not run at the moment.
    """
    given = (
        (explicit, "--url"),
        (env.get(URL_VARIABLE), URL_VARIABLE),
        (app_url, "url= of the app"),
        (settings.url, f"url in [tool.taskq] of {settings.source}"),
    )
    for url, source in given:
        if url:
            return BrokerChoice(url, source)
    running = attach(settings.project_root) if attach is not None else None
    if running:
        return BrokerChoice(running, f"the running embedded server of {settings.project_root}")
    slip = _slip(env, settings)
    if attach is not None and not slip and (settings.project_root / SERVER_DATA).is_dir():
        stopped = BrokerUnavailable(
            "the server of this project is not running: `taskq server start` (or `taskq dev`); its data are in "
            f"{settings.project_root / SERVER_DATA}. Another server is named with --url or {URL_VARIABLE}"
        )
        stopped.sent = False
        raise stopped
    raise ConfigError(
        f"no broker is set for the project in {settings.project_root}{slip}. Three ways out: "
        f"name a server with --url or {URL_VARIABLE}=redis://...; "
        'write it down as url="..." of the app or in [tool.taskq] of pyproject.toml; '
        "or start the project's own server with `taskq dev` or `taskq server start`"
    )


def _slip(env: Mapping[str, str], settings: Settings) -> str:
    """What was set under a name that is almost right; its value may hold a password and is not shown."""
    for name in get_close_matches(URL_VARIABLE, env, n=1, cutoff=0.8):
        return f" ({name} is set; did you mean {URL_VARIABLE}?)"
    for name in get_close_matches("url", settings.values, n=1):
        return f" ([tool.taskq] has {name!r}; did you mean 'url'?)"
    return ""
