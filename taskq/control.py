"""Steering a namespace: dead letters go back or away, queues pause and empty, messages are cancelled.

Whatever the number of messages, it is done in scripts of at most 250, each of them whole: who stops in the middle, or
is killed, has lost nothing and goes on by calling again. Two who do the same at once share the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar, cast

from taskq.backoff import pauses
from taskq.errors import BrokerUnavailable, InvalidOption, UnknownMessage
from taskq.inspector import Inspector, raw_id, shown_id
from taskq.names import check_name, did_you_mean, shown
from taskq.tasks.briefs import ANY, MessageFilter, Shelf, Slip
from taskq.tasks.broker import LEASE_MESSAGES
from taskq.tasks.choosing import CANCELLABLE, REMOVABLE, Cancels, Choice, cancel_all, one_of, remove_all
from taskq.tasks.handle import Cancelled
from taskq.tasks.letters import Filter, Page
from taskq.tasks.lists import ListBroker
from taskq.tasks.moves import MOVABLE, REASONS, Move, Moved, movable
from taskq.tasks.operator_calls import STATES, State
from taskq.tasks.past import Range, When
from taskq.tasks.purging import emptied, parked_tasks, sources
from taskq.tasks.replays import OtherPlan, Replay, Replayed, new_label

__all__ = [
    "CANCELLABLE",
    "MOVABLE",
    "REASONS",
    "REMOVABLE",
    "STATES",
    "WAITING",
    "Cancels",
    "Control",
    "Filter",
    "MessageFilter",
    "Moved",
    "OtherPlan",
    "Replayed",
    "State",
    "new_label",
]

T = TypeVar("T")

WAITING: tuple[State, ...] = ("ready", "delayed", "parked")
"""The states that lead to a run."""

_PATIENCE_S = 10.0
_STEPS_PER_S = 4  # of a rate: so smooth is what arrives


@dataclass(frozen=True, slots=True)
class Pace:
    """What lets time pass; tests put their own in its place."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep


