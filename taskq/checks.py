"""Checks of single values given as options: each returns the one form that is kept, or raises `InvalidOption`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from inspect import signature
from typing import Any, Literal, TypeAlias
from uuid import UUID

from taskq.errors import ConfigError, InvalidOption
from taskq.values import duration, shown

Delivery: TypeAlias = Literal["at_least_once", "at_most_once"]
Duration: TypeAlias = float | timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_EPOCH_SECONDS = 4_102_444_800  # 2100-01-01: a later one was given in milliseconds


def seconds(value: object, name: str) -> float:
    """A duration, given in seconds or as a timedelta, as seconds; `InvalidOption` for all that cannot be one.

    >>> seconds(timedelta(minutes=1), "delay"), seconds(2, "delay")
    (60.0, 2.0)
    >>> seconds(-1, "delay")
    Traceback (most recent call last):
    taskq.errors.InvalidOption: delay=-1: a duration is not negative
    """
    try:
        return duration(value, name)
    except ValueError as error:
        raise InvalidOption(str(error)) from None


def when(at: object, name: str = "at") -> int:
    """A moment, given as an aware datetime or in seconds since 1970, as milliseconds since 1970.

    A moment in the past is allowed and means now. Naive datetimes are refused: they name no moment.

    >>> when(datetime(2026, 1, 1, tzinfo=UTC)), when(1.5)
    (1767225600000, 1500)
    >>> when(datetime(2026, 1, 1))
    Traceback (most recent call last):
    taskq.errors.InvalidOption: at=datetime.datetime(2026, 1, 1, 0, 0) has no time zone: add tzinfo=, or ...
    """
    if isinstance(at, datetime):
        if at.utcoffset() is None:
            raise InvalidOption(f"{name}={shown(at)} has no time zone: add tzinfo=, or .astimezone() for local time")
        moment = (at - _EPOCH) / timedelta(seconds=1)
    elif isinstance(at, (int, float)) and not isinstance(at, bool):
        moment = at
    else:
        raise InvalidOption(f"{name}={shown(at)}: give an aware datetime, or seconds since 1970")
    if not 0 <= moment <= _MAX_EPOCH_SECONDS:  # also false for NaN
        raise InvalidOption(f"{name}={shown(at)} is outside the years 1970 to 2100; numbers are seconds since 1970")
    return round(moment * 1_000)


def is_text(value: object) -> bool:
    """Whether this is a text that is not empty and that UTF-8 can carry (half a surrogate pair it cannot)."""
    return isinstance(value, str) and value != "" and not any("\ud800" <= sign <= "\udfff" for sign in value)


def whole(value: object, name: str, least: int, most: int) -> int:
    """A whole number between `least` and `most`; bools are not numbers here."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidOption(f"{name}={shown(value)}: give a whole number from {least} to {most}")
    return value


def exceptions(value: object, name: str) -> tuple[type[BaseException], ...]:
    """Exception classes as a tuple."""
    classes: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
    for item in classes:
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            raise InvalidOption(f"{name}={shown(value)}: give exception classes, one or a tuple of them")
    return classes


def limit(value: object, name: str) -> float | None:
    """A time limit in seconds, None for none."""
    limit = None if value is None else seconds(value, name)
    if limit == 0:
        raise InvalidOption(f"{name}={shown(value)} leaves no time to run; None is 'no limit'")
    return limit


def expires(value: object, name: str) -> float | int | None:
    """Seconds after enqueueing (float), or a moment in ms since 1970 (int)."""
    if value is None or not isinstance(value, datetime):
        return limit(value, name)
    return when(value, name)


def message_id(value: object, name: str) -> str | None:
    """An id as text: a UUID, or any text that names the message."""
    return str(value) if isinstance(value, UUID) else unique_key(value, name)


def unique_key(value: object, name: str) -> str | None:
    """The text of a unique key."""
    if value is None or (isinstance(value, str) and is_text(value) and len(value.encode()) <= 512):
        return value
    raise InvalidOption(f"{name}={shown(value)}: give a text of 1 to 512 bytes")


def delivery(value: object, name: str) -> Delivery:
    """A delivery mode."""
    if value == "at_least_once":
        return "at_least_once"
    if value == "at_most_once":
        return "at_most_once"
    raise InvalidOption(f"{name}={shown(value)}: give 'at_least_once' or 'at_most_once'")


def takes(function: Callable[..., Any], what: str, *given: str) -> None:
    """Check that a function can be called with these arguments by position; ConfigError names both.

    What says nothing of its parameters, as some functions of C do, is let through.

    >>> takes(lambda: None, "on_dead hook", "incident")
    Traceback (most recent call last):
    taskq.errors.ConfigError: on_dead hook <lambda>() is called as <lambda>(incident): give it these parameters
    """
    try:
        own = signature(function, follow_wrapped=False)  # a decorator may give what is inside it other arguments
    except (TypeError, ValueError):
        return
    try:
        own.bind(*given)
    except TypeError:
        name = getattr(function, "__qualname__", None) or type(function).__qualname__
        wanted = "these parameters" if given else "no parameters"
        raise ConfigError(
            f"{what} {name}({', '.join(own.parameters)}) is called as {name}({', '.join(given)}): give it {wanted}"
        ) from None


def function_of(value: object, name: str, *given: str) -> None:
    """Check that an option is a function of these arguments."""
    if not callable(value):
        raise InvalidOption(f"{name}={shown(value)}: give a function of a {given[0]}")
    takes(value, name, *given)
