"""Replaying a range of a stream queue's history: its messages are enqueued again, each once.

What is to be done stands under the label at the source (`replay`), how far it has come beside the queue that gets the
messages (`replayed`). A page is one script: it enqueues and moves the cursor, or, if somebody has moved it meanwhile,
does nothing. So whoever is killed between two pages has lost nothing, and two at once share the work. The cursor is the
entry that is to be read next; if that is gone, entries were trimmed before they were read, and this is told.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from taskq.errors import BrokerError, ConfigError, DecodeError, InvalidOption
from taskq.message import copied, id_bytes
from taskq.names import check_name
from taskq.store.keys import QueueKeys
from taskq.store.scripts import Call, run
from taskq.tasks.broker import LEASE_BYTES, Outgoing
from taskq.tasks.lists import ListBroker
from taskq.tasks.outgoing import now_ms
from taskq.tasks.packing import pack_spec
from taskq.tasks.past import PAGE, Entry, PastPage, Range, history, need_stream
from taskq.tasks.queues import OtherTransport
from taskq.tasks.transports import build_replay

REPLAY_TTL: Final = 7 * 86_400_000
"""Milliseconds for which a label is remembered after its last page."""

LABEL_HEADER: Final = "taskq-replay"
SOURCE_HEADER: Final = "taskq-replay-of"

_LONGER = 86_400_000  # how far it has come is kept longer than what it is, or it would begin again
_BYTES = LEASE_BYTES - PAGE * 256  # copies are longer: their headers
_OVER = "."


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a label has come to, by all who worked on it: entries looked at, messages `enqueued`.

    `already` counts entries whose message was enqueued before, since it has several (retries), or whose copy waits
    still; `skipped` what is no message that can be read. `trimmed` says that history went before it was read, so that
    messages are missing. `over` says that the label was finished before, so that nothing was done now. With `dry_run`
    it is what would be done from now on, and nothing was stored.
    """

    label: str
    looked: int = 0
    enqueued: int = 0
    already: int = 0
    skipped: int = 0
    trimmed: bool = False
    over: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a label stands for: moments in ms; its `first` entry ('' if there is none) and the newest one of the stream
    when it was begun, and when that was.
    """

    since: int
    until: int | None
    match: str | None
    to: str
    first: str
    last: str
    begun: int

    @classmethod
    def read(cls, text: bytes) -> Plan:
        """As it is stored. Raises BrokerError for what is not."""
        try:
            fields = json.loads(text)
            return cls(**fields)
        except (ValueError, TypeError) as error:
            raise BrokerError(f"the stored plan of a replay cannot be read: {error}") from error

    def text(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @property
    def range(self) -> Range:
        """The entries that are meant."""
        return Range(self.since, self.until, self.match, self.last)


@dataclass(frozen=True, slots=True)
class Moved:
    """The answer to a page: whether it was enqueued by this call, and the state of the label."""

    moved: bool
    cursor: str
    told: Replayed


class OtherPlan(ConfigError):
    """A label was begun with something else: its `option` has been `begun`, not what is `asked` for now."""

    def __init__(self, label: str, queue: str, option: str, begun: Any, asked: Any) -> None:
        super().__init__(
            f"replay {label!r} of queue {queue!r} was begun with {option}={begun!r}, not {asked!r}: leave since, until,"
            " match and to out to go on with it, or take another label"
        )
        self.option = option
        self.begun = begun
        self.asked = asked


def new_label() -> str:
    """A label that nobody has: the time, and random digits."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(3).hex()}"


def copy_of(label: str, queue: str, source: bytes, body: bytes) -> Outgoing:
    """The message that is enqueued for one that was there before. Raises DecodeError.

    Task, arguments, headers and options are those of then; it is created now, due at once, of no priority, without
    expiry and unique key. Its id follows from the label and the message.
    """
    hexed = source.hex()
    text = f"{hexed[:8]}-{hexed[8:12]}-{hexed[12:16]}-{hexed[16:20]}-{hexed[20:]}"
    headers = {LABEL_HEADER: label, SOURCE_HEADER: text}
    return Outgoing(id_bytes(f"replay:{label}:{queue}:{hexed}"), copied(body, now_ms(), headers))


