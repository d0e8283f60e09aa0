"""What follows from an attempt that ended in an exception: pure, so that it is tested without a broker."""

from __future__ import annotations

from dataclasses import dataclass

from taskq.backoff import delay
from taskq.checks import seconds
from taskq.errors import ArgumentsMismatch, Reject, Retry, TaskCancelled, TaskqError, TaskTimeout
from taskq.options import RetryPolicy
from taskq.tasks.failure import Kind


@dataclass(frozen=True, slots=True)
class Decision:
    """`verb` is 'retry', 'dead' or 'cancelled'; `delay` is in milliseconds; `counts` says if an attempt is spent."""

    verb: str
    kind: Kind = "error"
    delay: int = 0
    counts: bool = True


def decide(error: BaseException, attempts: int, policy: RetryPolicy, cancelled: bool, random01: float) -> Decision:
    """What to do with a message whose run raised `error` after `attempts` earlier failed ones.

    A cancelled one is not run again. `Reject` and arguments that no longer fit are dead at once: running again would do
    the same. Everything else follows `Retry` or the policy.
    """
    if cancelled and isinstance(error, TaskCancelled):
        return Decision("cancelled")
    if isinstance(error, Reject):
        return Decision("dead", "reject")
    if isinstance(error, ArgumentsMismatch):
        return Decision("dead", "arguments")
    attempt = attempts + 1
    kind: Kind = "timeout" if isinstance(error, TaskTimeout) else "error"
    if isinstance(error, Retry):
        if error.count_attempt and attempt >= policy.max_attempts:
            return Decision("dead", kind)
        try:
            wait = delay(attempt, policy, random01) if error.after is None else seconds(error.after, "after")
        except TaskqError:  # `Retry` refuses it, so it was put there afterwards
            wait = delay(attempt, policy, random01)
        return Decision("retry", kind, round(wait * 1000), error.count_attempt)
    # SystemExit and its kin end a task, not the worker; they are failures like others, unless the policy names its own.
    again = kind == "timeout" or policy.retries(error) or not isinstance(error, Exception)
    if attempt >= policy.max_attempts or not again:
        return Decision("dead", kind)
    return Decision("retry", kind, round(delay(attempt, policy, random01) * 1000))
