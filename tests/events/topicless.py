"""An app without topics; its task says which modules of events its process has."""

from __future__ import annotations

import os
import sys

from taskq import TaskQ

app = TaskQ(os.environ["GUARDED_NAMESPACE"], url=os.environ["GUARDED_URL"])


@app.task
def imported() -> list[str]:
    return sorted(name for name in sys.modules if name.startswith(("taskq.events", "taskq_workers.consuming")))
