"""Log lines of a worker: readable, one line each, and nothing that a task prints can forge them."""

from __future__ import annotations

import json
import logging
import re
import sys

import pytest

from taskq_workers.log import EXTRA, TRACE, JsonFormatter, TextFormatter, configure, escape


def a_record(text: str, *args: object, name: str = "taskq.worker") -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, __file__, 1, text, args, None)


def an_error() -> logging.LogRecord:
    try:
        raise ValueError("first\nsecond\x1b[31m")
    except ValueError:
        return logging.LogRecord("taskq.worker", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())


def test_a_line_of_text_says_when_how_bad_who_and_what() -> None:
    line = TextFormatter("child-1").format(a_record("said %s", "hello"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d\d\d WARNING child-1: said hello", line)


def test_other_loggers_are_named() -> None:
    assert TextFormatter("worker").format(a_record("x", name="shop.mail")).endswith("worker: shop.mail: x")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("a\r\tb", "a\\r\\tb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("x\u2028y", "x\\u2028y"),
        ("ab\u202edc", "ab\\u202edc"),
        ("größe ✓", "größe ✓"),
    ],
)
def test_control_characters_are_spelled_out(text: str, shown: str) -> None:
    assert escape(text) == shown
    assert TextFormatter("w").format(a_record("%s", text)).endswith(f": {shown}")


def test_only_a_traceback_has_lines_of_its_own_and_they_are_indented() -> None:
    first, *rest = TextFormatter("w").format(an_error()).split("\n")
    assert first.endswith("w: failed")
    assert rest[-1] == "    second\\x1b[31m"
    assert all(line.startswith("    ") for line in rest)


def test_a_traceback_of_another_process_is_shown_as_one_of_our_own() -> None:
    record = a_record("failed")
    record.__dict__[TRACE] = "Traceback:\n  File\x1b[31m"
    first, *rest = TextFormatter("w").format(record).split("\n")
    assert first.endswith("w: failed")
    assert rest == ["    Traceback:", "      File\\x1b[31m"]
    assert json.loads(JsonFormatter("w").format(record))["traceback"] == "Traceback:\n  File\\x1b[31m"


def test_a_line_of_json_holds_the_facts_and_cannot_be_overwritten_by_them() -> None:
    record = a_record("lost %s", "x\ny")
    setattr(record, EXTRA, {"id": "42", "level": "forged", "odd": object})
    line = JsonFormatter("child-2").format(record)
    assert "\n" not in line
    facts = json.loads(line)
    assert (facts["level"], facts["process"], facts["message"], facts["id"]) == (
        "warning",
        "child-2",
        "lost x\ny",
        "42",
    )
    assert facts["at"].endswith("+00:00")


def test_json_carries_the_traceback() -> None:
    assert "ValueError: first\nsecond" in json.loads(JsonFormatter("w").format(an_error()))["traceback"]


@pytest.mark.parametrize(
    ("verbosity", "ours", "others"),
    [(0, logging.INFO, logging.WARNING), (1, logging.DEBUG, logging.INFO), (9, logging.DEBUG, logging.DEBUG)],
)
def test_verbosity_opens_our_logger_before_those_of_others(
    verbosity: int, ours: int, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, mine = logging.getLogger(), logging.getLogger("taskq")
    monkeypatch.setattr(root, "handlers", [logging.NullHandler()])
    levels = root.level, mine.level
    try:
        configure("text", verbosity, "w")
        assert (mine.getEffectiveLevel(), root.level) == (ours, others)
        assert [type(handler.formatter) for handler in root.handlers] == [TextFormatter]
    finally:
        root.setLevel(levels[0])
        mine.setLevel(levels[1])
        logging.captureWarnings(capture=False)
