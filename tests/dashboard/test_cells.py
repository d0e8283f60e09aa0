"""Short figures, and texts in exactly so many cells, whatever is stored."""

from __future__ import annotations

import doctest

import pytest

from taskq_dashboard import cells, flow, grid, panels, view
from taskq_dashboard.cells import clock, count, fit, plain, rate, size, span, spark, width_of
from taskq_dashboard.paint import ASCII, FULL


@pytest.mark.parametrize("module", [cells, flow, grid, panels, view])
def test_examples_in_docstrings_are_true(module: object) -> None:
    found = doctest.testmod(module)  # type: ignore[arg-type]
    assert not found.failed


@pytest.mark.parametrize("power", range(-7, 16))
@pytest.mark.parametrize("digit", [1, 4.4, 5.95, 9.949, 9.96, 9.9951])
def test_a_figure_is_never_wider_than_its_column(power: int, digit: float) -> None:
    value = digit * 10.0**power
    assert max(len(count(value)), len(rate(value)), len(size(value))) <= 5
    assert len(span(value)) <= 6 or value > 1e11


def test_a_figure_is_near_what_it_stands_for() -> None:
    assert [count(one) for one in (9_999, 10_049, 999_499, 999_600)] == ["9999", "10.0k", "999k", "1.00M"]
    assert [span(one) for one in (0.9994, 0.9996, 59.4, 59.6, 3_570, 3_590)] == [
        "999 ms",
        "1.0 s",
        "59 s",
        "1.0 m",
        "59.5 m",
        "1.0 h",
    ]


def test_a_little_graph_shows_the_least_thing() -> None:
    assert spark([0, 1, 1_000], 3, FULL.spark) == "▁▂█"
    assert spark([], 4, FULL.spark) == "▁▁▁▁"
    assert spark([0, 5], 2, ASCII.spark).isascii()


HOSTILE = [
    "\x1b[2J\x1b]0;title\x07red",
    "two\nlines\r\tmore",
    "\u202egnp.exe \u2066isolated",
    "漢字漢字漢字漢字漢字漢字漢字",
    "مرحبا بالعالم שלום",
    "👩‍👩‍👧‍👦 family 🏳️‍🌈 flag",
    "e" + "\u0301" * 500,
    "\ud800 half",
    "\x9b31m\x00\x7f",
    "x" * 100_000,
    "ｆｕｌｌｗｉｄｔｈ",
    "e\u20dd\u20dd\u20dd\u20dd ☃\ufe0f",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("width", [1, 2, 3, 7, 20, 80])
def test_text_from_outside_takes_exactly_its_cells(text: str, width: int) -> None:
    shown = fit(plain(text), width)
    assert width_of(shown) == width
    assert not any(ord(sign) < 0x20 or 0x7F <= ord(sign) < 0xA0 for sign in shown)
    assert "\u202e" not in shown
    assert len(shown) <= 4 * width, "marks do not pile up"
    assert shown.encode("utf-8")


def test_a_moment_that_is_no_moment_is_said() -> None:
    assert clock(None) == "-"
    assert clock(1e300) == "?"
    assert clock(float("nan")) == "?"
    assert len(clock(1_800_000_000_000, 1_800_000_000_000)) == 8
    assert len(clock(1_700_000_000_000, 1_800_000_000_000)) == 11
