"""From bytes to keys, however they are torn apart."""

from __future__ import annotations

import pytest

from taskq_dashboard.keyboard import Keyboard

WHOLE = {
    b"q": ["q"],
    b"\r": ["enter"],
    b"\n": ["enter"],
    b"\t": ["tab"],
    b"\x7f": ["backspace"],
    b" ": ["space"],
    b"\x1b[A": ["up"],
    b"\x1b[B": ["down"],
    b"\x1bOC": ["right"],
    b"\x1b[1;2D": ["left"],
    b"\x1b[5~": ["pgup"],
    b"\x1b[6~": ["pgdn"],
    b"\x1b[H": ["home"],
    b"\x1b[4~": ["end"],
    b"\x1b[Z": ["backtab"],
    b"\x1b[3~": [],
    b"\x1b[15~": [],
    b"\x1b[<0;10;10M": [],
    "ä漢".encode(): ["ä", "漢"],
    b"\xff\xfeq": ["q"],
    b"\x00\x01\x02": [],
    b"jj\x1b[Ak": ["j", "j", "up", "k"],
    b"\x1b[200~q\x1b[DDA\ny\x1b[201~j": ["j"],
}


@pytest.mark.parametrize("data", WHOLE)
def test_keys_are_known(data: bytes) -> None:
    assert Keyboard().feed(data) == WHOLE[data]


@pytest.mark.parametrize("data", [one for one in WHOLE if one != b"\xff\xfeq"])
def test_keys_are_known_when_their_bytes_come_one_by_one(data: bytes) -> None:
    keyboard = Keyboard()
    assert [key for at in range(len(data)) for key in keyboard.feed(data[at : at + 1])] == WHOLE[data]


def test_a_lone_escape_is_a_key_once_nothing_follows() -> None:
    keyboard = Keyboard()
    assert keyboard.feed(b"\x1b") == []
    assert keyboard.waits
    assert keyboard.expire() == ["esc"]
    assert not keyboard.waits
    assert keyboard.expire() == []
    assert keyboard.feed(b"q") == ["q"]


def test_an_escape_and_a_key_in_one_go_are_both() -> None:
    assert Keyboard().feed(b"\x1bq") == ["esc", "q"]
    assert Keyboard().feed(b"\x1b\x1b[A") == ["esc", "up"]


@pytest.mark.parametrize("rest", [b"[D", b"OD", b"[1;5D"])
def test_the_rest_of_an_arrow_that_came_too_late_deletes_nothing(rest: bytes) -> None:
    keyboard = Keyboard()
    keyboard.feed(b"\x1b")
    assert keyboard.expire() == ["esc"]
    keys = [key for at in range(len(rest)) for key in keyboard.feed(rest[at : at + 1])]
    assert keys == ["left"]
    assert keyboard.feed(b"D") == ["D"]


def test_a_sequence_without_an_end_is_dropped() -> None:
    keyboard = Keyboard()
    assert keyboard.feed(b"\x1b[" + b"1;" * 200) == []
    assert keyboard.feed(b"q") == ["q"]
    assert keyboard.feed(b"\x1b[12\x1b[A") == ["up"], "a sequence that was broken off"


def test_a_paste_that_is_torn_apart_is_dropped_whole() -> None:
    keyboard = Keyboard()
    keys = [key for part in (b"\x1b[20", b"0~DDD\x1b[2", b"01", b"~", b"j") for key in keyboard.feed(part)]
    assert keys == ["j"]
