from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskq.rebuild import converter
from taskq.scalars import Unfit, write_duration
from tests.unit.kinds import (
    Access,
    Color,
    Item,
    Level,
    Line,
    Loose,
    Movie,
    Odd,
    Order,
    Place,
    Point,
    Shade,
    StrictItem,
    Tree,
    UserId,
    same,
    through,
)

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])

INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ZONED = st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=30))))
ROUND_TRIPS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "int": (int, INTS),
    "float": (float, FLOATS),
    "bool": (bool, st.booleans()),
    "str": (str, st.text()),
    "None": (None, st.none()),
    "datetime": (datetime, st.datetimes() | ZONED),
    "date": (date, st.dates()),
    "time": (time, st.times()),
    "timedelta": (timedelta, st.timedeltas()),
    "UUID": (UUID, st.uuids()),
    "Decimal": (Decimal, st.decimals(allow_nan=False)),
    "bytes": (bytes, st.binary()),
    "bytearray": (bytearray, st.binary().map(bytearray)),
    "Path": (Path, st.sampled_from([Path("/a/b"), Path("c.txt")])),
    "Enum of str": (Color, st.sampled_from(Color)),
    "IntEnum": (Level, st.sampled_from(Level)),
    "StrEnum": (Shade, st.sampled_from(Shade)),
    "Enum of anything": (Odd, st.sampled_from(Odd)),
    "Flag": (Access, st.sampled_from([Access.READ, Access.READ | Access.WRITE, Access(0)])),
    "list": (list, st.lists(INTS | st.text())),
    "list[int]": (list[int], st.lists(INTS)),
    "list[date]": (list[date], st.lists(st.dates())),
    "set[UUID]": (set[UUID], st.sets(st.uuids())),
    "frozenset[int]": (frozenset[int], st.frozensets(INTS)),
    "Set[str]": (AbstractSet[str], st.sets(st.text())),
    "Sequence[bytes]": (Sequence[bytes], st.lists(st.binary())),
    "tuple": (tuple, st.tuples(INTS, st.text())),
    "tuple[int, ...]": (tuple[int, ...], st.lists(INTS).map(tuple)),
    "tuple[int, date]": (tuple[int, date], st.tuples(INTS, st.dates())),
    "tuple[()]": (tuple[()], st.just(())),
    "dict": (dict, st.dictionaries(st.text(), INTS)),
    "dict[str, Decimal]": (dict[str, Decimal], st.dictionaries(st.text(), st.decimals(allow_nan=False))),
    "dict[int, int]": (dict[int, int], st.dictionaries(INTS, INTS)),
    "dict[UUID, date]": (dict[UUID, date], st.dictionaries(st.uuids(), st.dates())),
    "dict[date, bytes]": (dict[date, bytes], st.dictionaries(st.dates(), st.binary())),
    "dict[Level, int]": (dict[Level, int], st.dictionaries(st.sampled_from(Level), INTS)),
    "dict[Color, int]": (dict[Color, int], st.dictionaries(st.sampled_from(Color), INTS)),
    "dict[Literal]": (dict[Literal[1, 2], int], st.dictionaries(st.sampled_from([1, 2]), INTS)),
    "Mapping[UserId, list[Color]]": (
        Mapping[UserId, list[Color]],
        st.dictionaries(INTS, st.lists(st.sampled_from(Color))),
    ),
    "dataclass": (Point, st.builds(Point, INTS, INTS)),
    "nested dataclass": (
        Order,
        st.builds(
            Order,
            id=st.uuids(),
            lines=st.lists(st.builds(Line, st.text(), st.none() | st.sampled_from(Color))),
            total=st.decimals(allow_nan=False),
            placed=st.none() | st.datetimes(),
            tags=st.sets(st.text()),
        ),
    ),
    "recursive dataclass": (
        Tree,
        st.recursive(
            st.builds(Tree, INTS, st.just([])), lambda inner: st.builds(Tree, INTS, st.lists(inner)), max_leaves=4
        ),
    ),
    "NamedTuple": (Place, st.builds(Place, st.text(), st.dates(), st.text())),
    "TypedDict": (
        Movie,
        st.fixed_dictionaries({"title": st.text(), "released": st.dates()}, optional={"note": st.text()}),
    ),
    "TypedDict total=False": (Loose, st.fixed_dictionaries({"title": st.text()}, optional={"released": st.dates()})),
    "Literal": (Literal["a", 1, True, b"x", Color.RED], st.sampled_from(["a", 1, True, b"x", Color.RED])),
    "Annotated": (Annotated[date, "day"], st.dates()),
    "NewType": (UserId, INTS),
    "Any": (Any, INTS | st.text() | st.lists(FLOATS)),
    "int | None": (int | None, st.none() | INTS),
    "date | None": (date | None, st.none() | st.dates()),
    "int | str | None": (int | str | None, st.none() | INTS | st.text()),
    "int | float": (int | float, INTS | FLOATS),
    "float | bool | str": (float | bool | str, FLOATS | st.booleans() | st.text()),
    "str | UUID": (str | UUID, st.text() | st.uuids() | st.uuids().map(str)),
    "str | date | datetime": (
        str | date | datetime,
        st.dates() | st.datetimes() | st.dates().map(str) | st.datetimes().map(str),
    ),
    "bytes | str": (bytes | str, st.binary() | st.text()),
    "timedelta | int | str": (timedelta | int | str, st.timedeltas() | INTS | st.timedeltas().map(write_duration)),
    "Decimal | float | int": (Decimal | float | int, st.decimals(allow_nan=False) | FLOATS | INTS),
    "Color | Shade | str": (Color | Shade | str, st.sampled_from([Color.RED, Shade.DARK, "red", "dark", "x"])),
    "list[int] | set[int]": (list[int] | set[int], st.lists(INTS) | st.sets(INTS)),
    "tuple | list": (tuple[int, ...] | list[str], st.lists(INTS).map(tuple) | st.lists(st.text())),
    "Point | Line | dict": (
        Point | Line | dict[str, Any],
        st.builds(Point, INTS)
        | st.builds(Line, st.text())
        | st.dictionaries(st.sampled_from(["x", "y", "$is", "of", "article"]), INTS | st.text()),
    ),
    "dict[str, date | None]": (dict[str, date | None], st.dictionaries(st.text(), st.none() | st.dates())),
    "pydantic model": (
        Item,
        st.builds(Item, name=st.text(), price=st.decimals(allow_nan=False, allow_infinity=False, places=2)),
    ),
    "strict pydantic model": (StrictItem, st.builds(StrictItem, when=ZONED, tags=st.sets(st.text()))),
    "list of pydantic or none": (
        list[StrictItem] | None,
        st.none() | st.lists(st.builds(StrictItem, when=ZONED), max_size=2),
    ),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
@FEW
@given(data=st.data())
def test_a_value_comes_back_as_it_was(name: str, data: st.DataObject) -> None:
    annotation, values = ROUND_TRIPS[name]
    value = data.draw(values)
    assert same(through(converter(annotation), value), value)


DECODERS = [made.decode for made in (converter(annotation) for annotation, _ in ROUND_TRIPS.values()) if made.decode]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | INTS | FLOATS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)
@given(JSON_VALUES)
def test_json_that_does_not_fit_ends_in_no_other_error(value: Any) -> None:
    misfits = 0
    for decode in DECODERS:
        try:
            decode(value)
        except Unfit as error:
            misfits += 1
            error.text("it")
    assert misfits > 0
