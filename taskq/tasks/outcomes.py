"""What a message's place in the broker means to the people who wait for it: status words, values, errors. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from taskq.codec import decode_value
from taskq.errors import DecodeError, ResultUnavailable, TaskCancelled, TaskExpired, TaskFailed
from taskq.message import id_text
from taskq.signature import Signature
from taskq.tasks import failure
from taskq.tasks.broker import Flags, Found

Status: TypeAlias = Literal[
    "ready",
    "delayed",
    "running",
    "retrying",
    "done",
    "dead",
    "cancelled",
    "expired",
    "parked",
    "quarantined",
    "unknown",
]
STATUSES: tuple[Status, ...] = get_args(Status)

_BY_STATE: dict[str, Status] = {"r": "ready", "p": "parked", "x": "dead", "q": "quarantined", "c": "cancelled"}
_BY_KIND: dict[bytes, Status] = {b"d": "done", b"x": "dead", b"c": "cancelled", b"e": "expired"}
_OVER = frozenset("oxqc?")
_FORGOTTEN = frozenset("oc?")


@dataclass(frozen=True, slots=True)
class Info:
    """Where a message is, how often it was tried, and what went wrong so far (oldest first).

    `attempts` counts runs that ended in an error, `crashes` deaths of the process that ran it, `deliveries` how often
    it was handed to a worker. Once a message is over, and no dead letter, only its status is known: then they are None,
    and its history is gone. `priority` is None where the broker does not know it: a message that only waits may have
    nothing but its place in a list.
    """

    id: str
    queue: str
    task: str
    status: Status
    priority: int | None = None
    attempts: int | None = None
    crashes: int | None = None
    deliveries: int | None = None
    history: tuple[dict[str, Any], ...] = ()


def status_of(found: Found) -> Status:
    """The status word. A message that waits inside a worker is still ready to a reader."""
    if found.state == "o":
        return _BY_KIND.get(found.result[:1], "unknown")
    if found.state == "l":
        return "running" if found.flags & Flags.STARTED else "ready"
    if found.state == "d":
        # handed out before and waiting again: it failed, or asked for another time
        return "retrying" if found.attempts or found.deliveries else "delayed"
    return _BY_STATE.get(found.state, "unknown")


def is_over(found: Found) -> bool:
    """Whether waiting is of no use: it has an outcome, or there is nothing that could get one."""
    return found.state in _OVER


def counts_of(found: Found, history: Sequence[Mapping[str, Any]]) -> tuple[int, int, int] | tuple[None, None, None]:
    """Attempts, crashes and deliveries; None of a message whose record went with its outcome."""
    if found.state in _FORGOTTEN:
        return None, None, None
    attempts = failure.tried(found.attempts, history) if found.state in "xq" else found.attempts
    return attempts, failure.died(found.crashes, history), found.deliveries


def info_of(found: Found, id: bytes, queue: str, task: str) -> Info:
    """All that one look tells."""
    history = tuple(failure.parse(found.lines)) if found.lines else ()
    attempts, crashes, deliveries = counts_of(found, history)
    status = status_of(found)
    return Info(id_text(id), queue, task, status, found.priority, attempts, crashes, deliveries, history)


def value_of(found: Found, id: bytes, task: str, signature: Signature | None) -> Any:
    """What the task returned, rebuilt by its annotation where the task is known.

    Raises TaskFailed, TaskCancelled, TaskExpired, or ResultUnavailable if nothing is kept.
    """
    what = f"message {id_text(id)} of {task}"
    status = status_of(found)
    if status == "done":
        value = decode_value(found.result[1:]) if len(found.result) > 1 else None
        try:
            return value if signature is None else signature.decode_result(value)
        except DecodeError as error:
            raise DecodeError(f"the result of {what} does not fit its annotation here: {error}") from error
    if status == "cancelled":
        raise TaskCancelled(f"{what} was cancelled")
    if status == "expired":
        raise TaskExpired(f"{what} was not started before its expires time")
    if status in ("dead", "quarantined"):
        raise _failed(found, id_text(id), status)
    raise ResultUnavailable(
        f"{what} has no result: it was never accepted here, its result has expired, or the task keeps none (result_ttl)"
    )


def _failed(found: Found, id: str, status: Status) -> TaskFailed:
    if found.result[:1] == b"x":
        return failure.raised(found.result, id)
    history = failure.parse(found.lines) or [{}]  # the result has expired before the dead letter
    text = {name: str(history[-1].get(name, "")) for name in ("type", "message", "traceback")}
    return TaskFailed(text["type"] or status.capitalize(), text["message"], text["traceback"], id)
