from __future__ import annotations

import dataclasses
import enum
import math
import pickle
import zlib
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq import codec as codecs
from taskq.codec import (
    JSON,
    Compressed,
    JsonCodec,
    check_arguments,
    decode_arguments,
    decode_value,
    encode_arguments,
    encode_result,
)
from taskq.errors import ConfigError, DecodeError, PayloadTooLarge, ResultTooLarge, SerializationError


class Color(enum.Enum):
    RED = "red"


class Shade(enum.StrEnum):
    DARK = "dark"


class Text(str):
    __slots__ = ()


@dataclasses.dataclass
class Point:
    x: int


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(ATOMS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)
UNLIKE_JSON = [
    datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1), UUID(int=1), Color.RED, Shade.DARK, Text("x"), Point(1), (1, 2),
    {1}, b"x", bytearray(b"x"), 1j, object(), len, Point, Ellipsis,
]  # fmt: skip


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def same(one: Any, other: Any) -> bool:
    """Equal in type too, all the way down: 1, 1.0 and True are three values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@given(st.lists(VALUES, max_size=4), st.dictionaries(st.text(), VALUES, max_size=3))
def test_arguments_come_back_as_they_were(args: list[Any], kwargs: dict[str, Any]) -> None:
    back = decode_arguments(encode_arguments(args, kwargs))
    assert same(list(back), [args, kwargs])


@given(VALUES)
def test_a_result_comes_back_as_it_was(value: Any) -> None:
    assert same(decode_value(encode_result(value, limit=10**7)), value)


@given(VALUES)
def test_a_compressed_value_comes_back_as_it_was(value: Any) -> None:
    codec = Compressed(JSON, threshold=10)
    assert same(codec.loads(codec.dumps(value)), value)


@pytest.mark.parametrize("text", ["\0", "\ufeff", "\u2028", "\u202e", "😀", "x" * 100_000])
def test_odd_text_comes_back(text: str) -> None:
    assert decode_arguments(encode_arguments([text], {text: text})) == ([text], {text: text})


@pytest.mark.parametrize("value", UNLIKE_JSON, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "wrap", [lambda v: v, lambda v: [1, v], lambda v: {"a": v}, lambda v: [{"a": [1.5, v]}]], ids=range(4)
)
def test_what_json_would_change_is_refused_wherever_it_is(value: Any, wrap: Any) -> None:
    with pytest.raises(SerializationError, match=r"^args\[0\].* is an? .*: annotate the parameter"):
        encode_arguments([wrap(value)], {})
    with pytest.raises(SerializationError, match=r"^kwargs\.x.* is an? "):
        encode_arguments([], {"x": wrap(value)})
    with pytest.raises(SerializationError, match=r"^result.* is an? "):
        encode_result(wrap(value))


def test_the_path_to_what_is_refused_is_told() -> None:
    with pytest.raises(SerializationError, match=r"^args\[1\]\.user\['e-mail'\]\[2\] is a bytes"):
        encode_arguments([1, {"user": {"e-mail": [1, 2, b"x"]}}], {})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "wrap", [lambda v: v, lambda v: [v], lambda v: [1, "a", v], lambda v: {"a": {"b": [1.0, v]}}], ids=range(4)
)
def test_nan_and_infinity_are_refused_anywhere(value: float, wrap: Any) -> None:
    with pytest.raises(SerializationError, match=r"args\[0\].* is -?(nan|inf), which JSON does not have"):
        encode_arguments([wrap(value)], {})


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**5_000], ids=["above", "below", "huge"])
def test_an_int_beyond_64_bits_is_refused(value: int) -> None:
    with pytest.raises(SerializationError, match=r"args\[0\]\.n is an int beyond 64 bits"):
        encode_arguments([{"n": value}], {})


@pytest.mark.parametrize("key", [1, None, 1.5, True, b"a", (1,), Shade.DARK, Text("x")])
def test_a_key_that_is_not_str_is_refused(key: Any) -> None:
    with pytest.raises(SerializationError, match=r"args\[0\] has the key .*keys are str"):
        encode_arguments([{key: 1}], {})


def test_keys_that_json_would_merge_are_refused() -> None:
    with pytest.raises(SerializationError, match="has the key 1"):
        encode_arguments([{1: "a", "1": "b"}], {})


@pytest.mark.parametrize("value", ["\ud800", {"a": "x\udfff"}, {"\ud800": 1}])
def test_half_a_surrogate_pair_is_refused(value: Any) -> None:
    with pytest.raises(SerializationError, match=r"args\[0\].*surrogate"):
        encode_arguments([value], {})
    with pytest.raises(SerializationError, match=r"args\[0\].*surrogate"):
        check_arguments([value], {}, thorough=True)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = [1]
    loop.append({"again": loop})
    with pytest.raises(SerializationError, match=r"args\[0\]\[1\]\.again contains itself"):
        encode_arguments([loop], {})


def test_the_same_list_twice_is_not_a_loop() -> None:
    shared = [1]
    assert decode_arguments(encode_arguments([[shared, shared]], {})) == ([[[1], [1]]], {})


def test_one_hundred_levels_are_stored_and_one_more_is_refused() -> None:
    assert decode_arguments(encode_arguments([nested(100)], {}))[0] == [nested(100)]
    with pytest.raises(SerializationError, match="nested more than 100 levels"):
        encode_arguments([nested(101)], {})


def test_a_hundred_thousand_levels_do_not_end_the_stack() -> None:
    value = nested(100_000)
    with pytest.raises(SerializationError, match="nested more than 100 levels"):
        encode_arguments([value], {})
    while value:  # take it apart level by level: freeing it at once is another recursion
        value = value.pop()


def test_arguments_above_the_limit_are_refused_with_size_limit_and_hint() -> None:
    with pytest.raises(PayloadTooLarge, match=r"2,000,009 bytes, the limit is 1,048,576: store the data elsewhere"):
        encode_arguments(["x" * 2_000_000], {})
    assert len(encode_arguments(["x" * 91], {}, limit=100)) == 100
    with pytest.raises(PayloadTooLarge):
        encode_arguments(["x" * 92], {}, limit=100)


def test_a_result_above_the_limit_is_refused() -> None:
    with pytest.raises(ResultTooLarge, match="max_result"):
        encode_result("x" * 70_000)


def test_the_quick_look_leaves_to_orjson_what_orjson_refuses() -> None:
    check_arguments([2**70], {})
    with pytest.raises(SerializationError, match=r"kwargs\.n is an int beyond 64 bits"):
        check_arguments([], {"n": 2**70}, thorough=True)
    with pytest.raises(SerializationError, match=r"args\[0\] is a tuple"):
        check_arguments([(1,)], {})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"null",
        b"[]",
        b"[1,2]",
        b"[[],[]]",
        b"[[],{},1]",
        b"[[NaN],{}]",
        b"\xff",
        b'[["\xff"],{}]',
        b"[" * 100_000,
        pickle.dumps([[], {}]),
        b"[[],{}]x",
    ],
    ids=range(13),
)
def test_bytes_that_are_no_arguments_are_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_arguments(data)


@given(st.binary())
def test_no_bytes_end_in_another_error(data: bytes) -> None:
    for codec in (JSON, Compressed(JSON)):
        try:
            args, kwargs = decode_arguments(data, codec)
        except DecodeError:
            continue
        assert isinstance(args, list)
        assert isinstance(kwargs, dict)


def test_large_values_shrink_and_small_ones_stay() -> None:
    codec = Compressed(JSON, threshold=100)
    assert len(codec.dumps(["x" * 10_000])) < 200
    assert codec.dumps([1]) == b"-[1]"
    assert encode_arguments(["x" * 10_000], {}, codec, limit=200)


def test_a_compressed_bomb_does_not_fill_the_memory() -> None:
    bomb = b"z" + zlib.compress(b" " * 50_000_000)
    with pytest.raises(DecodeError, match="holds more than 16,777,216 bytes"):
        decode_arguments(bomb, Compressed(JSON))


@pytest.mark.parametrize(
    "data", [b"", b"?[]", b"z", b"zxyz", b"z" + zlib.compress(b"[]")[:-1], b"z" + zlib.compress(b"[]") + b"x"]
)
def test_broken_compressed_bytes_are_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_value(data, Compressed(JSON))


def test_what_could_not_be_read_again_is_not_compressed() -> None:
    with pytest.raises(PayloadTooLarge, match="before compression"):
        encode_arguments(["x" * 1_000], {}, Compressed(JSON, limit=100))


def test_a_compressed_codec_names_the_path_too() -> None:
    with pytest.raises(SerializationError, match=r"^args\[0\] is a bytes"):
        encode_arguments([b""], {}, Compressed(JSON))


class Shouting:
    name = "shouting"

    def dumps(self, value: Any, /) -> bytes:
        if value == [["quiet"], {}]:
            raise ValueError("it is quiet")
        return orjson.dumps(value).upper()

    def loads(self, data: bytes, /) -> Any:
        return orjson.loads(data.lower())


def test_a_registered_codec_is_found_and_used() -> None:
    codec = Shouting()
    codecs.register(codec)
    codecs.register(codec)
    assert codecs.get("shouting") is codec
    assert encode_arguments(["a"], {}, codec) == b'[["A"],{}]'
    assert decode_arguments(b'[["A"],{}]', codec) == (["a"], {})
    with pytest.raises(SerializationError, match="codec 'shouting' cannot store the arguments: it is quiet"):
        encode_arguments(["quiet"], {}, codec)
    with pytest.raises(ConfigError, match="another codec is registered as 'shouting'"):
        codecs.register(Shouting())


def test_json_cannot_be_replaced() -> None:
    with pytest.raises(ConfigError, match="'json'"):
        codecs.register(JsonCodec())
    assert codecs.get("json") is JSON


def test_an_unknown_codec_is_named_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"no codec 'jason' is registered \(did you mean 'json'\?\): json"):
        codecs.get("jason")


def test_a_codec_with_an_odd_name_is_refused() -> None:
    codec = Shouting()
    codec.name = "a\0b"
    with pytest.raises(ConfigError, match="codec name"):
        codecs.register(codec)
