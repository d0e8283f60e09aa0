"""Turns: what is done with a partition, one thing after the other, decided without I/O.

A turn is a generator. It yields a script, a command or a list of scripts, and gets what the broker answered; or a
`Run`, and gets an `Outcome` when the handler is through. Threads, event loops and iterators walk through the same
turns, each in its own way.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, Final, NamedTuple, TypeAlias

from taskq.codec import Codec
from taskq.errors import PublisherFenced
from taskq.events import parking
from taskq.events.group_calls import Committed, Mark, Position, Step, commit, forget_void, portions
from taskq.events.holding import Holding
from taskq.events.outbox import Routes, relay
from taskq.events.record import Record, Undecodable
from taskq.events.subscription import Subscription
from taskq.events.transaction import FULL, Enqueue, State, Transaction
from taskq.events.trouble import Decision, Reason, dead_letter, decide, killed, line
from taskq.store.links import Links
from taskq.store.scripts import Call

log = logging.getLogger("taskq.events")

CHUNK: Final = 500  # records between two commits, where the handler takes them one by one
LETTERS: Final = 250  # dead letters of one commit
COMMIT_S: Final = 1.0  # and so many seconds, if they take long


class Run(NamedTuple):
    """Let the handler have these records, one by one or all at once."""

    holding: Holding
    records: Sequence[Record]
    each: bool
    transaction: Transaction | None = None
    committed: bool = False
    finishing: bool = False  # the partition is given up, and these have to be done before it is

    def may_begin(self) -> bool:
        """Whether a handler may begin; nobody else gets what is committed, so only a loss keeps it from that."""
        return not self.holding.lost if self.committed else self.may_go_on()

    def may_go_on(self) -> bool:
        """Whether it may have another record."""
        return self.holding.may_finish() if self.finishing else self.holding.may_run()


class Outcome(NamedTuple):
    """How many of the records are done, and what the handler raised at the one behind them."""

    done: int
    error: BaseException | None = None


class Lost(Exception):
    """The partition belongs to another owner by now, or was put elsewhere; `epoch` shut this one out, if not 0."""

    def __init__(self, epoch: int) -> None:
        super().__init__(epoch)
        self.epoch = epoch


Bound: TypeAlias = tuple[int, int, int]  # time and sequence of an id, and the partition


@dataclass(frozen=True, slots=True)
class Plan:
    """What all turns of one consumer have in common."""

    options: Subscription
    codec: Codec
    topic: str
    name: str  # group and topic, for people
    links: Links
    routes: Routes
    enqueue: Enqueue | None = None
    seed: random.Random = field(default_factory=random.Random)

    @property
    def span(self) -> int:
        """How many records may have begun beyond the position."""
        return 2 * CHUNK if self.options.by_key else self.options.batch or CHUNK

    def transaction(self, holding: Holding) -> Transaction | None:
        """One for the next records of a partition, if they are handled exactly once."""
        if self.options.delivery != "exactly_once":
            return None
        if holding.state is None:
            holding.state = State(holding.keys.group(self.options.group, "state"), self.links)
        return Transaction(holding.state, holding.number, self.enqueue)


Turn: TypeAlias = Generator[Any, Any, None]
Committing: TypeAlias = Generator[Call[Any], Any, None]


def turn(holding: Holding, plan: Plan, bound: Bound | None = None) -> Turn:
    """One turn of a partition whose records are handled one after the other, of those in front of `bound` if given."""
    if holding.revoking:
        yield from leave(holding, plan)
        return
    if holding.has_chores:
        yield from chore(holding, plan)
        return
    options = plan.options
    records = holding.peek(_count(holding, plan), options.max_bytes)
    if not records:
        return
    if bound is not None:
        records = [one for one in records if (one.offset.ms, one.offset.seq, holding.number) < bound]
        if not records:
            return
    if holding.parked_keys:
        cut = parking.before_parked(holding, records)
        if not cut:
            yield from _queue_behind(holding, plan, records)
            return
        records = records[:cut]
    first = records[0]
    mark = holding.marks.get(first.offset, Mark())
    if isinstance(first.value, Undecodable):
        yield from bury(holding, plan, first, mark, "undecodable", first.value.reason)
        return
    if killed(mark):
        yield from bury(holding, plan, first, mark, "crash", "the process died while it was handled")
        return
    records = _readable(records)
    if options.delivery == "at_most_once":
        yield from _at_most_once(holding, plan, records)
        return
    if mark.fails:
        records = [replace(first, attempt=mark.fails + 1), *records[1:]]
    if first.number <= holding.careful:
        marked = replace(mark, running=True)
        holding.marks[first.offset] = marked
        yield from save(holding, plan, 0, [("m", str(first.offset), marked.text())])
    each = not options.batch
    work = plan.transaction(holding)
    outcome: Outcome = yield Run(holding, records, each, work)
    steps = _unmarked(holding, records[: outcome.done]) + _effects(holding, work)
    if outcome.error is None:
        if outcome.done:
            yield from save(holding, plan, outcome.done, steps)
        return
    yield from _failed(holding, plan, records, outcome, steps)


def _queue_behind(holding: Holding, plan: Plan, records: Sequence[Record]) -> Committing:
    """The next records belong to a parked key: they wait behind it."""
    behind = takewhile(lambda record: parking.digest_of(record) in holding.parked_keys, records)
    steps = next(portions((parking.park(record, plan.codec) for record in behind), parking.TAIL))
    yield from save(holding, plan, len(steps), steps)


def chore(holding: Holding, plan: Plan) -> Turn:
    """What is to be done beside the next records, one thing at a time."""
    group = plan.options.group
    if holding.parked_void:
        yield from forget_void(holding.keys, group)
        holding.parked_void = False
    elif holding.parked_unknown:
        known = yield ("ZRANGE", holding.keys.group(group, "parked"), 0, -1, "WITHSCORES")
        moment = yield ("TIME",)
        parking.learned(holding, known, moment)
        holding.parked_unknown = False
    elif holding.outbox:
        try:
            yield from relay(holding, group, plan.topic, plan.routes)
        except PublisherFenced:  # another owner carries; who is shut out, shows here
            holding.targets.clear()
            yield from save(holding, plan, 0)
    else:
        digest = parking.due(holding)
        if digest is not None:
            yield from _parked(holding, plan, digest)


def _parked(holding: Holding, plan: Plan, digest: str) -> Turn:
    """The records of a parked key, whose time has come, in order."""
    if not holding.may_run():
        return
    group, options = plan.options.group, plan.options
    tails, bodies = holding.keys.group(group, "tails"), holding.keys.group(group, "bodies")
    most = 1 if options.batch else parking.TAIL
    members: list[bytes] = yield ("ZRANGEBYLEX", tails, f"[{digest}:", f"({digest};", "LIMIT", 0, most)
    stored: list[bytes] = yield from parking.bodies(bodies, members)
    whole = len(members) < most and len(stored) == len(members)
    members = members[: len(stored)]
    steps: list[Step] = []
    done = 0
    if members:
        records = [parking.record_of(plan.topic, holding.number, body, plan.codec) for body in stored]
        first = records[0]
        mark = holding.marks.get(first.offset, Mark())
        if killed(mark) or isinstance(first.value, Undecodable):
            reason: Reason = "crash" if killed(mark) else "undecodable"
            last = "the process died while it was handled" if killed(mark) else first.value.reason
            steps, done = _buried(holding, plan, first, mark, reason, last), 1
        else:
            records = [parking.numbered(first, mark), *_readable(records[1:])]
            marked = replace(mark, running=True)
            holding.marks[first.offset] = marked
            yield from save(holding, plan, 0, [("m", str(first.offset), marked.text())])
            work = plan.transaction(holding)
            outcome: Outcome = yield Run(holding, records, not options.batch, work)
            done = outcome.done
            steps = _unmarked(holding, records[:done]) + _effects(holding, work)
            if done < len(records) and outcome.error is not None:
                record = parking.record_of(plan.topic, holding.number, stored[done], plan.codec)
                text = line(outcome.error)
                mark = holding.marks.get(record.offset, Mark())
                decision = decide(outcome.error, mark.fails, options.retry, plan.seed.random())
                if decision.again:
                    steps += _again(holding, plan, record, mark, decision, text)
                    steps.append(parking.again(holding, digest, decision.delay))
                else:
                    steps += _buried(holding, plan, record, mark, decision.reason, text)
                    done += 1
            elif not done:
                return  # it may not run now
        steps += [("u", member, "") for member in members[:done]]
    if whole and done == len(members):
        steps.append(("g", digest, ""))
        del holding.parked_keys[digest]
    elif holding.parked_keys[digest] <= time.monotonic():
        steps.append(parking.again(holding, digest, 0))
    yield from save(holding, plan, 0, steps)


def leave(holding: Holding, plan: Plan) -> Committing:
    """Give the partition up in order; all that is done has been committed."""
    yield from save(holding, plan, 0, [("l", "", "")])
    holding.released = True


def save(holding: Holding, plan: Plan, count: int, steps: Sequence[Step] = ()) -> Committing:
    """Commit that the next `count` records are done, with all that goes with it. Raises Lost."""
    yield from save_at(holding, plan, holding.place_after(count), steps)
    holding.advance(count)


def save_at(holding: Holding, plan: Plan, place: Position, steps: Sequence[Step] = ()) -> Committing:
    """Commit a place. Raises Lost."""
    holding.op += 1
    extra: list[Step] = []
    while holding.extra:
        extra += holding.extra.popleft()
    steps = [*extra, *steps]
    group = plan.options.group
    answer: Committed = yield commit(holding.keys, group, holding.owner, holding.op, (holding.place, place), steps)
    if answer.code:
        holding.lost = True
        raise Lost(answer.epoch)
    holding.place = place


def bury(holding: Holding, plan: Plan, record: Record, mark: Mark, reason: Reason, last: str) -> Committing:
    """Keep the next record as a dead letter and go on behind it, in one script."""
    yield from save(holding, plan, 1, _buried(holding, plan, record, mark, reason, last))


def _buried(holding: Holding, plan: Plan, record: Record, mark: Mark, reason: Reason, last: str) -> list[Step]:
    log.error("%s: %s is a dead letter (%s): %s", plan.name, record.id, reason, last)
    holding.marks.pop(record.offset, None)
    return [dead_letter(record, mark, reason, last, plan.codec), ("c", str(record.offset), "")]


def _count(holding: Holding, plan: Plan) -> int:
    """How many records the next handler may get: one, where it must be known at which one something happens."""
    options, number, at = plan.options, holding.place.number + 1, holding.place.offset
    if any(offset > at for offset in holding.marks) or number <= holding.careful or number <= holding.singly:
        return 1
    if options.batch:
        return min(options.batch, FULL) if options.delivery == "exactly_once" else options.batch
    return 1 if options.delivery == "at_most_once" else CHUNK


def _readable(records: list[Record]) -> list[Record]:
    """Those in front of the first that cannot be decoded."""
    for place, record in enumerate(records):
        if type(record.value) is Undecodable:
            return records[:place]
    return records


def _unmarked(holding: Holding, records: Sequence[Record]) -> list[Step]:
    if not holding.marks:
        return []
    done = [record.offset for record in records if holding.marks.pop(record.offset, None) is not None]
    return [("c", str(offset), "") for offset in done]


def _at_most_once(holding: Holding, plan: Plan, records: Sequence[Record]) -> Turn:
    if not holding.may_run():
        return
    yield from save(holding, plan, len(records))
    outcome: Outcome = yield Run(holding, records, not plan.options.batch, committed=True)
    failed = holding.again(records[outcome.done :])
    if not failed:
        return
    text = "it was committed, and not handled before its consumer ended"
    if outcome.error is not None:
        text = line(outcome.error)
    log.error("%s: %s failed and is not run again: %s", plan.name, failed[0].id, text)
    steps = [dead_letter(record, Mark(), "error", text, plan.codec) for record in failed]
    for some in portions(steps, LETTERS):
        yield from save(holding, plan, 0, some)


def _again(holding: Holding, plan: Plan, record: Record, mark: Mark, decision: Decision, text: str) -> list[Step]:
    log.warning("%s: %s failed, again in %.1f s: %s", plan.name, record.id, decision.delay, text)
    marked = Mark(False, mark.deaths, mark.fails + decision.counts, mark.first or text)
    holding.marks[record.offset] = marked
    return [("m", str(record.offset), marked.text()), ("p", "retried", 1)]


def _effects(holding: Holding, work: Transaction | None) -> list[Step]:
    steps = [] if work is None else work.steps()
    holding.outbox = holding.outbox or any(letter == "o" for letter, _, _ in steps)
    return steps


def _failed(holding: Holding, plan: Plan, records: Sequence[Record], outcome: Outcome, steps: list[Step]) -> Committing:
    """The handler raised: the records before are done, this one runs again later or is a dead letter."""
    assert outcome.error is not None
    records = [*records[: outcome.done], *holding.again(records[outcome.done :])]
    text = line(outcome.error)
    if plan.options.batch and len(records) > 1:  # which one it was shows when they are handled singly
        log.warning("%s: a batch of %d failed; its records are handled singly: %s", plan.name, len(records), text)
        holding.singly = records[-1].number
        return
    record = records[outcome.done]
    mark = holding.marks.get(record.offset, Mark())
    options = plan.options
    decision = decide(outcome.error, mark.fails, options.retry, plan.seed.random())
    if options.on_error == "dead":
        decision = replace(decision, again=False)
    if not decision.again:
        if outcome.done:
            yield from save(holding, plan, outcome.done, steps)
        yield from bury(holding, plan, record, mark, decision.reason, text)
        return
    steps = [*steps, *_again(holding, plan, record, mark, decision, text)]
    if options.on_error == "park" and len(holding.parked_keys) < parking.MOST:
        steps += [parking.park(record, plan.codec), parking.again(holding, parking.digest_of(record), decision.delay)]
        yield from save(holding, plan, outcome.done + 1, steps)
        return
    yield from save(holding, plan, outcome.done, steps)
    holding.resume_at = time.monotonic() + decision.delay
