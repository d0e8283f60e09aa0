"""Membership: the thread that keeps this consumer in its group, claims what it is granted, and gives up what moves."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import replace
from functools import partial

from taskq.errors import BrokerUnavailable, MemberFenced, NoOffset, TaskqError
from taskq.events.desk import Desk, log
from taskq.events.entries import records
from taskq.events.group_calls import BEGIN, Beat, Claimed, Doing, Position, beat, claim, place
from taskq.events.groups import declare
from taskq.events.holding import Holding
from taskq.events.subscription import Reset
from taskq.store.links import drive
from taskq.store.scripts import run

BEATS = 3  # heartbeats in a session
SURE = 0.9  # of a session: as long as that after a heartbeat was sent, nobody can have been granted what we hold
HASTE_S = 0.1  # between heartbeats while partitions move; nor are they more frequent while others do not go away
SPREAD = 0.1  # of a heartbeat: members look at a session that has ended within that, not all at once
BRISK_S = 1.0  # so long after partitions may have moved, reads are kept short


class Member:
    """Beats three times in a session, more often while partitions move, and as soon as the session of another ends.

    Survives outages and says each of them once.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.begun = threading.Event()  # the group has its positions: what is published from now on is not missed
        self.joined = threading.Event()
        self._moves: int | None = None
        self._lapse = 0  # when the first session of another ends, as the beat before said
        self._stuck: list[Holding] = []
        self._thread = threading.Thread(target=self._run, name=f"taskq-member-{desk.plan.options.group}", daemon=True)

    @property
    def stuck(self) -> bool:
        """Whether it has left the group because a handler runs for too long."""
        return bool(self._stuck)

    def start(self) -> None:
        self._thread.start()

    def end(self, timeout: float) -> None:
        self.desk.member_wanted.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        desk, wait = self.desk, 0.0
        while True:
            desk.member_wanted.wait(wait)
            desk.member_wanted.clear()
            over = desk.stopping.is_set() and not desk.holdings
            try:
                if over or desk.abandoned.is_set():
                    self._leave()
                    return
                wait = self.beat()
                desk.trouble.over()
            except BrokerUnavailable as error:
                if over or desk.abandoned.is_set():
                    return
                wait = desk.trouble.met(error)
            except (NoOffset, MemberFenced) as error:
                desk.fail(error)
                self._lose_all()
                return
            except TaskqError as error:
                wait = desk.trouble.met(error)
            except Exception as error:  # noqa: BLE001 - said in full, and the consumer ends
                desk.broke(error)
                self._lose_all()
                return

    def beat(self) -> float:
        """One heartbeat and what follows from it; answers the seconds until the next."""
        desk, options = self.desk, self.desk.plan.options
        if not self.begun.is_set():
            drive(desk.links.sync, declare(desk.topic, desk.properties, options))
            self.begun.set()
        if self._is_stuck():
            return options.session / BEATS
        sent = time.monotonic()
        closing = desk.stopping.is_set() and not options.member  # a static member keeps its share: it comes back
        answer = self._send(("drain" if closing else "beat") if self.joined.is_set() else "join")
        if answer.code == 1:
            self._lose_all()
            self.joined.clear()
            return 0.0
        if answer.code == 2:
            raise MemberFenced(f"{desk.plan.name}: another process has started as member {desk.seat.member!r}")
        if answer.code == 3:
            raise TaskqError(f"the group has {answer.members} members, more than it can have")
        self.joined.set()
        due = self._due(answer, sent)
        refused = self._follow(answer, sent + options.session * SURE)
        if desk.stopping.is_set():
            for holding in list(desk.holdings.values()):
                desk.revoke(holding)
        if refused or answer.waiting or (answer.leaving and not closing):
            desk.brisk_until = time.monotonic() + BRISK_S
            return HASTE_S
        return max(min(HASTE_S, options.session / BEATS), due - time.monotonic())

    def _due(self, answer: Beat, sent: float) -> float:
        """When the next heartbeat is due: by itself, or before that, since the session of another member ends.

        A healthy one renews its session before anybody waits for its end, so this costs nothing unless one has died.
        """
        heartbeat, known, self._lapse = self.desk.plan.options.session / BEATS, self._lapse, answer.lapse
        ends = time.monotonic() + max(0, answer.lapse - answer.now) / 1000
        if not answer.lapse or ends > sent + heartbeat:
            return sent + heartbeat
        if answer.lapse == known:  # it has not renewed it since we looked before: its partitions may soon be ours
            self.desk.brisk_until = ends + BRISK_S
        return min(sent + heartbeat, ends + heartbeat * SPREAD * self.desk.plan.seed.random())

    def _follow(self, answer: Beat, valid: float) -> bool:
        """Bring what we hold in line with what we own; answers whether something was refused."""
        desk, refused = self.desk, False
        for number, holding in list(desk.holdings.items()):
            if holding.released:
                continue
            if number in answer.leaving:
                desk.revoke(holding)
            elif answer.owned.get(number) != holding.grant:
                desk.lose(holding)
                continue
            holding.valid_until = valid
        if self._moves not in (None, answer.moves):
            self._look_for_seeks()
        self._moves = answer.moves
        if desk.stopping.is_set():
            return False
        granted = [number for number in answer.owned if number not in desk.holdings and not self._lingers(number)]
        if granted:
            desk.brisk_until = time.monotonic() + BRISK_S
            try:
                for number in granted:
                    refused = not self._claim(number, answer.owned[number], valid) or refused
            finally:
                desk.fetch_wanted.set()
        return refused

    def _lingers(self, number: int) -> bool:
        """Whether a handler still runs for an earlier claim of this partition: the next one begins after it."""
        old = self.desk.lingering.get(number)
        if old is not None and not self.desk.busy(old):
            del self.desk.lingering[number]
        return old is not None and self.desk.busy(old)

    def _send(self, what: Doing) -> Beat:
        desk, options = self.desk, self.desk.plan.options
        held = [number for number, holding in list(desk.holdings.items()) if not holding.released]
        call = beat(
            desk.topic.keys,
            options.group,
            desk.seat,
            what,
            session=round(options.session * 1000),
            partitions=desk.properties.partitions,
            held=held,
            single=options.alone,
            above=desk.above,
        )
        return run(desk.links.sync, call)

    def _leave(self) -> None:
        self._lose_all()
        if self.joined.is_set() and not self.desk.plan.options.member:  # a static member comes back under its name
            self._send("leave")
        self.joined.clear()

    def _is_stuck(self) -> bool:
        """Whether a handler runs for too long: then the member leaves, and joins again when that handler is through."""
        desk, options = self.desk, self.desk.plan.options
        if self._stuck:
            self._stuck = [holding for holding in self._stuck if holding.began]
            return bool(self._stuck)
        late = time.monotonic() - options.max_poll
        self._stuck = [holding for holding in list(desk.holdings.values()) if 0 < holding.began < late]
        if not self._stuck:
            return False
        log.error("%s: a handler ran for more than %g s; its partitions go to others", desk.plan.name, options.max_poll)
        self._lose_all()
        self._send("leave")
        self.joined.clear()
        return True

    def _lose_all(self) -> None:
        for holding in list(self.desk.holdings.values()):
            self.desk.lose(holding)

    def _look_for_seeks(self) -> None:
        """Somebody has put positions from outside: what we hold may not be ours any more."""
        desk, group = self.desk, self.desk.plan.options.group
        held = list(desk.holdings.values())
        replies = desk.links.sync.pipeline([("HGET", one.keys.group(group), "epoch") for one in held])
        for holding, reply in zip(held, replies, strict=True):
            if isinstance(reply, TaskqError):
                raise reply
            if reply is not None and int(reply) > holding.owner[0]:
                desk.lose(holding, int(reply))

    # -- claims -----------------------------------------------------------------------------------------------------

    def _claim(self, number: int, epoch: int, valid: float) -> bool:
        """Claim what was granted; False if a larger epoch is there, above which the next grant then goes."""
        desk, plan = self.desk, self.desk.plan
        keys, link, group = desk.topic.keys.partition(number), desk.links.sync, plan.options.group
        call = claim(keys, group, desk.seat, epoch, plan.span)
        claimed = run(link, call)
        if claimed.code == 2:  # it was lost, with the log or without it
            where = wanted(plan.options.reset, f"{plan.name} has no position in partition {number}")
            run(link, place(keys, group, "begin", where, uuid.uuid4().hex))
            claimed = run(link, call)
        if claimed.code:
            desk.above = max(desk.above, claimed.epoch)
            return False
        owner = (epoch, desk.seat.nonce)
        found = amiss(claimed, plan.options.reset, f"{plan.name}, partition {number}")
        if found is not None:
            target, counter = found
            put = run(link, place(keys, group, "owner", target, uuid.uuid4().hex, owner=owner, counter=counter))
            if put.code:
                desk.above = max(desk.above, put.epoch)
                return False
            owner, claimed = (put.epoch, owner[1]), _moved(claimed, put.place)
        read = partial(records, desk.topic.name, number, plan.codec)
        holding = Holding(keys, number, owner, claimed, read, packed=desk.properties.packed)
        holding.grant, holding.valid_until = epoch, valid
        holding.outbox = plan.options.delivery == "exactly_once"  # an owner before may have left something in it
        desk.add(holding)
        desk.offer(holding)
        return True


