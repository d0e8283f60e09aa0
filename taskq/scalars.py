"""Single values that JSON lacks, as JSON and back; and what a converter is.

| type | as JSON |
| --- | --- |
| datetime, date, time | ISO 8601 text; a zone comes back as its offset, the moment is the same |
| timedelta | ISO 8601 duration, exact to the microsecond (`PT90.5S`); numbers are read as seconds |
| UUID, Path | text |
| Decimal | text, every digit kept; numbers are read too |
| Enum | the value when all values are str, or all are int; else the name |
| bytes, bytearray | base64 text |
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath, PurePosixPath
from types import NoneType
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from taskq.codec import path
from taskq.names import shown

Convert: TypeAlias = Callable[[Any], Any]
NONE_OF_THEM: Final[frozenset[type]] = frozenset()


class Unfit(Exception):
    """A value does not fit an annotation; `steps` grows on the way up to the parameter."""

    def __init__(self, value: object, expected: str, why: str = "") -> None:
        super().__init__(value, expected, why)
        self.value = value
        self.expected = expected
        self.why = why
        self.steps: list[str | int] = []

    def under(self, step: str | int) -> Unfit:
        """This error as seen from one level up."""
        self.steps.append(step)
        return self

    def text(self, root: str) -> str:
        """Where, what, and why not, for an error text."""
        what = f"{shown(self.value)} ({type(self.value).__name__}) does not fit {self.expected}"
        return f"{path(root, self.steps[::-1])}: {what}" + (f": {self.why}" if self.why else "")


@dataclass(frozen=True, slots=True)
class Converter:
    """How values of one annotation go to JSON values and back.

    `encode` and `decode` are None where nothing is to be done or checked (Any), and raise `Unfit`. Values whose exact
    type is in `kept` are what `encode` leaves as it is, those in `given` what `decode` does: callers may skip the call.
    """

    name: str
    encode: Convert | None = None
    decode: Convert | None = None
    kept: frozenset[type] = NONE_OF_THEM
    given: frozenset[type] = NONE_OF_THEM
    kinds: frozenset[type] = NONE_OF_THEM  # the exact types that are meant: they decide first in a union
    key: Literal["text", "int", ""] = ""  # how it is written as a key of a dict; empty: it cannot be one
    rank: int = 0  # in a union, JSON that came without a tag is tried on the lowest rank first


def leaf(
    kind: type,
    write: Convert,
    read: Convert,
    *,
    takes: Sequence[type] = (str,),
    but: tuple[type, ...] = (),
    key: Literal["text", "int", ""] = "text",
    rank: int = 0,
) -> Converter:
    """A converter of one class: `write` makes a JSON value of one of the types `takes`, and `read` the value again.

    `but` are subclasses that are another thing.
    """
    name = kind.__name__

    def encode(value: Any) -> Any:
        if not isinstance(value, kind) or isinstance(value, but):
            raise Unfit(value, name)
        try:
            return write(value)
        except (ValueError, ArithmeticError) as error:
            raise Unfit(value, name, str(error)) from error

    def decode(value: Any) -> Any:
        if type(value) not in takes:
            raise Unfit(value, name)
        try:
            return read(value)
        except (ValueError, ArithmeticError) as error:
            raise Unfit(value, name, str(error)) from error

    return Converter(name, encode, decode, kinds=frozenset({kind}), key=key, rank=rank)


def atom(kind: type, write: Convert, *, kept: Sequence[type], **options: Any) -> Converter:
    """A converter of a type that JSON has; subclasses are written as what they are made of."""
    name = kind.__name__
    accepted = tuple(kept)

    def encode(value: Any) -> Any:
        if type(value) in accepted:
            return value
        if isinstance(value, kind):
            return write(value)
        raise Unfit(value, name)

    def decode(value: Any) -> Any:
        if type(value) is kind:
            return value
        if type(value) in accepted:
            return kind(value) if kind is float else value
        raise Unfit(value, name)

    given = frozenset({kind}) if kind is float else frozenset(kept)
    return Converter(name, encode, decode, frozenset(kept), given, frozenset({kind}), **options)


def enum_converter(kind: type[Enum]) -> Converter:
    """A converter of an Enum: by value when all values are str or all int, else by name.

    >>> from enum import Flag
    >>> class Access(Flag):
    ...     READ = 1
    ...     WRITE = 2
    >>> enum_converter(Access).encode(Access.READ | Access.WRITE)
    3
    """
    types = {type(member.value) for member in kind}
    if types == {int}:
        return leaf(kind, lambda member: member.value, kind, takes=(int,), key="int")
    if types == {str}:
        return leaf(kind, lambda member: member.value, kind)

    def by_name(name: str) -> Enum:
        try:
            return kind[name]
        except KeyError:
            raise ValueError(f"it has no member {name!r}") from None

    return leaf(kind, lambda member: member.name, by_name)


def write_duration(value: timedelta) -> str:
    """An ISO 8601 duration in seconds, exact.

    >>> write_duration(timedelta(days=1, microseconds=5)), write_duration(-timedelta(seconds=90))
    ('PT86400.000005S', '-PT90S')
    """
    whole = value // timedelta(microseconds=1)
    full, rest = divmod(abs(whole), 1_000_000)
    fraction = f".{rest:06}".rstrip("0") if rest else ""
    return f"{'-' if whole < 0 else ''}PT{full}{fraction}S"


_DURATION = re.compile(
    r"(-?)P(?=[\dT])(?:(\d{1,12})D)?(?:T(?=\d)(?:(\d{1,12})H)?(?:(\d{1,12})M)?(?:(\d{1,15})(?:\.(\d{1,6}))?S)?)?",
    re.ASCII,
)


def read_duration(value: str | float) -> timedelta:
    """The inverse; days, hours and minutes are read too, and numbers are seconds.

    >>> read_duration("P1DT1H"), read_duration(1.5)
    (datetime.timedelta(days=1, seconds=3600), datetime.timedelta(seconds=1, microseconds=500000))
    """
    if not isinstance(value, str):
        return timedelta(seconds=value)
    found = _DURATION.fullmatch(value)
    if not found:
        raise ValueError("it is not an ISO 8601 duration like PT90S")
    sign, days, hours, minutes, full, fraction = found.groups()
    span = timedelta(days=int(days or 0), hours=int(hours or 0), minutes=int(minutes or 0), seconds=int(full or 0))
    span += timedelta(microseconds=int((fraction or "").ljust(6, "0")))
    return -span if sign else span


def _write_time(value: time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise ValueError("the offset of its zone depends on the date; use a datetime, or a time without zone")
    return value.isoformat()


def _read_datetime(value: str) -> datetime:
    if len(value) <= 10:  # fromisoformat would take a bare date
        raise ValueError("it has no time")
    return datetime.fromisoformat(value)


def _read_decimal(value: str | float) -> Decimal:
    return Decimal(str(value))


def _read_bytes(value: str) -> bytes:
    return base64.b64decode(value, validate=True)


def _write_bytes(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode("ascii")


ANY: Final = Converter("Any", rank=9)
NONE: Final = atom(NoneType, lambda value: value, kept=(NoneType,))

SCALARS: Final[dict[Any, Converter]] = {
    str: atom(str, str.__str__, kept=(str,), key="text", rank=8),
    int: atom(int, int.__int__, kept=(int, bool), key="int"),
    float: atom(float, lambda value: float.__float__(value), kept=(float, int, bool), rank=6),
    bool: atom(bool, lambda value: value, kept=(bool,), rank=-1),
    NoneType: NONE,
    None: NONE,
    datetime: leaf(datetime, datetime.isoformat, _read_datetime),
    date: leaf(date, date.isoformat, date.fromisoformat, but=(datetime,)),
    time: leaf(time, _write_time, time.fromisoformat),
    timedelta: leaf(timedelta, write_duration, read_duration, takes=(str, int, float), rank=7),
    UUID: leaf(UUID, str, UUID),
    Decimal: leaf(Decimal, str, _read_decimal, takes=(str, int, float), rank=7),
    bytes: leaf(bytes, _write_bytes, _read_bytes),
    bytearray: leaf(bytearray, _write_bytes, lambda text: bytearray(_read_bytes(text)), key=""),
    Path: leaf(Path, str, Path),
    PurePath: leaf(PurePath, str, PurePath),
    PurePosixPath: leaf(PurePosixPath, str, PurePosixPath),
}
