"""What a watch reads of queues by turns: the figures of their tasks, their last failures, their samples.

They are the longest answers of a look. The first two change only when something was settled, so a queue is asked again
when its counters have moved since it was; a sample is stored each five seconds. So many are asked at a time that all
have their turn within five seconds, those first that were asked longest ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any, Final, TypeAlias

from taskq import figures
from taskq.snapshot import FailureInfo, Sample, TaskStats
from taskq.tasks.statistics import SLOT_MS

LEAST: Final = 5
"""So many queues at least are asked in one look, if so many have moved."""
TURN_S: Final = 5.0
"""Or as many as are due since the look before, if each is to have its turn within this time."""

Counters: TypeAlias = tuple[bytes | None, ...]
_SETTLED: Final = (b"done", b"failed", b"retried", b"dead", b"cancelled", b"expired", b"crashed", b"quarantined")


class Details:
    """What is known of each queue; the answers of one round come between `due` and `keep`."""

    def __init__(self) -> None:
        self._tasks: dict[str, tuple[TaskStats, ...]] = {}
        self._failures: dict[str, list[FailureInfo]] = {}
        self._asked: dict[str, Counters] = {}  # the counters when it was asked, longest ago first
        self._moved: dict[str, Counters] = {}  # as the last look saw them
        self._samples: dict[str, tuple[Sample, ...]] = {}
        self._looked = 0.0
        self._share = 1.0  # of the queues, that of the time since the look before
        self._sampled: dict[str, float] = {}  # when their samples were asked for, longest ago first

    def due(self, known: Iterable[str], now: float, *, whole: bool = False) -> set[str]:
        """The queues to ask now, by a clock in seconds: those never asked, then so many that have moved; or all."""
        names = set(known)
        self._share, self._looked = min(max(now - self._looked, 0.0) / TURN_S, 1.0), now
        if whole:
            return names
        never = names - self._asked.keys()
        moved = [name for name, then in self._asked.items() if name in names and self._moved.get(name) != then]
        return never | set(moved[: self._at_once(len(names))])

    def samples_due(self, known: Iterable[str], now: float) -> set[str]:
        """The queues whose samples to ask for now, by a clock in seconds: those never asked, then the oldest."""
        names = set(known)
        self._samples = {name: found for name, found in self._samples.items() if name in names}
        self._sampled = {name: at for name, at in self._sampled.items() if name in names}
        old = [name for name, at in self._sampled.items() if now - at >= SLOT_MS / 1000]
        due = (names - self._sampled.keys()) | set(old[: self._at_once(len(names))])
        for name in due:
            self._sampled.pop(name, None)
            self._sampled[name] = now
        return due

    def _at_once(self, count: int) -> int:
        return max(LEAST, ceil(count * self._share))

    def take_samples(self, name: str, samples: tuple[Sample, ...]) -> None:
        """The samples of a queue."""
        self._samples[name] = samples

    def take_tasks(self, name: str, flat: Any) -> None:
        """The answer for the tasks of a queue."""
        self._tasks[name] = figures.task_stats(name, flat)

    def take_failures(self, name: str, entries: Any) -> None:
        """The answer for the last failures of a queue."""
        self._failures[name] = list(figures.failures(name, entries))

    def keep(self, asked: Iterable[str], refused: Iterable[str], found: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """End a round: what was asked, what could not be read, and the counters of the queues that are there."""
        self._moved = {name: _settled(meta) for name, meta in found.items()}
        for name in asked:
            self._asked.pop(name, None)
            if name in self._moved:
                # The counters were read before, by the same round: what they say is in the answer at least.
                self._asked[name] = self._moved[name]
        gone = {name for name in (*self._tasks, *self._failures, *self._asked) if name not in self._moved}
        for name in {*gone, *refused}:
            self._tasks.pop(name, None)
            self._failures.pop(name, None)
            self._asked.pop(name, None)

    @property
    def samples(self) -> dict[str, tuple[Sample, ...]]:
        """The samples of all queues, as they were when they were asked for."""
        return dict(sorted(self._samples.items()))

    @property
    def tasks(self) -> tuple[TaskStats, ...]:
        """The tasks of all queues, by queue and name."""
        return tuple(one for _, tasks in sorted(self._tasks.items()) for one in tasks)

    @property
    def failures(self) -> Sequence[FailureInfo]:
        """The last failures of all queues, newest first."""
        return sorted((one for found in self._failures.values() for one in found), key=lambda one: -one.at)


def _settled(meta: Mapping[bytes, bytes]) -> Counters:
    return tuple(meta.get(name) for name in _SETTLED)
