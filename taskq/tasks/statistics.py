"""What is counted of tasks beside their queue: names of fields, letters of fates, and the script that takes samples.

A settling script is told by each message what it counts as: lines of fields of `stats`, added up only for messages that
are held. So counting costs no round trip, and what is settled twice counts once.
"""

from __future__ import annotations

from typing import Any, Final

from taskq.store.keys import QueueKeys
from taskq.store.scripts import Call, load

SLOT_MS: Final = 5_000
"""One sample is kept of so many milliseconds."""

SLOTS: Final = 120
"""So many samples are kept of a queue: ten minutes."""

RECENT: Final = 50
"""So many failures are kept of a queue."""

LETTERS: Final = {"d": "done", "f": "failed", "r": "retried", "x": "dead", "c": "cancelled", "e": "expired"}
"""A field of `stats` is such a letter, a space and the task."""

RUN, WAIT = "R", "W"
"""Or one of these, the number of a bucket (`taskq.buckets`), a space and the task."""

FATES: Final = {"r": "retried", "x": "dead", "q": "quarantined", "k": "crashed"}
"""An entry of `recent` begins with such a letter; then 16 bytes of id, 13 digits of ms, the start of the error line."""


def counted(task: str, letters: str, run: int | None = None, wait: int | None = None) -> str:
    """What a message counts as when it is settled; `run` and `wait` are buckets.

    >>> counted("shop.send", "fr", run=21)
    'f shop.send\\nr shop.send\\nR21 shop.send'
    """
    names = [*letters]
    if run is not None:
        names.append(f"{RUN}{run}")
    if wait is not None:
        names.append(f"{WAIT}{wait}")
    return "\n".join([f"{name} {task}" for name in names])


def sample(keys: QueueKeys, now: str = "") -> Call[bool]:
    """Keep the counters of a queue, once per slot; answers whether they were kept."""
    names = [keys.meta, keys.samples, keys.tally, keys.none, *keys.ready, keys.alone]

    def decode(reply: Any) -> bool:
        return bool(reply)

    return Call(load("tasks/sample"), names, [now, SLOT_MS, SLOTS], decode)
