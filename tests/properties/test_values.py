"""Values of annotations that are drawn: from `enqueue` through a task to `result` they stay what they were."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import reduce
from operator import or_
from types import FunctionType, GenericAlias
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from taskq import ConfigError, InvalidArguments, TaskQ
from taskq.errors import SerializationError
from taskq.testing import memory
from tests.properties.profile import few, seeded
from tests.unit.kinds import Color, Level, Point, Shade, same


class Typed(NamedTuple):
    """An annotation, and what its values are drawn from."""

    annotation: Any
    values: st.SearchStrategy[Any]


WHOLE = st.integers(-(2**63), 2**63 - 1)
DECIMALS = st.decimals(allow_nan=False)
KEYS = [
    Typed(str, st.text()),
    Typed(int, WHOLE),
    Typed(date, st.dates()),
    Typed(UUID, st.uuids()),
    Typed(Level, st.sampled_from(Level)),
]
LEAVES = [
    *KEYS,
    Typed(bool, st.booleans()),
    Typed(float, st.floats(allow_nan=False, allow_infinity=False)),
    Typed(datetime, st.datetimes()),
    Typed(timedelta, st.timedeltas()),
    Typed(Decimal, DECIMALS),
    Typed(bytes, st.binary()),
    Typed(Color, st.sampled_from(Color)),
    Typed(Shade, st.sampled_from(Shade)),
    Typed(Point, st.builds(Point, WHOLE, WHOLE)),
]
FIELDS = ("one", "two", "three")


def wrapped(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Types made of others."""
    few_of = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        inner.map(lambda one: Typed(GenericAlias(list, one.annotation), st.lists(one.values, max_size=3))),
        st.sampled_from(LEAVES).map(
            lambda one: Typed(GenericAlias(set, one.annotation), st.sets(one.values, max_size=3))
        ),
        few_of.map(
            lambda some: Typed(GenericAlias(tuple, tuple(one.annotation for one in some)), st.tuples(*_values(some)))
        ),
        inner.map(
            lambda one: Typed(GenericAlias(tuple, (one.annotation, ...)), st.lists(one.values, max_size=3).map(tuple))
        ),
        st.tuples(st.sampled_from(KEYS), inner).map(
            lambda pair: Typed(
                GenericAlias(dict, (pair[0].annotation, pair[1].annotation)),
                st.dictionaries(pair[0].values, pair[1].values, max_size=3),
            )
        ),
        inner.map(lambda one: Typed(one.annotation | None, st.none() | one.values)),
        few_of.map(lambda some: Typed(reduce(or_, (one.annotation for one in some)), st.one_of(_values(some)))),
        few_of.map(_dataclass),
        few_of.map(_typed_dict),
    )


def _values(some: list[Typed]) -> list[st.SearchStrategy[Any]]:
    return [one.values for one in some]


def _dataclass(some: list[Typed]) -> Typed:
    named = list(zip(FIELDS, some, strict=False))
    made = dataclasses.make_dataclass("Made", [(name, one.annotation) for name, one in named])
    return Typed(made, st.builds(made, **{name: one.values for name, one in named}))


def _typed_dict(some: list[Typed]) -> Typed:
    named = dict(zip(FIELDS, some, strict=False))
    made = TypedDict("Made", {name: one.annotation for name, one in named.items()})  # type: ignore[misc]
    return Typed(made, st.fixed_dictionaries({name: one.values for name, one in named.items()}))


TYPES = st.recursive(st.sampled_from(LEAVES), wrapped, max_leaves=5)


def echo(annotation: Any) -> Callable[..., Any]:
    """A task that gives back what it gets."""

    def given_back(value: Any) -> Any:
        seen.append(value)
        return value

    seen: list[Any] = []
    function = FunctionType(given_back.__code__, globals(), "echo", closure=given_back.__closure__)
    function.__annotations__ = {"value": annotation, "return": annotation}
    return function


@seeded
@few(150)
@given(TYPES, st.data())
def test_a_value_stays_what_it_was(typed: Typed, data: st.DataObject) -> None:
    app = TaskQ("values")
    with memory(app) as q:
        try:
            task: Any = app.task(name="echo")(echo(typed.annotation))
        except ConfigError:  # a union whose members JSON cannot tell apart
            assume(False)
        value = data.draw(typed.values)
        handle = task.enqueue(value)
        assert same(q.enqueued[0].args[0], value)
        assert same(handle.result(), value)


ODD = st.one_of(
    st.builds(object),
    st.just(math.nan),
    st.just(math.inf),
    st.integers(2**64),
    st.complex_numbers(),
    st.just("\ud800"),
    st.binary(),
    st.sets(st.integers()),
    st.builds(Point, WHOLE),
    st.dictionaries(st.binary(), st.none(), min_size=1),
    st.functions(),
)
NESTED = st.recursive(
    ODD,
    lambda inner: st.lists(inner, min_size=1, max_size=2) | st.dictionaries(st.text(), inner, min_size=1, max_size=2),
    max_leaves=3,
)


def anything(value: Any) -> None: ...


@seeded
@few(100)
@given(NESTED, st.booleans())
def test_what_json_cannot_carry_is_refused_and_nothing_is_stored(value: Any, many: bool) -> None:
    app = TaskQ("values")
    task: Any = app.task(name="anything")(anything)
    with memory(app) as q:
        with pytest.raises((SerializationError, InvalidArguments)):
            task.enqueue_many([(1,), (value,)]) if many else task.enqueue(value)
        assert q.enqueued == []
