"""Reload: children are replaced when a Python file of the project changes. Needs the extra `reload` (watchfiles)."""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from taskq.errors import ConfigError

if TYPE_CHECKING:
    from watchfiles import Change

log = logging.getLogger("taskq.worker")


def can_reload() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("watchfiles") is not None


class Watcher:
    """Life: start; `changed` is called on its thread after each burst of changes; stop."""

    def __init__(self, folder: Path, changed: Callable[[], None]) -> None:
        if not can_reload():
            raise ConfigError("reload needs the package watchfiles: install taskq-redis[reload]")
        self._folder = folder
        self._changed = changed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="taskq-reload", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(2.0)

    def _watch(self) -> None:
        import watchfiles

        for changes in watchfiles.watch(
            self._folder, watch_filter=watchfiles.PythonFilter(), stop_event=self._stop, raise_interrupt=False
        ):
            log.info("changed: %s", self._names(changes))
            self._changed()

    def _names(self, changes: set[tuple[Change, str]]) -> str:
        paths = sorted({Path(path) for _, path in changes})
        shown = [
            str(path.relative_to(self._folder) if path.is_relative_to(self._folder) else path) for path in paths[:5]
        ]
        return ", ".join(shown) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
