"""The messages of a queue in one state, page by page. Nothing here writes.

A state is one place or several: lists, sorted sets, the stream, the batches of leases. They are read one after the
other; a cursor names the place and the last message that was looked at there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from taskq.errors import InvalidOption, TaskqError
from taskq.names import shown
from taskq.store.connection import SyncLink
from taskq.store.keys import QueueKeys
from taskq.store.scripts import Call, run
from taskq.tasks import failure
from taskq.tasks.briefs import (
    LOOKED_BYTES,
    Brief,
    MessageFilter,
    MessagePage,
    Place,
    Shelf,
    Slip,
    brief_of,
    check_shelf,
    with_arguments,
)
from taskq.tasks.broker import LEASE_BYTES, LEASE_MESSAGES, Flags
from taskq.tasks.operator_calls import MOST_LEASES
from taskq.tasks.outcomes import status_of
from taskq.tasks.past import HEAD_BYTES, history
from taskq.tasks.stream_calls import unread
from taskq.tasks.transports import build

_LETTERS: Final[Mapping[Shelf, str]] = {
    "ready": "r",
    "delayed": "d",
    "retrying": "d",
    "leased": "l",
    "running": "l",
    "parked": "p",
    "dead": "x",
    "quarantined": "q",
}
_CURSOR = re.compile(r"([A-Za-z0-9_.:-]{1,300})/([0-9.e+-]{1,40})/((?:[0-9a-f]{32}|[0-9a-f]{40})?)")
_TASKS = 10_000
_TOKENS = 50  # batches that are read at once
_HISTORIES = 16  # that are read at once: each has up to 16 KiB, and a script carries 256 KiB


@dataclass(frozen=True, slots=True)
class Slips:
    """A page as it is stored, and the cursor of the next one; `deadlines` are those of leases, by their tokens."""

    slips: tuple[Slip, ...]
    cursor: str | None
    looked: int
    deadlines: Mapping[bytes, float] = field(default_factory=dict[bytes, float])
    truncated: bool = False


def browse(
    keys: QueueKeys,
    place: Place | None,
    after: tuple[str, bytes] = ("", b""),
    *,
    limit: int = LEASE_MESSAGES,
    head: int = HEAD_BYTES,
    ids: Sequence[bytes] = (),
) -> Call[tuple[bool, tuple[Slip, ...]]]:
    """One page of one place, or some messages by id; answers whether that was all."""
    names = [keys.body, keys.state] + ([] if place is None else [place.key])
    down = "1" if place is not None and place.down else ""
    args = [*after, min(limit, LEASE_MESSAGES), LEASE_BYTES, head, down, *ids]

    def decoded(reply: Any) -> tuple[bool, tuple[Slip, ...]]:
        over, start, rows = reply
        slips: list[Slip] = []
        for at, (message, raw, record, size, text) in enumerate(rows, 1):
            score = str(raw, "ascii")
            behind = "" if place is None else f"{place.name}/{score or start + at}/{message.hex()}"
            slips.append(Slip(message, behind, place, score, record, size, text))
        return over == 1, tuple(slips)

    return build(keys, "browse", names, args, decoded)


class Browser:
    """Walks through one state of one queue, a script's worth at a time."""

    def __init__(self, link: SyncLink, keys: QueueKeys, shelf: Shelf, head: int = HEAD_BYTES) -> None:
        self._link = link
        self._keys = keys
        self._shelf: Shelf = check_shelf(shelf)
        self._head = head
        self._streams = keys.streamed and shelf == "ready"

    def places(self) -> list[Place]:
        """All lists and sorted sets of the state, in their order; leases and a stream are none."""
        keys, shelf = self._keys, self._shelf
        if shelf == "parked":
            names = self._link.execute("ZRANGE", keys.parked, 0, _TASKS - 1)
            tasks = sorted(str(name, "utf-8", "replace") for name in names)
            return [Place(f"p:{task}", keys.parked_task(task)) for task in tasks]
        if shelf == "ready":
            lists = [Place(f"r{at}", key, at) for at, key in enumerate(keys.ready)]
            return [*lists, Place("suspects", keys.alone)]
        if shelf in ("delayed", "retrying"):
            return [Place("d", keys.delayed)]
        if shelf in ("dead", "quarantined"):
            return [Place("x", keys.dead if shelf == "dead" else keys.quarantine, down=True)]
        return []

    def total(self) -> int | None:
        """How many entries the places have, if that is counted in one look."""
        if self._shelf in ("retrying", "leased", "running"):
            return None
        listed = self._shelf in ("ready", "parked")
        commands: list[tuple[Any, ...]] = [("LLEN" if listed else "ZCARD", place.key) for place in self.places()]
        if self._streams:
            commands.append(("HMGET", self._keys.tally, "appended", "read"))
        counts = self._link.pipeline(commands) if commands else []
        for count in counts:
            if isinstance(count, TaskqError):
                raise count
        return sum(count if isinstance(count, int) else unread(count) for count in counts)

    def tried(self, items: Sequence[Brief]) -> tuple[Brief, ...]:
        """The same messages; of buried ones the runs, which only their histories tell in full."""
        if self._shelf not in ("dead", "quarantined"):
            return tuple(items)
        counted: list[Brief] = []
        for start in range(0, len(items), _HISTORIES):
            some = items[start : start + _HISTORIES]
            lines = self._link.execute("HMGET", self._keys.errors, *(one.raw for one in some))
            for one, text in zip(some, lines, strict=True):
                history = failure.parse(text or b"")
                attempts, crashes = failure.tried(one.attempts, history), failure.died(one.crashes, history)
                counted.append(replace(one, attempts=attempts, crashes=crashes))
        return tuple(counted)

    def pages(self, cursor: str | None = None, limit: int = LEASE_MESSAGES) -> Iterator[Slips]:
        """All pages from a cursor on; the last has no cursor. Raises InvalidOption."""
        name, at, last = ("", "", b"") if cursor is None else _parse(cursor)
        if self._shelf in ("leased", "running") and name in ("", "held"):
            yield from self._held(last, int(at) if at.isdigit() else 0)
            return
        places = self.places()
        names = [place.name for place in places] + ["unread"] * self._streams
        if self._shelf == "parked" and name[:2] in ("", "p:"):
            # its list may have been emptied meanwhile, and then it has no name any more
            places = [place for place in places if place.name >= name]
        elif name in names:
            places = places[names.index(name) :]
        elif name:
            raise InvalidOption(f"cursor={shown(cursor)} is not one that a page of {self._shelf} messages has given")
        for index, place in enumerate(places):
            after = (at, last) if place.name == name else ("", b"")
            following = [*(one.name for one in places[index + 1 :]), *["unread"] * self._streams]
            yield from self._place(place, after, limit, f"{following[0]}/0/" if following else None)
        if self._streams:
            yield from self._unread(at if name == "unread" else "0", limit)

    def _place(self, place: Place, after: tuple[str, bytes], limit: int, following: str | None) -> Iterator[Slips]:
        over = False
        while not over:
            over, found = run(self._link, browse(self._keys, place, after, limit=limit, head=self._head))
            cursor = following if over else found[-1].after
            yield Slips(self._mine(found), cursor, len(found))
            if not over:
                _, at, last = _parse(found[-1].after)
                after = (at, last)

    def _unread(self, after: str, limit: int) -> Iterator[Slips]:
        last = str(self._link.execute("HGET", self._keys.tally, "last") or b"0-0", "ascii")
        first = f"({max(after, last, key=_entry_order)}"
        while first:
            page = run(self._link, history(self._keys, first, "+", limit=limit))
            waiting = {bytes.fromhex(one.id.replace("-", "")): one for one in page.entries if one.place == "unread"}
            slips = [
                replace(slip, after=f"unread/{waiting[slip.id].entry}/", score="")
                for slip in self._mine(self._by_id([one for one in waiting if one]))
            ]
            cursor = f"unread/{page.entries[-1].entry}/" if page.next else None
            yield Slips(tuple(slips), cursor, len(page.entries))
            first = page.next or ""

    def _held(self, last: bytes, skip: int) -> Iterator[Slips]:
        """Batches in the order of their tokens, which no heartbeat changes; `skip` of the first have been seen."""
        flat = self._link.execute("ZRANGE", self._keys.leases, 0, MOST_LEASES - 1, "WITHSCORES")
        deadlines = {token: float(score) for token, score in zip(flat[::2], flat[1::2], strict=True)}
        tokens, cut = sorted(token for token in deadlines if token >= last), len(deadlines) >= MOST_LEASES
        for start in range(0, len(tokens), _TOKENS):
            some = tokens[start : start + _TOKENS]
            blobs = self._link.execute("HMGET", self._keys.held, *some)
            for token, blob in zip(some, blobs, strict=True):
                begun = skip if token == last else 0
                ids = [blob[at : at + 16] for at in range(16, len(blob or b""), 16)]
                place = {one: at for at, one in enumerate(ids, 1)}
                slips = [
                    replace(slip, after=f"held/{place[slip.id]}/{token.hex()}")
                    for slip in self._mine(self._by_id(ids[begun:]))
                    if slip.token == token
                ]
                cursor = None if token == tokens[-1] else f"held/{len(ids)}/{token.hex()}"
                yield Slips(tuple(slips), cursor, len(ids) - begun, deadlines, cut and cursor is None)

    def _by_id(self, ids: Sequence[bytes]) -> tuple[Slip, ...]:
        """Messages by their ids, as many scripts as it takes."""
        found: list[Slip] = []
        while len(found) < len(ids):
            some = ids[len(found) : len(found) + LEASE_MESSAGES]
            found += run(self._link, browse(self._keys, None, head=self._head, ids=some))[1]
        return tuple(found)

    def _mine(self, found: Sequence[Slip]) -> tuple[Slip, ...]:
        """Those that are in the state, the heads of large ones read as well."""
        shelf: Shelf = self._shelf
        letter = _LETTERS[shelf]
        slips: list[Slip] = []
        for slip in found:
            known = slip.found
            if known.state != letter or not slip.size:
                continue
            if self._shelf == "retrying" and status_of(known) != "retrying":
                continue
            if self._shelf == "running" and not known.flags & Flags.STARTED:
                continue
            slips.append(slip if slip.head else self._looked_into(slip))
        return tuple(slips)

    def _looked_into(self, slip: Slip) -> Slip:
        body = self._link.execute("HGET", self._keys.body, slip.id) or b""
        return replace(slip, head=body[: self._head])


