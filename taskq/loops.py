"""Blocking calls inside a running event loop: allowed where they are short, and said once."""

from __future__ import annotations

import inspect
import warnings
from asyncio import events
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[0])
_warned: set[str] = set()

_running_loop = events._get_running_loop  # the C function: this is asked at every enqueue


def in_event_loop() -> bool:
    """Whether this thread runs an event loop right now."""
    return _running_loop() is not None


def warn_of_blocking(name: str, twin: str) -> None:
    """Warn once per process that `name` holds up the event loop that runs here; `twin` is the one to await."""
    if _running_loop() is None or name in _warned:
        return
    _warned.add(name)
    text = f"{name}() blocks the event loop that runs here while it talks to the broker: use `await {twin}()`"
    warnings.warn(text, RuntimeWarning, stacklevel=_caller())


def _caller() -> int:
    """The stack level, for `warnings.warn`, of the first frame outside this package."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level - 1
