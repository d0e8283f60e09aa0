"""The slots of cron lines counted out minute by minute, to hold `taskq.cron` against; nothing of it is used here.

python -m tests.cron_oracle            every zone whose clock changes in 2024 to 2030, every line: a long run
python -m tests.cron_oracle --share 3/8   one part of the zones, for several processes

A line that names times of day has a slot in the first minute at which the wall clock has come to, or jumped past, such
a time that it never showed before. Any other line has one in each minute whose wall time fits.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from time import monotonic
from zoneinfo import ZoneInfo, available_timezones

from taskq.cron import cron, slots

FROM, UNTIL = datetime(2024, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)

TIMES_OF_DAY = (
    "30 2 * * *",
    "0 2 * * *",
    "15 2 * * 0",
    "0 3 * * *",
    "0 0 * * *",
    "30 0 * * *",
    "45 23 * * *",
    "59 1 * * *",
    "0 1,2,3 * * *",
    "5,35 2 * * *",
    "0-59 2 * * *",
    "0-50/10 0-3 * * *",
    "30 1-4 * * *",
    "0 9-17 * * 1-5",
    "0 9-17/4 * * mon-fri",
    "0 22-3 * * *",
    "0 2 1 * *",
    "30 2 29 2 *",
    "0 0 31 12 *",
    "30 2 28-31 3 *",
    "30 2 25-31 10 7",
    "0 4 13 * 5",
    "30 1 * 3,10,11 *",
    "0 6 * 4-9 sat-sun",
    "30 2 L * *",
    "0 2 1,15,L * *",
    "30 2 * * sun#1",
    "30 2 * 3,10 L0",
    "0 3 * * 1#2,3#4",
    "0 2 * nov-feb *",
    "@daily",
    "@monthly",
)
AROUND_THE_CLOCK = (
    "* * * * *",
    "*/5 * * * *",
    "*/7 * * * *",
    "7/20 * * * *",
    "30 * * * *",
    "0 */2 * * *",
    "*/30 2 * * *",
    "* 2 * * 0",
    "*/15 1-3 * * *",
    "20 */5 */2 * *",
    "0 3/6 * 3,10 *",
    "*/20 2 29-31 3 *",
    "*/30 2 * 10 L0",
    "10,40 * 1-7 * 1",
    "*/10 0 1 1 *",
    "@hourly",
)
LINES = TIMES_OF_DAY + AROUND_THE_CLOCK
DENSE = frozenset(("* * * * *", "*/5 * * * *", "*/7 * * * *", "0-59 2 * * *"))

_WORDS = {"@daily": "0 0 * * *", "@monthly": "0 0 1 * *", "@hourly": "0 * * * *"}
_NAMES = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6, "feb": 2, "nov": 11}


@dataclass(frozen=True)
class Line:
    """A line by what it asks of a minute."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: str
    months: frozenset[int]
    weekdays: str

    def has_day(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_date, by_weekday = self._date(day), self._weekday(day)
        if self.days == "*":
            return by_weekday
        return by_date if self.weekdays == "*" else by_date or by_weekday

    def _date(self, day: date) -> bool:
        last = (day + timedelta(days=1)).day == 1
        return any(last if part == "L" else day.day in _values(part, 1, 31) for part in self.days.split(","))

    def _weekday(self, day: date) -> bool:
        mine = day.isoweekday() % 7
        for part in self.weekdays.split(","):
            if part.startswith("L"):
                if mine == int(part[1:]) and (day + timedelta(days=7)).month != day.month:
                    return True
            elif "#" in part:
                which, nth = part.split("#")
                if mine == _value(which) and (day.day - 1) // 7 + 1 == int(nth):
                    return True
            elif mine in {one % 7 for one in _values(part, 0, 6)}:
                return True
        return False


def _value(text: str) -> int:
    return _NAMES[text] if text in _NAMES else int(text)


def _values(part: str, least: int, most: int) -> set[int]:
    base, _, step = part.partition("/")
    if base == "*":
        low, high = least, most
    elif "-" in base:
        low, high = (_value(text) for text in base.split("-"))
    else:
        low, high = _value(base), most if step else _value(base)
    if high < low:
        return {one for one in range(least, most + 1) if one >= low or one <= high}
    return set(range(low, high + 1, int(step or 1)))


def _field(text: str, least: int, most: int) -> frozenset[int]:
    return frozenset(one for part in text.split(",") for one in _values(part, least, most))


@cache
def line(text: str) -> Line:
    minute, hour, day, month, weekday = _WORDS.get(text, text).split()
    return Line(text, _field(minute, 0, 59), _field(hour, 0, 23), day, _field(month, 1, 12), weekday)


@cache
def _at(minute_of_day: int, lines: tuple[str, ...]) -> tuple[Line, ...]:
    """The lines that have this minute of the day, whatever the day."""
    hour, minute = divmod(minute_of_day, 60)
    return tuple(one for one in map(line, lines) if hour in one.hours and minute in one.minutes)


@cache
def _on(text: str, day: int) -> bool:
    return line(text).has_day(date.fromordinal(day))


def count(zone: ZoneInfo, start: datetime, end: datetime, lines: tuple[str, ...]) -> dict[str, list[int]]:
    """The slots of each line from `start` on and before `end`, in milliseconds."""
    found: dict[str, list[int]] = {text: [] for text in lines}
    daily = tuple(text for text in lines if text in TIMES_OF_DAY)
    steady = tuple(text for text in lines if text not in TIMES_OF_DAY)
    shown = _wall(zone, start - timedelta(minutes=1))
    moment = start
    while moment < end:
        wall = _wall(zone, moment)
        now = round(moment.timestamp() * 1000)
        day, minute = divmod(wall, 1440)
        for one in _at(minute, steady):
            if _on(one.text, day):
                found[one.text].append(now)
        for passed in range(shown + 1, wall + 1):
            day, minute = divmod(passed, 1440)
            for one in _at(minute, daily):
                if _on(one.text, day) and found[one.text][-1:] != [now]:
                    found[one.text].append(now)
        shown = max(shown, wall)
        moment += timedelta(minutes=1)
    return found


def _wall(zone: ZoneInfo, moment: datetime) -> int:
    """What the clock on the wall shows, in minutes since the beginning of the calendar."""
    local = moment.astimezone(zone)
    return local.toordinal() * 1440 + local.hour * 60 + local.minute


# -- zones -------------------------------------------------------------------------------------------------------------


def changes(zone: ZoneInfo) -> tuple[tuple[datetime, timedelta, timedelta], ...]:
    """Each change of its clock in the years looked at: when, from which offset, to which."""
    found = []
    before, step = FROM, timedelta(days=7)  # no clock changes twice within a week
    while before < UNTIL:
        after = before + step
        old, new = _offset(zone, before), _offset(zone, after)
        if old != new:
            low, high = before, after
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) // 2
                middle -= timedelta(seconds=middle.second, microseconds=middle.microsecond)
                low, high = (middle, high) if _offset(zone, middle) == old else (low, middle)
            found.append((high, old, new))
        before = after
    return tuple(found)


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def classes() -> list[tuple[list[str], tuple[tuple[datetime, timedelta, timedelta], ...]]]:
    """All zones whose clock changes in these years; those that always change together are one class."""
    same: dict[tuple[tuple[datetime, timedelta, timedelta], ...], list[str]] = {}
    for name in sorted(available_timezones()):
        if found := changes(ZoneInfo(name)):
            same.setdefault(found, []).append(name)
    return sorted((names, found) for found, names in same.items())


