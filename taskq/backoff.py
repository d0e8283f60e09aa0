"""How long to wait before the next attempt of a message, and before the next try of a call."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator

from taskq.options import RetryPolicy


def delay(attempt: int, policy: RetryPolicy, random01: float) -> float:
    """Seconds to wait after `attempt` (counted from 1) failed; pure, the randomness comes from outside.

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


def pauses(deadline: float) -> Iterator[float]:
    """Seconds to wait before each further try, jittered and doubling up to half a second, until the deadline."""
    pause = 0.02
    while True:
        wait = pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        if time.monotonic() + wait >= deadline:
            return
        yield wait
        pause = min(pause * 2, 0.5)
