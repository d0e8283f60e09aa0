"""What follows from a handler that failed: pure, so that it is tested without a broker. And the line that is kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import orjson

from taskq.backoff import delay
from taskq.checks import seconds
from taskq.errors import Reject, Retry, TaskqError
from taskq.options import RetryPolicy

MESSAGE_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Decision:
    """`retry` after `delay` milliseconds, `free` if it spends no attempt, or `dead`."""

    verb: Literal["retry", "free", "dead"]
    delay: int = 0


def decide(error: BaseException, attempts: int, policy: RetryPolicy, random01: float) -> Decision:
    """What to do with a record whose handler raised `error` after `attempts` earlier failed ones."""
    if isinstance(error, Reject):
        return Decision("dead")
    attempt = attempts + 1
    if isinstance(error, Retry):
        if error.count_attempt and attempt >= policy.max_attempts:
            return Decision("dead")
        try:
            wait = delay(attempt, policy, random01) if error.after is None else seconds(error.after, "after")
        except TaskqError:  # `Retry` refuses it, so it was put there afterwards
            wait = delay(attempt, policy, random01)
        return Decision("retry" if error.count_attempt else "free", round(wait * 1000))
    again = policy.retries(error) or not isinstance(error, Exception)
    if attempt >= policy.max_attempts or not again:
        return Decision("dead")
    return Decision("retry", round(delay(attempt, policy, random01) * 1000))


def line(error: BaseException, member: str) -> bytes:
    """One line of JSON: class, text, member, time. Tracebacks are for the log: they may show what a record holds."""
    try:
        text = str(error)
    except Exception as unprintable:  # noqa: BLE001 -- a handler's exception may do anything in __str__
        text = f"<unprintable: its __str__ raised {type(unprintable).__name__}>"
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return told(name, text, member)


def told(kind: str, text: str, member: str) -> bytes:
    """The same for what no exception told."""
    clean = (part.encode("utf-8", "backslashreplace").decode() for part in (kind, text[:MESSAGE_CHARS], member))
    values = dict(zip(("type", "message", "member"), clean, strict=True))
    return orjson.dumps({**values, "at": int(time.time() * 1000)})
