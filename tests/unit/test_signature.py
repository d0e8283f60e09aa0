from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypedDict, Unpack
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.codec import decode_arguments, encode_arguments
from taskq.errors import ArgumentsMismatch, ConfigError, DecodeError, InvalidArguments, SerializationError
from taskq.signature import Signature
from tests.unit.kinds import Color, Order, Point, Tree

DAY = date(2026, 5, 1)


def plain(order_id: int, note: str = "") -> str:
    return f"{order_id}{note}"


def bare(a, b=1):  # type: ignore[no-untyped-def]  # pyright: ignore[reportMissingParameterType]
    return a, b


def every(a: int, /, b: date, c: str = "c", *rest: date, d: Decimal, e: int = 5, **more: date) -> None:
    del a, b, c, rest, d, e, more


def positional_only(a: int, /, **more: str) -> None:
    del a, more


def awkward(self: int, queue: str, id: int, timeout: float, args: int, kwargs: int, name: str) -> None:
    del self, queue, id, timeout, args, kwargs, name


class Extra(TypedDict, total=False):
    day: date
    note: str


def unpacked(a: int, **extra: Unpack[Extra]) -> None:
    del a, extra


def rich(order: Order, points: dict[UUID, list[Point]], until: date | None = None) -> set[UUID]:
    del order, until
    return set(points)


def implicit(day: date = None) -> None:  # type: ignore[assignment]  # noqa: RUF013  # pyright: ignore[reportArgumentType]
    del day


def tree(root: Tree) -> None:
    del root


def there_and_back(signature: Signature, *args: Any, **kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    stored = encode_arguments(*signature.encode(args, kwargs))
    return signature.decode(*decode_arguments(stored))


def test_plain_arguments_pass_as_they_are() -> None:
    signature = Signature.of(plain)
    assert signature.encode((42, "x"), {}) == ([42, "x"], {})
    assert signature.encode((42,), {}) == ([42], {})
    assert signature.encode((), {"order_id": 42}) == ([], {"order_id": 42})
    assert signature.decode([42, "x"], {}) == ([42, "x"], {})
    assert there_and_back(signature, 42, note="x") == ([42], {"note": "x"})


def test_rich_arguments_are_rebuilt() -> None:
    order = Order(UUID(int=1), [], Decimal("1.50"), datetime(2026, 1, 1), {"a"})  # noqa: DTZ001
    points = {UUID(int=2): [Point(1, 2)]}
    signature = Signature.of(rich)
    assert there_and_back(signature, order, points=points, until=DAY) == ([order], {"points": points, "until": DAY})
    assert there_and_back(signature, order, points, None) == ([order, points, None], {})


def test_every_kind_of_parameter_is_converted() -> None:
    back = there_and_back(Signature.of(every), 1, DAY, "x", DAY, DAY, d=Decimal("1.0"), f=DAY)
    assert back == ([1, DAY, "x", DAY, DAY], {"d": Decimal("1.0"), "f": DAY})
    assert there_and_back(Signature.of(every), 1, b=DAY, d=Decimal(1)) == ([1], {"b": DAY, "d": Decimal(1)})


def test_a_keyword_may_have_the_name_of_a_positional_only_parameter() -> None:
    signature = Signature.of(positional_only)
    assert signature.encode((1,), {"a": "x"}) == ([1], {"a": "x"})
    with pytest.raises(InvalidArguments, match="missing 'a'"):
        signature.encode((), {"a": "x"})


def test_awkward_names_are_passed_through() -> None:
    call = {"self": 1, "queue": "q", "id": 2, "timeout": 0.5, "args": 3, "kwargs": 4, "name": "n"}
    assert Signature.of(awkward).encode((), call) == ([], call)


def test_keywords_of_a_typed_dict_are_known() -> None:
    signature = Signature.of(unpacked)
    assert there_and_back(signature, 1, day=DAY) == ([1], {"day": DAY})
    with pytest.raises(InvalidArguments, match="there is no parameter 'dday'"):
        signature.encode((1,), {"dday": DAY})


def test_a_default_of_none_allows_none() -> None:
    assert there_and_back(Signature.of(implicit), None) == ([None], {})
    assert there_and_back(Signature.of(implicit), DAY) == ([DAY], {})


MISFITS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]] = [
    (plain, (), {}, "missing 'order_id'"),
    (plain, (), {"note": "x"}, "missing 'order_id'"),
    (plain, (1, "x", 3), {}, "it takes 2 positional arguments, 3 were given"),
    (plain, (1,), {"order_id": 1}, "'order_id' was given twice"),
    (plain, (1,), {"nota": "x"}, r"there is no parameter 'nota' \(did you mean 'note'\?\)"),
    (plain, ("x",), {}, r"order_id: 'x' \(str\) does not fit int"),
    (plain, (1,), {"note": 5}, r"note: 5 \(int\) does not fit str"),
    (bare, (), {}, "missing 'a'"),
    (every, (1, DAY), {}, "missing 'd'"),
    (every, (1,), {"d": Decimal(1)}, "missing 'b'"),
    (every, (), {"a": DAY, "b": DAY, "d": Decimal(1)}, "missing 'a'"),
    (every, (1, DAY, "x", 5), {"d": Decimal(1)}, "argument 4: 5"),
    (every, (1, DAY), {"d": Decimal(1), "zz": 5}, "zz: 5"),
    (rich, (5, {}), {}, r"order: 5 \(int\) does not fit Order"),
]


