"""The app that the tests of workers with topics run: what it handles, it says; what a record asks for, it does."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from taskq import Heard, Record, RetryPolicy, TaskQ
from tests.runtime.guarded import say, tell, wait_for_file

app = TaskQ(os.environ["GUARDED_NAMESPACE"], url=os.environ["GUARDED_URL"])
orders = app.topic("orders", partitions=4)
mails = app.topic("mails", partitions=2)
SOON = RetryPolicy(max_attempts=3, base=0.05)
SESSION_S = float(os.environ.get("WORKING_SESSION", "2"))
loops: list[asyncio.AbstractEventLoop] = []


@app.on_startup
async def note_loop() -> None:
    loops.append(asyncio.get_running_loop())


def obey(record: Record) -> str:
    """Do what a record asks for; answers its tag."""
    value: dict[str, Any] = record.value
    tag = str(value["tag"])
    if value.get("die"):
        tell("dies", tag)
        os.kill(os.getpid(), signal.SIGKILL)
    if value.get("gate"):
        tell("waits", tag)
        wait_for_file(value["gate"])
    if value.get("fails"):
        raise ValueError(tag)
    return tag


@app.subscribe("orders", group="billing", reset="earliest", session=SESSION_S, retry=SOON, max_poll=2.0)
def bill(record: Record) -> None:
    tell("billed", obey(record), attempt=record.attempt)


@app.subscribe("orders", group="audit", reset="earliest", session=SESSION_S)
async def audit(record: Record) -> None:
    await asyncio.sleep(0)
    tell("audited" if asyncio.get_running_loop() is loops[0] else "elsewhere", str(record.value["tag"]))


@app.subscribe("mails", group="post", mode="shared", reset="earliest", lease=1, retry=SOON)
def post(record: Record) -> None:
    tell("posted", obey(record), attempt=record.attempt)


@app.subscribe("news", mode="broadcast")
async def hear(heard: Heard) -> None:
    tell("heard" if asyncio.get_running_loop() is loops[0] else "elsewhere", str(heard.value))


@app.task(queue="work")
def work(tag: str) -> None:
    say("worked", tag)


@app.task(queue="receipts")
def receipt(tag: str) -> dict[str, str]:
    say("worked", tag)
    return {"tag": tag}


@app.task(queue="bridged")
def bridged(tag: str) -> None:
    say("bridged", tag)


app.publish_results(receipt, "receipts", key=lambda result: result["tag"])
app.topic("receipts", partitions=2)
app.bridge("sources", group="tasks", call=lambda record: bridged.call(record.value["tag"]), reset="earliest", session=2)
