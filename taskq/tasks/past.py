"""The history of a stream queue: its entries in a range of time, read page by page. Nothing here writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from taskq.checks import is_text, when
from taskq.errors import ConfigError, DecodeError, InvalidOption
from taskq.message import Message, decode, id_text
from taskq.names import match as fits
from taskq.names import shown
from taskq.store.keys import QueueKeys
from taskq.store.scripts import Call
from taskq.tasks.broker import LEASE_BYTES
from taskq.tasks.operator_calls import task_in_head
from taskq.tasks.transports import build_own

Place: TypeAlias = Literal["unread", "pending", "delivered"]
When: TypeAlias = datetime | float

PAGE: Final = 100
"""Entries that one script reads at most, or that one page of a replay enqueues: each stays short beside the others."""

HEAD_BYTES: Final = 300
"""So much of a body always holds the whole name of its task."""

_PLACES: Final[dict[bytes, Place]] = {b"u": "unread", b"p": "pending", b"d": "delivered"}
_ENTRY = re.compile(r"\d{1,20}-\d{1,20}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream. `at` is when it was appended, in ms of the server's clock.

    `place`: "unread" waits; "pending" is in the hands of a worker, or was given back; "delivered" is over for this
    entry, though its message may wait elsewhere: a retry is appended again, under the same message id. Of an entry that
    taskq did not write (`foreign`) `id` and `task` are empty; `task` is also empty if nobody can read it. `size` is
    that of the body in bytes, which is only kept if it was asked for.
    """

    entry: str
    at: int
    id: str
    task: str
    place: Place
    size: int
    foreign: bool = False
    body: bytes = field(default=b"", repr=False)

    def message(self) -> Message:
        """The message with its arguments, decoded now. Raises DecodeError, also if its body was not asked for."""
        if self.foreign:
            raise DecodeError(f"entry {self.entry} was not written by taskq")
        if len(self.body) < self.size:
            raise DecodeError(f"the body of entry {self.entry} was not read: ask for history(contents=True)")
        return decode(bytes.fromhex(self.id.replace("-", "")), self.body)


@dataclass(frozen=True, slots=True)
class History:
    """Some entries. `looked` is how many were looked at for them; with a `cursor` there is more to look at: give it
    to the next call. `truncated` says that it ended before the limit, since one call looks at so many only.
    """

    entries: tuple[Entry, ...]
    looked: int
    cursor: str | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """The entries between two moments (ms, both included), those whose task fits a pattern; `last` is the newest entry
    that is meant, whatever the moments say.
    """

    since: int | None = None
    until: int | None = None
    match: str | None = None
    last: str | None = None

    @classmethod
    def of(cls, since: When | None, until: When | None, match: str | None) -> Range:
        """A range as callers give it, checked. Raises InvalidOption."""
        first = None if since is None else when(since, "since")
        end = None if until is None else when(until, "until")
        if first is not None and end is not None and first > end:
            raise InvalidOption(f"since={shown(since)} is after until={shown(until)}: no moment lies between them")
        if match is not None and not is_text(match):
            raise InvalidOption(f"match={shown(match)}: give the name of a task, or a pattern with *, ? and [ab]")
        return cls(first, end, match)

    @property
    def first_id(self) -> str:
        """The beginning of the range, as XRANGE takes it."""
        return "-" if self.since is None else str(self.since)

    @property
    def last_id(self) -> str:
        """The end of the range; without a sequence it means the whole millisecond."""
        until = None if self.until is None else str(self.until)
        if self.last is None:
            return until or "+"
        return until if until is not None and int(until) < _ms(self.last) else self.last

    def fits(self, entry: Entry) -> bool:
        """Whether the task of an entry is meant."""
        return self.match is None or (bool(entry.task) and fits(self.match, entry.task))


@dataclass(frozen=True, slots=True)
class PastPage:
    """One page as it is stored; `next` is the entry at which to go on, None if the range has been read."""

    now: int
    next: str | None
    entries: tuple[Entry, ...]


def history(
    keys: QueueKeys,
    first: str,
    last: str,
    *,
    newest: bool = False,
    limit: int = PAGE,
    size: int = LEASE_BYTES,
    contents: bool = False,
) -> Call[PastPage]:
    """Read one page: at most `limit` entries (100) and `size` bytes of bodies, or one larger entry."""
    args = [first, last, "1" if newest else "", min(limit, PAGE), size, "" if contents else HEAD_BYTES]

    def decoded(reply: Any) -> PastPage:
        now, following, rows = reply
        entries = tuple(_entry(*row) for row in rows)
        return PastPage(now, str(following, "ascii") or None, entries)

    return build_own(keys, "history", [], args, decoded)


def walk(
    send: Callable[[Call[PastPage]], PastPage],
    keys: QueueKeys,
    what: Range,
    cursor: str | None,
    newest: bool,
    contents: bool,
    limit: int,
) -> Iterator[PastPage]:
    """All pages of a range, read as they are asked for; `limit` is how many entries are wanted."""
    first, last = what.first_id, what.last_id
    step = limit if what.match is None else PAGE
    while True:
        start, end = (first, cursor or last) if newest else (cursor or first, last)
        page = send(history(keys, start, end, newest=newest, limit=step, contents=contents))
        yield page
        cursor = page.next
        if cursor is None:
            return


def check_cursor(cursor: str) -> str:
    """The cursor of a page, checked; raises InvalidOption."""
    if isinstance(cursor, str) and _ENTRY.fullmatch(cursor):
        return cursor
    raise InvalidOption(f"cursor={shown(cursor)} is not one that a page of history has given")


def need_stream(queue: str, transport: object) -> None:
    """Raise ConfigError unless this is a stream queue; `transport` is what the broker says of it."""
    if not transport:
        raise ConfigError(
            f"queue {queue!r} is a list queue, which keeps no history: declare it with"
            f' Queue({queue!r}, transport="stream") to keep what is enqueued from then on'
        )


def gather(pages: Iterator[PastPage], what: Range, limit: int, scan: int) -> History:
    """The first `limit` entries that fit, after looking at about `scan`."""
    found: list[Entry] = []
    looked = 0
    for page in pages:
        for entry in page.entries:
            if len(found) == limit:
                return History(tuple(found), looked, entry.entry)
            looked += 1
            if what.fits(entry):
                found.append(entry)
        if page.next is None:
            break
        if len(found) == limit or looked >= scan:
            return History(tuple(found), looked, page.next, truncated=len(found) < limit)
    return History(tuple(found), looked)


def _entry(raw: bytes, place: bytes, id: bytes, size: int, body: bytes) -> Entry:
    text = str(raw, "ascii")
    ours = len(id) == 16
    task = task_in_head(body) if ours else ""
    return Entry(text, _ms(text), id_text(id) if ours else "", task, _PLACES[place], size, not ours, body)


def _ms(entry: str) -> int:
    return int(entry.partition("-")[0])
