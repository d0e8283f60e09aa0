"""Storm: members of one ordered group are killed, stopped, continued and replaced while records come in.

Eight partitions, six members, a thousand records a second. Each record is counted in the state of its key and published
again, exactly once. At the end all counts must be right, each record must be in the output once, those of a key in
order; a member that was frozen past its session must have changed nothing.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.bench import Bench, wait_for
from benchmarks.figures import Report, Row, number, percentile
from benchmarks.processes import ROOT, MeasurementFailed
from benchmarks.server import Server
from benchmarks.storm_member import GROUP, OUT, TOPIC
from taskq import Event, Record, TaskQ, Topic

PARTITIONS, MEMBERS, KEYS, RATE = 8, 6, 500, 1_000
SESSION_S = 3.0
HEARTBEAT_S = SESSION_S / 3
NAMESPACE = "storm"
_PATIENCE_S = 120.0
_STEP_S = 0.1
_PAGE = 10_000


@dataclass(slots=True)
class Storm:
    """What is done to the members, and what was seen meanwhile."""

    url: str
    seed: random.Random
    members: list[subprocess.Popen[bytes]] = field(default_factory=list)
    frozen: list[tuple[float, subprocess.Popen[bytes]]] = field(default_factory=list)
    hit: set[int] = field(default_factory=set)  # processes that were killed, or frozen for a while
    thawed: list[tuple[float, int]] = field(default_factory=list)
    killed: int = 0  # the one that this step has killed
    done: dict[str, int] = field(default_factory=dict)

    def join(self) -> None:
        told = json.dumps({"url": self.url, "namespace": NAMESPACE, "session": SESSION_S})
        roots = os.pathsep.join(str(ROOT / part) for part in ("", "workers", "dashboard"))
        command = [sys.executable, "-m", "benchmarks.storm_member", told]
        environment = {**os.environ, "PYTHONPATH": roots}
        self.members.append(subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, cwd=ROOT))

    def act(self, least: int) -> str:
        """One thing happens to a member; there are never fewer than `least` that could work."""
        acts = ["join"] if len(self.members) < MEMBERS else []
        if len(self.members) > least:
            acts += ["kill", "leave", "stop"]
        what = self.seed.choice(acts or ["join"])
        self.done[what] = self.done.get(what, 0) + 1
        if what == "join":
            self.join()
            return what
        member = self.members.pop(self.seed.randrange(len(self.members)))
        if what != "leave":
            self.hit.add(member.pid)
        if what == "kill":
            self.killed = member.pid
            member.kill()
            member.wait()
        elif what == "leave":
            assert member.stdin is not None
            member.stdin.close()
            threading.Thread(target=member.wait).start()
        else:
            member.send_signal(signal.SIGSTOP)
            until = time.monotonic() + self.seed.choice((0.5, 1.5)) * SESSION_S
            self.frozen.append((until, member))
        return what

    def thaw(self) -> None:
        """Let those go on whose time has come."""
        now = time.monotonic()
        for until, member in [pair for pair in self.frozen if pair[0] <= now]:
            member.send_signal(signal.SIGCONT)
            self.frozen.remove((until, member))
            self.members.append(member)
            self.thawed.append((now + SESSION_S, member.pid))
        self.hit -= {pid for until, pid in self.thawed if until <= now}
        self.thawed = [pair for pair in self.thawed if pair[0] > now]

    def end(self) -> None:
        for _, member in self.frozen:
            member.send_signal(signal.SIGCONT)
            self.members.append(member)
        self.frozen.clear()
        for member in self.members:
            member.kill()
            member.wait()


def measure(bench: Bench) -> Report:
    """The storm for five minutes. Raises MeasurementFailed if anything was lost, came twice, or out of order."""
    seconds = bench.size(300, 20)
    report = Report()
    with Server() as server:
        app = TaskQ(NAMESPACE, url=server.url)
        topic = app.topic(TOPIC, partitions=PARTITIONS)
        out = app.topic(OUT, partitions=4)
        out.properties()
        storm = Storm(server.url, random.Random(7))
        try:
            published, stalls, found = run(bench, storm, topic, seconds)
            _settled(bench, storm, topic, out, published)
        finally:
            storm.end()
        lags = topic.group(GROUP).lag()
        wrong = judge(out, published)
        if wrong:
            raise MeasurementFailed(f"storm: {wrong[0]} (and {len(wrong) - 1} more)")
        app.close()
    longest, last, takeovers = max(stalls), max(found.took, default=0.0), found.took
    apart = f"; {len(found.twice)} whose heir was hit too, at most {number(max(found.twice), 2)}" if found.twice else ""
    happened = ", ".join(f"{count} {what}" for what, count in sorted(storm.done.items()))
    deaths = sum(one.deaths for one in lags)
    report.add(
        Row("storm", f"records in {seconds} s, each counted and published once", number(published), beside=happened),
        Row(
            "storm",
            "longest takeover after kill -9, s",
            number(last, 2),
            f"<= {SESSION_S + HEARTBEAT_S:g}",
            bool(takeovers) and last <= SESSION_S + HEARTBEAT_S,
            f"of {len(takeovers)} partitions, p50 {number(percentile(takeovers or [0.0], 0.5), 2)}, until another"
            f" member has handled a record; looked at each {_STEP_S:g} s{apart}",
        ),
        Row(
            "storm",
            "longest time that a partition stood still, s",
            number(longest, 2),
            beside=f"p50 {number(percentile(stalls, 0.5), 2)}; {deaths} unclean takeovers; new owners may have frozen",
        ),
    )
    report.data = {
        "published": published,
        "stalls": stalls,
        "takeovers": takeovers,
        "twice": found.twice,
        "acts": storm.done,
        "deaths": deaths,
    }
    return report


def run(bench: Bench, storm: Storm, topic: Topic, seconds: float) -> tuple[int, list[float], Takeovers]:
    """Publish and let things happen; answers how many records there are, how long each partition stood still, and the
    takeovers.
    """
    for _ in range(MEMBERS):
        storm.join()
    wait_for("all members work", lambda: len(topic.group(GROUP).members()) == MEMBERS, _PATIENCE_S)
    published, begin = 0, time.monotonic()
    act_at = begin + 1
    moved = [begin] * PARTITIONS
    places: list[Any] = [None] * PARTITIONS
    stalls: list[float] = []
    takeovers = Takeovers(topic)
    while (now := time.monotonic()) < begin + seconds:
        due = int((now - begin) * RATE) - published
        if due > 0:
            topic.publish_many(events(published, due))
            published += due
        storm.thaw()
        if now >= act_at:
            owners, storm.killed = takeovers.owners(), 0
            bench.say(f"storm: {storm.act(MEMBERS // 2)}, {len(storm.members)} members work")
            if storm.killed:
                takeovers.begin(owners, storm.killed, time.monotonic())  # its last commit is stored by now
            act_at = now + storm.seed.uniform(0.5, 3.0)
        for one in topic.group(GROUP).lag():
            if one.offset != places[one.partition] or not one.records:
                stalls.append(now - moved[one.partition])
                moved[one.partition], places[one.partition] = now, one.offset
        takeovers.look(storm.hit)
        time.sleep(_STEP_S)
    stalls += [time.monotonic() - at for at in moved]
    takeovers.end()
    return published, stalls, takeovers


class Takeovers:
    """How long partitions of a killed member wait for another one that handles a record of theirs.

    If who was to take over was killed or frozen too, or has taken over and was then, it counts apart.
    """

    def __init__(self, topic: Topic) -> None:
        self._group = topic.group(GROUP)
        self._link, self._target = topic.log.links().sync, topic.log.keys.group(GROUP, "target")
        self._open: dict[int, tuple[float, str, Any]] = {}
        self._again: set[int] = set()  # partitions whose heir was hit
        self.took: list[float] = []
        self.twice: list[float] = []

    def _pids(self) -> dict[str, int]:
        words = {member.name: member.label.rpartition(":")[2] for member in self._group.members()}
        return {name: int(word) for name, word in words.items() if word}  # who has just come may have no label yet

    def owners(self) -> dict[int, tuple[int, str, Any]]:
        """The process, name and offset of who holds each partition."""
        pids = self._pids()
        return {
            one.partition: (pids[one.owner], one.owner, one.offset) for one in self._group.lag() if one.owner in pids
        }

    def begin(self, owners: dict[int, tuple[int, str, Any]], pid: int, now: float) -> None:
        offsets = {one.partition: one.offset for one in self._group.lag()}
        for partition, (owner, name, _) in owners.items():
            if owner == pid:
                self._open[partition] = (now, name, offsets[partition])
                self._again.discard(partition)

    def end(self) -> None:
        """What has not been taken over yet counts with its time so far."""
        for partition in list(self._open):
            self._over(partition)

    def look(self, hit: set[int]) -> None:
        if not self._open:
            return
        flat, pids = self._link.execute("HGETALL", self._target), self._pids()
        for partition, name in zip(map(int, flat[::2]), (str(one, "utf-8") for one in flat[1::2]), strict=True):
            if partition in self._open and name != self._open[partition][1] and pids.get(name) in hit:
                self._again.add(partition)
        for partition, (owner, name, offset) in self.owners().items():
            if partition in self._open and name != self._open[partition][1]:
                if owner in hit:
                    self._again.add(partition)
                elif offset != self._open[partition][2]:
                    self._over(partition)

    def _over(self, partition: int) -> None:
        seconds = time.monotonic() - self._open.pop(partition)[0]
        (self.twice if partition in self._again else self.took).append(seconds)


def events(begin: int, count: int) -> Iterator[Event]:
    return (Event(value, key=f"k{value % KEYS}") for value in range(begin, begin + count))


def _settled(bench: Bench, storm: Storm, topic: Topic, out: Topic, published: int) -> None:
    """Wait until all is handled and carried to the output."""
    bench.say("storm: over; the rest is handled")
    for until, member in list(storm.frozen):
        storm.frozen[storm.frozen.index((until, member))] = (0.0, member)
    storm.thaw()
    while len(storm.members) < 2:
        storm.join()
    group = topic.group(GROUP)
    wait_for("all is handled", lambda: not sum(one.records for one in group.lag()), _PATIENCE_S, 0.2)
    wait_for("all is carried", lambda: count_of(out) >= published, _PATIENCE_S, 0.2)


def count_of(out: Topic) -> int:
    link, keys = out.log.links().sync, out.log.keys
    counts = (link.execute("HGET", keys.partition(at).meta, "n") for at in range(out.properties().partitions))
    return sum(int(count or 0) for count in counts)


def records(out: Topic, partition: int) -> Iterator[Record]:
    """All of a partition, a page at a time."""
    since: Any = "earliest"
    while found := list(out.read(partition, since=since, limit=_PAGE)):
        yield from found
        since = found[-1].offset.after


def judge(out: Topic, published: int) -> Sequence[str]:
    """What is wrong with the output; nothing, if each record is there once and those of a key in order."""
    wrong: list[str] = []
    last: dict[str | None, int] = {}
    counts: dict[str | None, int] = {}
    seen = 0
    for partition in range(out.properties().partitions):
        for record in records(out, partition):
            told, key = record.value, record.key
            seen += 1
            counts[key] = counts.get(key, 0) + 1
            if told["wrong"] or told["value"] <= last.get(key, -1):
                wrong.append(f"{told['value']} of {key} came behind {last.get(key)}")
            if told["count"] != counts[key]:
                wrong.append(f"{told['value']} of {key} was counted as {told['count']}, not {counts[key]}")
            last[key] = told["value"]
    if seen != published:
        wrong.append(f"{published} were published, {seen} are in the output")
    return wrong