# -- comparing ---------------------------------------------------------------------------------------------------------


def compare(name: str, start: datetime, end: datetime, lines: tuple[str, ...]) -> tuple[int, list[str]]:
    """How many slots were compared, and where the two differ."""
    compared, wrong = 0, []
    first, last = round(start.timestamp() * 1000) - 1, round(end.timestamp() * 1000) - 1
    for text, expected in count(ZoneInfo(name), start, end, lines).items():
        got = slots(cron(text, name), first, last, len(expected) + 5)
        compared += len(expected) + 1  # that no more come is a comparison too
        if got != expected:
            odd = sorted(set(got) ^ set(expected))[:3]
            wrong.append(f"{text} in {name}, {start} to {end}: differs at {[_said(at) for at in odd]}")
    return compared, wrong


def _said(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M}"


def windows(found: Sequence[tuple[datetime, timedelta, timedelta]], hours: int) -> Iterator[tuple[datetime, datetime]]:
    for moment, _, _ in found:
        yield moment - timedelta(hours=hours), moment + timedelta(hours=hours)


def main(args: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", default="0/1", help="which part of the zones, like 0/2 and 1/2")
    part, parts = map(int, parser.parse_args(args).share.split("/"))
    began, total, bad, mine = monotonic(), 0, 0, classes()[part::parts]
    sparse = tuple(text for text in LINES if text not in DENSE)
    for names, found in mine:
        runs = [(FROM, UNTIL, sparse), *((*window, tuple(DENSE)) for window in windows(found, 12))]
        for start, end, lines in runs:
            compared, wrong = compare(names[0], start, end, lines)
            total, bad = total + compared, bad + len(wrong)
            for text in wrong:
                print("DIFFERS", text)
        print(f"{monotonic() - began:6.0f} s  {total:>10,} slots  {names[0]} and {len(names) - 1} like it", flush=True)
    zones = sum(len(names) for names, _ in mine)
    print(f"{total:,} slots of {len(LINES)} lines in {len(mine)} classes of {zones} zones; {bad} differ")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
