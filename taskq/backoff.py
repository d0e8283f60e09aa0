"""How long to wait before the next attempt: pure, the randomness comes from outside."""

from __future__ import annotations

import math

from taskq.options import RetryPolicy


def delay(attempt: int, policy: RetryPolicy, random01: float) -> float:
    """Seconds to wait after `attempt` (counted from 1) failed.

    The whole delay doubles with each attempt up to `policy.cap`; `random01`, between 0 and 1, picks a point between
    half of it and all of it, so that messages which failed together do not come back together.

    >>> policy = RetryPolicy(base=10, cap=3600)
    >>> [delay(attempt, policy, 1.0) for attempt in (1, 2, 3, 10, 10**6)]
    [10.0, 20.0, 40.0, 3600.0, 3600.0]
    >>> delay(1, policy, 0.0)
    5.0
    """
    try:
        whole = min(policy.cap, math.ldexp(policy.base, max(attempt, 1) - 1))
    except OverflowError:  # 2 ** attempt left the range of a float long after it passed any cap
        whole = policy.cap
    return whole * (0.5 + random01 / 2)
