"""Looking at a whole namespace again and again, each time in one round trip: what a dashboard and metrics stand on.

A watch remembers what there was (queues and their transports, tasks with parked messages, workers, schedules) and asks
for all of it at once, so what is new is seen one look later. No key space is searched, and each part has a limit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from taskq import figures
from taskq.asks import Ask, Names
from taskq.details import Details
from taskq.errors import BrokerUnavailable, DecodeError, InvalidName, NoScript, TaskqError
from taskq.names import check_name
from taskq.snapshot import Sample, ServerInfo, Snapshot, WorkerInfo
from taskq.store import keys as store_keys
from taskq.store.connection import SyncLink
from taskq.store.keys import QueueKeys, queue_keys
from taskq.store.scripts import Call, run
from taskq.tasks import schedule_calls
from taskq.tasks.operator_calls import (
    MOST_LEASES,
    MOST_LOOKS,
    MOST_TASKS,
    Depth,
    QueueInfo,
    Reading,
    overview,
)
from taskq.tasks.schedule import Entry
from taskq.tasks.schedule_admin import ScheduleInfo
from taskq.topic_looks import TopicLooks

MOST_QUEUES = 1_000
MOST_WORKERS = 200
MOST_SCHEDULES = 100
DEPTH: Final = Depth(1_000, 50, 20)
GLANCE: Final = Depth(1_000, 0, 20)
WHOLE: Final = Depth(MOST_LEASES, MOST_LOOKS, MOST_TASKS)
DEEP = 2
"""So many queues of a look are looked into for what is running and retrying, which costs the most; the others keep what
the look into them said. Those that have something leased or delayed take turns."""
FIRST = 50
"""But so many of those that were never looked into."""

_FIRST_ROUNDS = 2  # names first, then transports and parked tasks
_DEEP = ("running", "retrying")


@dataclass
class _Seen:
    """What the answers of one round say, as they come."""

    now: int = 0
    queues: dict[str, Reading] = field(default_factory=dict)
    samples: dict[str, Sequence[bytes]] = field(default_factory=dict)
    beats: list[tuple[str, float]] = field(default_factory=list)
    records: dict[str, bytes | None] = field(default_factory=dict)
    schedules: list[Any] = field(default_factory=list)
    info: dict[str, str] = field(default_factory=dict)
    missing: dict[str, None] = field(default_factory=dict)
    queue_count: int = 0


class Watch:
    """Looks at one namespace; not for several threads at once.

    `failures` is how many of its last failures are read of each queue. With more than 2 busy queues `running` and
    `retrying` are a few looks old: queues are looked into by turns. With more than 10 the same holds for the figures of
    tasks and the failures of busy queues (`taskq.details`), and of topics a part is read at each look
    (`taskq.topic_looks`). With `whole` every look reads all, as far as the command line does: for who looks every few
    seconds. Raises the errors of `BrokerError`; a queue that cannot be read (a key
    of another type, a shard that is away) is left out, and named in `truncated`.
    """

    def __init__(self, link: SyncLink, namespace: str, *, failures: int = 10, whole: bool = False) -> None:
        self.link = link
        self.namespace = check_name(namespace, "namespace")
        self._failures = failures
        self._whole = whole
        self._queues = Names("SSCAN", store_keys.queues(namespace), MOST_QUEUES)
        self._schedules = Names("HSCAN", store_keys.schedules(namespace), MOST_SCHEDULES)
        self._streams: set[str] = set()
        self._parked: dict[str, list[str]] = {}
        self._workers: list[str] = []
        self._server: dict[str, str] = {}
        self._nodes = 0
        self._asked: dict[str, list[str]] = {}
        self._details = Details()
        self._topics = TopicLooks(namespace, whole=whole)
        self._deep: dict[str, QueueInfo] = {}  # what the last look into each said, the oldest first
        self._busy: set[str] = set()  # queues of which something is leased or delayed
        self._tried: dict[str, int] = {}  # how often those were looked into that never answered

    def look(self, *, samples: bool = True) -> Snapshot:
        """Everything at one moment, in one round trip to each server; the first look takes three.

        Without `samples` those of the last ten minutes are left out. A queue that is known has them read again at most
        each five seconds.
        """
        if not self._nodes:
            self._nodes = len(self.link.everywhere("PING"))
            for _ in range(_FIRST_ROUNDS):
                self._round(samples=False)
        seen = self._round(samples)
        queues = [self._info(name, reading) for name, reading in sorted(seen.queues.items())]
        return Snapshot(
            namespace=self.namespace,
            now=seen.now,
            server=self._server_info(seen.info),
            queues=tuple(queues),
            workers=tuple(
                WorkerInfo(name, beat, seen.records[name] is not None, worker_record(seen.records[name]))
                for name, beat in seen.beats
                if name in seen.records
            ),
            tasks=self._details.tasks,
            samples=self._details.samples if samples else {},
            failures=tuple(self._details.failures),
            schedules=tuple(self._schedule_infos(seen)),
            truncated=tuple(seen.missing),
            topics=self._topics.infos(),
            queue_count=max(seen.queue_count, len(self._queues.known)),
        )

    # -- one round --------------------------------------------------------------------------------------------------

    def _round(self, samples: bool) -> _Seen:
        seen = _Seen()
        asks = [*self._common(seen), *self._of_schedules(seen), *self._topics.asks()]
        self._asked, turns = {}, self._turns()
        now = time.monotonic()
        details = self._details.due(self._queues.known, now, whole=self._whole)
        sampled = self._details.samples_due(self._queues.known, now) if samples else ()
        for name in self._queues.known:
            try:
                keys = queue_keys(self.namespace, check_name(name), name in self._streams)
            except InvalidName:
                continue
            depth = WHOLE if self._whole else DEPTH if name in turns else GLANCE
            asks += self._of_queue(seen, keys, name in sampled, depth)
            asks += self._of_details(keys) if name in details else ()
        self._exchange(asks, seen)
        refused = [name for name in details if _queue(name) in seen.missing]
        for name in seen.samples:
            self._details.take_samples(name, self._samples(name, seen))
        self._details.keep(details, refused, {name: reading.meta for name, reading in seen.queues.items()})
        self._topics.keep(seen.missing)
        for part, cut in (("queues", self._queues.cut), ("schedules", self._schedules.cut)):
            if cut:
                seen.missing[part] = None
        self._remember(seen)
        return seen

    def _common(self, seen: _Seen) -> list[Ask]:
        def moment(reply: Any) -> None:
            seen.now = int(reply[0]) * 1000 + int(reply[1]) // 1000

        def beats(flat: Any) -> None:
            names = [str(name, "utf-8", "replace") for name in flat[::2]]
            seen.beats = list(zip(names, map(float, flat[1::2]), strict=True))[:MOST_WORKERS]
            if len(names) > MOST_WORKERS:
                seen.missing["workers"] = None

        def records(asked: list[str], reply: Any) -> None:
            seen.records = dict(zip(asked, reply, strict=True))

        def info(reply: Any) -> None:
            seen.info |= _info(reply)

        def count(reply: Any) -> None:
            seen.queue_count = int(reply)

        space, asked = self.namespace, self._workers
        asks = [
            Ask("time", ("TIME",), moment),
            Ask("queues", self._queues.wire(), self._queues.take),
            Ask("schedules", self._schedules.wire(), self._schedules.take),
            Ask("workers", ("ZREVRANGE", store_keys.workers(space), 0, MOST_WORKERS, "WITHSCORES"), beats),
        ]
        if self._queues.cut:
            asks.append(Ask("queues", ("SCARD", store_keys.queues(space)), count))
        if asked:
            wire = ("MGET", *(store_keys.worker_record(space, name) for name in asked))
            asks.append(Ask("workers", wire, lambda reply: records(asked, reply)))
        sections = ("memory", "clients") if self._server else ("server", "memory", "clients")
        return asks + [Ask("server", ("INFO", section), info) for section in sections]

    def _turns(self) -> set[str]:
        """The queues to look into: those never seen, then those seen longest ago of those that hold something."""
        known = self._queues.known
        self._deep = {name: info for name, info in self._deep.items() if name in known}
        for held in (self._busy, self._streams):
            held.intersection_update(known)
        self._parked = {name: tasks for name, tasks in self._parked.items() if name in known}
        # Those that could not be read come behind the others, so that they hold up nobody.
        never = sorted((name for name in known if name not in self._deep), key=lambda name: self._tried.get(name, 0))
        chosen = never[:FIRST]
        self._tried = {name: self._tried.get(name, 0) + (name in chosen) for name in never}
        busy = [name for name in self._deep if name in self._busy]
        return {*chosen, *busy[:DEEP]}

    def _of_queue(self, seen: _Seen, keys: QueueKeys, samples: bool, depth: Depth) -> list[Ask]:
        name = keys.name

        def reading(value: Reading) -> None:
            seen.queues[name] = value

        def kept(flat: Any) -> None:
            seen.samples[name] = flat

        what, parked = _queue(name), self._parked.get(name, [])
        self._asked[name] = parked
        asks = [Ask(what, overview(keys, parked, depth), reading)]
        if samples:
            asks.append(Ask(what, ("HGETALL", keys.samples), kept))
        return asks

    def _of_details(self, keys: QueueKeys) -> list[Ask]:
        name, details = keys.name, self._details
        asks = [Ask(_queue(name), ("HGETALL", keys.stats), lambda flat: details.take_tasks(name, flat))]
        if self._failures:
            wire = ("LRANGE", keys.recent, 0, self._failures - 1)
            asks.append(Ask(_queue(name), wire, lambda entries: details.take_failures(name, entries)))
        return asks

    def _of_schedules(self, seen: _Seen) -> list[Ask]:
        def ask(name: str, queue: str) -> Ask:
            wire = schedule_calls.read(queue_keys(self.namespace, queue), name)
            return Ask(f"schedule {name}", wire, lambda reply: seen.schedules.append((name, queue, reply)))

        return [ask(name, queue) for name, queue in self._schedules.known.items()]

    def _exchange(self, asks: Sequence[Ask], seen: _Seen) -> None:
        wires = [ask.wire.command() if isinstance(ask.wire, Call) else ask.wire for ask in asks]
        for ask, reply in zip(asks, self.link.pipeline(wires), strict=True):
            answer = reply
            try:
                if isinstance(ask.wire, Call):
                    # A server that was started anew has no scripts: this one goes again with its text.
                    answer = run(self.link, ask.wire) if isinstance(reply, NoScript) else reply
                    if answer is reply and not isinstance(reply, TaskqError):
                        answer = ask.wire.decode(reply)
            except TaskqError as error:
                answer = error
            if isinstance(answer, BrokerUnavailable) and self.link.url.kind != "cluster":
                raise answer
            if isinstance(answer, TaskqError):
                seen.missing[ask.what] = None
            else:
                ask.take(answer)

    def _remember(self, seen: _Seen) -> None:
        self._workers = [name for name, _ in seen.beats]
        for name, reading in seen.queues.items():
            if reading.transport == "stream":
                self._streams.add(name)
            else:
                self._streams.discard(name)
            self._parked[name] = [task for task, _ in reading.tasks]
        if not self._server:
            self._server = seen.info

    # -- values -----------------------------------------------------------------------------------------------------

    def _info(self, name: str, reading: Reading) -> QueueInfo:
        info = reading.info(name, self._asked[name])
        if info.leased or info.delayed:
            self._busy.add(name)
        else:
            self._busy.discard(name)
        if reading.depth != GLANCE:
            self._deep.pop(name, None)
            self._deep[name] = info
            return info
        known = self._deep.get(name)
        if known is None:
            return info
        cut = [*(part for part in info.truncated if part not in _DEEP), *(p for p in known.truncated if p in _DEEP)]
        running, retrying = min(known.running, info.leased), min(known.retrying, info.delayed)
        return replace(info, running=running, retrying=retrying, truncated=tuple(cut))

    def _samples(self, name: str, seen: _Seen) -> tuple[Sample, ...]:
        reading = seen.queues.get(name)
        swept = reading.meta.get(b"swept", b"0") if reading is not None else b"0"
        return figures.samples(seen.samples[name], seen.now, float(swept))

    def _server_info(self, info: dict[str, str]) -> ServerInfo:
        known = self._server | info
        kind = "valkey" if "valkey_version" in known else "redis"
        return ServerInfo(
            kind=kind,
            version=known.get(f"{kind}_version", "?"),
            memory=int(known.get("used_memory", 0)),
            limit=int(known.get("maxmemory", 0)),
            clients=int(known.get("connected_clients", 0)),
            nodes=self._nodes,
        )

    def _schedule_infos(self, seen: _Seen) -> list[ScheduleInfo]:
        infos = []
        for name, queue, reply in seen.schedules:
            try:
                entry = Entry.read(reply)
            except DecodeError:
                infos.append(ScheduleInfo.unreadable(name, queue))
                continue
            if entry is not None:
                infos.append(ScheduleInfo.of(entry, seen.now))
        return sorted(infos, key=lambda one: (one.next is None, one.next.timestamp() if one.next else 0.0, one.name))


def _queue(name: str) -> str:
    return f"queue {name}"


def worker_record(text: bytes | None) -> dict[str, Any]:
    """What a worker said of itself; empty if that is gone, or cannot be read."""
    try:
        record = json.loads(text or b"{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _info(reply: Any) -> dict[str, str]:
    lines = str(reply, "utf-8", "replace").splitlines() if isinstance(reply, bytes) else []
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}
