"""The app of `guarded`, with hooks that tell what they were told, and tasks that are lost."""

from __future__ import annotations

import asyncio
import os

from taskq.tasks.hooks import Incident
from tests.runtime.guarded import app, die, say, tell, wait_for_file


def _tell(word: str, incident: Incident) -> None:
    how = "nothing" if incident.error is None else type(incident.error).__name__
    tell(f"{word}:{incident.failure.kind}:{how}", str(incident.args[0]), attempt=incident.failure.attempt)


@app.on_failure
def failed(incident: Incident) -> None:
    _tell("failure", incident)
    if os.environ.get("HOOK_ENDS"):
        os._exit(3)
    if gate := os.environ.get("HOOK_GATE"):
        wait_for_file(gate)


@app.on_dead
def dead(incident: Incident) -> None:
    _tell("dead", incident)
    raise RuntimeError(f"no hook for {incident.task}")


@app.on_dead
async def adead(incident: Incident) -> None:
    await asyncio.sleep(0)
    _tell("adead", incident)


@die.on_dead
def die_dead(incident: Incident) -> None:
    _tell("die-dead", incident)


@app.task(queue="work", delivery="at_most_once")
def once_gated(tag: str, gate: str) -> None:
    say("start", tag)
    wait_for_file(gate)


@app.task(queue="work", delivery="at_most_once")
async def once_sleeps(tag: str) -> None:
    say("start", tag)
    await asyncio.sleep(60)
