"""Where the dashboard looks, and what carries out its orders: one small protocol, and the real thing behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from taskq.control import Control
from taskq.desk import Desk
from taskq.errors import UnknownMessage
from taskq.inspector import Brief, DeadLetter, Filter, Inspector, MessageFilter, MessageInfo
from taskq.snapshot import Snapshot
from taskq.watching import Watch
from taskq_dashboard.cells import span
from taskq_dashboard.state import PAGE, Listing, Order, Row, Want

Tell = Callable[[int], object]
"""Told how many are done so far; what it raises ends the work after the step that was told."""

_MANY = 1_000  # messages of a page that nobody looks at


class Source(Protocol):
    """What the dashboard needs. Every method may take long and raises the errors of `TaskqError`."""

    def look(self, focus: str = "", *, every: bool = False) -> Snapshot: ...
    def page(self, want: Want) -> Listing: ...
    def count(self, want: Want, tell: Tell) -> int: ...
    def message(self, queue: str, id: str) -> MessageInfo: ...
    def carry_out(self, order: Order, tell: Tell) -> str: ...


class Live:
    """One namespace on its broker. `look` is for one thread, the rest for any."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._watch = Watch(desk.inspector.link, desk.namespace)
        self._inspector: Inspector = desk.inspector
        self._control: Control = desk.control

    def look(self, focus: str = "", *, every: bool = False) -> Snapshot:
        """Everything; of many queues a half, with that in focus, or `every` one."""
        return self._watch.look(focus=(focus,), every=every)

    def page(self, want: Want) -> Listing:
        """Some messages of a queue."""
        if want.listed in ("dead", "quarantined"):
            page = self._inspector.dead(want.queue, _filter(want), limit=PAGE, cursor=want.cursor)
            rows = tuple(_dead_row(letter) for letter in page.items)
            return Listing(want, rows, page.total, page.looked, page.cursor, page.truncated)
        if want.listed == "failures":
            return Listing(want)  # these come with every look
        what = MessageFilter(text=want.text or None)
        found = self._inspector.browse(want.queue, want.listed, match=what, limit=PAGE, cursor=want.cursor)
        rows = tuple(_row(brief) for brief in found.items)
        return Listing(want, rows, found.total, found.looked, found.cursor, found.truncated)

    def count(self, want: Want, tell: Tell) -> int:
        """How many messages fit; all are looked at if there is a filter."""
        if want.listed in ("dead", "quarantined") and not want.text:
            return self._inspector.count_dead(want.queue, _filter(want))
        found = 0
        for ids in self._ids(want):
            found += len(ids)
            tell(found)
        return found

    def _ids(self, want: Want) -> Iterator[Sequence[str]]:
        """All messages that fit, a page at a time."""
        if want.listed in ("dead", "quarantined"):
            for page in self._inspector.walk(want.queue, _filter(want), brief=True):
                yield [letter.id for letter in page.items]
            return
        cursor: str | None = None
        while want.listed != "failures":
            what = MessageFilter(text=want.text or None)
            found = self._inspector.browse(want.queue, want.listed, match=what, limit=_MANY, cursor=cursor)
            yield [brief.id for brief in found.items]
            cursor = found.cursor
            if cursor is None:
                return

    def message(self, queue: str, id: str) -> MessageInfo:
        """One message with its arguments."""
        return self._inspector.message(queue, id, contents=True)

    def carry_out(self, order: Order, tell: Tell) -> str:
        """Do it, and say in a sentence what was done."""
        queue, control = order.queue, self._control
        match order.verb:
            case "pause":
                control.pause(queue)
                return f"paused queue {queue}: what runs goes on"
            case "resume":
                control.resume(queue)
                return f"resumed queue {queue}"
            case "hold":
                self._desk.pause_schedule(order.ids[0])
                return f"paused schedule {order.ids[0]}"
            case "release":
                self._desk.pause_schedule(order.ids[0], False)
                return f"resumed schedule {order.ids[0]}"
            case "retry":
                done = control.redrive(queue, _meant(order), on_progress=tell)
                return f"retried {done:,} of queue {queue}"
            case "delete":
                done = control.discard(queue, _meant(order), on_progress=tell)
                return f"deleted {done:,} of queue {queue}"
            case "cancel":
                return self._cancel_all(order, tell) if order.every else self._cancel(queue, order.ids, tell)

    def _cancel_all(self, order: Order, tell: Tell) -> str:
        if order.listed == "failures":
            raise AssertionError("a failure of the past is nothing that can be cancelled")
        what = MessageFilter(text=order.text or None)
        told = self._control.cancel_matching(order.queue, order.listed, what, on_progress=tell)
        return _cancelled(
            Counter(cancelled=told.cancelled, requested=told.requested, too_late=told.too_late), order.queue
        )

    def _cancel(self, queue: str, ids: Sequence[str], tell: Tell) -> str:
        answers: Counter[str] = Counter()
        for number, one in enumerate(ids, 1):
            try:
                answers[self._control.cancel(queue, one)] += 1
            except UnknownMessage:
                answers["too_late"] += 1
            tell(number)
        return _cancelled(answers, queue)


def _cancelled(answers: Mapping[str, int], queue: str) -> str:
    words = {"cancelled": "cancelled", "requested": "asked to stop", "too_late": "too late for"}
    said = [f"{words[name]} {count:,}" for name, count in answers.items() if count] or ["cancelled 0"]
    return f"{', '.join(said)} of queue {queue}"


def _filter(want: Want) -> Filter:
    return Filter(match=want.text or None, quarantined=want.listed == "quarantined")


def _meant(order: Order) -> Filter | Sequence[str]:
    if not order.every:
        return order.ids
    return Filter(match=order.text or None, quarantined=order.listed == "quarantined")


def _row(brief: Brief) -> Row:
    note = "cancel requested" if brief.cancel_requested else ""
    if brief.seconds is not None:
        note = f"runs for {span(brief.seconds)}{', ' if note else ''}{note}"
    return Row(
        brief.queue,
        brief.id,
        brief.task,
        at=brief.created,
        due=brief.due,
        attempts=brief.attempts,
        worker=brief.worker,
        note=note,
    )


def _dead_row(letter: DeadLetter) -> Row:
    return Row(
        letter.queue,
        letter.id,
        letter.task,
        at=letter.at,
        attempts=letter.attempts,
        worker=letter.worker,
        error=letter.error.rpartition(".")[2],
        note=letter.message,
    )
