"""Records of one partition side by side, those of one key in order: lanes, and a window that commits in order.

The position is the low watermark: all records up to it are done. What is done above it is remembered here only, and
comes again if this owner dies.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from taskq.events.group_calls import MAX_STEP_BYTES, Mark, Position, Step, step_bytes
from taskq.events.holding import Holding
from taskq.events.record import Record, Undecodable
from taskq.events.trouble import Reason, dead_letter, decide, killed, line
from taskq.events.turns import CHUNK, Committing, Lost, Outcome, Plan, Run, Turn, leave, save_at

log = logging.getLogger("taskq.events")

WINDOW: Final = 1_000  # records in hand above the position
COMMIT_EACH: Final = 100  # done records; fewer wait a little while others run
COMMIT_S: Final = 0.1
STEPS: Final = 200


@dataclass(slots=True)
class Slot:
    """One record in hand, where the position is behind it, and what goes with the commit that passes it."""

    record: Record
    place: Position
    entry: Any  # as it was read
    steps: list[Step] = field(default_factory=list)
    done: bool = False


class Lane:
    """The records of one key that are in hand and not done, in order."""

    __slots__ = ("busy", "holding", "key", "queued", "resume_at", "slots", "window")

    def __init__(self, holding: Holding, window: Window, key: Hashable) -> None:
        self.holding = holding
        self.window = window
        self.key = key
        self.slots: deque[Slot] = deque()
        self.queued = self.busy = False
        self.resume_at = 0.0


class Window:
    """All records of one partition that are in hand."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.slots: deque[Slot] = deque()
        self.lanes: dict[Hashable, Lane] = {}
        self.committing = False
        self.committed = 0.0

    @property
    def running(self) -> bool:
        """Whether a handler may run for one of them."""
        return any(lane.busy for lane in list(self.lanes.values()))

    def room(self, holding: Holding) -> int:
        """How many records to take in now. While one must be known that kills its owner, they go one at a time."""
        if holding.place.number < holding.careful:
            return 0 if self.slots else 1
        return WINDOW - len(self.slots)

    def owed(self, lane: Lane) -> int:
        """How many records of a lane stand before one that is done: until they are, the position does not pass that.

        None of a lane that waits: what is done behind its failed record comes again elsewhere.
        """
        if lane.resume_at > time.monotonic():
            return 0
        last = self._last_done()
        return sum(slot.record.number < last for slot in list(lane.slots))

    def occupied(self, holding: Holding) -> bool:
        """Whether a handler runs, or has to before the partition is given up: else what is done of other keys would be
        done once more by the next owner.
        """
        return self.running or (holding.revoking and holding.may_finish() and bool(self.owing()))

    def owing(self) -> list[Lane]:
        """The lanes of which `owed` says something."""
        last, now = self._last_done(), time.monotonic()
        lanes = [(lane, list(lane.slots)[:1]) for lane in list(self.lanes.values()) if lane.resume_at <= now]
        return [lane for lane, slots in lanes for slot in slots if slot.record.number < last]

    def _last_done(self) -> int:
        with self.lock:
            return next((slot.record.number for slot in reversed(self.slots) if slot.done), 0)

    def drop(self, lane: Lane) -> bool:
        """Forget a lane without records; False if it has some."""
        with self.lock:
            if lane.slots:
                return False
            if self.lanes.get(lane.key) is lane:
                del self.lanes[lane.key]
            return True


def dispatch(holding: Holding, window: Window, plan: Plan) -> list[Lane]:
    """Take records in, as far as there is room; answers the lanes that have new ones."""
    touched: dict[int, Lane] = {}
    while (room := window.room(holding)) > 0:
        records = holding.peek(min(room, CHUNK))
        if not records:
            break
        with window.lock:
            for at, record in enumerate(records, 1):
                key: Hashable = record.number
                if plan.options.mode == "key" and record.key is not None:
                    key = record.key
                lane = window.lanes.get(key)
                if lane is None:
                    lane = window.lanes[key] = Lane(holding, window, key)
                slot = Slot(record, holding.place_after(at), holding.entry_of(record))
                lane.slots.append(slot)
                window.slots.append(slot)
                touched[id(lane)] = lane
        holding.advance(len(records))
    return list(touched.values())


def end(holding: Holding, window: Window, plan: Plan) -> Committing:
    """Give the partition up, once no lane runs any more."""
    holding.finish_by = 0.0  # first, and then the look: a lane that becomes busy after it may not begin a handler
    if window.running:
        return
    yield from flush(holding, window, plan, at_once=True)
    yield from leave(holding, plan)


