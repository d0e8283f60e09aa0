"""The settle buffer: outcomes of many attempts, stored by few scripts.

Slots put outcomes in without waiting. One thread takes all that is there, groups it by queue and verb, and sends it
in one round trip; while that is under way the next outcomes gather. An outcome is sent again, with the same call
number, until the broker has answered: the broker stores it at most once, and only while the lease is held. A missing
right or a changed password counts as no answer, for somebody is going to mend that.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from operator import attrgetter
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeAlias

from taskq.backoff import pauses
from taskq.errors import BrokerError, BrokerRefused, BrokerUnavailable, TaskqError
from taskq.message import id_text
from taskq.store.scripts import Call, run_many
from taskq.tasks import calls
from taskq.tasks.broker import LEASE_BYTES, LEASE_MESSAGES, Buried, Delivery, Finished, Held, Op, Retried, Seat
from taskq.tasks.lists import ListBroker
from taskq.tasks.packing import FAILURES, PURGE_BYTES

log = logging.getLogger("taskq.worker")

Item: TypeAlias = "Delivery | Finished | Retried | Buried | Held | tuple[Held, str]"
"""A delivery by itself is done, without a result: the commonest outcome has no value of its own to make."""


_RIGHTS = ("NOAUTH", "WRONGPASS", "NOPERM", "DENIED")


class Tokens(Protocol):
    """Where the settled messages of a token are counted."""

    def settled(self, token: bytes, count: int) -> None: ...


class Settler:
    """Life: start; put from any thread; flush (waits until all that was put is stored); stop."""

    def __init__(
        self,
        broker: ListBroker,
        seat: Seat,
        tokens: Tokens,
        on_lost: Callable[[str, int], None],
        on_follow: Callable[[str], None],
        lost_tokens: Callable[[], Container[bytes]] = frozenset[bytes],
    ) -> None:
        self._broker = broker
        self._seat = seat
        self._tokens = tokens
        self._on_lost = on_lost
        self._on_follow = on_follow
        self._lost_tokens = lost_tokens
        self._inbox: SimpleQueue[tuple[str, Item] | threading.Event | None] = SimpleQueue()
        self.put = self._inbox.put
        self._thread = threading.Thread(target=self._main, name="taskq-settle", daemon=True)
        self.failed: BaseException | None = None
        """Why the thread has ended by itself: nothing is stored any more, so the child has to end."""

    def start(self) -> None:
        self._thread.start()

    def flush(self, timeout: float) -> bool:
        """Wait until everything put before is stored; False if that takes longer than `timeout` seconds."""
        done = threading.Event()
        self._inbox.put(done)
        return self.failed is None and done.wait(timeout)

    def stop(self, timeout: float) -> bool:
        """End the thread after what is in the buffer; False if that takes longer than `timeout` seconds."""
        self._inbox.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _main(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            log.exception("an error of its own keeps this child from storing outcomes")
            self.failed = error

    def _loop(self) -> None:
        inbox = self._inbox
        going = True
        while going:
            batch: dict[str, list[Item]] = {}
            waiters: list[threading.Event] = []
            entry = inbox.get()
            try:
                while True:
                    if entry is None:
                        going = False
                    elif isinstance(entry, tuple):
                        items = batch.get(entry[0])
                        if items is None:
                            batch[entry[0]] = [entry[1]]
                        else:
                            items.append(entry[1])
                    else:
                        waiters.append(entry)
                    entry = inbox.get_nowait()
            except Empty:
                pass
            for queue, items in batch.items():
                self._store(queue, items)
            for waiter in waiters:
                waiter.set()

    # -- one queue's outcomes ---------------------------------------------------------------------------------------

    def _store(self, queue: str, items: list[Item]) -> None:
        jobs = [(verb, part) for verb, group in _grouped(items) for part in cut(group)]
        parts = [part for _, part in jobs]
        lost: list[bytes] = []
        for part, answer in zip(parts, self._send(queue, jobs), strict=True):
            if isinstance(answer, TaskqError):
                # Refused for good: a wrong type at a key, or no right for a whole lease. They run again.
                log.error("%d outcomes of queue %s cannot be stored: %s", len(part), queue, answer)
            elif not isinstance(part[0], Held):  # what was given back has no outcome that could be lost
                lost += answer
        self._account(parts)
        if lost:
            self._on_lost(queue, len(lost))
            for lost_id in lost[:10]:
                log.warning("lease lost: the outcome of %s in queue %s was not stored", id_text(lost_id), queue)
        if Finished in set(map(type, items)) and any(isinstance(item, Finished) and item.follow for item in items):
            self._on_follow(queue)

    def _account(self, parts: Iterable[list[Item]]) -> None:
        counts: Counter[bytes] = Counter()
        for part in parts:
            if type(part[0]) is tuple:
                counts.update(map(_token, part))
            else:
                counts.update(map(_its_token, part))
        for token, count in counts.items():
            self._tokens.settled(token, count)

    def _call(self, queue: str, verb: str, part: list[Any]) -> Call[list[bytes]]:
        keys, limits = self._broker.keys(queue), self._broker.limits
        if verb == "release":
            return calls.release(keys, part)
        if verb == "park":
            return calls.park(keys, part)
        op: Op = self._seat.op(queue, verb)
        make: Callable[..., Call[list[bytes]]] = getattr(calls, verb)
        return make(keys, part, op, limits)

    def _send(self, queue: str, jobs: Sequence[tuple[str, list[Any]]]) -> list[list[bytes] | TaskqError]:
        """Send calls until each is answered.

        A newer call may have overtaken one that got no answer, which is then refused whether or not it had been stored.
        So it goes out under a new number: what was stored is not held any more, and nothing is stored twice.
        """
        wires = [self._call(queue, verb, part) for verb, part in jobs]
        answers: list[list[bytes] | TaskqError] = list(self._try(wires))
        renewed: set[int] = set()
        since = time.monotonic()
        told = False
        tries = pauses(float("inf"))
        while again := [index for index, answer in enumerate(answers) if self._waits(answer, jobs[index][1], since)]:
            if not told and (time.monotonic() - since > 0.2 or isinstance(answers[again[0]], BrokerRefused)):
                log.warning("outcomes wait to be stored: %s", answers[again[0]])
                told = True
            time.sleep(next(tries))
            for index, answer in zip(again, self._try([wires[index] for index in again]), strict=True):
                if isinstance(answer, BrokerError) and "newer call" in str(answer):
                    renewed.add(index)
                    wires[index] = self._call(queue, *jobs[index])
                else:
                    answers[index] = [] if index in renewed and not isinstance(answer, TaskqError) else answer
        if told:
            log.warning("the broker answers after %.1f s: outcomes do not wait any more", time.monotonic() - since)
        return answers

    def _waits(self, answer: list[bytes] | TaskqError, part: list[Item], since: float) -> bool:
        """Whether to send a call again: as long as waiting may help, and somebody may still want the outcome.

        A right that is missing at one queue must not keep the outcomes of the others for ever: one lease is the limit.
        """
        if isinstance(answer, BrokerRefused) and answer.code in _RIGHTS:
            lost = self._lost_tokens()
            late = time.monotonic() - since > self._broker.limits.lease / 1000
            return not late and not all(_token(item) in lost for item in part)
        return isinstance(answer, BrokerUnavailable)

    def _try(self, wires: Sequence[Call[list[bytes]]]) -> Sequence[list[bytes] | TaskqError]:
        try:
            return run_many(self._broker.link, wires)
        except TaskqError as error:
            return [error] * len(wires)


_its_token = attrgetter("token")  # of all but what is to be parked
_its_body = attrgetter("body")


def _token(item: Item) -> bytes:
    return item[0].token if isinstance(item, tuple) else item.token


_VERBS: dict[type, str] = {
    Delivery: "ack",
    Finished: "ack",
    Retried: "nack",
    Buried: "dead_letter",
    Held: "release",
    tuple: "park",
}


def _grouped(items: list[Item]) -> Iterable[tuple[str, list[Any]]]:
    groups: dict[str, list[Any]] = {}
    if set(map(type, items)) == {Delivery}:
        return (("ack", items),)
    for item in items:
        groups.setdefault(_VERBS[type(item)], []).append(item)
    return groups.items()


_LIGHTER = PURGE_BYTES // LEASE_BYTES


def cut(items: list[Any]) -> Iterable[list[Any]]:
    """Parts of at most 250 outcomes and 256 KiB; fewer failures, since what they already have in Redis counts too.

    An ack may free 4 MiB of bodies, so of these each byte weighs as much less. What is retried at once weighs in full:
    a stream queue copies its body.
    """
    if set(map(type, items)) == {Delivery} and sum(map(len, map(_its_body, items))) <= LEASE_BYTES * _LIGHTER:
        for begin in range(0, len(items), LEASE_MESSAGES):  # the usual: no ten thousand outcomes, none large
            yield items[begin : begin + LEASE_MESSAGES]
        return
    part: list[Any] = []
    size = 0
    for item in items:
        weight = len(item.body) // _LIGHTER if type(item) is Delivery else _weight(item)
        if part and (len(part) >= LEASE_MESSAGES or size + weight > LEASE_BYTES):
            yield part
            part, size = [], 0
        part.append(item)
        size += weight
    if part:
        yield part


def _weight(item: Item) -> int:
    if type(item) is Finished:
        return len(item.result) + len(item.follow) + item.freed // _LIGHTER
    size = sum(len(getattr(item, name, b"")) for name in ("result", "line"))
    if type(item) is Retried and item.delay <= 0:
        size += item.size
    return size + LEASE_BYTES // FAILURES if isinstance(item, (Retried, Buried)) else size
