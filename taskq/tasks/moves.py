"""Moving messages to another queue: taken out, carried, and settled, by batches that survive whoever carries them.

1. `take` makes parcels of up to 100 messages, in the queue where they wait: from then on no worker finds them there.
2. `land` accepts the parcels in the other queue and remembers its answer under the token of the batch, so a batch that
   is carried twice arrives once. What that queue cannot take lands where it came from, in the same way.
3. `carried` forgets the batch.

Who is killed between two of these leaves a batch that nobody runs; whoever moves something out of that queue next
carries it first. What cannot be moved as it is stays where it is, and is counted with the reason.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from taskq.errors import BrokerError, InvalidOption
from taskq.message import id_text
from taskq.names import did_you_mean, shown
from taskq.store.keys import PRIORITIES, QueueKeys
from taskq.store.scripts import run
from taskq.tasks.briefs import MessageFilter, Place, Shelf, Slip, brief_of
from taskq.tasks.broker import LEASE_MESSAGES, Flags, Found
from taskq.tasks.browsing import Browser, Slips
from taskq.tasks.lists import ListBroker, light
from taskq.tasks.move_calls import MOVED_TTL, Batch, carried, land, take
from taskq.tasks.queues import OtherTransport

MOVABLE: Final[tuple[Shelf, ...]] = ("ready", "delayed", "retrying", "parked", "dead", "quarantined")

REASONS: Final[Mapping[str, str]] = {
    "e": "their id is in that queue already",
    "t": "their explicit id was used in that queue, which remembers it",
    "u": "their unique key is held in that queue",
    "p": "they have a priority, and that queue is a stream queue",
    "s": "they crashed twice and run alone",
    "c": "they are to be cancelled",
    "l": "they do not wait any more, or not in these places",
}
"""Why messages stay where they are, by the letters of `Moved.refused`."""

_LETTERS: Final[Mapping[str, Shelf]] = {
    "r": "ready",
    "d": "delayed",
    "p": "parked",
    "x": "dead",
    "q": "quarantined",
}
_PASSES = 3
_SPARE_MS = 86_400_000  # a batch is given up so long before its answer is forgotten
_BATCH = 100  # messages of one script: it does a dozen things with each
_BY_ID = 3  # ids of a list that one script searches for


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move has done: messages `moved` by this call, and the `resumed`, which were on their way out of this queue
    when somebody was stopped before.

    `refused` counts those that stay, by a letter of `REASONS`. `stale` are messages of a move that was stopped so long
    ago that nobody knows whether they have arrived: they stay as they are. With `dry_run` it is what would be done as
    far as it can be told: what the other queue refuses shows only there.
    """

    moved: int = 0
    refused: Mapping[str, int] = field(default_factory=dict[str, int])
    resumed: int = 0
    stale: int = 0
    dry_run: bool = False


class Carrier:
    """Carries batches out of one queue; every step may be repeated, by anybody."""

    def __init__(self, broker: ListBroker, queue: str) -> None:
        self.broker = broker
        self.queue = queue
        self._open: dict[str, tuple[Batch, str] | None] = {}

    def batches(self) -> list[Batch]:
        """What is on its way out of the queue."""
        flat = self.broker.link.execute("HGETALL", self.broker.keys(self.queue).moves)
        return [Batch.read(token, text) for token, text in zip(flat[::2], flat[1::2], strict=True)]

    def take(self, place: Place, letter: str, to: str, ids: Sequence[bytes]) -> tuple[bytes, ...]:
        """Take messages out; `finish` brings them where they are to go."""
        token = os.urandom(12).hex()
        self._open[token] = None
        return run(self.broker.link, take(self._keys, place, letter, token, to, ids, self.broker.limits))

    def finish(self) -> list[tuple[Batch, str]]:
        """Carry all that was taken; answers the batches and a letter for each of their messages."""
        done: list[tuple[Batch, str]] = []
        for token in list(self._open):
            if self._open[token] is None:
                text = self.broker.link.execute("HGET", self._keys.moves, token)
                if text is None:  # nothing was taken
                    del self._open[token]
                    continue
                batch = Batch.read(token.encode(), text)
                self._open[token] = (batch, self._land(batch, batch.ids, batch.to, back=False))
            known = self._open[token]
            assert known is not None
            self._settle(*known)
            done.append(known)
            del self._open[token]
        return done

    def carry(self, batch: Batch) -> int:
        """Finish a batch that somebody has left; answers how many messages went to the other queue by this call."""
        answer = self._land(batch, batch.ids, batch.to, back=False)
        return answer.count("n") if self._settle(batch, answer) else 0

    def _settle(self, batch: Batch, answer: str) -> int:
        back = tuple(raw for raw, letter in zip(batch.ids, answer, strict=True) if letter != "n")
        said = self._land(batch, back, self.queue, back=True) if back else ""
        if said.strip("n"):
            held = id_text(back[said.index("e")])
            raise BrokerError(
                f"message {held} can go neither to queue {batch.to!r} nor back to {self.queue!r}: both have a message"
                " of its id; cancel or finish the one in either queue and move again"
            )
        return run(self.broker.link, carried(self._keys, batch.token, answer.count("n")))

    def _land(self, batch: Batch, ids: Sequence[bytes], queue: str, *, back: bool) -> str:
        link = self.broker.link
        parcels = link.execute("HMGET", self._keys.parcels(batch.token), *ids)
        found = [(raw, parcel) for raw, parcel in zip(ids, parcels, strict=True) if parcel is not None]
        if len(found) < len(ids):  # somebody else has just carried it: the answer is remembered
            found = [(raw, b"") for raw in ids]
            answer = link.execute("GET", self.broker.keys(queue).moved(batch.token))
            if answer is None:
                raise BrokerError(f"the parcels of a move of queue {self.queue!r} are gone; please report this")
            return str(answer, "ascii")
        try:
            return run(link, land(self.broker.keys(queue), batch.token, found, self.broker.limits, back=back))
        except OtherTransport:
            self.broker.queues.learn(queue)
            return run(link, land(self.broker.keys(queue), batch.token, found, self.broker.limits, back=back))

    @property
    def _keys(self) -> QueueKeys:
        return self.broker.keys(self.queue)


