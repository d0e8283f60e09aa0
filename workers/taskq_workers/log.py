"""Log output of a worker's processes, set up by the command line only: the library logs, and its user says where to.

One record is one line: control characters are escaped, so that a task's text can neither forge lines nor steer a
terminal. Only a traceback has lines of its own, indented.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from taskq.tasks.log_context import FIELDS, LogContext
from taskq_workers.config import LogFormat

EXTRA = "taskq"
"""Loggers pass facts as `extra={"taskq": {...}}`: fields of their own in JSON; their text form is in the message."""

TRACE = "taskq_trace"
"""What another process told of an error comes as `extra={TRACE: text}`, and is shown as a traceback of our own is."""

_ESCAPES = {
    **{code: f"\\x{code:02x}" for code in (*range(32), *range(0x7F, 0xA0))},
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
    # Marks that turn the direction of what follows: with them a line shows other words than it holds.
    **{code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}
_IN_TRACEBACK = {code: text for code, text in _ESCAPES.items() if code not in (9, 10)}


def escape(text: str) -> str:
    """The text with its control characters spelled out.

    >>> escape("a\\nb\\x1b[31m")
    'a\\\\nb\\\\x1b[31m'
    """
    return text.translate(_ESCAPES)


class TextFormatter(logging.Formatter):
    """`12:34:56.789 WARNING child 1: what happened`."""

    def __init__(self, who: str) -> None:
        super().__init__()
        self._who = who

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone()
        clock = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
        name = "" if record.name.startswith("taskq") else f"{escape(record.name)}: "
        line = f"{clock} {record.levelname:<7} {self._who}: {name}{escape(record.getMessage())}"
        trace = _traceback(record)
        return line + "".join(f"\n    {part}" for part in trace.splitlines()) if trace else line


class JsonFormatter(logging.Formatter):
    """One object per line: at, level, logger, process, message, the record's own facts, those of the attempt in which
    it was logged (`taskq.LogContext`), and its traceback.
    """

    def __init__(self, who: str) -> None:
        super().__init__()
        self._who = who

    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._who,
            "message": record.getMessage(),
        }
        extra = getattr(record, EXTRA, None)
        if isinstance(extra, dict):
            facts |= {name: value for name, value in extra.items() if name not in facts}
        facts |= {name: value for name in FIELDS if (value := getattr(record, name, ""))}
        if trace := _traceback(record):
            facts["traceback"] = trace
        return json.dumps(facts, default=repr)


def _traceback(record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(logging.Formatter().formatException(record.exc_info))
    if told := getattr(record, TRACE, ""):
        parts.append(str(told))
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts).translate(_IN_TRACEBACK)


def configure(form: LogFormat, verbosity: int, who: str, worker: str = "") -> None:
    """Send all logging of this process to stderr; `who` names the process in each line, `worker` the worker in JSON.

    Verbosity 0 shows what taskq reports and other people's warnings, 1 each success and other people's reports, 2
    everything.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(who) if form == "json" else TextFormatter(who))
    handler.addFilter(LogContext(worker))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)])
    logging.getLogger("taskq").setLevel(logging.DEBUG if verbosity else logging.INFO)
    logging.captureWarnings(capture=True)
