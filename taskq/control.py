"""Steering a namespace: dead letters go back or away, queues pause and empty, messages are cancelled.

Whatever the number of messages, it is done in scripts of at most 250, each of them whole: who stops in the middle, or
is killed, has lost nothing and goes on by calling again. Two who do the same at once share the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

from taskq.backoff import pauses
from taskq.errors import BrokerUnavailable, InvalidOption, UnknownMessage
from taskq.inspector import Inspector, raw_id, shown_id
from taskq.names import did_you_mean, shown
from taskq.store.scripts import run
from taskq.tasks.broker import LEASE_MESSAGES
from taskq.tasks.handle import Cancelled
from taskq.tasks.letters import Filter, Page
from taskq.tasks.lists import ListBroker
from taskq.tasks.operator_calls import STATES, State, purge
from taskq.tasks.past import Range, When
from taskq.tasks.replays import Replay, Replayed, new_label
from taskq.tasks.stream_calls import unread

__all__ = ["STATES", "WAITING", "Control", "Filter", "Replayed", "State", "new_label"]

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
            for source, task in self._sources(queue, state):
                for count in self._empty(queue, state, source, task):
                    removed += count
                    if on_progress is not None:
                        on_progress(removed)
        return removed

    def _sources(self, queue: str, state: State) -> list[tuple[str, str]]:
        """The keys in which messages of this state wait, and the task of a parked list."""
        keys = self.broker.keys(queue)
        if state == "parked":
            return [(keys.parked_task(task), task) for task in self._parked(queue)]
        one = {"delayed": keys.delayed, "dead": keys.dead, "quarantined": keys.quarantine}
        return [(one[state], "")] if state in one else [(key, "") for key in (*keys.ready, keys.alone)]

    def _empty(self, queue: str, state: State, source: str, task: str) -> Iterator[int]:
        keys = self.broker.keys(queue)
        left = self._left(queue, state, source)
        while left > 0:
            wire = purge(keys, state, source, self.broker.limits, task=task, limit=left)
            try:
                done = run(self.broker.link, wire)
            except BrokerUnavailable:
                # It may have been done: what is there now is the most that may still go.
                left = min(left, self._patiently(lambda: self._left(queue, state, source)))
                continue
            left = min(left - done.taken, done.left) if done.taken else 0
            yield done.removed

    def _left(self, queue: str, state: State, source: str) -> int:
        keys, link = self.broker.keys(queue), self.broker.link
        left: int = link.execute("LLEN" if state in ("ready", "parked") else "ZCARD", source)
        if keys.streamed and source == keys.ready_for(0):
            left += unread(link.execute("HMGET", keys.tally, "appended", "read"))
        return left

    def unpark(self, queue: str, task: str) -> int:
        """Bring the parked messages of a task back to their ready lists; answers how many. Raises InvalidOption.

        Workers that know a task take its parked messages by themselves; one that does not parks them again.
        """
        self._need(queue)
        names = self._parked(queue)
        if task not in names:
            hint = did_you_mean(task, names)
            raise InvalidOption(f"no messages of task {shown(task)} are parked in queue {queue!r}{hint}")
        return self._patiently(lambda: self.broker.unpark(queue, task))

    def _parked(self, queue: str) -> list[str]:
        names = self.broker.link.execute("ZRANGE", self.broker.keys(queue).parked, 0, -1)
        return [str(name, "utf-8", "replace") for name in names]

    # -- history ----------------------------------------------------------------------------------------------------

    def replay(
        self,
        queue: str,
        since: When | None = None,
        until: When | None = None,
        *,
        match: str | None = None,
        to: str | None = None,
        label: str | None = None,
        rate: float | None = None,
        on_progress: Callable[[int], object] | None = None,
        dry_run: bool = False,
    ) -> Replayed:
        """Enqueue the messages of a range of a stream queue's history again, each once, at most `rate` a second.

        `since` and `until` as in `Inspector.history`; what is appended after it began is not meant. They go to the same
        queue, or to another one. Stopped in the middle, or killed, the same `label` goes on (then the rest may be left
        out); two with one label at once share the work; a label that is over changes nothing. Labels are remembered for
        seven days after their last page. Raises UnknownQueue, ConfigError of a list queue or if the label was begun
        with something else, InvalidOption.
        """
        _check_rate(rate)
        wanted = Range.of(since, until, match)
        one = Replay(self.broker, queue, new_label() if label is None else label, dry_run)
        for name in (queue, to):
            if name is not None:
                self._need(name)
        self._patiently(lambda: one.begin(wanted, to))
        self._need(one.target)
        step, began, before = _step(rate), self._pace.clock(), one.told.enqueued
        more = True
        while more:
            more = self._patiently(lambda: one.step(step))
            if on_progress is not None:
                on_progress(one.told.enqueued)
            if rate is not None and not dry_run:
                self._pace.sleep(max(began + (one.told.enqueued - before) / rate - self._pace.clock(), 0.0))
        return one.told

    # -- messages ---------------------------------------------------------------------------------------------------

    def cancel(self, queue: str, id: str | bytes, *, kill: bool = False) -> Cancelled:
        """Cancel a message: "cancelled", "requested" of its holder, or "too_late". Raises UnknownMessage."""
        raw = raw_id(id)
        if self._patiently(lambda: self.broker.lookup(queue, [raw]))[0].state == "?":
            raise UnknownMessage(f"there is no trace of message {shown_id(raw)} in queue {queue!r}")
        return cast("Cancelled", self._patiently(lambda: self.broker.cancel(queue, raw, kill=kill)))

    def _need(self, queue: str) -> None:
        """Raise UnknownQueue, or know the transport of the queue."""
        self.inspector.need_queue(queue)
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