class Move:
    """One move at work: `begin` and then `step`, each until it answers False, and again after an outage."""

    def __init__(
        self,
        broker: ListBroker,
        queue: str,
        to: str,
        what: Shelf | Sequence[bytes],
        match: MessageFilter,
        dry_run: bool,
    ) -> None:
        self.broker = broker
        self.queue = queue
        self.to = to
        self._match = match
        self._carrier = Carrier(broker, queue)
        self._told = Moved(dry_run=dry_run)
        self._refused: Counter[str] = Counter()
        self._stay: set[bytes] = set()
        self._state: Shelf | None = what if isinstance(what, str) else None
        self._ids: list[bytes] | None = None if isinstance(what, str) else list(dict.fromkeys(what))
        self._cursor: str | None = None
        self._looked = self._missed = self._passes = 0
        self._most: int | None = None

    @property
    def told(self) -> Moved:
        """What has been done so far."""
        return replace(self._told, refused=dict(sorted(self._refused.items())))

    def begin(self) -> bool:
        """Carry a batch that somebody has left on its way; whether there may be more."""
        seconds, _ = self.broker.link.execute("TIME")
        oldest = int(seconds) * 1000 - MOVED_TTL + _SPARE_MS
        batches = self._carrier.batches()
        fresh = [batch for batch in batches if batch.since > oldest]
        stale = sum(len(batch.ids) for batch in batches if batch.since <= oldest)
        self._told = replace(self._told, stale=stale)
        if self._told.dry_run or not fresh:
            return False
        self.broker.know(fresh[0].to)
        self._told = replace(self._told, resumed=self._told.resumed + self._carrier.carry(fresh[0]))
        return True

    def step(self, limit: int = LEASE_MESSAGES) -> bool:
        """Move what one page holds; whether there is more to do."""
        self._count(self._carrier.finish())
        if self._state is None:
            return self._step_by_id()
        browser = Browser(self.broker.link, self.broker.keys(self.queue), self._state, self._match.head_bytes)
        if self._most is None:
            counted = "delayed" if self._state == "retrying" else self._state
            self._most = Browser(self.broker.link, self.broker.keys(self.queue), counted).total() or 0
        page = next(browser.pages(self._cursor, limit), None)
        if page is not None:
            chosen = [slip for slip in page.slips if self._fits(slip)]
            taken = self._dry(chosen) if self._told.dry_run else self._take(chosen)
            self._looked += page.looked
            self._cursor = self._behind(page, taken)
        # What comes meanwhile may be moved as well, but not for ever.
        if page is not None and self._cursor is not None and self._looked <= 2 * self._most + 1_000:
            return True
        again, self._missed, self._cursor, self._looked = self._missed, 0, None, 0
        self._passes += 1
        return again > 0 and self._passes < _PASSES

    def _fits(self, slip: Slip) -> bool:
        """Whether a message is meant and can be moved as it is."""
        one, arguments = brief_of(slip, self.queue)
        if slip.id in self._stay or not self._match.fits(one, arguments):
            return False
        reason = self._reason(slip.found, bool(one.priority))
        if reason:
            self._refused[reason] += 1
            self._stay.add(slip.id)
        return not reason

    def _reason(self, found: Found, urgent: bool) -> str:
        if found.flags & Flags.CANCEL:
            return "c"
        if found.crashes > 1:
            return "s"
        return "p" if urgent and self.broker.queues.streamed(self.to) else ""

    def _dry(self, chosen: Sequence[Slip]) -> set[bytes]:
        fresh = {slip.id for slip in chosen} - self._stay
        self._stay |= fresh
        self._told = replace(self._told, moved=self._told.moved + len(fresh))
        return set()

    def _take(self, chosen: Sequence[Slip]) -> set[bytes]:
        """Move messages of one page; answers those that were taken from where they waited."""
        taken: set[bytes] = set()
        for part in light(chosen, [slip.size for slip in chosen]) if chosen else ():
            todo = part
            while todo:
                first = todo[0]
                place = first.place or Place("r2", self.broker.keys(self.queue).ready_for(0), 2)
                place = replace(place, before=max(_position(first) - 1 - len(taken), 0))
                asked = [slip.id for slip in todo[:_BATCH]]
                got = self._carrier.take(place, first.found.state, self.to, asked)
                self._count(self._carrier.finish())
                taken |= set(got)
                # behind the last one is what the limit has left over: with its error lines a batch may be too large
                looked = max((at for at, raw in enumerate(asked, 1) if raw in taken), default=len(asked))
                self._missed += looked - len(got)
                todo = todo[looked:]
        return taken

    def _count(self, done: Sequence[tuple[Batch, str]]) -> None:
        for batch, answer in done:
            self._told = replace(self._told, moved=self._told.moved + answer.count("n"))
            for raw, letter in zip(batch.ids, answer, strict=True):
                if letter != "n":
                    self._refused[letter] += 1
                    self._stay.add(raw)

    def _behind(self, page: Slips, taken: set[bytes]) -> str | None:
        """The cursor behind a page out of which messages were taken: a list is shorter by them."""
        place = page.slips[0].place if page.slips else None
        if not taken or place is None or page.slips[0].score or page.cursor is None:
            return page.cursor
        if not page.cursor.startswith(f"{place.name}/"):
            return page.cursor
        left = [(at, slip) for at, slip in enumerate(page.slips) if slip.id not in taken]
        if not left:
            known = self._cursor is not None and self._cursor.startswith(f"{place.name}/")
            return self._cursor if known else f"{place.name}/0/"
        at, last = left[-1]
        gone = sum(slip.id in taken for slip in page.slips[:at])
        return f"{place.name}/{_position(last) - gone}/{last.id.hex()}"

    # -- by id ------------------------------------------------------------------------------------------------------

    def _step_by_id(self) -> bool:
        """Move the messages that were named and are in one state, wherever they wait; whether there are more."""
        ids = [raw for raw in self._ids or () if raw not in self._stay]
        found = self.broker.lookup(self.queue, ids)
        by_state: dict[str, list[bytes]] = {}
        for raw, one in zip(ids, found, strict=True):
            reason = self._reason(one, bool(one.priority)) if one.state in _LETTERS else "l"
            if reason:
                self._refused[reason] += 1
                self._stay.add(raw)
            else:
                by_state.setdefault(one.state, []).append(raw)
        if self._told.dry_run:
            self._told = replace(self._told, moved=sum(map(len, by_state.values())))
            return False
        for letter, some in by_state.items():
            left = list(some)
            for place in Browser(self.broker.link, self.broker.keys(self.queue), _LETTERS[letter]).places():
                left = self._by_id(place, letter, left)
            self._refused["l"] += len(left)
            self._stay |= set(some)
        return False

    def _by_id(self, place: Place, letter: str, ids: Sequence[bytes]) -> list[bytes]:
        """Take messages from one place; answers those that are not there."""
        urgent = place.index not in (None, PRIORITIES.index(0))
        if place.name == "suspects" or (urgent and self.broker.queues.streamed(self.to)):
            return list(ids)
        step = _BY_ID if letter in "rp" else _BATCH
        absent: list[bytes] = []
        todo = list(ids)
        while todo:
            got = set(self._carrier.take(place, letter, self.to, todo[:step]))
            self._count(self._carrier.finish())
            # what the byte limit has left over is asked for again
            absent += [] if got else todo[:step]
            todo = [raw for raw in todo[:step] if got and raw not in got] + todo[step:]
        return absent


def movable(state: object) -> Shelf:
    """A state out of which messages are moved. Raises InvalidOption."""
    for known in MOVABLE:
        if state == known:
            return known
    hint = did_you_mean(state, MOVABLE)
    raise InvalidOption(f"{shown(state)} is no state out of which messages are moved{hint}: {', '.join(MOVABLE)}")


def _position(slip: Slip) -> int:
    """How many of a list are before what is behind a message; 0 where it is in none."""
    at = slip.after.split("/")[1] if slip.place is not None and not slip.score else ""
    return int(at) if at.isdigit() else 0
