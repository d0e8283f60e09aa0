from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Any, Literal, TypeVar, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest

from taskq.errors import ConfigError
from taskq.rebuild import converter, register
from taskq.scalars import Unfit, read_duration
from tests.unit.kinds import Color, Item, Level, Line, Movie, Odd, Order, Place, Point, Positive, Shade, same, through

T = TypeVar("T")


@pytest.mark.parametrize(
    "annotation", [int, str, bool, float, int | None, int | str, list, dict, dict[str, Any], list[Any]]
)
def test_plain_types_need_no_step(annotation: Any) -> None:
    assert converter(annotation).kept


def test_any_and_object_have_no_converters() -> None:
    for annotation in (Any, object, T):
        made = converter(annotation)
        assert made.encode is None
        assert made.decode is None


MISFITS: list[tuple[Any, Any]] = [
    (int, "1"),
    (int, 1.0),
    (int, None),
    (str, 1),
    (str, b"x"),
    (bool, 1),
    (float, "1"),
    (float, Decimal(1)),
    (None, 0),
    (datetime, date(2026, 1, 1)),
    (date, datetime(2026, 1, 1, tzinfo=UTC)),
    (datetime, "2026-01-01T00:00:00"),
    (UUID, "x"),
    (time, time(1, tzinfo=ZoneInfo("Europe/Berlin"))),
    (Decimal, 1),
    (bytes, "x"),
    (Color, "red"),
    (Color, Shade.DARK),
    (Level, 1),
    (list[int], (1,)),
    (list[int], ["1"]),
    (set[int], [1]),
    (tuple[int, ...], [1]),
    (tuple[int, str], (1,)),
    (tuple[int], (1, 2)),
    (Sequence[str], "abc"),
    (Iterable[int], b"abc"),
    (dict[str, int], [("a", 1)]),
    (dict[int, int], {"1": 1}),
    (dict[str, int], {"a": "b"}),
    (Point, {"x": 1}),
    (Point, Point(cast("Any", "1"))),
    (Place, ("a", date(2026, 1, 1))),
    (Movie, {"title": "a"}),
    (Movie, {"title": "a", "released": date(2026, 1, 1), "x": 1}),
    (Literal["a", 1], True),
    (Literal["a"], "b"),
    (int | str, 1.5),
    (int | None, "1"),
    (str | UUID, 5),
    (Item, {"name": "x"}),
    (Mapping[str, int], 5),
]


@pytest.mark.parametrize(("annotation", "value"), MISFITS, ids=range(len(MISFITS)))
def test_a_value_that_does_not_fit_is_refused_when_encoding(annotation: Any, value: Any) -> None:
    encode = converter(annotation).encode
    assert encode is not None
    with pytest.raises(Unfit):
        encode(value)


BAD_JSON: list[tuple[Any, Any]] = [
    (int, "1"),
    (int, 1.5),
    (float, "x"),
    (str, 1),
    (bool, 1),
    (datetime, "x"),
    (datetime, "2026-01-01"),
    (datetime, 5),
    (date, "2026-13-01"),
    (time, "25:00"),
    (timedelta, "5 minutes"),
    (timedelta, "PT"),
    (timedelta, "P"),
    (timedelta, 1e300),
    (UUID, "x"),
    (Decimal, "x"),
    (Decimal, True),
    (bytes, "*"),
    (bytes, "é"),
    (Color, "green"),
    (Level, 9),
    (Level, True),
    (Odd, "NONE"),
    (list[int], {}),
    (list[int], ["x"]),
    (tuple[int, int], [1]),
    (set[list[int]], [[1]]),
    (dict[int, int], {"01": 1}),
    (dict[int, int], {" 1": 1}),
    (dict[UUID, int], {"x": 1}),
    (dict[Level, int], {"9": 1}),
    (Point, {}),
    (Point, {"x": 1, "z": 1}),
    (Point, [1]),
    (Positive, {"value": -1}),
    (Place, {"name": "a"}),
    (Movie, {"title": "a", "released": "x"}),
    (Literal["a", 1], True),
    (int | str, 1.5),
    (str | UUID, {"$is": "Point", "of": 1}),
    (Item, {"price": "1"}),
    (Item, "x"),
    (None, 0),
]


@pytest.mark.parametrize(("annotation", "value"), BAD_JSON, ids=range(len(BAD_JSON)))
def test_json_that_does_not_fit_is_refused_when_decoding(annotation: Any, value: Any) -> None:
    decode = converter(annotation).decode
    assert decode is not None
    with pytest.raises(Unfit):
        decode(value)


