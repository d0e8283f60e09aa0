"""A cron line read field by field: what may stand there, and the one form in which it is handed to croniter.

croniter knows more than we promise, and some of it surprises (`9-9` is every hour there, `R` a random one). So a line
is taken apart here, and put together again from plain lists of numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from taskq.errors import InvalidOption
from taskq.names import shown

_NAMES_OF_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: at for at, name in enumerate(_NAMES_OF_MONTHS, 1)}
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}


class _Kind(NamedTuple):
    name: str
    least: int
    most: int
    names: dict[str, int]


_SECOND: Final = _Kind("second", 0, 59, {})
_KINDS: Final = (
    _Kind("minute", 0, 59, {}),
    _Kind("hour", 0, 23, {}),
    _Kind("day of month", 1, 31, {}),
    _Kind("month", 1, 12, _MONTHS),
    _Kind("day of week", 0, 7, _DAYS),  # 7 is Sunday too
)
_WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_LONGEST: Final = 500
_LENGTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_ITEM = re.compile(r"(?:(\*)|([0-9]{1,4}|[a-z]{3})(?:-([0-9]{1,4}|[a-z]{3}))?)(?:/([0-9]{1,4}))?")
_NTH = re.compile(r"([0-7]|[a-z]{3})#([1-5])|l([0-7])|l([a-z]{3})")


class _Bad(Exception):
    """What is wrong with one field; becomes the error that names the whole line."""


@dataclass(frozen=True, slots=True)
class Fields:
    """A cron line that was understood.

    `canonical` is the same line as croniter is given it. `interval` says that the line goes on around the clock: an
    item of its second, minute or hour field is `*`, `*/n` or `a/n`. Then each real interval counts; else it names
    times of day, each of which comes once a day.
    """

    canonical: str
    interval: bool


def parse(text: object, *, seconds: bool = False) -> Fields:
    """Read a line of five fields, or of six with the seconds first. Raises InvalidOption, which names what is wrong."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise InvalidOption(f"schedule {shown(text)}: give a cron line like '*/5 * * * *'")
    kinds = (_SECOND, *_KINDS) if seconds else _KINDS
    line = text.strip().lower()
    if line.startswith("@"):
        if line not in _WORDS:
            raise InvalidOption(f"schedule {shown(text)}: of such words there are {', '.join(_WORDS)}")
        line = ("0 " if seconds else "") + _WORDS[line]
    parts = line.split()
    if len(parts) != len(kinds):
        names = ", ".join(kind.name for kind in kinds)
        hint = "; for a field of seconds say seconds=True" if len(parts) == 6 and not seconds else ""
        raise InvalidOption(f"schedule {shown(text)} has {len(parts)} fields, not {len(kinds)}: {names}{hint}")
    try:
        return _fields(dict(zip([kind.name for kind in kinds], parts, strict=True)), kinds)
    except _Bad as error:
        raise InvalidOption(f"schedule {shown(text)}: {error}") from None


def _fields(parts: dict[str, str], kinds: tuple[_Kind, ...]) -> Fields:
    lists = {kind.name: _list(parts[kind.name], kind) for kind in kinds}
    days, weekdays = lists["day of month"], lists["day of week"]
    if any(sign in weekdays for sign in "#l") and days != "*":
        raise _Bad("'#' and 'L' of the day of week need '*' as day of month")
    _must_come(days, weekdays, lists["month"])
    clock = [parts[kind.name].split(",") for kind in kinds if kind.name in ("second", "minute", "hour")]
    interval = any(item.startswith("*") or ("/" in item and "-" not in item) for items in clock for item in items)
    return Fields(" ".join(lists[kind.name] for kind in kinds), interval)


def _list(part: str, kind: _Kind) -> str:
    """One field as `*` or as numbers with commas between them."""
    if part in ("*", "*/1") or (part == "?" and kind.name.startswith("day")):
        return "*"
    if kind.name == "day of week" and ("#" in part or part.startswith("l")):
        return _nth(part, kind)
    numbers: set[int] = set()
    last = False
    for item in part.split(","):
        if item == "l" and kind.name == "day of month":
            last = True
        else:
            numbers.update(_numbers(item, kind))
    if kind.name == "day of week":
        numbers = {number % 7 for number in numbers}
    return ",".join([*map(str, sorted(numbers)), *(["l"] if last else [])])


def _numbers(item: str, kind: _Kind) -> range | list[int]:
    found = _ITEM.fullmatch(item)
    if found is None:
        raise _Bad(f"{shown(item)} is no {kind.name}: give a number, a range like 1-5, a step like */5, or a list")
    star, low, high, every = found.groups()
    step = 1 if every is None else int(every)
    most = 6 if star and kind.name == "day of week" else kind.most
    if step < 1 or step > kind.most:
        raise _Bad(f"the step {step} of the {kind.name} is not from 1 to {kind.most}")
    first = kind.least if star else _number(low, kind)
    if high is None:
        return range(first, (most if star or every else first) + 1, step)
    end = _number(high, kind)
    if first <= end:
        return range(first, end + 1, step)
    if every:
        raise _Bad(f"{shown(item)} ends before it begins, and with a step it is not clear how it goes on")
    return [*range(first, most + 1), *range(kind.least, end + 1)]


def _number(text: str, kind: _Kind) -> int:
    number = kind.names.get(text, -1) if text.isalpha() else int(text)
    if kind.least <= number <= kind.most:
        return number
    raise _Bad(f"{shown(text)} is no {kind.name}: those are {kind.least} to {kind.most}")


def _nth(part: str, kind: _Kind) -> str:
    items: list[str] = []
    for item in part.split(","):
        found = _NTH.fullmatch(item)
        if found is None:
            raise _Bad(
                f"{shown(item)}: beside '#' and 'L' a {kind.name} is like 1#2 (second Monday) or L5 (last Friday)"
            )
        day, nth, last, named = found.groups()
        number = _number(day or last or named, kind) % 7
        items.append(f"{number}#{nth}" if day else f"l{number}")
    return ",".join(dict.fromkeys(items))


def _must_come(days: str, weekdays: str, months: str) -> None:
    """A day of the week comes in each month, so only a date by itself can be one that never comes."""
    if weekdays != "*" or days == "*" or "l" in days:
        return
    first = int(days.split(",")[0])
    longest = max(_LENGTHS[int(month) - 1] for month in (months.split(",") if months != "*" else "1"))
    if first > longest:
        raise _Bad("this date never comes")
