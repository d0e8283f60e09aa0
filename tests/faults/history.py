"""The checker: holds what was accepted and what tasks wrote outside Redis against what Redis has in the end.

Words as in Jepsen's queue checker: *accepted* messages, *lost* ones (neither done nor kept as a dead letter),
*duplicated* runs. A run may only be followed by another one if the process that ran it was killed (or stopped beyond
its lease) before its outcome was stored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from taskq.store import keys
from taskq.tasks.broker import Found
from taskq.tasks.lists import ListBroker
from tests.runtime.world import Said

LASTING = (
    "meta",
    "stats",
    "recent",
    "samples",
    "results",
    "results:due",
    "tombs",
    "wake",
    "dead",
    "quarantine",
    "errors",
    "body",
    "state",
)
"""Keys of a queue that may have no expiry after a drain; `body`, `state` and `errors` only for dead letters."""

OF_STREAMS = ("stream", "tally", "steps", "passed")
"""Those that a stream queue keeps besides: its history, and what is counted of it."""

Pids: TypeAlias = frozenset[int] | set[int]

MORTAL = ("lane:", "worker:", "progress:")
"""Keys of a queue that may remain, since they expire."""


@dataclass
class Report:
    """What was found; each list names messages by tag, or keys."""

    accepted: int = 0
    done: int = 0
    dead: int = 0
    quarantined: int = 0
    runs: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    allowed: int = 0
    stale: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.stale or self.unexpected or self.leaked)

    @property
    def details(self) -> str:
        """What is wrong, by name; the first few of each kind."""
        kinds = ("lost", "duplicated", "stale", "unexpected", "leaked")
        return "; ".join(f"{kind}: {getattr(self, kind)[:5]}" for kind in kinds if getattr(self, kind))

    def __str__(self) -> str:
        return (
            f"{self.accepted} accepted, {self.done} done, {self.dead} dead, {self.quarantined} quarantined, "
            f"{len(self.lost)} lost, {len(self.duplicated)} duplicated beyond the allowance ({self.allowed} within), "
            f"{len(self.stale)} stale outcomes, {len(self.unexpected)} unexpected, {len(self.leaked)} leaked keys"
        )


@dataclass
class History:
    """`accepted`: id to tag. `runs`: what was said with the word `start`, in the order of the ledger, by tag.

    `counters` are those of the queue's meta key, `lasting` and `mortal` the keys without and with an expiry.
    """

    accepted: Mapping[bytes, str]
    runs: Mapping[str, Sequence[Said]]
    ends: Mapping[str, Sequence[Said]]
    found: Mapping[bytes, Found]
    counters: Mapping[str, int]
    lasting: set[str]
    mortal: set[str]
    held: int
    base: str
    namespace: str
    streamed: bool = False
    pending: int = 0

    @classmethod
    def read(cls, broker: ListBroker, queue: str, accepted: Mapping[bytes, str], said: Sequence[Said]) -> History:
        """Collect it all; the work should have come to rest."""
        runs: dict[str, list[Said]] = defaultdict(list)
        ends: dict[str, list[Said]] = defaultdict(list)
        for one in said:
            if one.word == "start":
                runs[one.tag].append(one)
            elif one.word == "end":
                ends[one.tag].append(one)
        ids = list(accepted)
        found = dict(zip(ids, broker.lookup(queue, ids), strict=True))
        names, link = broker.keys(queue), broker.link
        meta = link.execute("HGETALL", names.meta)
        counters = {
            str(name, "ascii"): int(value) for name, value in zip(meta[::2], meta[1::2], strict=True) if value.isdigit()
        }
        left: list[bytes] = []
        cursor: bytes | str = "0"
        while True:
            cursor, part = link.execute("SCAN", cursor, "MATCH", f"taskq:{{{broker.namespace}[:}}]*", "COUNT", 500)
            left += part
            if cursor == b"0":
                break
        ages = {str(key, "utf-8"): link.execute("PTTL", key) for key in left}  # -2: gone since the scan
        lasting = {key for key, age in ages.items() if age == -1}
        mortal = {key for key, age in ages.items() if age >= 0}
        held = int(link.execute("ZCARD", names.leases))
        pending = pending_of(broker, queue) if names.streamed else 0
        rest = (names.base, broker.namespace, names.streamed, pending)
        return cls(accepted, runs, ends, found, counters, lasting, mortal, held, *rest)

    # -- questions --------------------------------------------------------------------------------------------------

    def judge(self, disturbed: Pids = frozenset(), late: Pids = frozenset(), *, dead: bool = False) -> Report:
        """Hold it all against each other. `disturbed` are processes that were killed, stopped or cut off beyond their
        lease, `late` those of them that went on afterwards; `dead` says that dead letters are expected.
        """
        report = Report(len(self.accepted), runs=sum(len(runs) for runs in self.runs.values()))
        for message, tag in self.accepted.items():
            found = self.found[message]
            if found.state == "o" and found.result[:1] == b"d":
                report.done += 1
                if not self.ends.get(tag):
                    report.lost.append(f"{tag} is done and no run of it came to its end")
            elif found.state in "xq" and dead:
                report.dead += found.state == "x"
                report.quarantined += found.state == "q"
            else:
                report.lost.append(f"{tag}: {found}")
            self._judge_runs(report, found, tag, disturbed, late)
        for tag in self.runs.keys() - set(self.accepted.values()):
            report.unexpected.append(f"{tag} ran and was never accepted")
        for name, expected in (("done", report.done), ("dead", report.dead), ("quarantined", report.quarantined)):
            if (counted := self.counters.get(name, 0)) != expected:
                report.stale.append(f"the broker counted {counted} {name} and there are {expected}")
        self._leaks(report)
        return report

    def check(self, disturbed: Pids = frozenset(), late: Pids = frozenset(), *, dead: bool = False) -> Report:
        """`judge`, and fail unless it is clean."""
        report = self.judge(disturbed, late, dead=dead)
        assert report.clean, f"{report}: {report.details}"
        return report

    def _judge_runs(self, report: Report, found: Found, tag: str, disturbed: Pids, late: Pids) -> None:
        runs = self.runs.get(tag, ())
        fences = [run.fence for run in runs]
        # One that stood still may have started after others took over, under a fence that is lower than theirs: that is
        # what users guard their rows against with it. Its outcome counts for nothing.
        grown = [run.fence for run in runs if run.pid not in late]
        if grown != sorted(grown) or len(set(fences)) < len(fences):
            report.stale.append(f"{tag} ran under fences that do not grow: {fences}")
        for run, again in pairwise(sorted(runs, key=lambda run: run.fence)):
            if run.pid in disturbed:
                report.allowed += 1
            elif again.attempt == run.attempt:  # with the next attempt it is a retry, which was asked for
                report.duplicated.append(f"{tag}: {run} was followed by {again}")
        if found.state == "o" and found.result[1:2] == b"[":
            fence = int(found.result[2:-1].split(b",")[1])
            if fence != max(fences):
                report.stale.append(f"{tag} has the outcome of fence {fence}, its runs had {fences}")

    def _leaks(self, report: Report) -> None:
        allowed = {self.base + name for name in (*LASTING, *(OF_STREAMS if self.streamed else ()))}
        allowed |= {keys.queues(self.namespace), keys.workers(self.namespace), keys.layout(self.namespace)}
        if not report.dead + report.quarantined:
            allowed -= {self.base + name for name in ("body", "state", "errors")}
        ours = (self.base, f"taskq:{{{self.namespace}}}:")
        report.leaked += sorted(key for key in self.lasting - allowed if key.startswith(ours))
        if self.pending:
            report.leaked.append(f"{self.pending} entries of the stream are pending, and nobody holds a message")
        starts = (*(self.base + start for start in MORTAL), f"taskq:{{{self.namespace}}}:worker:")
        report.leaked += sorted(key for key in self.mortal if key.startswith(ours) and not key.startswith(starts))


def pending_of(broker: ListBroker, queue: str) -> int:
    """How many entries of a stream are pending of our own consumer; 0 if there is no group."""
    stream = broker.keys(queue).stream
    if not broker.link.execute("EXISTS", stream) or not broker.link.execute("XINFO", "GROUPS", stream):
        return 0
    return len(broker.link.execute("XPENDING", stream, "taskq", "-", "+", 1000, "taskq"))
