"""What is kept of a failed attempt: one line of JSON in the history of its message, and the result of a dead one.

Only text is kept. The exception's class is named, never rebuilt; locals are left out of tracebacks, since they hold
arguments and with them people's secrets.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from types import TracebackType
from typing import Any, Literal

import orjson

from taskq.errors import TaskFailed

Kind = Literal[
    "error", "timeout", "crash", "lapse", "reject", "arguments", "result", "lost", "unknown_task", "undecodable"
]

_LINE = ("kind", "type", "task", "attempt", "worker", "at", "message", "traceback")

MESSAGE_CHARS = 2_000
TRACEBACK_CHARS = 8_000


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt. `at` is milliseconds of the epoch on the clock of who saw it; `attempt` counts from 1."""

    kind: Kind
    type: str
    message: str = ""
    traceback: str = ""
    attempt: int = 0
    worker: str = ""
    task: str = ""
    at: int = field(default_factory=lambda: int(time.time() * 1000))

    def line(self) -> bytes:
        """The line for the history of the message; what is long comes last, since some keep only its beginning."""
        return orjson.dumps({name: getattr(self, name) for name in _LINE if getattr(self, name) != ""})

    def result(self) -> bytes:
        """What a caller who waits for the message will read."""
        return b"x" + orjson.dumps(
            {"type": self.type, "message": self.message, "traceback": self.traceback, "reason": self.kind}
        )


def of(error: BaseException, kind: Kind = "error", attempt: int = 0, worker: str = "", task: str = "") -> Failure:
    """The failure that an exception is; one whose text cannot be had is named so, and what is too long is cut."""
    try:
        message = str(error)
    except Exception as unprintable:  # noqa: BLE001 - a task's exception may do anything in __str__
        message = f"<unprintable {type(error).__name__}: its __str__ raised {type(unprintable).__name__}>"
    try:
        lines = "".join(traceback.format_exception(type(error), error, _outside(error.__traceback__), limit=-50))
    except Exception as unprintable:  # noqa: BLE001 - formatting calls the same __str__, and __cause__ may be odd
        lines = f"<no traceback: formatting it raised {type(unprintable).__name__}>"
    return Failure(kind, _name(type(error)), _cut(message, MESSAGE_CHARS), _cut_head(lines), attempt, worker, task)


def parse(lines: bytes) -> list[dict[str, Any]]:
    """The history of a message, oldest first; a line that was cut by the byte limit is left out."""
    history = []
    for line in lines.split(b"\n"):
        try:
            entry = orjson.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            history.append(entry)
    return history


def raised(result: bytes, id: str) -> TaskFailed:
    """The error for a caller, from the stored result of a dead message (its leading kind byte included)."""
    try:
        fields = orjson.loads(result[1:])
    except ValueError:
        fields = {}
    if not isinstance(fields, dict):
        fields = {}
    text = {name: str(fields.get(name, "")) for name in ("type", "message", "traceback")}
    return TaskFailed(text["type"] or "UnknownError", text["message"], text["traceback"], id)


def _outside(frames: TracebackType | None) -> TracebackType | None:
    """The traceback without the runtime's own frames at its start: people look for theirs."""
    here = frames
    while here is not None and here.tb_frame.f_globals.get("__name__", "").startswith("taskq_workers."):
        here = here.tb_next
    return here or frames


def _name(kind: type[BaseException]) -> str:
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _cut(text: str, limit: int) -> str:
    # Lone surrogates would make the line unstorable; they come from undecodable file names in error texts.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= limit else f"{text[:limit]}... (truncated, {len(text)} characters)"


def _cut_head(text: str) -> str:
    """The end of a long traceback: the frames next to the error say most."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= TRACEBACK_CHARS else "... (truncated)\n" + text[-TRACEBACK_CHARS:]


def tried(attempts: int, history: Sequence[Mapping[str, Any]]) -> int:
    """How many runs ended in an error: the record of a dead letter does not count the last, its history does.

    Earlier lines are not asked: a run that spent no attempt has the number of the one after it. Crashes have none.
    """
    last = history[-1].get("attempt") if history else None
    return max(attempts, last) if isinstance(last, int) else attempts


def died(crashes: int, history: Sequence[Mapping[str, Any]]) -> int:
    """How many processes ended while they ran it. The record of what may run only once, and was lost, has as many
    crashes as make a dead letter; its history has a line for each of them right before the last words.
    """
    if not history or history[-1].get("kind") != "lost":
        return crashes
    ended = takewhile(lambda line: not line.get("attempt") and line.get("kind") != "lost", reversed(history[:-1]))
    return min(crashes, len(list(ended)))