def lane_turn(lane: Lane, plan: Plan) -> Turn:
    """One turn of one key."""
    holding, window = lane.holding, lane.window
    finishing = holding.revoking
    if holding.lost or holding.released or (finishing and not holding.may_finish()):
        return
    slots = list(lane.slots)[: window.owed(lane) if finishing else CHUNK]
    if not slots:
        return
    record = slots[0].record
    mark = holding.marks.get(record.offset, Mark())
    if isinstance(record.value, Undecodable):
        _bury(lane, plan, mark, "undecodable", record.value.reason)
    elif killed(mark):
        _bury(lane, plan, mark, "crash", "the process died while it was handled")
    else:
        records = [slot.record for slot in slots]
        readable = next((at for at, one in enumerate(records) if type(one.value) is Undecodable), len(records))
        records = records[:readable]
        if mark.fails:
            records = [replace(record, attempt=mark.fails + 1)]
        if record.number <= holding.careful:
            holding.marks[record.offset] = marked = replace(mark, running=True)
            yield from save_at(holding, plan, holding.place, [("m", str(record.offset), marked.text())])
        outcome: Outcome = yield Run(holding, records, each=True, finishing=finishing)
        for _ in range(outcome.done):
            slot = lane.slots.popleft()
            if holding.marks and holding.marks.pop(slot.record.offset, None) is not None:
                slot.steps.append(("c", str(slot.record.offset), ""))
            slot.done = True
        if outcome.error is not None:
            _failed(lane, plan, outcome.error)
    yield from flush(holding, window, plan)


def _failed(lane: Lane, plan: Plan, error: BaseException) -> None:
    """The handler raised at the first record of the lane: only its key waits."""
    holding, slot = lane.holding, lane.slots[0]
    record = slot.record = holding.read_again(slot.entry, slot.record)
    mark, text = holding.marks.get(record.offset, Mark()), line(error)
    decision = decide(error, mark.fails, plan.options.retry, plan.seed.random())
    if plan.options.on_error == "dead" or not decision.again:
        _bury(lane, plan, mark, decision.reason, text)
        return
    log.warning("%s: %s failed, again in %.1f s: %s", plan.name, record.id, decision.delay, text)
    marked = Mark(False, mark.deaths, mark.fails + decision.counts, mark.first or text)
    holding.marks[record.offset] = marked
    holding.extra.append((("m", str(record.offset), marked.text()), ("p", "retried", 1)))
    lane.resume_at = time.monotonic() + decision.delay


def _bury(lane: Lane, plan: Plan, mark: Mark, reason: Reason, last: str) -> None:
    slot = lane.slots.popleft()
    record = slot.record
    log.error("%s: %s is a dead letter (%s): %s", plan.name, record.id, reason, last)
    lane.holding.marks.pop(record.offset, None)
    slot.steps += [dead_letter(record, mark, reason, last, plan.codec), ("c", str(record.offset), "")]
    slot.done = True


def flush(holding: Holding, window: Window, plan: Plan, *, at_once: bool = False) -> Committing:
    """Commit what is done at the low end of the window; one at a time does it. Raises Lost."""
    if holding.lost:
        raise Lost(0)
    with window.lock:
        if window.committing or not _due(window, at_once=at_once):
            return
        window.committing = True
    while True:
        with window.lock:
            place, steps = _taken(window)
            if place is None:
                window.committing = False
                return
        try:
            yield from save_at(holding, plan, place, steps)
        except BaseException:
            window.committing = False
            raise
        window.committed = time.monotonic()


def _due(window: Window, *, at_once: bool) -> bool:
    slots = window.slots
    if not slots or not slots[0].done:
        return False
    if at_once or time.monotonic() - window.committed > COMMIT_S:
        return True
    return all(slots[at].done for at in range(min(COMMIT_EACH, len(slots))))


def _taken(window: Window) -> tuple[Position | None, list[Step]]:
    place: Position | None = None
    steps: list[Step] = []
    size = 0
    while window.slots and window.slots[0].done and len(steps) < STEPS:
        size += sum(map(step_bytes, window.slots[0].steps))
        if steps and size > MAX_STEP_BYTES:
            break
        slot = window.slots.popleft()
        place = slot.place
        steps += slot.steps
    return place, steps
