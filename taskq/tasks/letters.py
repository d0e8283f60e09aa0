"""Dead letters as people see and choose them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taskq.checks import whole
from taskq.errors import InvalidOption
from taskq.message import id_text
from taskq.names import match, shown
from taskq.tasks import failure
from taskq.tasks.operator_calls import Row


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter, or one message in quarantine, with its last failure.

    `at` is when it was buried, in ms of the server's clock. `kind` is that of `taskq.tasks.failure`, `error` the class
    name of the exception. `attempts`, `crashes` and `deliveries` are those of its life; `task` is empty if nobody could
    read it.
    """

    id: str
    queue: str
    at: int
    task: str
    kind: str
    error: str
    message: str
    worker: str
    attempts: int
    crashes: int
    deliveries: int
    quarantined: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters are meant: all that fit every part that is given.

    `task` is a name or a pattern with `*`, `?` and `[ab]`. `error` is the exception's class, with or without its
    module, or such a pattern. `match` is text that the task, the class, the error text or the id has in it, in
    either case. `since` and `until` are milliseconds: buried not before and not after. `quarantined` means the
    quarantine instead.
    """

    task: str | None = None
    error: str | None = None
    match: str | None = None
    since: float | None = None
    until: float | None = None
    quarantined: bool = False

    @property
    def is_all(self) -> bool:
        """Whether nothing is filtered out."""
        return (self.task, self.error, self.match, self.since, self.until) == (None,) * 5

    @property
    def reads(self) -> bool:
        """Whether more than its time decides if a letter is meant."""
        return (self.task, self.error, self.match) != (None,) * 3

    def fits(self, letter: DeadLetter) -> bool:
        """Whether a dead letter is meant.

        >>> letter = DeadLetter("", "mail", 5, "shop.send", "error", "smtp.Refused", "no route", "", 1, 0, 1)
        >>> [one.fits(letter) for one in (Filter(task="shop.*"), Filter(error="Refused"), Filter(match="NO R"))]
        [True, True, True]
        >>> Filter(task="shop").fits(letter), Filter(since=6).fits(letter)
        (False, False)
        """
        if self.task is not None and not match(self.task, letter.task):
            return False
        short = letter.error.rpartition(".")[2]
        if self.error is not None and not (match(self.error, letter.error) or match(self.error, short)):
            return False
        if self.match is not None:
            wanted = self.match.casefold()
            if not any(wanted in text.casefold() for text in (letter.task, letter.error, letter.message, letter.id)):
                return False
        return (self.since is None or letter.at >= self.since) and (self.until is None or letter.at <= self.until)


EVERY = Filter()


@dataclass(frozen=True, slots=True)
class Page:
    """Some dead letters, newest first.

    `total` is how many there are without the filter, `looked` how many were looked at for this page. With a `cursor`
    there is more to look at: give it to the next call. `truncated` says that the search ended before `limit` letters
    were found, because it had looked at as many as one call may.
    """

    items: tuple[DeadLetter, ...]
    total: int
    looked: int
    cursor: str | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """The last letter that was looked at: where the next page begins."""

    at: int
    id: bytes

    def text(self) -> str:
        return f"{self.at}-{self.id.hex()}"

    @classmethod
    def of(cls, text: str) -> Place:
        """The place in the text of a cursor; raises InvalidOption."""
        at, _, raw = text.partition("-")
        try:
            place = cls(int(at), bytes.fromhex(raw))
        except ValueError:
            place = None
        if place is None or len(place.id) != 16:
            raise InvalidOption(f"cursor={shown(text)} is not one that a page has given")
        return place


def letter_of(row: Row, queue: str, quarantined: bool, task: str = "") -> DeadLetter:
    """A stored entry as people see it; `task` is what else is known of its name."""
    history = failure.parse(row.line)
    last: dict[str, Any] = history[-1] if history else {}
    text = {name: str(last.get(name, "")) for name in ("task", "kind", "type", "message", "worker")}
    return DeadLetter(
        id_text(row.id),
        queue,
        int(row.at),
        text["task"] or row.task or task,
        text["kind"],
        text["type"],
        text["message"],
        text["worker"],
        failure.tried(row.found.attempts, history),
        failure.died(row.found.crashes, history),
        row.found.deliveries,
        quarantined,
    )


def page_limit(limit: int) -> int:
    """The limit of a page, checked."""
    return whole(limit, "limit", 1, 10_000)
