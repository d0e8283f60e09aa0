"""Text for terminals: what others wrote cannot command them."""

from __future__ import annotations

import io

import pytest

from taskq_workers.terminal import clean, clean_lines, cut, encodable, has_colour, moment, span, table


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        ("plain text", "plain text"),
        ("größe ✓ 漢字", "größe ✓ 漢字"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("two\nlines\r\tand", "two\\nlines\\r\\tand"),
        ("\x9b2J\x07\x7f", "\\x9b2J\\x07\\x7f"),
        ("user\u202egnp.exe\u2066", "user\\u202egnp.exe\\u2066"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("half \ud800", "half \\ud800"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        (42, "42"),
    ],
)
def test_nothing_stays_that_a_terminal_would_obey(stored: object, seen: str) -> None:
    assert clean(stored) == seen


def test_a_traceback_keeps_its_lines_and_loses_everything_else() -> None:
    assert clean_lines("a\n\tb\x1b") == ["a", "    b\\x1b"]


def test_a_cell_is_cut_to_its_width_even_if_it_is_all_escapes() -> None:
    assert cut("x" * 5, 5) == "x" * 5
    assert cut("x" * 6, 5) == "xx..."
    assert len(cut("\x1b" * 1_000, 20)) == 20


def test_columns_line_up_and_numbers_stand_to_the_right() -> None:
    lines = table(("NAME", "COUNT"), [["a", 1], ["longer", 1_000], ["none", None]])
    assert lines == ["NAME    COUNT", "a           1", "longer   1000", "none        -"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert table(("A",), [["x"]], Terminal())[0] == "\x1b[1mA\x1b[0m"
    assert table(("A",), [["x"]], io.StringIO())[0] == "A"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colour(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colour(Terminal())


def test_what_an_encoding_does_not_have_becomes_an_escape() -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert encodable("größe", ascii_only) == "gr\\xf6\\xdfe"
    assert encodable("größe", io.TextIOWrapper(io.BytesIO(), encoding="utf-8")) == "größe"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.24, "0.2 s"),
        (9.99, "10.0 s"),
        (59.6, "60 s"),
        (75, "1 m 15 s"),
        (7_300, "2 h 1 m"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations_are_told_in_their_largest_units(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


def test_a_moment_has_its_zone_and_none_is_nothing() -> None:
    assert moment(None) == ""
    assert moment(0)[-6] in "+-"
