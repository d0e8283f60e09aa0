"""When a periodic entry is due: a frozen value for its times, and the one function that computes the next of them.

croniter counts on the calendar alone, in a local time without offsets; how that becomes real time is decided here.

- An entry whose second, minute and hour fields name **fixed times** comes once for each of them on each of its days:
  at the first valid instant after a gap of the clock, in the first of a repeated hour.
- An entry that goes on **around the clock** (`*`, `*/n` or `a/n` in one of those fields) comes at every instant at
  which the local clock shows such a time: twice in a repeated hour, and not at all inside a gap.
- `every` counts real time, from 1970 or from its start.

Two times that fall on one instant are one slot. All results are milliseconds since 1970 UTC.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import count, islice, takewhile
from typing import TYPE_CHECKING, Final, TypeAlias
from zoneinfo import ZoneInfo

from taskq import cron_fields
from taskq.checks import Duration, seconds
from taskq.errors import InvalidOption
from taskq.names import shown

if TYPE_CHECKING:
    from croniter import croniter

YEARS: Final = 12
"""How far the next time of a line may be away: a 29 February is at most eight years after the one before."""

SHORTEST_S: Final = 1.0

_WINDOW_S: Final = 26 * 3_600  # no clock was ever set by more than a day, nor twice within two of these
_FAR_S: Final = YEARS * 366 * 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CHECKED_FROM: Final = 1_735_689_600_000  # 2025: a line is judged the same way whenever it is registered
_LATEST: Final = 4_102_444_800_000  # 2100, the end of the times that taskq stores


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron line in a time zone."""

    text: str
    tz: str = "UTC"
    seconds: bool = False


@dataclass(frozen=True, slots=True)
class Every:
    """Every so many milliseconds, counted from `anchor` in milliseconds since 1970."""

    ms: int
    anchor: int = 0


Times: TypeAlias = Cron | Every

_OF_THE_HOST = ("localtime", "posixrules", "Factory")  # in the zone data of many systems, and no zone at all


def cron(text: object, tz: object = "UTC", *, seconds: bool = False) -> Cron:
    """A cron line, checked. Raises InvalidOption for a bad text, an unknown zone, and what never comes."""
    cron_fields.parse(text, seconds=seconds)
    name = tz.key if isinstance(tz, ZoneInfo) else "UTC" if tz is UTC else tz
    if name in _OF_THE_HOST:
        raise InvalidOption(f"tz={shown(tz)} differs from host to host: give the name of a zone, like 'Europe/Berlin'")
    if not isinstance(name, str) or zone(name) is None:
        raise InvalidOption(
            f"tz={shown(tz)} is no time zone that this machine knows: give a name like 'Europe/Berlin'"
            " (without the system's zone data, install the package tzdata)"
        )
    times = Cron(" ".join(str(text).split()), name, bool(seconds))
    if next_slot(times, _CHECKED_FROM) is None:
        raise InvalidOption(f"schedule {shown(text)}: it never comes in {name}")
    return times


def every(value: Duration, anchor: int = 0) -> Every:
    """An interval in seconds or as a timedelta, checked; `anchor` is one of its moments in milliseconds."""
    length = seconds(value, "every")
    if length < SHORTEST_S:
        raise InvalidOption(f"every={shown(value)}: give at least {SHORTEST_S:g} second")
    return Every(round(length * 1_000), anchor)


def next_slot(times: Times, after: int) -> int | None:
    """The first slot after a moment, both in milliseconds; None if none comes within `YEARS`, or before 2100."""
    return next(_slots(times, after), None)


def slots(times: Times, after: int, until: int, cap: int) -> list[int]:
    """The first `cap` slots after a moment and not after another one."""
    return list(takewhile(lambda slot: slot <= until, islice(_slots(times, after), cap)))


def last_slots(times: Times, after: int, until: int, most: int) -> list[int]:
    """The last `most` slots after a moment and not after another one, oldest first, however many came before them."""
    span = 60_000
    while True:
        start = max(after, until - span)
        found = deque(takewhile(lambda slot: slot <= until, _slots(times, start)), maxlen=most)
        if len(found) == most or start == after:
            return list(found)
        span *= 4


