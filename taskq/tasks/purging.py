"""Emptying one state of a queue, script by script: never more than was there at the beginning."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from taskq.errors import BrokerUnavailable
from taskq.store.scripts import run
from taskq.tasks.lists import ListBroker
from taskq.tasks.operator_calls import State, purge
from taskq.tasks.stream_calls import unread


def sources(broker: ListBroker, queue: str, state: State) -> list[tuple[str, str]]:
    """The keys in which messages of this state wait, and the task of a parked list."""
    keys = broker.keys(queue)
    if state == "parked":
        return [(keys.parked_task(task), task) for task in parked_tasks(broker, queue)]
    one = {"delayed": keys.delayed, "dead": keys.dead, "quarantined": keys.quarantine}
    return [(one[state], "")] if state in one else [(key, "") for key in (*keys.ready, keys.alone)]


def emptied(
    broker: ListBroker,
    queue: str,
    state: State,
    source: str,
    task: str,
    patiently: Callable[[Callable[[], int]], int],
) -> Iterator[int]:
    """Remove what is in one key now; how many, script by script."""
    keys = broker.keys(queue)
    left = _left(broker, queue, state, source)
    while left > 0:
        wire = purge(keys, state, source, broker.limits, task=task, limit=left)
        try:
            done = run(broker.link, wire)
        except BrokerUnavailable:
            # It may have been done: what is there now is the most that may still go.
            left = min(left, patiently(lambda: _left(broker, queue, state, source)))
            continue
        left = min(left - done.taken, done.left) if done.taken else 0
        yield done.removed


def parked_tasks(broker: ListBroker, queue: str) -> list[str]:
    """The tasks of which messages are parked."""
    names = broker.link.execute("ZRANGE", broker.keys(queue).parked, 0, -1)
    return [str(name, "utf-8", "replace") for name in names]


def _left(broker: ListBroker, queue: str, state: State, source: str) -> int:
    keys, link = broker.keys(queue), broker.link
    left: int = link.execute("LLEN" if state in ("ready", "parked") else "ZCARD", source)
    if keys.streamed and source == keys.ready_for(0):
        left += unread(link.execute("HMGET", keys.tally, "appended", "read"))
    return left
