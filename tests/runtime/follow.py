"""An app with follow-ups, hooks, middleware and progress, for `test_worker_features`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from taskq import Incident, Retry, TaskQ, current
from tests.runtime.guarded import say, tell, wait_for_file

app = TaskQ(os.environ.get("GUARDED_NAMESPACE", "guarded"), url=os.environ.get("GUARDED_URL"))
seen: list[str] = []


@app.on_startup
async def connect() -> None:
    await asyncio.sleep(0)
    seen.append("connected")


@app.on_shutdown
def disconnect() -> None:
    tell("shutdown", "-")


@app.on_failure
def failed(incident: Incident) -> None:
    tell("failed", incident.failure.message or incident.failure.type)


@app.on_dead
async def died(incident: Incident) -> None:
    tell("died", incident.args[0])


@app.middleware("execute")
def labelled(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def handle(request: Any) -> Any:
        seen.append(request.task.rpartition(".")[2])
        return handler(request)

    return handle


@app.task(queue="work")
def parent(tag: str) -> list[str]:
    say("start", tag)
    return seen


@app.task(queue="other")
async def child(tag: str) -> str:
    say("start", tag)
    context = current()
    context.progress(1, 2, "half way")
    return f"{context.queue} {context.attempt} {context.headers.get('colour')}"


@app.task(queue="work", retry=1)
def hopeless(tag: str) -> None:
    raise ValueError(tag)


@app.task(queue="work", retry=2)
def again(tag: str) -> int:
    """Asks for another run without spending an attempt, twice."""
    say("start", tag)
    if current().deliveries < 3:
        raise Retry(after=0.01, count_attempt=False)
    return current().attempt


@app.task(queue="work")
def tells(tag: str, gate: str) -> None:
    """Says how far it is, three times, and goes on until the test opens its gate."""
    for done in range(3):
        current().progress(done, 3, f"{tag} {done}")
    say("start", tag)
    wait_for_file(gate)


@app.task(queue="work", timeout=60.5)
async def atells(tag: str, gate: str) -> None:
    """The same on the event loop, in a call whose options give it a plan of its own."""
    for done in range(3):
        current().progress(done, 3, f"{tag} {done}")
    say("start", tag)
    await asyncio.to_thread(wait_for_file, gate)


@app.task(queue="work")
def naps(tag: str) -> None:
    say("start", tag)
    time.sleep(0.13)
