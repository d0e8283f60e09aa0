"""What is drawn of one look: the snapshot, and the rates that only several looks together tell. Pure.

Rates are differences of counters, over the last five seconds or so. The little graphs come from the samples that the
sweep stores; where there are none, from what this dashboard has seen since it was started.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from taskq.buckets import Histogram
from taskq.inspector import QueueInfo
from taskq.snapshot import Snapshot

STEP_MS = 5_000
"""One bar of a graph, and the span over which rates are taken."""

BARS = 120
_RECENT_MS = 60_000  # over which quantiles are taken
_COUNTED = ("enqueued", "done", "failed", "retried", "dead")

Counts = tuple[int, ...]
Flow = tuple[str, str]
"""A topic, whose records come in, and a group, whose records go out; or '' for the topic itself."""

Durations = Mapping[tuple[str, str], Histogram]


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second."""

    enqueued: float = 0.0
    done: float = 0.0
    failed: float = 0.0
    retried: float = 0.0
    dead: float = 0.0

    def plus(self, other: Rates) -> Rates:
        """Both together."""
        return Rates(*(getattr(self, name) + getattr(other, name) for name in _COUNTED))


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a queue is: its rates, what it did in each step, and the 95th percentile of its run times in seconds.

    That is of the last minute; of a task that did not run then, since the beginning.
    """

    rates: Rates = Rates()
    p95: float | None = None
    bars: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class _Mark:
    """The counters of every queue at a moment; of each queue at its own, `read`, since queues are read by turns."""

    at: int
    counts: Mapping[str, Counts] = field(hash=False)
    read: Mapping[str, int] = field(hash=False)
    flows: Mapping[Flow, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Trend:
    """What is remembered of earlier looks, as little as the graphs need."""

    marks: tuple[_Mark, ...] = ()
    runs: tuple[tuple[int, Durations], ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """One look, with its rates. `paces` are by queue, `flows` are records per second."""

    snapshot: Snapshot
    paces: Mapping[str, Pace] = field(default_factory=dict, hash=False)
    total: Pace = Pace()
    trend: Trend = Trend()
    flows: Mapping[Flow, float] = field(default_factory=dict, hash=False)

    def flow(self, topic: str, group: str = "") -> float:
        """Records per second that came to a topic, or that a group was done with."""
        return self.flows.get((topic, group), 0.0)

    def pace(self, queue: str) -> Pace:
        """That of a queue, nothing for one that was never seen."""
        return self.paces.get(queue, _STILL)


_STILL = Pace()


def develop(snapshot: Snapshot, before: Picture | None = None) -> Picture:
    """The picture of a snapshot, with what the one before remembers."""
    trend = _grown(before.trend if before is not None else Trend(), snapshot)
    runs = {(one.queue, one.task): one.run for one in snapshot.tasks}
    earlier = trend.runs[0][1] if trend.runs else {}
    recent: dict[str, Histogram] = {}
    for key, histogram in runs.items():
        known = earlier.get(key)
        new = histogram.minus(known) if known is not None else histogram
        new = new if new.total else histogram  # nothing ran lately: better an old figure than none
        recent[key[0]] = recent[key[0]].plus(new) if key[0] in recent else new
    steps = {info.name: _steps(snapshot, trend, info) for info in snapshot.queues}
    paces = {
        info.name: Pace(_rates(trend, info.name), _p95(recent.get(info.name)), _bars(steps[info.name], snapshot.now))
        for info in snapshot.queues
    }
    together = Rates()
    everything = Histogram()
    for pace in paces.values():
        together = together.plus(pace.rates)
    for histogram in recent.values():
        everything = everything.plus(histogram)
    bars = [sum(column) for column in zip(*(pace.bars for pace in paces.values()), strict=True)]
    return Picture(snapshot, paces, Pace(together, _p95(everything), tuple(bars)), trend, _flow_rates(trend))


def _counts(info: QueueInfo) -> Counts:
    return tuple(info.counters.get(name, 0) for name in _COUNTED)


def _grown(trend: Trend, snapshot: Snapshot) -> Trend:
    """With this look: one mark per step is kept, and always the newest."""
    counts = {info.name: _counts(info) for info in snapshot.queues}
    mark = _Mark(snapshot.now, counts, {info.name: info.now for info in snapshot.queues}, _flows(snapshot))
    marks = [old for old in trend.marks if old.at <= mark.at]  # a clock that went back begins anew
    if len(marks) > 1 and marks[-2].at // STEP_MS == marks[-1].at // STEP_MS:
        marks.pop()
    runs = [one for one in trend.runs if snapshot.now - _RECENT_MS <= one[0] <= snapshot.now]
    if not runs or snapshot.now - runs[-1][0] >= STEP_MS:
        runs.append((snapshot.now, {(one.queue, one.task): one.run for one in snapshot.tasks}))
    return Trend((*marks[-BARS:], mark), tuple(runs))


def _flows(snapshot: Snapshot) -> dict[Flow, int]:
    found: dict[Flow, int] = {}
    for info in snapshot.topics:
        found[info.topic, ""] = info.appended
        found |= {(info.topic, group.group): group.done for group in info.groups}
    return found


def _flow_rates(trend: Trend) -> dict[Flow, float]:
    """Of what was there at both ends: a topic that has just been found has published nothing meanwhile."""
    first, last, seconds = _span(trend)
    if seconds <= 0:
        return {}
    both = ((flow, now, first.flows.get(flow, now)) for flow, now in last.flows.items())
    return {flow: (now - then if now >= then else now) / seconds for flow, now, then in both}


def _span(trend: Trend) -> tuple[_Mark, _Mark, float]:
    """The two marks between which rates are taken, and the seconds between them."""
    last = trend.marks[-1]
    first = next((mark for mark in reversed(trend.marks[:-1]) if last.at - mark.at >= STEP_MS), trend.marks[0])
    return first, last, (last.at - first.at) / 1000


def _rates(trend: Trend, queue: str) -> Rates:
    first, last, _ = _span(trend)
    if queue not in last.counts:
        return Rates()
    # A queue that was not there at the first mark counts from nothing since then.
    seconds = (last.read[queue] - first.read.get(queue, first.at)) / 1000
    if seconds <= 0:
        return Rates()
    now = last.counts[queue]
    then = first.counts.get(queue, (0,) * len(now))
    # A counter that went down was begun anew: the queue was removed and came again.
    return Rates(*((new - old if new >= old else new) / seconds for new, old in zip(now, then, strict=True)))


def _p95(histogram: Histogram | None) -> float | None:
    return None if histogram is None else histogram.quantile(0.95)


def _steps(snapshot: Snapshot, trend: Trend, info: QueueInfo) -> dict[int, int]:
    """How many were done in each step, by the number of the step."""
    samples = snapshot.samples.get(info.name, ())
    points: list[tuple[int, int]]
    if len(samples) > 1:
        points = [(one.at, one.done) for one in samples]
        # A sample may be newer than what was read of the queue.
        points += [(info.now, info.counters.get("done", 0))] if info.now >= samples[-1].at else []
    else:
        # By the look, not by when the queue was read: else a step that begins before its turn looks empty.
        points = [(mark.at, mark.counts[info.name][1]) for mark in trend.marks if info.name in mark.counts]
    steps: dict[int, int] = {}
    last: int | None = None
    for at, done in points:
        if last is not None:
            step = at // STEP_MS
            steps[step] = steps.get(step, 0) + (done - last if done >= last else done)
        last = done
    return steps


def _bars(steps: Mapping[int, int], now: int) -> tuple[float, ...]:
    """The last ten minutes, oldest first; the step that has just begun is left out, since it would look like a fall."""
    last = now // STEP_MS
    return tuple(float(steps.get(step, 0)) for step in range(last - BARS, last))