@pytest.mark.parametrize(("function", "args", "kwargs", "text"), MISFITS, ids=range(len(MISFITS)))
def test_a_call_that_does_not_fit_is_refused_and_told_why(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidArguments, match=rf"^shop\.task\(.*\): {text}"):
        Signature.of(function, "shop.task").encode(args, kwargs)


def test_a_parameter_that_is_positional_only_says_so() -> None:
    def only(a: int, /) -> None:
        del a

    with pytest.raises(InvalidArguments, match="'a' can be given by position only"):
        Signature.of(only).encode((1,), {"a": 1})


def test_the_error_shows_the_parameters_without_their_annotations() -> None:
    assert Signature.of(every).shape == "(a, /, b, c, *rest, d, e, **more)"


def test_a_message_that_no_longer_fits_is_a_mismatch() -> None:
    calls: list[tuple[list[Any], dict[str, Any]]] = [([], {}), (["x"], {}), ([1, "x", 1], {}), ([1], {"gone": 1})]
    for args, kwargs in calls:
        with pytest.raises(ArgumentsMismatch, match=r"^shop\.task\(order_id, note\): "):
            Signature.of(plain, "shop.task").decode(args, kwargs)


def test_the_cause_of_a_mismatch_is_kept() -> None:
    with pytest.raises(ArgumentsMismatch) as caught:
        Signature.of(implicit).decode(["2026-13-01"], {})
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_value_that_json_lacks_needs_an_annotation() -> None:
    args, kwargs = Signature.of(bare).encode((DAY,), {})
    with pytest.raises(SerializationError, match=r"args\[0\] is a date, .*: annotate the parameter"):
        encode_arguments(args, kwargs)


def test_a_value_that_contains_itself_is_refused() -> None:
    root = Tree(1, [])
    root.children.append(root)
    with pytest.raises(SerializationError, match="contains itself"):
        Signature.of(tree).encode((root,), {})


def deep_json(levels: int) -> Any:
    value: dict[str, Any] = {"value": 1, "children": []}
    for _ in range(levels):
        value = {"value": 1, "children": [value]}
    return value


def test_json_that_nests_too_deep_is_a_mismatch() -> None:
    with pytest.raises(ArgumentsMismatch, match="too deep"):
        Signature.of(tree).decode([deep_json(10_000)], {})


def test_results_go_by_the_return_annotation() -> None:
    signature = Signature.of(rich)
    stored = orjson.loads(orjson.dumps(signature.encode_result({UUID(int=1)})))
    assert signature.decode_result(stored) == {UUID(int=1)}
    with pytest.raises(SerializationError, match=r"result: 5 \(int\) does not fit set"):
        signature.encode_result(5)
    with pytest.raises(DecodeError, match="result"):
        signature.decode_result(["x"])


def test_a_result_without_annotation_is_left_to_the_codec() -> None:
    assert Signature.of(bare).encode_result(DAY) is DAY


class Opaque:
    pass


def gives_opaque() -> Opaque:
    return Opaque()


def takes_opaque(it: Opaque) -> None:
    del it


def unresolvable(day: date, it: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
    del day, it


def test_an_annotation_that_cannot_be_rebuilt_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"shop\.task: parameter 'it': taskq cannot rebuild .*Opaque"):
        Signature.of(takes_opaque, "shop.task")
    with pytest.raises(ConfigError, match="the return value"):
        Signature.of(gives_opaque)


def test_a_task_that_keeps_no_result_may_return_anything() -> None:
    assert isinstance(Signature.of(gives_opaque, result=False).encode_result(Opaque()), Opaque)


def test_an_annotation_that_cannot_be_resolved_is_named_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"'Missing' of 'it' cannot be resolved .*TYPE_CHECKING"):
        Signature.of(unresolvable, "shop.task")


def test_local_names_can_be_handed_in() -> None:
    class Local(TypedDict):
        day: date

    def task(it: Local) -> None:
        del it

    signature = Signature.of(task, localns=locals())
    assert there_and_back(signature, {"day": DAY}) == ([{"day": DAY}], {})


async def coroutine(day: date) -> Color:
    del day
    return Color.RED


def test_a_coroutine_function_is_read_the_same() -> None:
    signature = Signature.of(coroutine)
    assert there_and_back(signature, DAY) == ([DAY], {})
    assert signature.encode_result(Color.RED) == "red"


FUNCTIONS: list[Callable[..., Any]] = [plain, bare, every, positional_only, unpacked, awkward]


@given(
    st.sampled_from(FUNCTIONS),
    st.integers(0, 9),
    st.sets(st.sampled_from(["a", "b", "c", "d", "e", "self", "queue", "note", "order_id", "day", "zz"])),
)
def test_a_call_fits_exactly_when_python_takes_it(function: Callable[..., Any], count: int, names: set[str]) -> None:
    """Only the shape is compared: values of any type are allowed by looking past the annotations."""

    signature = Signature.of(_without_annotations(function))
    args, kwargs = (1,) * count, dict.fromkeys(names, 1)
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        with pytest.raises(InvalidArguments):
            signature.encode(args, kwargs)
        with pytest.raises(ArgumentsMismatch):
            signature.decode(args, kwargs)
    else:
        assert signature.encode(args, kwargs) == (list(args), kwargs)
        assert signature.decode(args, kwargs) == (list(args), kwargs)


def _without_annotations(function: Callable[..., Any]) -> Callable[..., Any]:
    def stripped(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    parameters = inspect.signature(function).parameters.values()
    bare_parameters = [item.replace(annotation=inspect.Parameter.empty) for item in parameters]
    vars(stripped)["__signature__"] = inspect.Signature(bare_parameters)
    stripped.__annotations__ = {}
    return stripped
