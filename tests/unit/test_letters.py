"""Choosing dead letters, and reading what is stored of them."""

from __future__ import annotations

import orjson
import pytest

from taskq.errors import InvalidOption
from taskq.message import encode, new_ids
from taskq.tasks.broker import Found
from taskq.tasks.dossier import message_info
from taskq.tasks.letters import EVERY, DeadLetter, Filter, Place, letter_of, page_limit
from taskq.tasks.operator_calls import Examined, Row, created_ms, found_of

LETTER = DeadLetter("id", "mail", 500, "shop.mail.send", "error", "smtplib.Refused", "No route to Oslo", "w", 1, 0, 1)


@pytest.mark.parametrize(
    ("what", "fits"),
    [
        (EVERY, True),
        (Filter(task="shop.mail.send"), True),
        (Filter(task="shop.*"), True),
        (Filter(task="shop"), False),
        (Filter(task="SHOP.*"), False),
        (Filter(error="Refused"), True),
        (Filter(error="smtplib.Refused"), True),
        (Filter(error="*Ref*"), True),
        (Filter(error="smtplib"), False),
        (Filter(match="oslo"), True),
        (Filter(match="REFUSED"), True),
        (Filter(match="mail.send"), True),
        (Filter(match="Bergen"), False),
        (Filter(since=500, until=500), True),
        (Filter(since=501), False),
        (Filter(until=499), False),
        (Filter(task="shop.*", match="Bergen"), False),
    ],
)
def test_a_filter_fits_what_fits_each_of_its_parts(what: Filter, fits: bool) -> None:
    assert what.fits(LETTER) is fits


def test_a_filter_knows_whether_it_leaves_anything_out() -> None:
    assert EVERY.is_all
    assert Filter(quarantined=True).is_all
    assert not Filter(since=1).is_all
    assert not Filter(since=1).reads
    assert Filter(match="").reads


def test_a_place_comes_back_from_its_text() -> None:
    place = Place(1_795_562_822_397, bytes(range(16)))
    assert Place.of(place.text()) == place
    with pytest.raises(InvalidOption):
        Place.of("1-00")


@pytest.mark.parametrize("limit", [0, -1, 10_001, True])
def test_a_page_has_a_limit(limit: int) -> None:
    with pytest.raises(InvalidOption):
        page_limit(limit)


def test_the_last_failure_counts_although_the_record_does_not_count_it() -> None:
    line = orjson.dumps({"kind": "error", "type": "E", "message": "m", "attempt": 3, "task": "t", "at": 1})
    record = found_of(b"x\2\0\0\3\0\0\2", b"", b"")
    assert letter_of(Row(bytes(16), 7.0, record, line, ""), "mail", False).attempts == 3


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b'{"type": null}', b"\xff"])
def test_a_line_that_says_nothing_leaves_the_fields_empty(line: bytes) -> None:
    letter = letter_of(Row(bytes(16), 7.0, Found("x", b"", b""), line, "shop.send"), "mail", False)
    assert letter.task == "shop.send"
    assert letter.error in ("", "None")


def test_only_ids_of_version_7_tell_their_age() -> None:
    assert created_ms(new_ids(1)[0]) is not None
    assert created_ms(bytes(16)) is None
    assert created_ms(b"short") is None


def seen(body: bytes, found: Found) -> Examined:
    return Examined(1_000, found, body, None, None, None, None, None, b"")


def test_a_message_of_a_newer_release_is_shown_with_what_can_be_read() -> None:
    raw = new_ids(1)[0]
    body = encode("shop.send", [1], {}, 5, {"t": 30.0, "z": "from later"})
    info = message_info(seen(body, Found("r", b"", b"")), raw, "mail", False)
    assert (info.task, dict(info.options), info.created) == ("shop.send", {"timeout": 30.0}, 5)
    newer = message_info(seen(b"\x02" + body[1:], Found("r", b"", b"")), raw, "mail", False)
    assert "newer" in newer.problem
    assert newer.task == ""
    broken = message_info(seen(encode("t", [], {}, 5, {"t": "soon"}), Found("r", b"", b"")), raw, "mail", False)
    assert "timeout" in broken.options["problem"]


def test_an_unreadable_result_and_odd_progress_are_no_trouble() -> None:
    found = Found("o", b"d{", b"")
    info = message_info(
        Examined(1, found, b"", None, None, None, None, None, b"[1"), new_ids(1)[0], "mail", contents=True
    )
    assert info.contents is not None
    assert info.contents.result.startswith("unreadable")
    assert (info.progress, info.result) == (None, "done")
