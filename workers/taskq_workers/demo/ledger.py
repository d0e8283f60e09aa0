"""The ledger: what the demo's tasks themselves saw, in a file that no broker and no worker can set right afterwards.

One line per event, appended by a single write to a file opened with O_APPEND, so that lines of several processes never
mix and a process that dies leaves whole lines only: `start|done|failed <id> <attempt> <pid> <fence> <monotonic ns>`.
The monotonic clock is one for all processes of a host, so that the lines can be compared.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from taskq.tasks.context import Context

VARIABLE = "TASKQ_DEMO_LEDGER"
"""The environment variable in which the tasks find the path of their ledger."""

Event = Literal["start", "done", "failed"]
_EVENTS = frozenset(get_args(Event))


class Line(NamedTuple):
    """One line; `at` in seconds of the monotonic clock."""

    event: Event
    id: str
    attempt: int
    pid: int
    fence: int
    at: float


class Writer:
    """The tasks' end: one descriptor per process, for all of its threads."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, event: Event, context: Context) -> None:
        line = f"{event} {context.id} {context.attempt} {os.getpid()} {context.fence} {time.monotonic_ns()}\n"
        os.write(self._fd, line.encode())


class Reader:
    """The other end: gives each line once, also while lines are added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def new(self) -> list[Line]:
        """The lines added since the last call; a line that is not whole yet is left for the next."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self._at += len(data)
        return list(_parse(data.decode()))


def _parse(text: str) -> Iterator[Line]:
    for line in text.splitlines():
        event, message, attempt, pid, fence, at = line.split(" ")
        if event not in _EVENTS:
            raise ValueError(f"the ledger has a line that no task wrote: {line!r}")
        yield Line(cast("Event", event), message, int(attempt), int(pid), int(fence), int(at) / 1e9)


@dataclass(frozen=True, slots=True)
class Account:
    """The ledger against what was enqueued and what the broker calls dead.

    `lost`: neither ended in the ledger nor a dead letter. `duplicated`: ended more than once. `retries`: runs after a
    failed one, counted by their starts.
    """

    done: int
    dead: int
    lost: int
    duplicated: int
    retries: int


def settle_account(ids: Iterable[str], dead: Iterable[str], lines: Iterable[Line]) -> Account:
    """Count; `ids` are all that were enqueued, `dead` those that the broker keeps as dead letters."""
    ends: Counter[str] = Counter()
    retries = 0
    for line in lines:
        if line.event == "done":
            ends[line.id] += 1
        retries += line.event == "start" and line.attempt > 1
    buried, all_ids = set(dead), set(ids)
    return Account(
        done=len(all_ids & ends.keys() - buried),
        dead=len(all_ids & buried),
        lost=len(all_ids - ends.keys() - buried),
        duplicated=sum(count > 1 for count in ends.values()),
        retries=retries,
    )


def running(lines: Iterable[Line], pid: int) -> dict[str, Line]:
    """What process `pid` has started and not ended, by message: the line of the start."""
    open_ones: dict[str, Line] = {}
    for line in lines:
        if line.pid != pid:
            continue
        if line.event == "start":
            open_ones[line.id] = line
        else:
            open_ones.pop(line.id, None)
    return open_ones


def started_again(lines: Iterable[Line], victims: Iterable[str], since: float) -> dict[str, float]:
    """For each victim that was started again after `since`: how many seconds later."""
    wanted = set(victims)
    found: dict[str, float] = {}
    for line in lines:
        if line.event == "start" and line.id in wanted and line.at > since:
            found.setdefault(line.id, line.at - since)
    return found
