"""What an attempt counts as when it is settled: its task and outcome, how long it ran, how long it had waited.

This is worked out for every message, so buckets are found among their bounds by C, and the texts are made once and then
looked up.
"""

from __future__ import annotations

from bisect import bisect_right
from time import monotonic, time
from typing import Final

from taskq.buckets import MOST, bounds
from taskq.tasks.statistics import counted
from taskq_workers.attempt import Attempt

_NUMBERS: Final = (0, 2, *range(4, MOST + 1))  # of all buckets that a duration can fall into
_BOUNDS: Final = [bounds(number)[0] for number in _NUMBERS[1:]]
_NO_WAIT: Final = 127


def as_done(attempt: Attempt) -> str:
    """The text for an attempt that has just returned."""
    place, counts = _place(attempt), attempt.plan.counts
    return counts.get(place) or counts.setdefault(place, _text(attempt, "d", place))


def as_ended(attempt: Attempt, letters: str) -> str:
    """The text for an attempt that has just ended in another way."""
    return _text(attempt, letters, _place(attempt))


def _place(attempt: Attempt) -> int:
    """How long it ran and, of a first delivery, how long it had waited since it was created, as one number.

    The producer's clock said when that was, and this host's says when it began: they may differ.
    """
    took = monotonic() - attempt.started
    waited = _NO_WAIT
    if attempt.delivery.deliveries == 1:
        try:  # noqa: SIM105 - to make a `suppress` takes as long as all of this
            waited = bisect_right(_BOUNDS, time() - took - attempt.message.created / 1000)
        except TypeError:  # nobody has looked yet whether a stored time of creation is one
            pass
    return bisect_right(_BOUNDS, took) << 7 | waited


def _text(attempt: Attempt, letters: str, place: int) -> str:
    wait = place & _NO_WAIT
    return counted(attempt.plan.name, letters, _NUMBERS[place >> 7], None if wait == _NO_WAIT else _NUMBERS[wait])
