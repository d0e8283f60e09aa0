"""Time as a value that is passed in, so that tests can drive it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What taskq asks about time: the date for what is stored, a monotonic reading for what is waited for."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The clock of the host."""

    __slots__ = ()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to.

    >>> clock = ManualClock(now_ms=1_000)
    >>> clock.advance(2.5)
    >>> clock.now_ms(), clock.monotonic()
    (3500, 2.5)
    """

    __slots__ = ("_elapsed_us", "_start_ms")

    def __init__(self, now_ms: int = 1_767_225_600_000) -> None:  # 2026-01-01 UTC: looks like a date in error texts
        self._start_ms = now_ms
        self._elapsed_us = 0  # whole microseconds: ten steps of 0.1 s are one second exactly

    def now_ms(self) -> int:
        return self._start_ms + self._elapsed_us // 1_000

    def monotonic(self) -> float:
        return self._elapsed_us / 1_000_000

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`; a negative value raises `ValueError`."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back: {seconds!r}")
        self._elapsed_us += round(seconds * 1_000_000)
