"""Values as they are given: shown in an error text, and read as a duration. Below the errors: `Retry` has one."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final

MAX_SECONDS: Final = 10 * 365.25 * 86_400  # ten years: beyond it, milliseconds were meant, or never


def duration(value: object, name: str) -> float:
    """A duration, given in seconds or as a timedelta, as seconds; ValueError for all that cannot be one.

    >>> duration(timedelta(minutes=1), "delay"), duration(2, "delay")
    (60.0, 2.0)
    """
    if isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            result = float(value)
        except OverflowError:
            result = math.inf
    else:
        raise ValueError(f"{name}={shown(value)}: a duration is seconds (int or float) or a timedelta")
    if math.isnan(result):
        raise ValueError(f"{name}={shown(value)} is not a number of seconds")
    if result > MAX_SECONDS:
        raise ValueError(f"{name}={shown(value)}: a duration is at most ten years, in seconds")
    if result < 0:
        raise ValueError(f"{name}={shown(value)}: a duration is not negative")
    return result


def shown(value: object, limit: int = 60) -> str:
    """`repr` of a value for an error text, at most `limit` characters long, and safe for any object.

    >>> shown("x" * 10_000, limit=12)
    "'xxxxxxxx..."
    """
    if isinstance(value, (str, bytes, bytearray)):  # do not build the repr of a megabyte to show sixty characters
        value = value[:limit]
    elif isinstance(value, int) and value.bit_length() > 4 * limit:  # repr refuses ints of more than 4,300 digits
        return f"an int of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 -- a broken __repr__ must not replace the error that is being told
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def count_of(number: int, noun: str) -> str:
    """A number of things, for people.

    >>> count_of(1, "byte"), count_of(2, "byte")
    ('1 byte', '2 bytes')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def a(noun: str) -> str:
    """A noun with its article, by its first letter.

    >>> a("object"), a("Money")
    ('an object', 'a Money')
    """
    return f"an {noun}" if noun[:1].lower() in set("aeio") else f"a {noun}"
