"""What follows from a record whose handler raised, or whose owners died: pure, so that no test needs a broker."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from taskq.backoff import delay
from taskq.checks import seconds
from taskq.codec import Codec
from taskq.errors import Reject, Retry, TaskqError
from taskq.events.group_calls import Mark, Step
from taskq.events.record import Record, Undecodable
from taskq.options import RetryPolicy

DEATHS: Final = 3  # processes that a record may kill; at the first death nobody knew yet at which record it was
MAX_ERROR: Final = 2_000
Reason = Literal["error", "reject", "crash", "undecodable"]


@dataclass(frozen=True, slots=True)
class Decision:
    """`again` says whether it runs again, after `delay` seconds; otherwise it is a dead letter for this `reason`."""

    again: bool
    delay: float = 0.0
    reason: Reason = "error"
    counts: bool = True


def decide(error: BaseException, fails: int, policy: RetryPolicy, random01: float) -> Decision:
    """What to do with a record whose handler raised `error` after it had failed `fails` times before."""
    if isinstance(error, Reject):
        return Decision(again=False, reason="reject")
    if isinstance(error, Retry) and not error.count_attempt:
        return Decision(True, _after(error, fails + 1, policy, random01), counts=False)
    if fails + 1 >= policy.max_attempts:
        return Decision(again=False)
    if isinstance(error, Retry):
        return Decision(True, _after(error, fails + 1, policy, random01))
    if not policy.retries(error) and isinstance(error, Exception):
        return Decision(again=False)
    return Decision(True, delay(fails + 1, policy, random01))


def _after(error: Retry, attempt: int, policy: RetryPolicy, random01: float) -> float:
    try:
        return delay(attempt, policy, random01) if error.after is None else seconds(error.after, "after")
    except TaskqError:  # `Retry` refuses it, so it was put there afterwards
        return delay(attempt, policy, random01)


def line(error: BaseException) -> str:
    """An error on one line, as marks and dead letters keep it."""
    try:
        text = f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - an error whose text raises is still an error
        text = type(error).__name__
    return " ".join(text.split())[:MAX_ERROR].encode("utf-8", "backslashreplace").decode()


def killed(mark: Mark | None) -> bool:
    """Whether a record has killed as many processes as it may."""
    return mark is not None and mark.deaths + 1 >= DEATHS


def dead_letter(record: Record, mark: Mark, reason: Reason, last: str, codec: Codec) -> Step:
    """The step that keeps a record as a dead letter."""
    head = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": str(record.offset),
        "number": record.number,
        "key": record.key,
        "headers": dict(record.headers),
        "time": record.time,
        "attempts": mark.fails + (reason not in ("crash", "undecodable")),
        "deaths": mark.deaths,
        "reason": reason,
        "first": mark.first or last,
        "last": last,
        "tombstone": record.value is None,
        "at": int(time.time() * 1000),
    }
    if isinstance(record.value, Undecodable):
        body = record.value.data
    else:
        body = b"" if record.value is None else codec.dumps(record.value)
    return ("d", orjson.dumps(head), body)
