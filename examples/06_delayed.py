"""Delayed: later, at a moment, not after a moment, or not at all.

A worker:        taskq dev 06_delayed:app
The producer:    python 06_delayed.py
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from taskq import TaskExpired, TaskQ

app = TaskQ("reminders")


@app.task
def remind(what: str) -> float:
    """When it ran, in seconds of the epoch."""
    print(f"reminder: {what}", flush=True)
    return time.time()


if __name__ == "__main__":
    now = time.time()
    tea = remind.options(delay=1).enqueue("the tea is ready")
    train = remind.options(at=datetime.now(UTC) + timedelta(seconds=0.5)).enqueue("the train leaves")
    party = remind.options(delay=timedelta(days=3)).enqueue("the party")
    # Its time was over a second ago, as after a long wait behind other messages: it is dropped, not run late.
    offer = remind.options(expires=datetime.now(UTC) - timedelta(seconds=1)).enqueue("the offer ends")

    print(f"the party: {party.status()}, then {party.cancel()}, then {party.status()}")
    print(f"the train: {train.result(timeout=30) - now >= 0.5}")
    print(f"the tea: {tea.result(timeout=30) - now >= 1.0}")
    try:
        offer.result(timeout=30)
    except TaskExpired:
        print("the offer: expired")