class Replay:
    """One label at work, step by step: `begin`, then `step` until it answers False. Each step is safe to repeat."""

    def __init__(self, broker: ListBroker, queue: str, label: str, dry_run: bool) -> None:
        self.broker = broker
        self.queue = queue
        self.label = check_name(label, "label")
        self.told = Replayed(label, dry_run=dry_run)
        self._dry = dry_run
        self._plan: Plan | None = None
        self._cursor = ""
        self._seen: set[bytes] = set()

    def begin(self, wanted: Range, to: str | None) -> None:
        """Store what is to be done, or find that it was begun. Raises ConfigError, InvalidOption."""
        link, source = self.broker.link, self.broker.keys(self.queue)
        need_stream(self.queue, link.execute("HGET", source.meta, "transport"))
        text = link.execute("GET", source.replay(self.label))
        if text is None:
            plan = self._planned(wanted, to)
            if self._dry:
                self._plan = plan
                return
            link.execute("SET", source.replay(self.label), plan.text(), "NX", "PX", REPLAY_TTL)
            text = link.execute("GET", source.replay(self.label)) or plan.text().encode()
        self._plan = Plan.read(text)
        self._agree(self._plan, wanted, to)
        held = link.execute("HMGET", self._kept(), "cursor", "looked", "enqueued", "already", "skipped", "lost")
        self._cursor = str(held[0] or b"", "ascii")
        if not self._dry:
            self.told = self._sum(held[1:])
        self.told = replace(self.told, over=self._cursor == _OVER)

    def _planned(self, wanted: Range, to: str | None) -> Plan:
        if wanted.since is None:
            raise InvalidOption(
                f"queue {self.queue!r} knows no replay {self.label!r}: give since= (--from) to begin one; labels are"
                " remembered for seven days"
            )
        link, keys = self.broker.link, self.broker.keys(self.queue)
        newest = run(link, history(keys, "-", "+", newest=True, limit=1))
        what = replace(wanted, last=newest.entries[0].entry if newest.entries else "0-0")
        found = run(link, history(keys, what.first_id, what.last_id, limit=1)).entries
        first = found[0].entry if found else ""
        return Plan(wanted.since, wanted.until, wanted.match, to or self.queue, first, what.last or "", newest.now)

    def _agree(self, plan: Plan, wanted: Range, to: str | None) -> None:
        asked = {"since": wanted.since, "until": wanted.until, "match": wanted.match, "to": to}
        for name, value in asked.items():
            if value is not None and value != getattr(plan, name):
                raise OtherPlan(self.label, self.queue, name, getattr(plan, name), value)

    @property
    def target(self) -> str:
        """The queue that gets the messages."""
        assert self._plan is not None, "begin comes first"
        return self._plan.to

    def step(self, limit: int = PAGE) -> bool:
        """Read a page of at most `limit` entries and enqueue what is meant; whether there is more to do."""
        plan = self._plan
        if plan is None or self._cursor == _OVER:
            return False
        expected = self._cursor or plan.first
        keys = self.broker.keys(self.queue)
        page = run(
            self.broker.link,
            history(keys, expected or plan.range.first_id, plan.range.last_id, limit=limit, size=_BYTES, contents=True),
        )
        here = page.entries[0].entry if page.entries else None
        trimmed = bool(expected) and here != expected
        chosen, skipped = self._chosen(plan, page.entries)
        if self._dry:
            return self._count(page, chosen, skipped, trimmed)
        moved = self._send(plan, page, chosen, skipped, trimmed)
        self._cursor, self.told = moved.cursor, moved.told
        self.broker.link.execute("PEXPIRE", keys.replay(self.label), REPLAY_TTL)
        return self._cursor != _OVER

    def _chosen(self, plan: Plan, entries: tuple[Entry, ...]) -> tuple[list[tuple[bytes, Outgoing]], int]:
        chosen: list[tuple[bytes, Outgoing]] = []
        skipped = 0
        for entry in entries:
            if not plan.range.fits(entry):
                continue
            try:
                if entry.foreign:
                    raise DecodeError(f"entry {entry.entry} was not written by taskq")
                source = bytes.fromhex(entry.id.replace("-", ""))
                chosen.append((source, copy_of(self.label, self.queue, source, entry.body)))
            except DecodeError:
                skipped += 1
        return chosen, skipped

    def _count(self, page: PastPage, chosen: list[tuple[bytes, Outgoing]], skipped: int, trimmed: bool) -> bool:
        """What a step would do, without doing it."""
        known = self.broker.link.execute("HMGET", self._kept(), *(source for source, _ in chosen)) if chosen else []
        self._seen |= {source for (source, _), mark in zip(chosen, known, strict=True) if mark is not None}
        fresh = {source for source, _ in chosen} - self._seen
        self._seen |= fresh
        told = self.told
        self.told = replace(
            told,
            looked=told.looked + len(page.entries),
            enqueued=told.enqueued + len(fresh),
            already=told.already + len(chosen) - len(fresh),
            skipped=told.skipped + skipped,
            trimmed=told.trimmed or trimmed,
        )
        self._cursor = page.next or _OVER
        return page.next is not None

    def _send(
        self, plan: Plan, page: PastPage, chosen: list[tuple[bytes, Outgoing]], skipped: int, trimmed: bool
    ) -> Moved:
        head: list[Any] = ["", self._cursor, page.next or _OVER, len(page.entries), skipped, "1" if trimmed else ""]
        head.append(REPLAY_TTL + _LONGER)
        for source, message in chosen:
            head += (source, message.id, message.body, pack_spec(message))
        try:
            return run(self.broker.link, self._page(plan, head))
        except OtherTransport:
            self.broker.queues.learn(plan.to)
            return run(self.broker.link, self._page(plan, head))

    def _page(self, plan: Plan, args: list[Any]) -> Call[Moved]:
        keys = self.broker.keys(plan.to)
        names = [keys.lane(os.urandom(12)), keys.meta, keys.body, keys.state, keys.delayed, keys.unique, keys.tombs]
        names += [keys.wake, *keys.landing, self._kept()]

        def decode(reply: Any) -> Moved:
            code, cursor, *counts = reply
            if code == 4:
                raise OtherTransport
            return Moved(code == 0, str(cursor, "ascii"), self._sum(counts))

        return build_replay(keys, names, args, decode)

    def _sum(self, counts: list[Any]) -> Replayed:
        looked, enqueued, already, skipped, lost = (int(count or 0) for count in counts)
        return Replayed(self.label, looked, enqueued, already, skipped, lost > 0)

    def _kept(self) -> str:
        assert self._plan is not None, "begin comes first"
        keys: QueueKeys = self.broker.keys(self._plan.to)
        return keys.replayed(self.queue, self.label, self._plan.begun)
