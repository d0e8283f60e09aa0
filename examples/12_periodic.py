"""Periodic: tasks that run by themselves, declared in code or made at run time. Any worker fires them.

A worker:        taskq dev 12_periodic:app
The producer:    python 12_periodic.py
What there is:   taskq schedule ls --app 12_periodic:app
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from taskq import TaskQ

app = TaskQ("periodic")


@app.periodic("30 2 * * *", tz="Europe/Berlin", missed="latest")
def nightly() -> str:
    """Once a night: also in the one that has no half past two, and once in the one that has two of them."""
    return f"report of {datetime.now(UTC):%Y-%m-%d}"


@app.periodic("*/5 * * * *", tz="Europe/Berlin", jitter=20)
def tidy() -> None:
    """Every real five minutes, each time up to twenty seconds later."""


@app.periodic(every=1, overlap="skip", args=("eu",), name="poll-eu")
@app.task(timeout=8)
async def poll(region: str) -> str:
    return f"polled {region}"


@app.task
def remind(customer: int) -> str:
    return f"reminded customer {customer}"


def runs(name: str) -> int:
    """How many messages a schedule has made; 0 before a worker has declared it."""
    return sum(info.runs for info in app.schedules.list() if info.name == name)


if __name__ == "__main__":
    if all(info.name != "remind-7" for info in app.schedules.list()):
        app.schedules.add("remind-7", remind, "0 9 * * mon", tz="America/New_York", args=(7,))
    reminder = app.schedules.get("remind-7")
    print(f"remind-7: {reminder.next:%A %H:%M} in {reminder.tz}")
    print(f"now and then: {app.schedules.run('remind-7').result(timeout=30)}")
    print(f"paused: {app.schedules.pause('remind-7').next}")
    app.schedules.remove("remind-7")

    while runs("poll-eu") < 2:  # this is what a worker does by itself
        time.sleep(0.05)
    print("polled twice by itself")
    print(", ".join(info.name for info in app.schedules.list()))
