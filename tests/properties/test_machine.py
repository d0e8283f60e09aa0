"""Any course of events, by the public interface, on both transports: after each step all is as the oracle says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from taskq import ResultUnavailable, RetryPolicy, TaskCancelled, TaskExpired, TaskFailed
from taskq.message import id_bytes, id_text
from taskq.tasks.broker import Delivery
from taskq.tasks.failure import parse
from taskq.tasks.outcomes import info_of, value_of
from tests.properties.oracle import FATES, Letter, Oracle
from tests.properties.profile import few, seeded
from tests.properties.stage import COUNTED, InMemory, OnLists, Stage, ran, unconfirmed
from tests.servers import RealServer

QUEUES = ("mail", "shop")
MOST = 60
"""Messages of one course: the rules go on with those that are there."""


def _can_start(said: dict[str, Any]) -> bool:
    """A message that expires before it is due is refused."""
    return bool(said.get("delay", 0) < said.get("expires", 1_000))


FATE_LISTS = st.builds(
    lambda some, last: [*some, last], st.lists(st.sampled_from(FATES), max_size=3), st.sampled_from(FATES[:3])
)
OPTIONS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"queue": st.sampled_from(QUEUES)},
    optional={
        "priority": st.integers(-2, 2),
        "delay": st.sampled_from([0, 0.5, 7.5, 60]),
        "expires": st.sampled_from([1, 8, 100]),
        "unique": st.sampled_from("uv"),
        "id": st.sampled_from("abc"),
        "result_ttl": st.sampled_from([0, 10, 3_600]),
        "retry": st.sampled_from([False, 2, RetryPolicy(3, base=5, cap=8), RetryPolicy(2, base=0)]),
        "delivery": st.sampled_from(["at_least_once", "at_most_once"]),
    },
).filter(_can_start)
WAITS = st.sampled_from([0.5, 5, 60, 301, 601, 3_601])
PICK = st.integers(0, 1_000)


@dataclass(frozen=True)
class Doubt:
    """An enqueue whose reply was lost, and what it would have said."""

    sender: Any
    number: int
    fates: list[str]
    answer: tuple[bytes, bool]


class Course(RuleBasedStateMachine):
    """The rules; a subclass says on what."""

    stage: Stage

    def set_stage(self) -> Stage:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.stage = self.set_stage()
        self.oracle = Oracle(self.stage.clock.now_ms())
        self.number = 0
        self.known: dict[tuple[str, bytes], int] = {}
        self.held: list[tuple[Delivery, Letter]] = []
        self.stale: list[Delivery] = []
        self.in_doubt: dict[tuple[str, bytes], Doubt] = {}
        self.lost_at = self.oracle.now

    def teardown(self) -> None:
        if hasattr(self, "stage"):
            self.stage.close()

    # -- enqueueing

    def letter(self, options: dict[str, Any], fates: list[str], id: bytes = b"") -> Letter:
        self.number += 1
        now, retry = self.oracle.now, options.get("retry")
        policy = retry if isinstance(retry, RetryPolicy) else RetryPolicy(1 if retry is False else retry or 4)
        expires = options.get("expires")
        return Letter(
            id=id_bytes(options["id"]) if "id" in options else id,
            number=self.number,
            queue=options["queue"],
            fates=fates,
            priority=options.get("priority", 0),
            due=now + round(options.get("delay", 0) * 1_000),
            expires=0 if expires is None else now + expires * 1_000,
            unique=options.get("unique", ""),
            explicit="id" in options,
            once=options.get("delivery") == "at_most_once",
            ttl=options.get("result_ttl", 3_600) * 1_000,
            attempts_max=policy.max_attempts,
            base=round(policy.base * 1_000),
            cap=round(policy.cap * 1_000),
        )

    def said(self, options: dict[str, Any], absolute: bool) -> dict[str, Any]:
        """The options; times may also be said as moments."""
        if not absolute:
            return options
        said, now = dict(options), self.stage.clock.now()
        if "delay" in said:
            said["at"] = now + timedelta(seconds=said.pop("delay"))
        if "expires" in said:
            said["expires"] = now + timedelta(seconds=said["expires"])
        return said

    @precondition(lambda self: self.number < MOST)
    @rule(options=OPTIONS, fates=FATE_LISTS, absolute=st.booleans())
    def enqueue(self, options: dict[str, Any], fates: list[str], absolute: bool) -> None:
        letter = self.letter(options, fates)
        handle = self.stage.task.options(**self.said(options, absolute)).enqueue(letter.number, fates)
        letter.id = letter.id or (id_bytes(handle.id) if handle.created else uuid4().bytes)
        self.compare(letter, id_bytes(handle.id), handle.created)

    @precondition(lambda self: self.number < MOST)
    @rule(options=OPTIONS, fates=st.lists(FATE_LISTS, min_size=1, max_size=4))
    def enqueue_many(self, options: dict[str, Any], fates: list[list[str]]) -> None:
        options = {key: value for key, value in options.items() if key != "id"}
        letters = [self.letter(options, each) for each in fates]
        batch = self.stage.task.options(**options).enqueue_many([(one.number, one.fates) for one in letters])
        for letter, handle in zip(letters, batch, strict=True):
            letter.id = id_bytes(handle.id) if handle.created else uuid4().bytes
            self.compare(letter, id_bytes(handle.id), handle.created)

    @precondition(lambda self: self.number < MOST)
    @rule(options=OPTIONS, fates=FATE_LISTS)
    def lose_a_reply(self, options: dict[str, Any], fates: list[str]) -> None:
        letter = self.letter(options, fates)
        sender = self.stage.task.options(**options)
        letter.id = id_bytes(unconfirmed(self.stage, sender, letter.number, fates))
        answer = self.answer_to(letter)
        again = sender.options(id=id_text(letter.id))
        self.in_doubt[letter.queue, letter.id] = Doubt(again, letter.number, fates, answer)
        self.lost_at = self.oracle.now

    @precondition(lambda self: self.in_doubt)
    @rule()
    def enqueue_again(self) -> None:
        queue, raw = next(iter(self.in_doubt))
        doubt = self.in_doubt[queue, raw]
        if self.forgotten():
            return
        del self.in_doubt[queue, raw]
        handle = doubt.sender.enqueue(doubt.number, doubt.fates)
        assert (id_bytes(handle.id), handle.created) == doubt.answer

    def forgotten(self) -> bool:
        """In memory what is in doubt is forgotten after half an hour of the clock that is moved by hand."""
        if self.stage.forgets and self.oracle.now - self.lost_at > 1_800_000:
            self.in_doubt.clear()
        return not self.in_doubt

    def compare(self, letter: Letter, id: bytes, created: bool) -> None:
        assert (id, created) == self.answer_to(letter)

    def answer_to(self, letter: Letter) -> tuple[bytes, bool]:
        """What an enqueue answers; the id of one that is in doubt gets the answer that was lost."""
        self.forgotten()
        doubt = self.in_doubt.pop((letter.queue, letter.id), None)
        answer = self.oracle.accept(letter) if doubt is None else doubt.answer
        if doubt is None:
            self.known[letter.queue, answer[0]] = letter.number
        return answer

    # -- callers

    @precondition(lambda self: self.known)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        queue, raw = self.picked(pick)
        assert self.stage.app.handle(id_text(raw), queue).cancel() == self.oracle.cancel(queue, raw)

    @precondition(lambda self: self.known)
    @rule(pick=PICK)
    def look(self, pick: int) -> None:
        queue, raw = self.picked(pick)
        assert self.stage.app.handle(id_text(raw), queue).status() == self.oracle.status(queue, raw)

    def picked(self, pick: int) -> tuple[str, bytes]:
        return list(self.known)[pick % len(self.known)]

    # -- time, and a worker

    @rule(seconds=WAITS)
    def wait(self, seconds: float) -> None:
        self.stage.clock.advance(seconds)
        self.oracle.now += round(seconds * 1_000)

    @rule(steps=st.sampled_from([1, 1, 2, 30]), crash=st.booleans())
    def work(self, steps: int, crash: bool) -> None:
        for _ in range(steps):
            before = len(ran)
            there = self.stage.step(crash=crash)
            letter = self.oracle.take()
            assert there == (letter is not None)
            if letter is None:
                break
            attempt, crashes, deliveries = letter.attempts + 1, letter.crashes, letter.deliveries
            runs = [] if self.oracle.gone(letter) else [(letter.number, attempt, crashes, deliveries)]
            assert [run[:4] for run in ran[before:]] == runs, f"{ran[before:]} instead of {runs}"
            if runs and crash:
                self.oracle.crash(letter)
            elif runs:
                self.oracle.run(letter)

    @precondition(lambda self: self.known)
    @rule(queue=st.sampled_from(QUEUES))
    def hold(self, queue: str) -> None:
        if queue not in self.oracle.queues:
            return
        delivery = self.stage.hold(queue)
        self.oracle.upkeep(queue)
        letter = self.oracle.lease(queue, alone=False)
        gone = letter is not None and self.oracle.gone(letter)
        assert (delivery is None) == (letter is None or gone)
        if delivery is not None and letter is not None:
            assert delivery.id == letter.id
            self.stage.begin(delivery, letter.once)
            self.held.append((delivery, letter))

    @precondition(lambda self: self.held)
    @rule(pick=PICK, dies=st.booleans())
    def let_go(self, pick: int, dies: bool) -> None:
        delivery, letter = self.held.pop(pick % len(self.held))
        if dies:
            self.stage.die(delivery)
            self.oracle.crash(letter)
            self.stale.append(delivery)
        else:
            assert self.stage.finish(delivery, letter.number, letter.ttl)
            self.oracle.finish(letter)

    @precondition(lambda self: self.stale)
    @rule()
    def a_stale_worker_is_refused(self) -> None:
        assert not self.stage.finish(self.stale.pop(), -1, 1_000)

    # -- an operator

    @precondition(lambda self: self.known)
    @rule(queue=st.sampled_from(QUEUES), paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:
        if queue in self.oracle.queues:
            (self.stage.pause if paused else self.stage.resume)(queue)
            self.oracle.queues[queue].paused = paused

    @precondition(lambda self: self.known)
    @rule(pick=PICK, count=st.integers(1, 3), redrive=st.booleans())
    def dead_letters(self, pick: int, count: int, redrive: bool) -> None:
        queue = self.picked(pick)[0]
        self.tidy()
        ids = [letter.id for letter in self.oracle.dead(queue)][:count]
        stage, oracle = (
            (self.stage.redrive, self.oracle.redrive) if redrive else (self.stage.discard, self.oracle.discard)
        )
        if ids:
            assert stage(queue, ids) == oracle(queue, ids) == len(ids)

    # -- what must hold

    def tidy(self) -> None:
        for queue in self.oracle.queues:
            self.stage.broker.sweep(queue)
            self.oracle.upkeep(queue)

    @invariant()
    def all_is_as_the_oracle_says(self) -> None:
        assert self.stage.clock.now_ms() == self.oracle.now
        self.tidy()
        for queue, place in self.oracle.queues.items():
            letters = place.letters.values()
            states = [letter.status() for letter in letters]
            figures = self.stage.figures(queue)
            counted = {name: place.counts[name] for name in COUNTED}
            assert figures["counters"] == counted, f"{figures['counters']} instead of {counted}"
            assert (figures["ready"], figures["leased"]) == (states.count("ready"), states.count("running"))
            assert figures["delayed"] == states.count("delayed") + states.count("retrying")
            assert figures["retrying"] == states.count("retrying")
            assert sorted(self.stage.dead(queue)) == sorted(letter.id for letter in self.oracle.dead(queue))
            self.each_is_as_the_oracle_says(queue)

    def each_is_as_the_oracle_says(self, queue: str) -> None:
        ids = [raw for name, raw in self.known if name == queue]
        for raw, found in zip(ids, self.stage.broker.lookup(queue, ids), strict=True):
            info = info_of(found, raw, queue, "play")
            assert info.status == self.oracle.status(queue, raw), id_text(raw)
            letter = self.oracle.queues[queue].letters.get(raw)
            if letter is not None and letter.state != "cancelled":
                counts = (letter.attempts, letter.crashes, letter.deliveries)
                assert (info.attempts, info.crashes, info.deliveries) == counts
                # One that only waits has no record on a server, so there nothing tells its priority.
                assert info.priority == letter.priority or letter.state == "ready"
                assert [line["kind"] for line in parse(found.lines)] == letter.history
            elif letter is None:
                self.result_is_as_the_oracle_says(queue, raw, found)

    def result_is_as_the_oracle_says(self, queue: str, id: bytes, found: Any) -> None:
        kind, number, _ = self.oracle.result(queue, id) or ("", 0, 0)
        errors = {"cancelled": TaskCancelled, "expired": TaskExpired, "dead": TaskFailed, "": ResultUnavailable}
        if kind == "done":
            assert value_of(found, id, "play", None) == number
        else:
            with pytest.raises(errors[kind]):
                value_of(found, id, "play", None)

    @invariant()
    def fences_grow(self) -> None:
        for queue in QUEUES:
            fences = [fence for *_, name, fence in ran if name == queue]
            assert fences == sorted(set(fences))


class CourseInMemory(Course):
    def set_stage(self) -> Stage:
        return InMemory()


@pytest.fixture
def course_on_lists(server: RealServer) -> type[Course]:
    class CourseOnLists(Course):
        def set_stage(self) -> Stage:
            return OnLists(server.url)

    return CourseOnLists


@pytest.mark.parametrize("examples", [40, pytest.param(100, marks=pytest.mark.slow)])
def test_in_memory(examples: int) -> None:
    run_state_machine_as_test(seeded(CourseInMemory), settings=few(examples, stateful_step_count=40))


@pytest.mark.parametrize("examples", [15, pytest.param(30, marks=pytest.mark.slow)])
def test_on_lists(course_on_lists: type[Course], examples: int) -> None:
    run_state_machine_as_test(seeded(course_on_lists), settings=few(examples, stateful_step_count=40))
