"""An app for the tests of what a review found: tasks that meet the end of their child at bad moments."""

from __future__ import annotations

import os

from taskq import TaskQ
from tests.runtime.guarded import say, wait_for_file

app = TaskQ(
    os.environ.get("GUARDED_NAMESPACE", "guarded"),
    url=os.environ.get("GUARDED_URL"),
    lease=float(os.environ.get("GUARDED_LEASE", "10")),
)


@app.task(queue="work", delivery="at_most_once")
def once_gated(tag: str, gate: str) -> None:
    """Runs until the test opens its gate (makes a file)."""
    say("start", tag)
    wait_for_file(gate)
    say("end", tag)
