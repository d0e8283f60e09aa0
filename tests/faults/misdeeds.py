"""The app of `tests.runtime.guarded` with more tasks: effects that are checked, and tasks that misbehave in other ways."""

from __future__ import annotations

import os
import time

from taskq import RetryPolicy, current
from tests.runtime import guarded
from tests.runtime.guarded import say

app = guarded.app


def effect(word: str, tag: str) -> None:
    """`say`, and on the disk before anything else happens: a record that is missing means that it was not done."""
    say(word, tag)
    ledger = os.open(os.environ["GUARDED_LEDGER"], os.O_WRONLY)
    try:
        os.fdatasync(ledger)
    finally:
        os.close(ledger)


@app.task(queue="work", result_ttl=3600, retry=RetryPolicy(max_attempts=5, base=0.05, cap=0.5))
def effective(tag: str, seconds: float = 0.0, failures: int = 0) -> list[object]:
    """Writes what it does; fails so often first. Its result tells which run it is from."""
    effect("start", tag)
    if seconds:
        time.sleep(seconds)
    if current().attempt <= failures:
        raise ConnectionError(f"{tag} is meant to fail {failures} times")
    effect("end", tag)
    return [tag, current().fence]


@app.task(queue="work", result_ttl=3600)
async def aeffective(tag: str) -> list[object]:
    effect("start", tag)
    effect("end", tag)
    return [tag, current().fence]


@app.task(queue="work", result_ttl=3600, retry=RetryPolicy(max_attempts=5, base=0.05, cap=0.5))
def slow_again(tag: str, gate: str, failures: int = 0) -> list[object]:
    """The first delivery ends at once (or fails, if told), later ones wait for their gate."""
    effect("start", tag)
    if current().deliveries > 1:
        guarded.wait_for_file(gate)
    elif failures:
        raise ConnectionError(tag)
    effect("end", tag)
    return [tag, current().fence]


@app.task(queue="work", result_ttl=3600)
def sized(tag: str, data: str) -> int:
    """Comes with a large body."""
    effect("start", tag)
    effect("end", tag)
    return len(data)
