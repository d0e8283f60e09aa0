"""Types of every kind that tasks are annotated with, and the way of a value there and back."""

from __future__ import annotations

import dataclasses
import enum
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple, NewType, NotRequired, Required, TypedDict
from uuid import UUID

import orjson
import pydantic

from taskq.codec import JSON
from taskq.scalars import Converter


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Shade(enum.StrEnum):
    DARK = "dark"


class Odd(enum.Enum):
    PAIR = (1, 2)
    TEXT = "text"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


UserId = NewType("UserId", int)


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = 0


@dataclasses.dataclass
class Order:
    id: UUID
    lines: list[Line]
    total: Decimal
    placed: datetime | None = None
    tags: set[str] = dataclasses.field(default_factory=set[str])
    count: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        self.count = len(self.lines)


@dataclasses.dataclass
class Line:
    article: str
    color: Color | None = None


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree]


@dataclasses.dataclass
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("it is negative")


class Place(NamedTuple):
    name: str
    at: date
    note: str = ""


class Movie(TypedDict):
    title: str
    released: date
    note: NotRequired[str]


class Loose(TypedDict, total=False):
    title: Required[str]
    released: date


class Item(pydantic.BaseModel):
    name: str = pydantic.Field(alias="itemName")
    price: Decimal
    when: datetime | None = None
    model_config = pydantic.ConfigDict(populate_by_name=True)


class StrictItem(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    when: datetime
    tags: set[str]


def through(made: Converter, value: Any) -> Any:
    """A value on its whole way: encoded, stored by the strict codec, read, decoded."""
    raw = value if made.encode is None else made.encode(value)
    if made.encode and type(value) in made.kept:
        assert raw == value
    back = orjson.loads(JSON.dumps(raw))
    result = back if made.decode is None else made.decode(back)
    if type(back) in made.given:
        assert result == back
    return result


def same(one: Any, other: Any) -> bool:
    """Equal in type too, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        keys = {(type(key), key) for key in one} == {(type(key), key) for key in other}
        return keys and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (set, frozenset)):
        return bool(one == other) and {*map(type, one)} == {*map(type, other)}
    if isinstance(one, Decimal):
        return str(one) == str(other)
    return bool(one == other)
