"""Looking at a whole namespace again and again, each time in one round trip: what a dashboard and metrics stand on.

A watch remembers what there was (queues and their transports, tasks with parked messages, workers, schedules) and asks
for all of it at once, so what is new is seen one look later. No key space is searched, and each part has a limit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskq import figures
from taskq.asks import Ask, Names
from taskq.details import Details
from taskq.errors import BrokerUnavailable, DecodeError, NoScript, TaskqError
from taskq.names import check_name
from taskq.queue_looks import QueueLooks, queue_part
from taskq.snapshot import Sample, ServerInfo, Snapshot, WorkerInfo
from taskq.store import keys as store_keys
from taskq.store.connection import SyncLink
from taskq.store.keys import QueueKeys, queue_keys
from taskq.store.scripts import Call, run
from taskq.tasks import schedule_calls
from taskq.tasks.schedule import Entry
from taskq.tasks.schedule_admin import ScheduleInfo
from taskq.topic_looks import TopicLooks

MOST_QUEUES = 1_000
MOST_WORKERS = 200
MOST_SCHEDULES = 100

_FIRST_ROUNDS = 2  # names first, then transports and parked tasks


@dataclass
class _Seen:
    """What the answers of one round say, as they come."""

    now: int = 0
    samples: dict[str, Sequence[bytes]] = field(default_factory=dict)
    beats: list[tuple[str, float]] = field(default_factory=list)
    records: dict[str, bytes | None] = field(default_factory=dict)
    schedules: list[Any] = field(default_factory=list)
    info: dict[str, str] = field(default_factory=dict)
    missing: dict[str, None] = field(default_factory=dict)
    queue_count: int = 0


class Watch:
    """Looks at one namespace; not for several threads at once.

    `failures` is how many of its last failures are read of each queue. With more than 25 queues a look reads half of
    them (`taskq.queue_looks`), unless the look before was a second ago: each `QueueInfo` says when it was read, and
    that is at most two looks ago. With more than 2 busy queues `running` and `retrying` are a few looks old: queues
    are looked into by turns. With more than 5 the same holds for the figures of tasks and the failures of busy queues
    (`taskq.details`), and of topics a part is read at each look (`taskq.topic_looks`). With `whole` every look reads
    all, as far as the command line does: for who looks every few seconds. Raises the errors of `BrokerError`; a queue
    that cannot be read (a key of another type, a shard that is away) is left out, and named in `truncated`.
    """

    def __init__(self, link: SyncLink, namespace: str, *, failures: int = 10, whole: bool = False) -> None:
        self.link = link
        self.namespace = check_name(namespace, "namespace")
        self._failures = failures
        self._whole = whole
        self._queues = Names("SSCAN", store_keys.queues(namespace), MOST_QUEUES)
        self._schedules = Names("HSCAN", store_keys.schedules(namespace), MOST_SCHEDULES)
        self._workers: list[str] = []
        self._server: dict[str, str] = {}
        self._nodes = 0
        self._reads = QueueLooks(namespace, whole=whole)
        self._details = Details()
        self._topics = TopicLooks(namespace, whole=whole)

    def look(self, *, samples: bool = True, focus: Collection[str] = (), every: bool = False) -> Snapshot:
        """Everything, in one round trip to each server; the first look takes three.

        Without `samples` those of the last ten minutes are left out. A queue that is known has them read again at most
        each five seconds. Of many queues this look reads those in `focus`; with `every` it reads all that the first
        look does.
        """
        first = not self._nodes
        if first:
            self._nodes = len(self.link.everywhere("PING"))
            for _ in range(_FIRST_ROUNDS):
                self._round(samples=False, every=True)
        seen = self._round(samples, focus, every=every or first, again=every and not first)
        return Snapshot(
            namespace=self.namespace,
            now=seen.now,
            server=self._server_info(seen.info),
            queues=self._reads.infos,
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

    def _round(self, samples: bool, focus: Collection[str] = (), *, every: bool = False, again: bool = False) -> _Seen:
        """Read `every` queue or some; with `again` also the figures of all tasks and the failures."""
        seen = _Seen()
        asks = [*self._common(seen), *self._of_schedules(seen), *self._topics.asks()]
        now = time.monotonic()
        asks += self._reads.asks(self._queues.known, now, focus, every=every)
        details = self._details.due(self._queues.known, now, whole=self._whole or again)
        sampled = self._details.samples_due(self._queues.known, now) if samples else ()
        for name in self._queues.known:
            keys = self._reads.keys(name)
            if keys is not None:
                asks += self._of_samples(seen, keys) if name in sampled else ()
                asks += self._of_details(keys) if name in details else ()
        self._exchange(asks, seen)
        refused = [name for name in details if queue_part(name) in seen.missing]
        self._reads.keep(seen.missing)
        for name in seen.samples:
            self._details.take_samples(name, self._samples(name, seen))
        self._details.keep(details, refused, self._reads.metas)
        self._topics.keep(seen.missing)
        for part, cut in (("queues", self._queues.cut), ("schedules", self._schedules.cut)):
            if cut:
                seen.missing[part] = None
        self._workers = [name for name, _ in seen.beats]
        self._server = self._server or seen.info
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

    def _of_samples(self, seen: _Seen, keys: QueueKeys) -> list[Ask]:
        def kept(flat: Any) -> None:
            seen.samples[keys.name] = flat

        return [Ask(queue_part(keys.name), ("HGETALL", keys.samples), kept)]

    def _of_details(self, keys: QueueKeys) -> list[Ask]:
        name, details = keys.name, self._details
        asks = [Ask(queue_part(name), ("HGETALL", keys.stats), lambda flat: details.take_tasks(name, flat))]
        if self._failures:
            wire = ("LRANGE", keys.recent, 0, self._failures - 1)
            asks.append(Ask(queue_part(name), wire, lambda entries: details.take_failures(name, entries)))
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

    # -- values -----------------------------------------------------------------------------------------------------

    def _samples(self, name: str, seen: _Seen) -> tuple[Sample, ...]:
        swept = self._reads.metas.get(name, {}).get(b"swept", b"0")
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
