"""Reload: children are replaced when a Python file of the project changes. Needs the extra `reload` (watchfiles)."""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from taskq.errors import ConfigError

log = logging.getLogger("taskq.worker")


def can_reload() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("watchfiles") is not None


class _Stop(threading.Event):
    """What ends a watch. That looks at it only once it stands, so the first look tells that it does."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = threading.Event()

    def is_set(self) -> bool:
        self.looked.set()
        return super().is_set()


class Watcher:
    """Life: start; `changed` is called on its thread after each burst of changes; stop."""

    def __init__(self, folder: Path, changed: Callable[[], None]) -> None:
        if not can_reload():
            raise ConfigError("reload needs the package watchfiles: install taskq-redis[reload]")
        self._folder = folder
        self._changed = changed
        self._stop = _Stop()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._main, name="taskq-reload", daemon=True)

    def start(self) -> None:
        """Every change from now on is seen, so who reads a file later reads it as it is or is told that it has changed.

        Raises ConfigError for a folder that cannot be watched.
        """
        self._thread.start()
        self._stop.looked.wait()
        if self._failed is not None:
            raise ConfigError(
                f"cannot watch {self._folder} for changes: {self._failed}; watch by polling "
                "(WATCHFILES_FORCE_POLLING=1), allow more inotify watches, or go without reload"
            )

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(2.0)

    def _main(self) -> None:
        try:
            self._watch()
        except (OSError, RuntimeError) as error:  # all that the library says of the system's watches
            self._failed = error
            if self._stop.looked.is_set():
                log.error("changes of %s are not seen any more: %s", self._folder, error)
        finally:
            self._stop.looked.set()

    def _watch(self) -> None:
        import watchfiles

        for changes in watchfiles.watch(
            self._folder, watch_filter=watchfiles.PythonFilter(), stop_event=self._stop, raise_interrupt=False
        ):
            paths = sorted({Path(path) for _, path in changes})
            log.info("changed: %s", self._names(paths))
            _forget_bytecode(paths)
            self._changed()

    def _names(self, paths: list[Path]) -> str:
        shown = [
            str(path.relative_to(self._folder) if path.is_relative_to(self._folder) else path) for path in paths[:5]
        ]
        return ", ".join(shown) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")


def _forget_bytecode(paths: Iterable[Path]) -> None:
    """Python takes the bytecode it has kept for the file's own while size and second of the change are the same: saved
    again at once, a file would stay as it was for every child to come.
    """
    for path in paths:
        with suppress(OSError, NotImplementedError):  # none is kept, or none is to be kept here
            Path(importlib.util.cache_from_source(path)).unlink()
