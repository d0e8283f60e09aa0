from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.errors import ConfigError, InvalidName
from taskq.names import check_name, check_task_name, did_you_mean, match, shown
from taskq.values import a, count_of

ODD = [
    "",
    "{}",
    "}x",
    "a}b",
    "a:b",
    "a\n",
    "a\0b",
    "*",
    "[a-z]",
    "a b",
    "café",
    "cafe\u0301",
    "😀",
    "../x",
    "-a",
    ".a",
    "_a",
]


@pytest.mark.parametrize("name", ["a", "A", "0", "mail", "mail.high-1_x", "x" * 128])
def test_a_plain_name_is_given_back(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", [*ODD, "x" * 129, None, 3, b"mail", True])
def test_an_odd_name_is_refused_with_the_rule(name: object) -> None:
    with pytest.raises(InvalidName, match=r"queue name .* is not valid: use 1 to 128 ASCII letters"):
        check_name(name)


def test_a_long_name_is_not_repeated_in_full() -> None:
    with pytest.raises(InvalidName) as caught:
        check_name("x" * 10_000, "topic")
    assert str(caught.value).startswith("topic name 'xxx")
    assert len(str(caught.value)) < 250


def test_an_invalid_name_is_a_config_error_and_a_value_error() -> None:
    with pytest.raises(ConfigError):
        check_name("")
    with pytest.raises(ValueError, match="queue name ''"):
        check_name("")


@given(st.text())
def test_no_name_that_passes_can_leave_its_part_of_a_key(name: str) -> None:
    try:
        check_name(name)
    except InvalidName:
        return
    assert set(name) <= set(string.ascii_letters + string.digits + "_.-")
    assert name.isascii()


@pytest.mark.parametrize(
    "name", ["a", "shop.mail.send", "shop.Mail.send_it", "01_hello.greet", "_private.f", "a:b-c.d", "x" * 255]
)
def test_a_task_name_is_dotted_identifiers(name: str) -> None:
    assert check_task_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "a.", ".a", "a..b", "a.<locals>.b", "<lambda>", "a b", "größe", "a\n", "{a}", "x" * 256, None]
)
def test_an_odd_task_name_is_refused(name: object) -> None:
    with pytest.raises(InvalidName, match="task name"):
        check_task_name(name)


def test_a_pattern_matches_the_whole_name_and_its_case() -> None:
    assert match("*", "anything")
    assert match("a*", "ab")
    assert not match("a*", "ba")
    assert not match("A*", "ab")
    assert match("orders.[ab]", "orders.a")
    assert not match("orders.?", "orders.")


def test_the_hint_is_silent_without_a_near_name() -> None:
    assert did_you_mean("timeot", ["timeout", "queue"]) == " (did you mean 'timeout'?)"
    assert did_you_mean("zzz", ["timeout", "queue"]) == ""
    assert did_you_mean(3, ["timeout"]) == ""
    assert did_you_mean("", ["timeout", "a."]) == ""


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("add", "store.add"),
        ("ad", "store.add"),
        ("sned", "store.send"),
        ("store.ad", "store.add"),
        ("a.send", "b.a.send"),
    ],
)
def test_a_task_is_found_without_its_module(name: str, near: str) -> None:
    known = ["aadd", "store.add", "store.send", "b.a.send"] if name != "ad" else ["store.add", "mail"]
    assert did_you_mean(name, known) == f" (did you mean {near!r}?)"


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("value", ["x" * 10**6, b"x" * 10**6, [1] * 1_000, [10**5_000], Broken(), [Broken()]], ids=type)
def test_any_value_can_be_shown_in_few_characters(value: object) -> None:
    assert 0 < len(shown(value)) <= 60


def test_an_int_that_python_refuses_to_print_can_be_shown() -> None:
    assert shown(10**5_000) == "an int of 16610 bits"


def test_things_are_counted_and_named_as_people_do() -> None:
    assert [count_of(number, "byte") for number in (0, 1, 2)] == ["0 bytes", "1 byte", "2 bytes"]
    assert [a(noun) for noun in ("object", "int", "Money", "UUID")] == ["an object", "an int", "a Money", "a UUID"]
