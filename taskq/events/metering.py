"""How long handlers of records and commits take in this process, counted only once somebody has begun to ask.

While nobody has, handlers are called as they are, so a record costs nothing more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from taskq.buckets import bucket

OUTCOMES = ("handled", "failed")


class Meter:
    """Counts of one process since `begin`; any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        self._refused = 0
        self._handling: dict[int, int] = {}
        self._commits: dict[int, int] = {}

    def timed(self, handler: Callable[..., Any], *, batch: bool = False) -> Callable[..., Any]:
        """A handler that is counted; with `batch` its first argument is a list of records."""
        if iscoroutinefunction(handler) or iscoroutinefunction(getattr(handler, "__call__", None)):  # noqa: B004

            @wraps(handler)
            async def awaited(records: Any, *more: Any) -> Any:
                began = time.monotonic()
                try:
                    made = await handler(records, *more)
                except BaseException:
                    self._handled("failed", time.monotonic() - began, 1)
                    raise
                self._handled("handled", time.monotonic() - began, len(records) if batch else 1)
                return made

            return awaited

        @wraps(handler)
        def called(records: Any, *more: Any) -> Any:
            began = time.monotonic()
            try:
                made = handler(records, *more)
            except BaseException:
                self._handled("failed", time.monotonic() - began, 1)
                raise
            self._handled("handled", time.monotonic() - began, len(records) if batch else 1)
            return made

        return called

    def _handled(self, outcome: str, seconds: float, count: int) -> None:
        number = bucket(int(seconds * 1e6))
        with self._lock:
            self._records[outcome] += count
            self._handling[number] = self._handling.get(number, 0) + 1

    def committed(self, seconds: float) -> None:
        """One round trip that stored progress was answered."""
        number = bucket(int(seconds * 1e6))
        with self._lock:
            self._commits[number] = self._commits.get(number, 0) + 1

    def refused(self, count: int = 1) -> None:
        """Progress was not stored, because somebody else has the partition or the record by now."""
        with self._lock:
            self._refused += count

    def told(self) -> dict[str, Any]:
        """All of it, as JSON takes it: counts by their names, durations by the numbers of their buckets."""
        with self._lock:
            return {
                "records": dict(self._records),
                "refused": self._refused,
                "handling": {str(number): count for number, count in self._handling.items()},
                "commits": {str(number): count for number, count in self._commits.items()},
            }


_here: Meter | None = None


def begin() -> Meter:
    """Count in this process, in everything that is started from now on."""
    global _here
    _here = Meter()
    return _here


def end() -> None:
    """Count nothing in what is started from now on."""
    global _here
    _here = None


def current() -> Meter | None:
    """The meter of this process, if somebody has begun."""
    return _here
