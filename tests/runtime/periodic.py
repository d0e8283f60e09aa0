"""An app with schedules that come every second, for real workers; the world of the test says where it is."""

from __future__ import annotations

import os

import taskq
from taskq import TaskQ

app = TaskQ(os.environ["GUARDED_NAMESPACE"], url=os.environ["GUARDED_URL"], lease=float(os.environ["GUARDED_LEASE"]))


@app.periodic(every=1, missed="all", args=("tick",), name="tick")
@app.task(queue="ticks")
def tick(word: str) -> str:
    return word


@app.periodic("* * * * * *", seconds=True, tz="Europe/Berlin", missed="all", queue="tocks", name="tock")
async def tock() -> str:
    return taskq.current().id