def _slots(times: Times, after: int) -> Iterator[int]:
    if isinstance(times, Every):
        found: Iterator[int] = count(after + times.ms - (after - times.anchor) % times.ms, times.ms)
    else:
        found = (second * 1_000 for second in _Line.of(times).after(after // 1_000))
    return takewhile(lambda slot: slot <= _LATEST, found)


@lru_cache(maxsize=1024)
def zone(name: str) -> tzinfo | None:
    """The zone of that name, None if this machine knows none. UTC is known everywhere."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: a folder of zones, like "America"
        return None


@dataclass(frozen=True, slots=True)
class _Line:
    """A line ready to compute, in seconds. `local` are seconds since 1970 on the clock on the wall."""

    walls: Callable[[int], Iterator[int]]
    zone: tzinfo
    interval: bool

    @classmethod
    @lru_cache(maxsize=1024)
    def of(cls, times: Cron) -> _Line:
        where = zone(times.tz)
        if where is None:
            raise InvalidOption(f"tz={times.tz!r} is no time zone that this machine knows")
        fields = cron_fields.parse(times.text, seconds=times.seconds)

        def walls(local: int) -> Iterator[int]:
            """The times of the line after `local`, by the calendar alone."""
            from croniter import croniter

            line: croniter = croniter(
                fields.canonical, float(local), max_years_between_matches=YEARS, second_at_beginning=times.seconds
            )
            return (int(at) for at in line.all_next(float))

        return cls(walls, where, fields.interval)

    def after(self, instant: int) -> Iterator[int]:
        """The instants that count after this one, in order."""
        return self._around(instant) if self.interval else self._fixed(instant)

    # -- fixed times -------------------------------------------------------------------------------------------------

    def _fixed(self, after: int) -> Iterator[int]:
        # The instants never go back while the wall time grows: what is not after the one before was a slot already.
        for local in self.walls(after + self._offset(after)):
            instant = self._first(local)
            if instant > after:
                yield instant
                after = instant

    def _first(self, local: int) -> int:
        """The first instant at which the clock shows `local`; if it never does, the one at which it has jumped past."""
        first, second = self._readings(local)
        return first if first <= second else self._change(second, first)

    # -- around the clock --------------------------------------------------------------------------------------------

    def _around(self, after: int) -> Iterator[int]:
        """Piece by piece, each of one offset; `first` is the earliest instant that may count."""
        first, end = after + 1, after + _FAR_S
        while first < end:
            offset = self._offset(first)
            until, changes = self._piece(first, offset)
            for local in self.walls(first + offset - 1):
                if local - offset >= until:
                    break
                yield local - offset
                end = until + _FAR_S
            else:
                return
            if changes:
                first = until
            else:  # no change is near, so nothing that was shown is shown again before the clock comes to `local`
                early, late = self._readings(local)
                first = early if early <= late else self._change(late, early)

    def _piece(self, first: int, offset: int) -> tuple[int, bool]:
        """Until when the clock keeps its offset, and whether it changes then; if not, it goes on keeping it."""
        if self._offset(first + 2 * _WINDOW_S) == offset:
            return first + _WINDOW_S, False
        return self._change(first, first + 2 * _WINDOW_S), True

    # -- the zone ----------------------------------------------------------------------------------------------------

    def _offset(self, instant: int) -> int:
        moment = (_EPOCH + timedelta(seconds=instant)).astimezone(self.zone)
        return _whole(moment.utcoffset())

    def _readings(self, local: int) -> tuple[int, int]:
        """The instants of a wall time by the offset before a change and by the one after it; equal where there is
        none. In a gap the second comes first."""
        wall = (_EPOCH + timedelta(seconds=local)).replace(tzinfo=self.zone)
        before, after = wall.utcoffset(), wall.replace(fold=1).utcoffset()
        return local - _whole(before), local - _whole(after)

    def _change(self, low: int, high: int) -> int:
        """The first instant after `low`, up to `high`, that has another offset than `low`; there is one change."""
        offset = self._offset(low)
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) == offset:
                low = middle
            else:
                high = middle
        return high


def _whole(offset: timedelta | None) -> int:
    return 0 if offset is None else int(offset.total_seconds())