class Control:
    """Changes one namespace; threads may share it. Raises the errors of `BrokerError` and what each method names.

    An outage of a few seconds is waited out. Progress functions are told how many messages were changed so far; what
    they raise ends the work.
    """

    def __init__(self, broker: ListBroker, pace: Pace | None = None) -> None:
        self.broker = broker
        self.inspector = Inspector(broker.link, broker.namespace)
        self._pace = pace or Pace()

    # -- dead letters -----------------------------------------------------------------------------------------------

    def redrive(
        self,
        queue: str,
        what: Filter | Iterable[str | bytes],
        *,
        rate: float | None = None,
        on_progress: Callable[[int], object] | None = None,
        dry_run: bool = False,
    ) -> int:
        """Dead letters back to their ready lists, by id or by filter, as if they were new; at most `rate` a second.

        All counters start at zero; the history and the result of the first life are gone. Ids that are no dead letters
        are left alone. What dies again meanwhile is not sent a second time. Answers how many went back, or with
        `dry_run` would.
        """
        _check_rate(rate)
        if dry_run:
            return self.count(queue, what)
        step = _step(rate)
        began, done = self._pace.clock(), 0
        for ids in self._chosen(queue, what, step):
            done += self._patiently(partial(self.broker.redrive, queue, ids))
            if on_progress is not None:
                on_progress(done)
            if rate is not None:
                self._pace.sleep(max(began + done / rate - self._pace.clock(), 0.0))
        return done

    def discard(
        self,
        queue: str,
        what: Filter | Iterable[str | bytes],
        *,
        on_progress: Callable[[int], object] | None = None,
        dry_run: bool = False,
    ) -> int:
        """Remove dead letters for good, by id or by filter; answers how many, or with `dry_run` how many it would."""
        if dry_run:
            return self.count(queue, what)
        done = 0
        for ids in self._chosen(queue, what, LEASE_MESSAGES):
            done += self._patiently(partial(self.broker.discard, queue, ids))
            if on_progress is not None:
                on_progress(done)
        return done

    def count(self, queue: str, what: Filter | Iterable[str | bytes]) -> int:
        """How many dead letters are meant."""
        self._need(queue)
        if isinstance(what, Filter):
            return self.inspector.count_dead(queue, what)
        return sum(found.state in "xq" for found in self.broker.lookup(queue, [raw_id(one) for one in what]))

    def _chosen(self, queue: str, what: Filter | Iterable[str | bytes], step: int) -> Iterator[Sequence[bytes]]:
        self._need(queue)
        if isinstance(what, Filter):
            # With the time at which it was buried: one that ran and died again meanwhile is another dead letter.
            pages = ([b"%b%d" % (raw_id(item.id), item.at) for item in page.items] for page in self._pages(queue, what))
        else:
            pages = (ids for ids in [list(dict.fromkeys(raw_id(one) for one in what))])
        for ids in pages:
            yield from (ids[start : start + step] for start in range(0, len(ids), step))

    def _page(self, queue: str, what: Filter, cursor: str | None) -> Page:
        return next(self.inspector.walk(queue, what, cursor, brief=True))

    def _pages(self, queue: str, what: Filter) -> Iterator[Page]:
        cursor: str | None = None
        while True:
            page = self._patiently(partial(self._page, queue, what, cursor))
            yield page
            cursor = page.cursor
            if cursor is None:
                return

    # -- queues -----------------------------------------------------------------------------------------------------

    def pause(self, queue: str) -> None:
        """Hand nothing out any more, until `resume`; what workers hold goes on. Raises UnknownQueue."""
        self._need(queue)
        self._patiently(lambda: self.broker.pause(queue))

    def resume(self, queue: str) -> None:
        """Hand out again, and wake who waits. Raises UnknownQueue."""
        self._need(queue)
        self._patiently(lambda: self.broker.resume(queue))

    def purge(
        self,
        queue: str,
        states: Iterable[State] = WAITING,
        *,
        on_progress: Callable[[int], object] | None = None,
        dry_run: bool = False,
    ) -> int:
        """Remove the messages of a queue that are in these states, with their unique keys, results and history.

        What workers hold stays. At most as many go as there are now, so it ends although producers go on; without a
        pause some of those may be younger. Who waits for one of them gets ResultUnavailable. Explicit ids leave their
        tombstones. Answers how many were removed, or with `dry_run` would be. Raises UnknownQueue, InvalidOption.
        """
        wanted: list[State] = list(dict.fromkeys(_state(state) for state in states))
        self._need(queue)
        if dry_run:
            info = self.inspector.queue(queue)
            return sum(info.parked_total if state == "parked" else getattr(info, state) for state in wanted)
        removed = 0
        for state in wanted:
            for source, task in sources(self.broker, queue, state):
                for count in emptied(self.broker, queue, state, source, task, self._patiently):
                    removed += count
                    if on_progress is not None:
                        on_progress(removed)
        return removed

    def unpark(self, queue: str, task: str) -> int:
        """Bring the parked messages of a task back to their ready lists; answers how many. Raises InvalidOption.

        Workers that know a task take its parked messages by themselves; one that does not parks them again.
        """
        self._need(queue)
        names = parked_tasks(self.broker, queue)
        if task not in names:
            hint = did_you_mean(task, names)
            raise InvalidOption(f"no messages of task {shown(task)} are parked in queue {queue!r}{hint}")
        return self._patiently(lambda: self.broker.unpark(queue, task))

    # -- history ----------------------------------------------------------------------------------------------------

    def replay(
        self,
        queue: str,
        since: When | None = None,
        until: When | None = None,
        *,
        match: str | None = None,
        to: str | None = None,
        create: bool = False,
        label: str | None = None,
        rate: float | None = None,
        on_progress: Callable[[int], object] | None = None,
        dry_run: bool = False,
    ) -> Replayed:
        """Enqueue the messages of a range of a stream queue's history again, each once, at most `rate` a second.

        `since` and `until` as in `Inspector.history`; what is appended after it began is not meant. They go to the same
        queue, or to another one. Stopped in the middle, or killed, the same `label` goes on (then the rest may be left
        out); two with one label at once share the work; a label that is over changes nothing. Labels are remembered for
        seven days after their last page. A target that was never used must be asked for with `create`. Raises
        UnknownQueue, ConfigError of a list queue or if the label was begun with something else, InvalidOption.
        """
        _check_rate(rate)
        wanted = Range.of(since, until, match)
        one = Replay(self.broker, queue, new_label() if label is None else label, dry_run)
        self._need(queue)
        if to is not None:
            self._need(to, create, dry_run=True)  # it is made when the label was not refused
        self._patiently(lambda: one.begin(wanted, to))
        self._need(one.target, create, dry_run)
        step, began, before = _step(rate), self._pace.clock(), one.told.enqueued
        more = True
        while more:
            more = self._patiently(lambda: one.step(step))
            if on_progress is not None:
                on_progress(one.told.enqueued)
            if rate is not None and not dry_run:
                self._pace.sleep(max(began + (one.told.enqueued - before) / rate - self._pace.clock(), 0.0))
        return one.told

    # -- messages by filter -----------------------------------------------------------------------------------------

    def cancel_matching(
        self,
        queue: str,
        state: Shelf,
        match: MessageFilter = ANY,
        *,
        on_progress: Callable[[int], object] | None = None,
        dry_run: bool = False,
    ) -> Cancels:
        """Cancel the messages of one state that fit: at once what waits, by asking its worker what runs.

        One that has started since it was found is asked for as well. Stopped in the middle, the same call goes on with
        the rest. Raises UnknownQueue, InvalidOption.
        """
        one_of(state, CANCELLABLE, "cancelled")
        told = Cancels(dry_run=dry_run)
        for slips in self._pages_of(queue, state, match):
            ids, before = [slip.id for slip in slips], told
            if dry_run:
                told = replace(told, found=told.found + len(ids))
            else:
                told = self._patiently(partial(cancel_all, self.broker, queue, ids, before))
            if on_progress is not None:
                on_progress(told.found)
        return told

    def remove_matching(
        self,
        queue: str,
        state: Shelf,
        match: MessageFilter = ANY,
        *,
        on_progress: Callable[[int], object] | None = None,
        dry_run: bool = False,
    ) -> int:
        """Remove the waiting messages of one state that fit, without an outcome; answers how many.

        What a worker has taken meanwhile stays. Stopped in the middle, the same call goes on with the rest. After an
        outage the number may be too low, since what was removed is not found again. Raises UnknownQueue, InvalidOption.
        """
        one_of(state, REMOVABLE, "removed by a filter")
        done = 0
        for slips in self._pages_of(queue, state, match):
            if dry_run:
                done += len(slips)
            else:
                done += sum(self._patiently(lambda: list(remove_all(self.broker, queue, slips))))  # noqa: B023
            if on_progress is not None:
                on_progress(done)
        return done

    def _pages_of(self, queue: str, state: Shelf, match: MessageFilter) -> Iterator[list[Slip]]:
        self._need(queue)
        choice = Choice(self.broker, queue, state, match)
        while not choice.over:
            found = self._patiently(choice.page)
            if found:
                yield found
            choice.next()

    # -- moves -------------------------------------------------------------------------------------------------------

    def move(
        self,
        queue: str,
        to: str,
        what: Shelf | Iterable[str | bytes] = "ready",
        *,
        match: MessageFilter = ANY,
        create: bool = False,
        rate: float | None = None,
        on_progress: Callable[[int], object] | None = None,
        dry_run: bool = False,
    ) -> Moved:
        """Messages of one state that fit, or those of some ids, to another queue, at most `rate` a second.

        They keep id, arguments, options, priority, due time, expiry, unique key, attempts and history; what cannot stay
        as it is is left where it is and counted by its reason (`taskq.tasks.moves.REASONS`). Nothing gets lost and
        nothing runs twice by it, whoever is stopped: the next move out of this queue first goes on with what was on its
        way. What workers hold stays. Who waits for a result by a handle of before gets ResultUnavailable. A target that
        was never used must be asked for with `create`. Raises UnknownQueue, InvalidOption.
        """
        _check_rate(rate)
        self._need(queue)
        if check_name(to) == queue:
            raise InvalidOption(f"queue {queue!r} is both source and target: name another queue to move to")
        if not isinstance(what, str) and not match.is_all:
            raise InvalidOption("give ids or a filter, not both")
        chosen = movable(what) if isinstance(what, str) else [raw_id(one) for one in what]
        one = Move(self.broker, queue, to, chosen, match, dry_run)
        self._need(to, create, dry_run)
        while self._patiently(one.begin):
            pass
        step, began = _step(rate), self._pace.clock()
        more = True
        while more:
            more = self._patiently(lambda: one.step(step))
            if on_progress is not None:
                on_progress(one.told.moved)
            if rate is not None and not dry_run:
                self._pace.sleep(max(began + one.told.moved / rate - self._pace.clock(), 0.0))
        return one.told

    # -- messages ---------------------------------------------------------------------------------------------------

    def cancel(self, queue: str, id: str | bytes, *, kill: bool = False) -> Cancelled:
        """Cancel a message: "cancelled", "requested" of its holder, or "too_late". Raises UnknownMessage."""
        raw = raw_id(id)
        if self._patiently(lambda: self.broker.lookup(queue, [raw]))[0].state == "?":
            raise UnknownMessage(f"there is no trace of message {shown_id(raw)} in queue {queue!r}")
        return cast("Cancelled", self._patiently(lambda: self.broker.cancel(queue, raw, kill=kill)))

    def _need(self, queue: str, create: bool = False, dry_run: bool = False) -> None:
        """Raise UnknownQueue unless the queue may be made, and know its transport."""
        if not create:
            self.inspector.need_queue(queue)
        elif not dry_run:
            self._patiently(lambda: self.broker.announce(check_name(queue)))
        self._patiently(lambda: self.broker.know(queue))

    def _patiently(self, step: Callable[[], T]) -> T:
        """One step, again while the broker is away: each is safe to repeat."""
        tries = pauses(time.monotonic() + _PATIENCE_S)
        while True:
            try:
                return step()
            except BrokerUnavailable:
                pause = next(tries, None)
                if pause is None:
                    raise
                self._pace.sleep(pause)


def _check_rate(rate: float | None) -> None:
    if rate is not None and not rate > 0:
        raise InvalidOption(f"rate={shown(rate)}: messages per second, more than 0")


def _step(rate: float | None) -> int:
    """How many messages go at once, so that a rate is smooth."""
    return LEASE_MESSAGES if rate is None else max(1, min(LEASE_MESSAGES, int(rate / _STEPS_PER_S)))


def _state(state: State) -> State:
    if state in STATES:
        return state
    hint = did_you_mean(state, STATES)
    raise InvalidOption(f"{shown(state)} is no state that can be purged{hint}: {', '.join(STATES)}")
