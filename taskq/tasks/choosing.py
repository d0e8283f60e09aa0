"""Cancelling and removing the messages of a state that fit a filter, page by page.

Each page is chosen first, and each of its messages is changed only if it is still there: who stops in the middle goes
on by doing the same again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from taskq.errors import InvalidOption, TaskqError
from taskq.names import did_you_mean, shown
from taskq.store.keys import QueueKeys
from taskq.store.scripts import Call, run, run_many
from taskq.tasks import calls
from taskq.tasks.briefs import MessageFilter, Shelf, Slip, brief_of
from taskq.tasks.browsing import Browser
from taskq.tasks.lists import ListBroker
from taskq.tasks.packing import PURGE_BYTES, Limits
from taskq.tasks.transports import build

CANCELLABLE: Final[tuple[Shelf, ...]] = ("ready", "delayed", "retrying", "parked", "leased", "running")
REMOVABLE: Final[tuple[Shelf, ...]] = ("ready", "delayed", "retrying", "parked")

_ROUND = 50  # scripts in one round trip


@dataclass(frozen=True, slots=True)
class Cancels:
    """What came of cancelling: messages `found`, of those `cancelled` at once, `requested` of their workers, and
    `too_late` because they were over by then. With `dry_run` only `found` is told.
    """

    found: int = 0
    cancelled: int = 0
    requested: int = 0
    too_late: int = 0
    dry_run: bool = False


class Choice:
    """Walks through a state once, and answers with what fits, a page at a time. Each step may be repeated."""

    def __init__(self, broker: ListBroker, queue: str, state: Shelf, match: MessageFilter) -> None:
        self._broker = broker
        self._queue = queue
        self._match = match
        self._browser = Browser(broker.link, broker.keys(queue), state, match.head_bytes)
        self._cursor: str | None = None
        self._looked = 0
        self._most: int | None = None
        self.over = False

    def page(self) -> list[Slip]:
        """What fits of the page at the cursor; `next` moves it."""
        if self._most is None:
            self._most = self._browser.total()
        self._page = next(self._browser.pages(self._cursor), None)
        found = self._page.slips if self._page is not None else ()
        return [slip for slip in found if self._match.fits(*brief_of(slip, self._queue))]

    def next(self) -> None:
        """Go behind the page that was read last. What comes meanwhile is not followed for ever."""
        page = self._page
        self._cursor = page.cursor if page is not None else None
        self._looked += page.looked if page is not None else 0
        self.over = self._cursor is None or (self._most is not None and self._looked > 2 * self._most + 1_000)


def cancel_all(broker: ListBroker, queue: str, ids: Sequence[bytes], told: Cancels) -> Cancels:
    """Cancel messages; the sum so far with theirs."""
    keys = broker.keys(queue)
    answers: list[str] = []
    for start in range(0, len(ids), _ROUND):
        for answer in run_many(
            broker.link, [calls.cancel(keys, raw, broker.limits) for raw in ids[start : start + _ROUND]]
        ):
            if isinstance(answer, TaskqError):
                raise answer
            answers.append(answer)
    return replace(
        told,
        found=told.found + len(ids),
        cancelled=told.cancelled + answers.count("cancelled"),
        requested=told.requested + answers.count("requested"),
        too_late=told.too_late + answers.count("too_late"),
    )


def remove(keys: QueueKeys, letter: str, ids: Sequence[bytes], limits: Limits, now: str = "") -> Call[tuple[int, int]]:
    """Remove waiting messages (at most 250); answers how many were removed, and of how many ids."""
    names = [keys.meta, keys.body, keys.state, keys.errors, keys.unique, keys.tombs, keys.cancels, keys.delayed]
    args: list[Any] = [now, limits.tombstone, PURGE_BYTES, letter, *ids]
    return build(keys, "remove", [*names, keys.none], args, lambda reply: (int(reply[0]), int(reply[1])))


def remove_all(broker: ListBroker, queue: str, slips: Sequence[Slip]) -> Iterator[int]:
    """Remove messages of one page; how many, script by script."""
    letter, ids = (slips[0].found.state if slips else "r"), [slip.id for slip in slips]
    while ids:
        removed, looked = run(broker.link, remove(broker.keys(queue), letter, ids, broker.limits))
        yield removed
        ids = ids[looked:]


def one_of(state: object, states: Sequence[Shelf], what: str) -> Shelf:
    """The state, if it is one of these. Raises InvalidOption."""
    for known in states:
        if state == known:
            return known
    hint = did_you_mean(state, states)
    raise InvalidOption(f"{shown(state)} is no state in which messages are {what}{hint}: {', '.join(states)}")
