"""What operators ask of one queue and do to it, each built once as a `Call`, and the values that come back.

The order of keys and arguments here is the header of the script of the same name, in `taskq/store/lua/tasks/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from taskq.store.keys import QueueKeys
from taskq.store.scripts import Call
from taskq.tasks.broker import HEAD, LEASE_BYTES, LEASE_MESSAGES, Flags, Found
from taskq.tasks.packing import PURGE_BYTES, Limits
from taskq.tasks.queues import Transport
from taskq.tasks.stream_calls import StreamInfo, stream_info
from taskq.tasks.transports import build

MOST_LEASES = 10_000
MOST_LOOKS = 1_000
MOST_TASKS = 100
"""No reading script counts more leases, looks at more messages one by one, or names more tasks: each stays short."""

State: TypeAlias = Literal["ready", "delayed", "parked", "dead", "quarantined"]
STATES: Final[tuple[State, ...]] = get_args(State)

# What `meta` holds beside its counters: how the queue works, not what happened to it.
_NO_COUNTERS = frozenset({"fence", "swept", "grace", "graces", "paused", "transport", "retain"})
_moment = Struct(">d")
_TASK = re.compile(rb'\["([A-Za-z0-9_.:-]{1,255})",')


@dataclass(frozen=True, slots=True)
class Parked:
    """Messages of one task that no worker knew; `since` is when the first of them was set aside, in ms."""

    task: str
    since: float
    count: int


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """What one queue holds at one moment.

    `ready` waits for a worker; `leased` is in the hands of workers, and of that `running` has started, as far as their
    last heartbeat said; `retrying` is the part of `delayed` that ran before. `oldest` is the age in seconds of the
    oldest message at the head of a ready list, counted from its creation. `due` is the earliest delayed time in ms.
    `cancelled_waiting` are entries of the ready lists that the next lease will drop. `truncated` names the figures that
    are too low, because there was more than is looked at.
    """

    name: str
    now: int
    ready: int
    delayed: int
    retrying: int
    leased: int
    running: int
    dead: int
    quarantined: int
    parked: tuple[Parked, ...]
    parked_total: int
    cancelled_waiting: int
    outbox: int
    oldest: float | None
    due: float | None
    paused: bool
    counters: Mapping[str, int]
    truncated: tuple[str, ...] = ()
    transport: Transport = "list"
    stream: StreamInfo | None = None


class Depth(NamedTuple):
    """How far `overview` looks: leases that are counted, messages looked at one by one, tasks named."""

    leases: int
    looks: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The raw answer of `overview`; `tasks` are names with parked messages, and since when."""

    now: int
    counts: Sequence[Any]
    meta: Mapping[bytes, bytes]
    tasks: tuple[tuple[str, float], ...]
    lengths: tuple[int, ...]
    heads: tuple[bytes, ...]
    depth: Depth
    stream: tuple[Any, ...] = ()

    @property
    def transport(self) -> Transport:
        """The transport of the queue, as the broker knows it."""
        return "stream" if b"transport" in self.meta else "list"

    def info(self, name: str, tasks: Sequence[str]) -> QueueInfo:
        """The figures; `tasks` are those whose parked lists were counted."""
        bodies, listed, delayed, leases, leased, running, retrying, dead, quarantined, outbox, due = self.counts
        since = dict(self.tasks)
        parked = tuple(
            Parked(task, since.get(task, float(self.now)), count)
            for task, count in zip(tasks, self.lengths, strict=True)
            if count
        )
        total = sum(one.count for one in parked)
        waiting = bodies - delayed - total - dead - quarantined
        truncated = [] if len(self.tasks) < self.depth.tasks else ["parked"]
        if leased < 0:
            leased = max(waiting - listed, 0)
            truncated.append("leased")
        # Every living message has one body, so what is in no other place is ready; the lists also hold marks.
        ready = min(max(waiting - leased, 0), listed)
        if leases > self.depth.looks or leased > self.depth.looks:
            truncated.append("running")
        if delayed > self.depth.looks:
            truncated.append("retrying")
        counters = {str(key, "ascii", "replace"): value for key, value in self.meta.items()}
        return QueueInfo(
            name=name,
            now=self.now,
            ready=ready,
            delayed=delayed,
            retrying=retrying,
            leased=leased,
            running=running,
            dead=dead,
            quarantined=quarantined,
            parked=parked,
            parked_total=total,
            cancelled_waiting=listed - ready,
            outbox=outbox,
            oldest=_age(self.heads, self.now),
            due=_time(due),
            paused=b"paused" in self.meta,
            counters={key: int(value) for key, value in sorted(counters.items()) if _counts(key, value)},
            truncated=tuple(truncated),
            transport=self.transport,
            stream=stream_info(self.stream, self.meta.get(b"retain")) if self.stream else None,
        )


