"""Time as a value that is passed in, so that tests can drive it."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from taskq.checks import when


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
    """A clock that moves only when told to, and never back.

    >>> clock = ManualClock(now_ms=1_000)
    >>> clock.advance(2.5)
    >>> clock.now_ms(), clock.monotonic()
    (3500, 2.5)
    >>> clock.set(datetime(2026, 11, 1, 8, tzinfo=UTC))
    >>> clock.now() + timedelta(hours=1)
    datetime.datetime(2026, 11, 1, 9, 0, tzinfo=datetime.timezone.utc)
    """

    __slots__ = ("_elapsed_us", "_start_ms")

    def __init__(self, now_ms: int = 1_767_225_600_000) -> None:  # 2026-01-01 UTC: looks like a date in error texts
        self._start_ms = now_ms
        self._elapsed_us = 0  # whole microseconds: ten steps of 0.1 s are one second exactly

    def now_ms(self) -> int:
        return self._start_ms + self._elapsed_us // 1_000

    def now(self) -> datetime:
        """The moment that it is, in UTC."""
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=self.now_ms())

    def monotonic(self) -> float:
        return self._elapsed_us / 1_000_000

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`; a value that is negative, infinite or no number raises `ValueError`."""
        if not math.isfinite(seconds):
            raise ValueError(f"advance({seconds!r}): give a finite number of seconds")
        if seconds < 0:
            raise ValueError(f"a clock does not go back: {seconds!r}")
        self._elapsed_us += round(seconds * 1_000_000)

    def set(self, at: datetime | float) -> None:
        """Move forward to a moment, an aware datetime or seconds since 1970; an earlier one raises `ValueError`."""
        ahead = when(at) - self.now_ms()
        if ahead < 0:
            raise ValueError(f"a clock does not go back: {at!r} is before {self.now()}")
        self._elapsed_us += ahead * 1_000