def _moved(claimed: Claimed, to: Position) -> Claimed:
    return replace(claimed, place=to, careful=0, gone=0, gone_id=BEGIN, unclean=False, marks={})


def wanted(reset: Reset, why: str) -> str:
    """Where a group without a position begins. Raises NoOffset."""
    if reset == "error":
        raise NoOffset(f'{why}, and reset="error" says to stop: put it somewhere, or say "earliest" or "latest"')
    return "end" if reset == "latest" else "start"


def amiss(claimed: Claimed, reset: Reset, name: str) -> tuple[str, tuple[str, int]] | None:
    """Where to go on from if the position is not in the log any more, and the counter that says so; None if it is.

    Raises NoOffset.
    """
    if claimed.place.offset[:2] > claimed.last[:2]:
        log.error(
            "%s: the log ends at %s, before the position %s: it has lost its end; going on from there",
            name,
            claimed.last,
            claimed.place.offset,
        )
        return "end", ("truncated", 1)
    missing = claimed.gone - claimed.place.number
    if missing <= 0 or claimed.gone_id[:2] <= claimed.place.offset[:2]:
        return None
    log.error(
        "%s: %d records behind %s, up to %s, were removed before they were handled (reset=%s)",
        name,
        missing,
        claimed.place.offset,
        claimed.gone_id,
        reset,
    )
    why = f"{name}: records up to {claimed.gone_id} were removed before they were handled"
    return wanted(reset, why), ("out_of_range", missing)