def look(
    link: SyncLink,
    keys: QueueKeys,
    state: Shelf,
    what: MessageFilter,
    cursor: str | None,
    *,
    limit: int,
    contents: bool,
    scan: int,
    running: Mapping[str, tuple[str, float]],
) -> MessagePage:
    """The first `limit` messages from a cursor on that fit, after looking at about `scan`.

    `running` says who runs a message, and since how many seconds.
    """
    browser = Browser(link, keys, state, LOOKED_BYTES if contents else what.head_bytes)
    items: list[Brief] = []
    looked, following, cut = 0, None, False
    for page in browser.pages(cursor, limit if what.is_all else LEASE_MESSAGES):
        looked, following, cut = looked + page.looked, page.cursor, cut or page.truncated
        for at, slip in enumerate(page.slips, 1):
            one, arguments = brief_of(slip, keys.name, page.deadlines, running)
            if what.fits(one, arguments):
                items.append(with_arguments(one, arguments) if contents else one)
            if len(items) == limit:
                more = at < len(page.slips) or following is not None
                return MessagePage(browser.tried(items), browser.total(), looked, slip.after if more else None, cut)
        if following is not None and looked >= scan:
            cut = True
            break
    return MessagePage(browser.tried(items), browser.total(), looked, following, cut)


def _parse(cursor: str) -> tuple[str, str, bytes]:
    found = _CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
    if found is None:
        raise InvalidOption(f"cursor={shown(cursor)} is not one that a page of messages has given")
    return found[1], found[2], bytes.fromhex(found[3])


def _entry_order(entry: str) -> tuple[int, int]:
    ms, _, sequence = entry.partition("-")
    return int(ms), int(sequence or 0)