def test_the_place_inside_a_value_is_told() -> None:
    encode = converter(dict[str, list[Order]]).encode
    order = Order(UUID(int=1), [Line("a"), Line(5)], Decimal(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert encode is not None
    with pytest.raises(Unfit) as caught:
        encode({"new": [order]})
    assert caught.value.text("orders") == "orders.new[0].lines[1].article: 5 (int) does not fit str"


def test_the_member_of_a_union_that_was_meant_tells_what_is_wrong() -> None:
    encode = converter(Point | Line).encode
    assert encode is not None
    with pytest.raises(Unfit) as caught:
        encode(Line(5))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert caught.value.text("it") == "it.article: 5 (int) does not fit str"


def test_subclasses_of_plain_types_arrive_plain() -> None:
    assert same(through(converter(str), Shade.DARK), "dark")
    assert same(through(converter(int), Level.HIGH), 2)
    assert same(through(converter(float), 1), 1.0)
    assert same(through(converter(int), True), True)


def test_a_subclass_of_a_record_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Point3(Point):
        z: int = 0

    encode = converter(Point).encode
    assert encode is not None
    with pytest.raises(Unfit, match="come back as its base"):
        encode(Point3(1))


def test_iterables_are_taken_and_arrive_as_lists() -> None:
    assert through(converter(Iterable[int]), (n for n in (1, 2))) == [1, 2]
    assert through(converter(Sequence[date]), (date(2026, 1, 1),)) == [date(2026, 1, 1)]


def test_a_zone_comes_back_as_its_offset_and_the_moment_stays() -> None:
    berlin = datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    back = through(converter(datetime), berlin)
    assert back == berlin
    assert back.utcoffset() == timedelta(hours=2)


def test_a_tag_is_only_sent_where_it_is_needed() -> None:
    encode = converter(str | UUID).encode
    assert encode is not None
    assert encode("plain") == "plain"
    assert encode(UUID(int=1)) == "00000000-0000-0000-0000-000000000001"
    assert encode("00000000-0000-0000-0000-000000000001") == {
        "$is": "str",
        "of": "00000000-0000-0000-0000-000000000001",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [("PT90S", 90), ("PT1M30S", 90), ("P1D", 86_400), ("P1DT1H", 90_000), ("-PT0.5S", -0.5), (90, 90), (0.5, 0.5)],
)
def test_durations_are_read_as_other_producers_write_them(text: Any, expected: float) -> None:
    assert read_duration(text) == timedelta(seconds=expected)


def test_numbers_are_read_as_decimals() -> None:
    decode = converter(Decimal).decode
    assert decode is not None
    assert same(decode(0.1), Decimal("0.1"))
    assert same(decode(5), Decimal(5))


class Plain:
    pass


@dataclasses.dataclass
class NeedsMore:
    x: int
    more: dataclasses.InitVar[int]


@dataclasses.dataclass
class Unknown:
    x: Missing  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Plain, "Plain"),
        (complex, "complex"),
        (list[Plain], "Plain"),
        (int | Plain, "Plain"),
        (type[int], "type"),
        (dict[float, int], "cannot be a key"),
        (dict[tuple[int, int], int], "cannot be a key"),
        (dict[int | str, int], "cannot be a key"),
        (NeedsMore, "'more'"),
        (Unknown, "Missing"),
        ("Later", "Later"),
    ],
)
def test_what_cannot_be_rebuilt_is_refused_when_the_task_is_registered(annotation: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        converter(annotation)


def test_a_class_can_be_taught() -> None:
    register(IPv4Address, str, IPv4Address)
    address = IPv4Address("10.0.0.1")
    assert through(converter(dict[IPv4Address, IPv4Address | None]), {address: address}) == {address: address}
    decode = converter(IPv4Address).decode
    assert decode is not None
    with pytest.raises(Unfit):
        decode("10.0.0.300")


def test_pydantic_fields_travel_by_name_and_computed_ones_stay() -> None:
    class Priced(pydantic.BaseModel):
        net: int = pydantic.Field(alias="netPrice")

        @pydantic.computed_field  # type: ignore[prop-decorator]
        @property
        def gross(self) -> int:
            return self.net * 2

    made = converter(Priced)
    assert made.encode is not None
    priced = Priced(netPrice=5)
    assert made.encode(priced) == {"net": 5}
    assert through(made, priced) == priced
