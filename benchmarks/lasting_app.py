"""The app of `lasting`: tasks of several kinds on both transports, a schedule, and a topic."""

from __future__ import annotations

import os

from taskq import AppOptions, Queue, Retention, RetryPolicy, TaskQ

LISTED, STREAMED = "listed", "streamed"
KEPT = 2_000
"""Results, dead letters, finished messages and records that are kept: so few that all are at their bound soon."""

app = TaskQ(
    "lasting",
    url=os.environ.get("BENCH_URL"),
    options=AppOptions(max_results=KEPT, max_dead=KEPT),
    queues=[Queue(STREAMED, transport="stream", retain=KEPT)],
    defaults={"result_ttl": 60},
)
ticks = app.topic("ticks", partitions=2, retention=Retention(count=KEPT))
_SOON = RetryPolicy(max_attempts=2, base=0.1)


class Refused(Exception):
    """What a task of this app fails with."""


@app.task(queue=LISTED)
def kept(number: int, text: str) -> int:
    return number + len(text)


@app.task(queue=LISTED)
async def awaited(number: int, text: str) -> int:
    return number + len(text)


@app.task(queue=LISTED, retry=_SOON)
def failing(number: int) -> None:
    raise Refused(f"number {number}")


@app.task(queue=STREAMED)
def streamed(number: int, text: str) -> int:
    return number + len(text)


@app.task(queue=STREAMED, retry=_SOON)
def failing_too(number: int) -> None:
    raise Refused(f"number {number}")


@app.periodic(every=1, queue=LISTED)
def each_second() -> None:
    """Nothing: that it is fired is the load."""


@app.subscribe("ticks", group="readers")
def tick(value: int) -> None:
    """Nothing: that it is read and committed is the load."""
