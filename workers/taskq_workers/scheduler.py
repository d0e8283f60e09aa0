"""The schedules of a supervisor: it declares those of its app's code, and fires those of its queues.

Every supervisor does this, and none leads: an entry is advanced by the script that also accepts its message, so of many
who fire one slot the first has done it. Names whose slots come up are listed once a second, in the keeper's round trip;
an entry is read when its slot is near, kept until then, and fired at its time.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from taskq.errors import BrokerUnavailable, DecodeError, TaskqError
from taskq.store import keys as store_keys
from taskq.store.scripts import Call, run, run_many
from taskq.tasks import schedule_calls as calls
from taskq.tasks import schedule_steps
from taskq.tasks.broker import Outgoing
from taskq.tasks.lists import ListBroker
from taskq.tasks.schedule import ORPHAN_MS, RETIRE_MS, Definition, Entry, Fire, Rewind, plan, slot_id
from taskq_workers.sweeper import ClockGuard
from taskq_workers.wires import Wire

log = logging.getLogger("taskq.worker")

LOOK_S = 1.0
DECLARE_S = 30.0
EVERYTHING_S = 300.0
"""How often all entries are read: for what is orphaned for too long, and what lies in a queue it was taken from."""
GRACE_S = ORPHAN_MS / 1_000
"""After a day without any worker, or on a clock that was set forward, all looks orphaned: so long whoever is there has
to declare what its code still has, before a supervisor retires anything."""

_AHEAD_MS = 2_500  # slots that come within this time are kept ready
_NAMES = 1_000  # of one look at a queue
_AT_ONCE = 50  # entries read or fired in one round trip: the heartbeat waits for its end
_SPREAD_S = 0.01  # of those who fire the same slot one is enough; it will mostly have been done when others come
_AGAIN_S = 1.0
_JUMP_S = 2.5

Complain = Callable[[str, TaskqError], None]
_Key = tuple[str, str]  # queue and name


@dataclass(frozen=True, slots=True)
class _Timer:
    entry: Entry
    at: float  # monotonic


class Scheduler:
    """Life: `wires` go into the keeper's round trip, `looked` comes after it, `turn` does what is due."""

    def __init__(self, broker: ListBroker, queues: Collection[str], worker: str) -> None:
        self._broker = broker
        self._queues = tuple(queues)
        self._worker = worker
        self._declared: dict[str, Definition] = {}
        self._unread: dict[_Key, None] = {}
        self._to_declare: dict[str, None] = {}
        self._timers: dict[_Key, _Timer] = {}
        self._guard = ClockGuard(_JUMP_S)
        self._time: float | None = None
        self._next_look = self._next_seen = self._next_all = 0.0
        self._retires = time.monotonic() + GRACE_S
        self._others: set[str] = set()
        self._full: set[str] = set()

    def declare(self, wires: Sequence[str]) -> None:
        """What the app's code declares, as it is stored; from any thread, taken up in the next turn."""
        definitions: dict[str, Definition] = {}
        for wire in wires:
            try:
                definition = Definition.read(wire.encode())
            except DecodeError as error:
                log.error("a schedule of the app is left out: %s", error)
            else:
                definitions[definition.name] = definition
        self._declared = definitions
        self._next_seen = 0.0

    def due(self) -> float:
        """The monotonic time at which there is something to do."""
        if self._unread or self._to_declare:
            return 0.0
        first = min((timer.at for timer in self._timers.values()), default=float("inf"))
        return min(self._next_look, first, self._next_seen if self._declared else float("inf"))

    def hurry(self) -> None:
        """All that is kept may be old: look at once, and at everything."""
        self._next_look = self._next_seen = self._next_all = 0.0
        self._retires = time.monotonic() + GRACE_S
        self._timers.clear()

    # -- looking -----------------------------------------------------------------------------------------------------

    def wires(self, now: float) -> list[Wire]:
        """What asks for the slots that come up, if it is time for that."""
        if now < self._next_look:
            return []
        self._next_look = now + LOOK_S
        until = self._guard.server_ms(now) + _AHEAD_MS
        wires = [Wire("cannot read the server's clock", None, ("TIME",), then=self._read_clock)]
        for queue in self._queues:
            what, keys = f"cannot look for schedules of queue {queue}", self._broker.keys(queue)
            wires.append(Wire(what, None, calls.due(keys, until, _NAMES), then=partial(self._listed, queue)))
            if queue in self._full:
                latest = calls.due(keys, until, _NAMES, latest=True)
                wires.append(Wire(what, None, latest, then=partial(self._listed_names, queue)))
        return wires

    def _read_clock(self, reply: Any) -> None:
        self._time = int(reply[0]) * 1_000 + int(reply[1]) / 1_000

    def _listed(self, queue: str, reply: Sequence[bytes]) -> None:
        # Those who rest in the past, orphaned say, may fill the list: then the other end of it is asked for too.
        (self._full.add if len(reply) >= 2 * _NAMES else self._full.discard)(queue)
        self._listed_names(queue, reply)

    def _listed_names(self, queue: str, reply: Sequence[bytes]) -> None:
        for name, slot in zip(calls.names_of(reply[::2]), reply[1::2], strict=True):
            timer = self._timers.get((queue, name))
            if timer is None or timer.entry.slot is None or float(slot) < timer.entry.slot:
                self._unread[queue, name] = None

    def looked(self, before: float, after: float) -> None:
        """The round trip is over; these are the monotonic times around it."""
        reading, self._time = self._time, None
        if reading is not None and self._guard.jumped(reading, before, after):
            log.warning("the clock of the broker jumped; schedules go by what it shows now")
            self.hurry()

    def _now(self) -> int:
        return int(self._guard.server_ms(time.monotonic()))

    def _monotonic(self, ms: float) -> float:
        now = time.monotonic()
        return now + (ms - self._guard.server_ms(now)) / 1_000

    # -- doing -------------------------------------------------------------------------------------------------------

    def turn(self, complain: Complain) -> None:
        """Do what is due. Raises BrokerUnavailable; what is left undone then is found again after `hurry`."""
        now = time.monotonic()
        if self._declared and now >= self._next_seen:
            self._next_seen = now + DECLARE_S
            self._guarded(complain, "cannot declare schedules", self._say_seen)
        for name in _first(self._to_declare, _AT_ONCE):
            self._guarded(complain, f"cannot declare schedule {name}", partial(self._declare_one, name))
        if now >= self._next_all:
            self._next_all = now + EVERYTHING_S
            for queue in self._queues:
                self._guarded(complain, f"cannot list schedules of queue {queue}", partial(self._list_all, queue))
        some = _first(self._unread, _AT_ONCE)
        if some:
            self._read(some, complain)
        self._fire([key for key, timer in self._timers.items() if timer.at <= now + 0.001][:_AT_ONCE], complain)

    def _guarded(self, complain: Complain, what: str, step: Callable[[], object]) -> None:
        try:
            step()
        except BrokerUnavailable:
            raise
        except TaskqError as error:
            complain(what, error)

    def _say_seen(self) -> None:
        by_queue: dict[str, dict[str, str]] = {}
        for definition in self._declared.values():
            by_queue.setdefault(definition.queue, {})[definition.name] = definition.digest
        for queue, digests in by_queue.items():
            names = list(digests)
            for start in range(0, len(names), calls.SEEN):
                some = {name: digests[name] for name in names[start : start + calls.SEEN]}
                try:
                    unknown = run(self._broker.link, calls.seen(self._broker.keys(queue), some))
                except BrokerUnavailable:
                    raise
                except TaskqError:  # for one of them: one by one, each of the others comes through
                    unknown = list(some)
                self._to_declare.update(dict.fromkeys(unknown))

    def _declare_one(self, name: str) -> None:
        definition = self._declared.get(name)
        if definition is None:
            return
        steps = schedule_steps.declare(self._broker.namespace, definition, self._worker)
        used = schedule_steps.drive(self._broker.link, steps)
        if used != definition.digest and name not in self._others:
            log.warning("schedule %s: a newer definition of other workers is in use, not the one of this worker", name)
        (self._others.discard if used == definition.digest else self._others.add)(name)
        self._unread[definition.queue, name] = None

    def _list_all(self, queue: str) -> None:
        names = self._broker.link.execute("ZRANGE", self._broker.keys(queue).schedules, 0, -1)
        self._unread.update(dict.fromkeys((queue, name) for name in calls.names_of(names)))

    def _read(self, some: Sequence[_Key], complain: Complain) -> None:
        index = store_keys.schedules(self._broker.namespace)
        commands: list[tuple[Any, ...]] = [("HMGET", index, *[name for _, name in some])]
        commands += [calls.read(self._broker.keys(queue), name) for queue, name in some]
        places, *replies = self._broker.link.pipeline(commands)
        if isinstance(places, TaskqError):
            raise places
        for (queue, name), place, reply in zip(some, places, replies, strict=True):
            if isinstance(reply, BrokerUnavailable):
                raise reply
            if queue not in self._queues:
                continue
            try:
                if isinstance(reply, TaskqError):
                    raise reply
                entry = Entry.read(reply)
            except TaskqError as error:
                complain(f"cannot read schedule {name} of queue {queue}", error)
                self._timers.pop((queue, name), None)
                continue
            # One that is meant to be elsewhere is on its way, or was left behind by somebody who stopped halfway.
            if entry is not None and place == queue.encode():
                self._guarded(complain, f"cannot look after schedule {name}", partial(self._settle, entry))
                continue
            self._timers.pop((queue, name), None)
            if entry is not None and place is None:
                again = partial(self._enter_again, index, queue, entry)
                self._guarded(complain, f"cannot enter schedule {name} in the index", again)
            elif entry is not None and entry.moved:
                run(self._broker.link, calls.drop(self._broker.keys(queue), name, entry.rev))

    def _enter_again(self, index: str, queue: str, entry: Entry) -> None:
        """Who removed one of this name was held up before the index, and it was made anew meanwhile."""
        if self._broker.link.execute("HSETNX", index, entry.name, queue):
            self._settle(entry)

    def _settle(self, entry: Entry) -> None:
        """Know when to come back to an entry; bring one in order that stands wrong."""
        key, now = (entry.definition.queue, entry.name), self._now()
        self._timers.pop(key, None)
        if entry.moved:
            schedule_steps.drive(self._broker.link, schedule_steps.find(self._broker.namespace, entry.name))
            return
        if entry.in_code and now - entry.seen > RETIRE_MS and time.monotonic() >= self._retires:
            if schedule_steps.drive(self._broker.link, schedule_steps.remove(self._broker.namespace, entry)):
                log.warning("schedule %s is removed: no worker has declared it for a day", entry.name)
            return
        step = plan(entry, now)
        if isinstance(step, Rewind):
            turned = calls.put(
                self._broker.keys(entry.definition.queue),
                entry.name,
                entry.rev,
                {"turn": entry.turn + 1},
                slot=step.slot,
            )
            run(self._broker.link, turned)
            log.warning("schedule %s begins again: the clock of the broker has gone back", entry.name)
            self._unread[key] = None
        elif isinstance(step, Fire):
            self._timers[key] = _Timer(entry, time.monotonic())
        elif step.until is not None and step.until <= now + _AHEAD_MS + LOOK_S * 1_000:
            at = self._monotonic(step.until) + random.uniform(0.0, _SPREAD_S)  # noqa: S311 - spreads load
            self._timers[key] = _Timer(entry, at)

    # -- firing ------------------------------------------------------------------------------------------------------

    def _fire(self, keys: Sequence[_Key], complain: Complain) -> None:
        due: list[tuple[_Key, Entry, Fire, Outgoing | None]] = []
        for key in keys:
            entry = self._timers[key].entry
            try:
                step = plan(entry, self._now())
                if isinstance(step, Fire):
                    due.append((key, entry, step, self._message(entry, step)))
            except TaskqError as error:  # of a newer release, say, or a zone that this host does not know
                complain(f"cannot fire schedule {entry.name}", error)
                self._timers.pop(key)  # so the next look reads it again: it may have been mended
                continue
            if not isinstance(step, Fire):
                self._timers.pop(key)
                self._unread[key] = None
                continue
            if step.run and entry.definition.overlap == "cancel_previous" and entry.message:
                cancel = partial(self._broker.cancel, entry.definition.queue, entry.message)
                self._guarded(complain, f"cannot cancel the last message of schedule {entry.name}", cancel)
        wires = [self._wire(entry, step, message) for _, entry, step, message in due]
        answers = run_many(self._broker.link, wires) if wires else []
        lost: BrokerUnavailable | None = None
        for (key, entry, step, message), answer in zip(due, answers, strict=True):
            if isinstance(answer, BrokerUnavailable):
                lost = answer
                continue
            try:
                if self._broker.relearn(entry.definition.queue, [answer]):
                    self._timers[key] = _Timer(entry, time.monotonic())
                elif isinstance(answer, TaskqError):
                    raise answer
                else:
                    self._fired(key, entry, step, message, answer)
            except BrokerUnavailable as error:
                lost = error
            except TaskqError as error:
                complain(f"cannot fire schedule {entry.name}", error)
                self._timers[key] = _Timer(entry, time.monotonic() + _AGAIN_S)
        if lost is not None:
            raise lost

    def _message(self, entry: Entry, step: Fire) -> Outgoing | None:
        if not step.run:
            return None
        raw = slot_id(self._broker.namespace, entry.name, step.slot, entry.turn)
        return entry.definition.message(raw, step.slot, self._now())

    def _wire(self, entry: Entry, step: Fire, message: Outgoing | None) -> Call[calls.Answer]:
        return calls.fire(
            self._broker.keys(entry.definition.queue),
            entry.name,
            entry.rev,
            step.slot,
            step.next,
            message,
            self._broker.limits,
            skip=entry.definition.overlap == "skip",
        )

    def _fired(self, key: _Key, entry: Entry, step: Fire, message: Outgoing | None, answer: calls.Answer) -> None:
        self._timers.pop(key, None)
        if answer.code == calls.EARLY:
            self._timers[key] = _Timer(entry, time.monotonic() + max((answer.slot or 0) - answer.now, 1) / 1_000)
            return
        if answer.code == calls.CHANGED:  # mostly: another worker was faster
            self._unread[key] = None
            return
        if answer.code == calls.SKIPPED:
            log.info("schedule %s: a slot is skipped, its last message is not over", entry.name)
        elif answer.code == calls.GIVEN_UP:
            log.warning("schedule %s: slots were missed and are given up", entry.name)
        sent = message.id if message is not None and answer.code == calls.ENQUEUED else entry.message
        after = replace(entry, rev=answer.rev, slot=answer.slot, last=step.slot, at=answer.now, message=sent)
        self._settle(after)


def _first(waiting: dict[Any, None], most: int) -> list[Any]:
    """Take the first of what waits."""
    some = list(waiting)[:most]
    for one in some:
        del waiting[one]
    return some