def overview(keys: QueueKeys, tasks: Sequence[str] = (), depth: Depth | None = None) -> Call[Reading]:
    """Count what a queue holds; `tasks` are those whose parked messages are counted."""
    deep = depth or Depth(MOST_LEASES, MOST_LOOKS, MOST_TASKS)
    names = [keys.meta, keys.body, keys.state, keys.delayed, keys.held, keys.left, keys.dead, keys.quarantine]
    names += [keys.parked, keys.outbox, *keys.ready, keys.alone, *(keys.parked_task(task) for task in tasks)]

    def decode(reply: Any) -> Reading:
        now, counts, meta, parked, lengths, heads, *stream = reply
        return Reading(
            now,
            counts,
            dict(zip(meta[::2], meta[1::2], strict=True)),
            tuple((str(task, "utf-8", "replace"), float(since)) for task, since in _pairs(parked)),
            tuple(lengths),
            tuple(heads),
            deep,
            tuple(stream[0]) if stream else (),
        )

    return build(keys, "overview", names, [*deep], decode)


@dataclass(frozen=True, slots=True)
class Examined:
    """All that is stored of one message at one moment; times in ms, what is not there is empty or None."""

    now: int
    found: Found
    body: bytes
    due: float | None
    buried: float | None
    deadline: float | None
    kept: float | None
    expires: float | None
    progress: bytes


def examine(keys: QueueKeys, id: bytes) -> Call[Examined]:
    """Everything about one message."""
    names = [keys.body, keys.state, keys.results, keys.errors, keys.delayed, keys.dead, keys.quarantine, keys.leases]
    names += [keys.results_due, keys.progress(id)]

    def decode(reply: Any) -> Examined:
        now, record, body, result, lines, due, buried_at, deadline, kept, progress = reply
        found = found_of(record, result, lines)
        expires = _moment.unpack(record[-8:])[0] if found.flags & Flags.EXPIRES else None
        return Examined(now, found, body, _time(due), _time(buried_at), _time(deadline), _time(kept), expires, progress)

    return build(keys, "examine", names, [id], decode)


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of the dead letters: `line` is its last failure as stored, `task` is from the head of its body."""

    id: bytes
    at: float
    found: Found
    line: bytes
    task: str


@dataclass(frozen=True, slots=True)
class Rows:
    """One page as it is stored; `total` is how many there are in all."""

    now: int
    total: int
    rows: tuple[Row, ...]


def buried(
    keys: QueueKeys, *, quarantined: bool, after: tuple[int, bytes] | None = None, brief: bool = False
) -> Call[Rows]:
    """One page of dead letters, newest first; `after` are time and id of the last one that was seen.

    With `brief` only ids and times are read, which is quick however long the histories are.
    """
    names = [keys.quarantine if quarantined else keys.dead, keys.state, keys.errors, keys.body]
    at, last = after or ("", b"")
    args = [at, last, LEASE_MESSAGES, LEASE_BYTES, "1" if brief else ""]

    def decode(reply: Any) -> Rows:
        now, total, rows = reply
        return Rows(
            now,
            total,
            tuple(
                Row(raw, float(at), found_of(head or b"?", b"", b""), line, task_in_head(body))
                for raw, at, head, line, body in rows
            ),
        )

    return build(keys, "buried", names, args, decode)


_LETTERS: Final[Mapping[State, str]] = {
    "ready": "r",
    "delayed": "d",
    "parked": "p",
    "dead": "x",
    "quarantined": "q",
}


@dataclass(frozen=True, slots=True)
class Purged:
    """What one script removed: messages, entries taken off the list, and how many entries are left there."""

    removed: int
    taken: int
    left: int


def purge(
    keys: QueueKeys, state: State, source: str, limits: Limits, *, task: str = "", limit: int, now: str = ""
) -> Call[Purged]:
    """Remove up to `limit` messages (at most 250) from the front of the key `source`, where this state waits."""
    names = [keys.meta, keys.body, keys.state, keys.errors, keys.unique, keys.tombs, keys.cancels, keys.results]
    names += [keys.results_due, keys.parked, keys.none, source]
    args = [now, min(limit, LEASE_MESSAGES), PURGE_BYTES, limits.tombstone, _LETTERS[state], task]
    return build(keys, "purge", names, args, lambda reply: Purged(*reply))


def found_of(record: bytes, result: bytes, lines: bytes) -> Found:
    """A stored record, or the letter that stands for one."""
    if len(record) < HEAD.size:
        return Found(str(record, "ascii", "replace"), result, lines)
    state, prio, flags, deliveries, crashes, attempts = HEAD.unpack_from(record)
    return Found(chr(state), result, lines, flags, deliveries, crashes, attempts, 2 - prio)


def created_ms(id: bytes) -> int | None:
    """When the maker of an id of version 7 drew it, in ms; other ids do not say."""
    return int.from_bytes(id[:6], "big") if len(id) == 16 and id[6] >> 4 == 7 else None


def _time(score: bytes) -> float | None:
    return float(score) if score else None


def _age(heads: Iterable[bytes], now: int) -> float | None:
    born = [made for head in heads if (made := created_ms(head)) is not None]
    return max((now - min(born)) / 1000, 0.0) if born else None


def _counts(name: str, value: bytes) -> bool:
    return name not in _NO_COUNTERS and value.removeprefix(b"-").isdigit()


def task_in_head(body: bytes) -> str:
    """The name of the task in the first 300 bytes of a body, or ''."""
    found = _TASK.match(body, 5)  # after the layout byte and the checksum
    return str(found[1], "ascii") if found else ""


def _pairs(flat: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)
