"""Frozen values that are made quickly are the same values."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, dataclass, replace
from typing import Any

import pytest

from taskq.events.record import Offset, Record
from taskq.message import Message
from taskq.quick import maker


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Message, (bytes(16), "shop.send", [1], {}, 5, None, {"a": "b"})),
        (Record, ("orders", 3, Offset(1, 2), 4, "key", {"a": 1}, {}, 5, 6)),
        (Record, ("orders", 3, Offset(1, 2), 4, None, None, {}, 5)),
    ],
)
def test_it_is_what_the_class_makes(kind: type[Any], values: tuple[Any, ...]) -> None:
    quick, slow = maker(kind)(*values), kind(*values)
    assert type(quick) is kind
    assert (quick, repr(quick)) == (slow, repr(slow))
    assert pickle.loads(pickle.dumps(quick)) == slow
    field = next(iter(kind.__slots__))
    with pytest.raises(FrozenInstanceError):
        setattr(quick, field, None)
    assert replace(quick, **{field: None}) == replace(slow, **{field: None})
    with pytest.raises(TypeError):
        maker(kind)(*values, 1, 2, 3)


def test_a_class_that_cannot_be_made_so_is_refused_at_once() -> None:
    @dataclass(frozen=True)
    class Loose:
        name: str

    with pytest.raises(TypeError):
        maker(Loose)
