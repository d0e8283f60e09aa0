"""What the threads of one consumer share: the partitions in hand, which of them want a turn, whether all is to end."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any, Final, cast

from taskq.errors import TaskqError
from taskq.events import metering
from taskq.events.group_calls import Committed, Seat
from taskq.events.holding import Holding
from taskq.events.keyed import Lane, Window, dispatch, end, lane_turn
from taskq.events.log import Log
from taskq.events.merging import oldest
from taskq.events.outage import Outage
from taskq.events.outbox import Carried
from taskq.events.properties import TopicProperties
from taskq.events.ready import Item, Ready
from taskq.events.subscription import PartitionsHook
from taskq.events.turns import Lost, Plan, Turn, chore, turn
from taskq.store.links import Links
from taskq.store.scripts import Call, run, run_async, run_many, run_many_async

FINISH_S: Final = 5.0  # for what must be done of a partition, by key, before it is given up
HELD_S: Final = 0.2  # until a parked key is looked at again whose partition may not run anything now

log = logging.getLogger("taskq.events")


def holding_of(item: Item) -> Holding:
    """The partition that an item of `ready` is, or is a part of."""
    return item.holding if isinstance(item, Lane) else cast("Holding", item)


def _nothing() -> Turn:
    yield from ()


class Desk:
    """The state of one consumer. Whoever changes `holdings` holds `lock`; the rest is flags and events."""

    def __init__(self, topic: Log, properties: TopicProperties, plan: Plan, seat: Seat) -> None:
        self.topic = topic
        self.properties = properties
        self.plan = plan
        self.seat = seat
        self.links: Links = plan.links
        self.ready = Ready()
        self.trouble = Outage(plan.name)
        self.lock = threading.Lock()
        self.holdings: dict[int, Holding] = {}
        self._windows: dict[Holding, Window] = {}
        self.lingering: dict[int, Holding] = {}  # lost, but a handler may still run
        self.member_wanted = threading.Event()  # the member's thread has something to do before its next beat
        self.fetch_wanted = threading.Event()  # a partition has room again, or was claimed
        self.brisk_until = 0.0  # until then partitions may come, so no read waits for long
        self.finish_s = FINISH_S
        self.stopping = threading.Event()
        self.abandoned = threading.Event()  # what is not committed by now stays undone
        self.failure: TaskqError | None = None
        self.meter = metering.current()
        self.above = 0  # an epoch that shut us out: the next grants must be larger

    # -- what becomes of partitions ---------------------------------------------------------------------------------

    def add(self, holding: Holding) -> None:
        """A partition was claimed; who has claimed all then wakes the fetcher."""
        if self.plan.options.by_key:
            window = self._windows[holding] = Window()
            holding.lanes_run = lambda: window.occupied(holding)
        with self.lock:
            self.holdings[holding.number] = holding

    def offer(self, holding: Holding) -> None:
        """Let a partition have a turn, if it wants one, now or when its failed record is due."""
        window = self._windows.get(holding)
        if window is not None and holding.revoking and holding.may_finish():
            for lane in window.owing():  # also one that failed, or could not begin, and was in no queue since
                if not (lane.queued or lane.busy):
                    self._offer_lane(lane)
        if not holding.wants_turn:
            return
        if (
            window is not None
            and not (holding.revoking or holding.has_chores)
            and (holding.parked_keys or window.room(holding) <= 0)
        ):
            return
        if holding.resume_at > time.monotonic() and not holding.revoking:
            self.ready.add_later(holding, holding.resume_at)
        else:
            self.ready.add(holding)

    def revoke(self, holding: Holding) -> None:
        """Give a partition up in order: its next turn does it."""
        with self.lock:
            begun = holding.revoking
            if not begun:
                holding.finish_by = time.monotonic() + self.finish_s
                holding.revoking = True
        if not begun:
            if holding in self._windows:
                self.ready.add_later(holding, holding.finish_by)
            self.offer(holding)

    def lose(self, holding: Holding, epoch: int = 0, why: str = "was taken away") -> None:
        """A partition is not ours any more; what is in hand of it cannot commit."""
        holding.lost = True
        self._windows.pop(holding, None)  # its lanes know their window; nobody else asks for it any more
        self.above = max(self.above, epoch)
        with self.lock:
            known = self.holdings.get(holding.number) is holding
            if known:
                del self.holdings[holding.number]
                self.lingering[holding.number] = holding
        if known:
            log.warning("%s: partition %d %s", self.plan.name, holding.number, why)
            self._tell(self.plan.options.on_lost, holding.number)
        self.member_wanted.set()

    def fail(self, error: TaskqError) -> None:
        """The consumer cannot go on; whoever runs it gets the error."""
        self.failure = self.failure or error
        log.error("%s: %s", self.plan.name, error)
        self.stopping.set()
        self.member_wanted.set()
        self.fetch_wanted.set()

    def broke(self, error: BaseException) -> None:
        """Something happened that nobody foresaw: better stop, and say so, than go on with a part missing."""
        log.error("%s: stops because of an error of taskq or of a codec", self.plan.name, exc_info=error)
        failure = TaskqError(f"{self.plan.name} stopped: {type(error).__name__}: {error}")
        failure.__cause__ = error
        self.fail(failure)

    # -- turns ------------------------------------------------------------------------------------------------------

    def turn(self, item: Item) -> Turn:
        """What to do with a partition, or one key of it, that `ready` has given out."""
        if isinstance(item, Lane):
            return lane_turn(item, self.plan)
        holding = cast("Holding", item)
        window = self._windows.get(holding)
        if holding.lost or holding.released or (holding.revoking and window is not None and holding.lanes_run()):
            return _nothing()
        if holding.revoking and window is not None:
            holding.finish_by = 0.0  # before anybody is told: nothing of it begins from now on
            if window.running:
                return _nothing()
        if holding.revoking and not holding.told:
            holding.told = True
            self._tell(self.plan.options.on_revoke, holding.number)
        if window is None:
            return self._merged(holding) if self.plan.options.alone else turn(holding, self.plan)
        if holding.revoking:
            return end(holding, window, self.plan)
        if holding.has_chores:  # parked by the group in another mode: that comes first, or keys would be out of order
            return chore(holding, self.plan)
        return _nothing() if holding.parked_keys else self._spread(holding, window)

    def _merged(self, holding: Holding) -> Turn:
        if holding.revoking or holding.has_chores:
            return turn(holding, self.plan)
        found = oldest(list(self.holdings.values()), self.properties.partitions)
        if found is not None and found[0] is holding:
            return turn(holding, self.plan, found[1])
        if found is not None:
            self.offer(found[0])
        return _nothing()

    def _spread(self, holding: Holding, window: Window) -> Turn:
        for lane in dispatch(holding, window, self.plan):
            self._offer_lane(lane)
        yield from ()

    def _offer_lane(self, lane: Lane) -> None:
        if lane.resume_at > time.monotonic():
            self.ready.add_later(lane, lane.resume_at)
        else:
            self.ready.add(lane)

    def done(self, item: Item) -> None:
        """A turn is over."""
        self.ready.done(item)
        holding = holding_of(item)
        if isinstance(item, Lane):
            # one that is given up goes on as far as it must: `offer` sees to that, below
            gone = item.window.drop(item)
            if not (gone or holding.lost or holding.revoking):
                self._offer_lane(item)
        if holding.released or holding.lost:
            self._windows.pop(holding, None)
            with self.lock:
                if self.holdings.get(holding.number) is holding:
                    del self.holdings[holding.number]
            self.member_wanted.set()
            return
        if holding.gap and not holding.lost and not holding.ahead:
            self.lose(holding, holding.owner[0], "has a gap: it is claimed anew")
            return
        if holding.ahead <= 1_000:
            self.fetch_wanted.set()
        if holding.parked_keys:
            now = time.monotonic()
            due = max(holding.next_due(), holding.resume_at, 0.0 if holding.may_run() else now + HELD_S)
            if not now < holding.later <= due:
                holding.later = due
                self.ready.add_later(holding, due)
        if not self.plan.options.alone:
            self.offer(holding)
        else:
            self.offer_oldest()

    def offer_oldest(self) -> None:
        """In global order, let the partition that has the oldest record have a turn; called where turns are walked."""
        for holding in list(self.holdings.values()):
            if holding.revoking or holding.has_chores:
                self.offer(holding)
        found = oldest(list(self.holdings.values()), self.properties.partitions)
        if found is not None:
            self.offer(found[0])

    def ask(self, step: Any, holding: Holding) -> Any:
        """Do what a turn wants until it is answered. Raises Lost if the partition is taken away meanwhile."""
        while True:
            began = time.monotonic()
            try:
                answer = self._asked(step)
                self.trouble.over()
                return self._measured(answer, began)
            except TaskqError as error:
                pause = self._pause(error)
            if holding.lost or self.abandoned.wait(pause):
                holding.lost = True
                raise Lost(0)

    async def ask_async(self, step: Any, holding: Holding) -> Any:
        """`ask` in an event loop."""
        while True:
            began = time.monotonic()
            try:
                answer = await self._asked_async(step)
                self.trouble.over()
                return self._measured(answer, began)
            except TaskqError as error:
                pause = self._pause(error)
            if holding.lost or self.abandoned.is_set():
                holding.lost = True
                raise Lost(0)
            await asyncio.sleep(pause)

    def _measured(self, answer: Any, began: float) -> Any:
        if self.meter is not None and isinstance(answer, Committed):
            self.meter.committed(time.monotonic() - began)
            if answer.code:
                self.meter.refused()
        return answer

    def _asked(self, step: Any) -> Any:
        link = self.links.sync
        if isinstance(step, Call):
            return run(link, step)
        if isinstance(step, list):
            return run_many(link, step)
        if isinstance(step, Carried):
            return step.carry(step.tasks)
        return link.execute(*step)

    async def _asked_async(self, step: Any) -> Any:
        link = self.links.asynchronous
        if isinstance(step, Call):
            return await run_async(link, step)
        if isinstance(step, list):
            return await run_many_async(link, step)
        if isinstance(step, Carried):
            return await asyncio.to_thread(step.carry, step.tasks)
        return await link.execute(*step)

    def put_off(self, holding: Holding, error: TaskqError) -> None:
        """A turn met an error that it cannot deal with: it comes again after a pause."""
        holding.resume_at = time.monotonic() + max(self._pause(error), 0.1)

    def _pause(self, error: TaskqError) -> float:
        return self.trouble.met(error)

    def busy(self, holding: Holding) -> bool:
        """Whether a handler may run for it."""
        return holding.busy or holding.lanes_run()

    def _tell(self, hook: PartitionsHook | None, number: int) -> None:
        if hook is None:
            return
        try:
            hook([number])
        except Exception:
            log.exception("%s: a hook for partition %d failed", self.plan.name, number)
