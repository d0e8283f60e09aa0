"""Looking into a namespace: queues, messages, dead letters, workers. Nothing here writes, and no look is long.

A queue is read by one short script, whatever it holds; no key space is ever searched. What was cut off is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from taskq.errors import TaskqError, UnknownMessage, UnknownQueue
from taskq.message import decode, id_bytes, id_text
from taskq.names import check_name, did_you_mean
from taskq.snapshot import Snapshot, WorkerInfo
from taskq.store import keys
from taskq.store.connection import SyncLink
from taskq.store.keys import QueueKeys, queue_keys
from taskq.store.scripts import Call, run, run_many
from taskq.tasks import calls
from taskq.tasks.briefs import ANY, SHELVES, Brief, MessageFilter, MessagePage, Shelf
from taskq.tasks.browsing import look
from taskq.tasks.dossier import Contents, MessageInfo, message_info
from taskq.tasks.letters import EVERY, DeadLetter, Filter, Page, Place, letter_of, page_limit
from taskq.tasks.move_calls import Batch
from taskq.tasks.operator_calls import Parked, QueueInfo, Row, buried, examine, overview
from taskq.tasks.past import Entry, History, Range, When, check_cursor, gather, need_stream, walk
from taskq.tasks.stream_calls import StreamInfo
from taskq.watching import Watch, worker_record

__all__ = [
    "SHELVES",
    "Batch",
    "Brief",
    "Contents",
    "DeadLetter",
    "Entry",
    "Filter",
    "History",
    "Inspector",
    "Listed",
    "MessageFilter",
    "MessageInfo",
    "MessagePage",
    "Page",
    "Parked",
    "QueueInfo",
    "Shelf",
    "StreamInfo",
    "WorkerInfo",
    "Workers",
]

T = TypeVar("T")

MOST_QUEUES = 1_000
MOST_WORKERS = 1_000
SCAN = 10_000
"""Dead letters that one call of `dead` looks at before it gives back what it has."""

_MOST_NAMES = 20_000  # of queues; a set has no order, so the first by name are known once all were read
_ROUND = 50  # scripts in one round trip


@dataclass(frozen=True, slots=True)
class Listed:
    """Queues by name; `truncated` if there are more than were read."""

    queues: tuple[QueueInfo, ...]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Workers:
    """Workers, those that spoke last first; `truncated` if there are more than were read."""

    workers: tuple[WorkerInfo, ...]
    truncated: bool = False


class Inspector:
    """Reads one namespace; threads may share it. Raises the errors of `BrokerError` and what each method names."""

    def __init__(self, link: SyncLink, namespace: str) -> None:
        self.link = link
        self.namespace = check_name(namespace, "namespace")
        self._streams: set[str] = set()

    def keys(self, queue: str) -> QueueKeys:
        """The keys of a queue, its name checked."""
        return queue_keys(self.namespace, check_name(queue), queue in self._streams)

    def server_ms(self) -> int:
        """The server's clock in milliseconds, by which everything here is timed."""
        seconds, micros = self.link.execute("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def snapshot(self) -> Snapshot:
        """The whole namespace at one moment; who looks again and again keeps a `taskq.watching.Watch`."""
        return Watch(self.link, self.namespace).look()

    # -- queues -----------------------------------------------------------------------------------------------------

    def queue_names(self, limit: int = MOST_QUEUES) -> tuple[list[str], bool]:
        """The names of queues that were ever enqueued to, sorted, and whether there are more than `limit`.

        These are the first by name, as long as there are at most 20,000: of more, not all names are read.
        """
        key, cursor, names = keys.queues(self.namespace), b"0", set[str]()
        while True:
            cursor, some = self.link.execute("SSCAN", key, cursor, "COUNT", 1_000)
            names.update(str(name, "utf-8", "replace") for name in some)
            if cursor == b"0" or len(names) > max(limit, _MOST_NAMES):
                return sorted(names)[:limit], len(names) > limit

    def queues(self, limit: int = MOST_QUEUES) -> Listed:
        """Every queue of the namespace, sorted by name."""
        names, truncated = self.queue_names(limit)
        return Listed(tuple(self._overviews(names)), truncated)

    def queue(self, name: str) -> QueueInfo:
        """One queue; raises UnknownQueue."""
        self.need_queue(name)
        return self._overviews([name])[0]

    def need_queue(self, name: str) -> None:
        """Raise UnknownQueue unless something was enqueued there before."""
        where = self.keys(name)
        if self.link.execute("SISMEMBER", keys.queues(self.namespace), name) or self.link.execute("EXISTS", where.meta):
            return
        known, _ = self.queue_names()
        hint = did_you_mean(name, known) or (f"; it has {', '.join(known[:10])}" if known else "; it has no queues yet")
        raise UnknownQueue(f"there is no queue {name!r} in namespace {self.namespace!r}{hint}")

    def parked(self, queue: str) -> tuple[Parked, ...]:
        """Messages whose task no worker knew, by task, the longest parked first."""
        return self.queue(queue).parked

    def _overviews(self, names: Sequence[str]) -> list[QueueInfo]:
        readings = self._all([overview(self.keys(name)) for name in names])
        infos = [reading.info(name, ()) for name, reading in zip(names, readings, strict=True)]
        # Only now it is known which parked lists there are to count, and which queues are stream queues.
        self._streams |= {name for name, reading in zip(names, readings, strict=True) if reading.transport == "stream"}
        blind = {at for at, reading in enumerate(readings) if reading.transport == "stream" and not reading.stream}
        tasks = {
            at: [task for task, _ in reading.tasks]
            for at, reading in enumerate(readings)
            if reading.tasks or at in blind
        }
        again = self._all([overview(self.keys(names[at]), parked) for at, parked in tasks.items()])
        for (at, parked), reading in zip(tasks.items(), again, strict=True):
            infos[at] = reading.info(names[at], parked)
        return infos

    # -- messages ---------------------------------------------------------------------------------------------------

    def message(self, queue: str, id: str | bytes, *, contents: bool = False) -> MessageInfo:
        """All that is known of a message; arguments, headers and result only with `contents`.

        Raises UnknownMessage if there is no trace of it.
        """
        raw = raw_id(id)
        info = message_info(run(self.link, examine(self.keys(queue), raw)), raw, queue, contents)
        if info.status == "unknown":
            raise UnknownMessage(f"there is no trace of message {info.id} in queue {queue!r}")
        return info

    def find(self, id: str | bytes) -> list[str]:
        """The queues that know this id; those of the namespace are asked, as many as `queue_names` reads."""
        names, _ = self.queue_names()
        raw = raw_id(id)
        found = self._all([calls.lookup(self.keys(name), [raw]) for name in names])
        return [name for name, seen in zip(names, found, strict=True) if seen[0].state != "?"]

    def browse(
        self,
        queue: str,
        state: Shelf,
        *,
        limit: int = 50,
        cursor: str | None = None,
        match: MessageFilter = ANY,
        contents: bool = False,
        scan: int = SCAN,
    ) -> MessagePage:
        """The messages of a queue in one state that fit, the next to run first; of dead ones the newest.

        `leased` is all that workers hold, `running` what of it has started, as far as their heartbeats said. At most
        `limit`, after looking at about `scan`. The beginning of the arguments comes only with `contents`. What was
        there all the time is met once, whatever comes and goes between two pages; what moved twice, or not at all.
        Raises UnknownQueue, InvalidOption.
        """
        page_limit(limit)
        self.need_queue(queue)
        if self.link.execute("HGET", self.keys(queue).meta, "transport"):
            self._streams.add(queue)
        running = self._running() if state in ("leased", "running") else {}
        where = self.keys(queue)
        return look(self.link, where, state, match, cursor, limit=limit, contents=contents, scan=scan, running=running)

    def moves(self, queue: str) -> tuple[Batch, ...]:
        """What is on its way to another queue: of moves that go on now, or that were stopped."""
        flat = self.link.execute("HGETALL", self.keys(queue).moves)
        return tuple(Batch.read(token, text) for token, text in zip(flat[::2], flat[1::2], strict=True))

    def _running(self) -> dict[str, tuple[str, float]]:
        """Who runs which message and since how many seconds, as the workers said last."""
        found: dict[str, tuple[str, float]] = {}
        for worker in self.workers().workers:
            for attempt in worker.record.get("running") or ():
                if isinstance(attempt, dict) and isinstance(attempt.get("seconds"), (int, float)):
                    found[str(attempt.get("id"))] = (worker.id, float(attempt["seconds"]))
        return found

    # -- dead letters -----------------------------------------------------------------------------------------------

    def dead(
        self, queue: str, what: Filter = EVERY, *, limit: int = 100, cursor: str | None = None, scan: int = SCAN
    ) -> Page:
        """Dead letters that fit, newest first; at most `limit`, after looking at about `scan` of them."""
        page_limit(limit)
        items: list[DeadLetter] = []
        looked = total = 0
        for page in self.walk(queue, what, cursor):
            looked, total, cursor = looked + page.looked, page.total, page.cursor
            items += page.items
            if len(items) > limit or (len(items) == limit and cursor):
                last = items[limit - 1]
                return Page(tuple(items[:limit]), total, looked, Place(last.at, raw_id(last.id)).text())
            if looked >= scan and cursor:
                return Page(tuple(items), total, looked, cursor, truncated=True)
        return Page(tuple(items), total, looked)

    def quarantined(self, queue: str, *, limit: int = 100, cursor: str | None = None) -> Page:
        """Messages that cannot be read, newest first."""
        return self.dead(queue, Filter(quarantined=True), limit=limit, cursor=cursor)

    def count_dead(self, queue: str, what: Filter) -> int:
        """How many dead letters fit; with a filter all are looked at, so this is as long as there are many."""
        if what.is_all:
            where = self.keys(queue)
            count: int = self.link.execute("ZCARD", where.quarantine if what.quarantined else where.dead)
            return count
        return sum(len(page.items) for page in self.walk(queue, what, brief=True))

    def walk(self, queue: str, what: Filter, cursor: str | None = None, *, brief: bool = False) -> Iterator[Page]:
        """All dead letters that fit, newest first, a script's worth at a time: look at a page, then ask for the next.

        What is buried while this goes on comes before the first page, and is not met. With `brief` letters have only
        their id and time, if the filter needs no more: 250 are then read at once, however long their histories.
        """
        brief = brief and not what.reads
        place = None if cursor is None else Place.of(cursor)
        while True:
            after = None if place is None else (place.at, place.id)
            page = run(self.link, buried(self.keys(queue), quarantined=what.quarantined, after=after, brief=brief))
            rows = page.rows
            items = [self._letter(queue, row, what.quarantined, brief) for row in rows]
            old = bool(rows) and what.since is not None and rows[-1].at < what.since
            place = Place(int(rows[-1].at), rows[-1].id) if rows and not old else None
            fitting = tuple(item for item in items if what.fits(item))
            yield Page(fitting, page.total, len(rows), None if place is None else place.text())
            if place is None:
                return

    def _letter(self, queue: str, row: Row, quarantined: bool, brief: bool) -> DeadLetter:
        letter = letter_of(row, queue, quarantined)
        if letter.task or quarantined or brief:
            return letter
        # Nobody who saw it fail knew its task, and its body is too large for a page of them.
        try:
            return replace(letter, task=decode(row.id, self.link.execute("HGET", self.keys(queue).body, row.id)).task)
        except (TaskqError, TypeError):  # gone meanwhile, or not a message after all
            return letter

    # -- history ----------------------------------------------------------------------------------------------------

    def history(
        self,
        queue: str,
        *,
        since: When | None = None,
        until: When | None = None,
        match: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
        newest: bool = False,
        contents: bool = False,
    ) -> History:
        """What was enqueued to a stream queue, the oldest first, or the `newest`; as much of it as is retained.

        `since` and `until` are aware datetimes, or seconds since 1970, both included, by the server's clock; `match` is
        a task's name or a pattern. Bodies come only with `contents`. At most `limit` entries, after looking at about
        10,000; a cursor goes on in the same direction. Raises UnknownQueue, ConfigError of a list queue, InvalidOption.
        """
        page_limit(limit)
        what = Range.of(since, until, match)
        place = None if cursor is None else check_cursor(cursor)
        self.need_queue(queue)
        need_stream(queue, self.link.execute("HGET", self.keys(queue).meta, "transport"))
        self._streams.add(queue)
        pages = walk(partial(run, self.link), self.keys(queue), what, place, newest, contents, limit)
        return gather(pages, what, limit, SCAN)

    # -- workers ----------------------------------------------------------------------------------------------------

    def workers(self, limit: int = MOST_WORKERS) -> Workers:
        """The workers of the namespace that were there within the last hour."""
        flat = self.link.execute("ZREVRANGE", keys.workers(self.namespace), 0, limit, "WITHSCORES")
        names = [str(name, "utf-8", "replace") for name in flat[::2]]
        records = [keys.worker_record(self.namespace, name) for name in names[:limit]]
        said = self.link.execute("MGET", *records) if records else []
        found = [
            WorkerInfo(name, float(beat), text is not None, worker_record(text))
            for name, beat, text in zip(names, flat[1::2], said, strict=False)
        ]
        return Workers(tuple(found), len(names) > limit)

    def _all(self, wires: Sequence[Call[T]]) -> list[T]:
        """Run calls, some per round trip; raises the first error."""
        answers: list[T] = []
        for start in range(0, len(wires), _ROUND):
            for answer in run_many(self.link, wires[start : start + _ROUND]):
                if isinstance(answer, TaskqError):
                    raise answer
                answers.append(answer)
        return answers


def raw_id(id: str | bytes) -> bytes:
    """The 16 bytes of an id, given as they are or as people write it."""
    return id if isinstance(id, bytes) else id_bytes(id)


def shown_id(id: str | bytes) -> str:
    """The id as people read it."""
    return id_text(raw_id(id))
