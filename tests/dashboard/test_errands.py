"""What takes long happens beside the screen, can be given up, and says how far it came."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from taskq.errors import BrokerUnavailable, UnknownMessage, UnknownQueue
from taskq.inspector import MessageInfo
from taskq_dashboard.errands import Errands
from taskq_dashboard.source import Tell
from taskq_dashboard.state import (
    Advanced,
    Count,
    Counted,
    Do,
    Event,
    Failed,
    Finished,
    Found,
    Listing,
    Looked,
    Lost,
    Open,
    Order,
    Read,
    ReadPage,
    Want,
)
from tests.dashboard.made_up import FakeSource, busy

T = TypeVar("T")
PATIENCE_S = 30


@dataclass
class Gate(FakeSource):
    """A source whose slow parts wait for a test."""

    open: threading.Event = field(default_factory=threading.Event)
    asked: queue.SimpleQueue[Want] = field(default_factory=queue.SimpleQueue)
    refusal: Exception | None = None

    def page(self, want: Want) -> Listing:
        self.asked.put(want)
        assert self.open.wait(PATIENCE_S)
        if self.refusal is not None:
            raise self.refusal
        return Listing(want)

    def count(self, want: Want, tell: Tell) -> int:
        self.asked.put(want)
        while not self.open.wait(0.01):
            tell(1)
        tell(2)
        return 2

    def message(self, queue: str, id: str) -> MessageInfo:
        raise UnknownMessage("there is no trace of it")

    def carry_out(self, order: Order, tell: Tell) -> str:
        tell(250)
        if self.refusal is not None:
            raise self.refusal
        return "all of it"


class Heard:
    """What the errands post, in order."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self.post = self._events.put

    def next(self, kind: type[T]) -> T:
        """The next of a kind; looks and progress are passed over."""
        while True:
            event = self._events.get(timeout=PATIENCE_S)
            if isinstance(event, kind):
                return event
            assert isinstance(event, (Looked, Lost, Advanced)), event


@contextmanager
def errands(source: FakeSource) -> Generator[tuple[Errands, Heard]]:
    heard = Heard()
    one = Errands(source, 0.01, heard.post)
    try:
        yield one, heard
    finally:
        one.close()


def test_looks_come_again_and_again_and_an_outage_is_an_event() -> None:
    source = FakeSource([busy(1)])
    with errands(source) as (_, heard):
        assert heard.next(Looked).snapshot == busy(1)
        source.failing = BrokerUnavailable("cannot reach it")
        assert heard.next(Lost).problem == "cannot reach it"
        source.failing = None
        assert heard.next(Looked).snapshot == busy(1)


def test_each_look_is_told_the_queue_at_hand() -> None:
    source = FakeSource([busy(1)])
    with errands(source) as (one, heard):
        one.focus("mail")
        heard.next(Looked)
        heard.next(Looked)  # this one began after it was told
        assert source.focus == "mail"


def test_of_pages_that_wait_only_the_last_is_read() -> None:
    source = Gate()
    first, second, third = (Want("mail", "dead", text) for text in ("a", "b", "c"))
    with errands(source) as (one, heard):
        one.read(ReadPage(first))
        assert source.asked.get(timeout=PATIENCE_S) == first
        one.read(ReadPage(second))
        one.read(ReadPage(third))
        source.open.set()
        assert heard.next(Read).listing.want == first
        assert heard.next(Read).listing.want == third


def test_a_count_is_given_up_for_a_newer_one() -> None:
    source = Gate()
    first, second = (Count(Want("mail", "dead", text)) for text in ("a", "b"))
    with errands(source) as (one, heard):
        one.count(first)
        assert source.asked.get(timeout=PATIENCE_S) == first.want
        one.count(second)
        assert source.asked.get(timeout=PATIENCE_S) == second.want
        source.open.set()
        assert heard.next(Counted) == Counted(second.want, 2)


def test_a_message_that_is_not_there_is_told() -> None:
    with errands(Gate()) as (one, heard):
        one.read(Open("mail", "x"))
        assert heard.next(Found).message.problem == "there is no trace of it"


def test_what_is_refused_is_told_and_an_outage_is_left_to_the_looks() -> None:
    source = Gate(refusal=BrokerUnavailable("away"))
    source.open.set()
    with errands(source) as (one, heard):
        one.read(ReadPage(Want("mail", "dead")))
        source.asked.get(timeout=PATIENCE_S)
        one.read(Open("mail", "x"))
        heard.next(Found)  # and no Failed before it
        source.refusal = UnknownQueue("there is no queue 'mail'")
        one.read(ReadPage(Want("mail", "dead")))
        assert heard.next(Failed).text == "there is no queue 'mail'"


@pytest.mark.parametrize("count", [3_000, None])
def test_an_order_that_loses_its_broker_says_how_far_it_came(count: int | None) -> None:
    order = Order("retry", "mail", every=True, count=count)
    with errands(Gate(refusal=BrokerUnavailable("cannot reach it"))) as (one, heard):
        one.do(Do(order))
        ended = heard.next(Finished)
        of = " of 3,000" if count else ""
        assert (ended.text, ended.good) == (f"retried 250{of}, then: cannot reach it", False)


def test_an_order_is_stopped_after_the_step_it_is_in() -> None:
    class Slow(Gate):
        def carry_out(self, order: Order, tell: Tell) -> str:
            assert self.open.wait(PATIENCE_S)
            tell(250)
            raise AssertionError("it went on")

    source = Slow()
    with errands(source) as (one, heard):
        one.do(Do(Order("delete", "mail", every=True, count=3_000)))
        one.stop()
        source.open.set()
        assert heard.next(Finished).text == "stopped: deleted 250 of 3,000"


def test_a_mistake_of_ours_reaches_the_loop() -> None:
    with errands(Gate(refusal=ZeroDivisionError("oh"))) as (one, heard):
        one.do(Do(Order("retry", "mail")))
        assert heard.next(ZeroDivisionError).args == ("oh",)
