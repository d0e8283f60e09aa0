"""What the children of a worker have measured of handlers of records, added up; those that have ended count too."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from taskq.buckets import Histogram


class Measured:
    """The main loop hears, whoever serves metrics reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended: list[Mapping[str, Any]] = []
        self._children: dict[int, Mapping[str, Any]] = {}

    def heard(self, child: int, told: Mapping[str, Any]) -> None:
        """A child told all that it has measured so far (`taskq.events.metering`)."""
        with self._lock:
            self._children[child] = told

    def ended(self, child: int) -> None:
        """A child has ended: what it told last stays."""
        with self._lock:
            told = self._children.pop(child, None)
            if told is not None:
                self._ended = [_added([*self._ended, told])]

    def total(self) -> Mapping[str, Any] | None:
        """Of all children; None if none has measured anything."""
        with self._lock:
            known = [*self._ended, *self._children.values()]
            return _added(known) if known else None


def _added(known: list[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"refused": sum(int(one.get("refused", 0)) for one in known)}
    for name in ("records", "handling", "commits"):
        sums: Counter[str] = Counter()
        for one in known:
            sums.update({str(key): int(count) for key, count in dict(one.get(name, {})).items()})
        found[name] = dict(sums)
    return found


def histogram(counts: Mapping[str, int]) -> Histogram:
    """Durations as they were told."""
    return Histogram({int(number): count for number, count in counts.items()})
