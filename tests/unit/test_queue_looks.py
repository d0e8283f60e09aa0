"""Which queues a look asks: of many half, each at least at every other look, and what that keeps of the others."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from taskq.queue_looks import DEEP, FIRST, GLANCE, MANY, SELDOM_S, QueueLooks, queue_part

STEP_S = 0.5  # between looks


class Broker:
    """Queues with so many messages done; `stream` are those of the other transport, `broken` do not answer."""

    def __init__(self, count: int) -> None:
        self.looks = QueueLooks("shop")
        self.done = dict.fromkeys((f"q{number:03}" for number in range(count)), 0)
        self.stream: set[str] = set()
        self.broken: set[str] = set()
        self.missing: dict[str, None] = {}
        self.deep: list[str] = []
        self.clock = 1_000.0

    def look(self, focus: Collection[str] = (), *, every: bool = False, after: float = STEP_S) -> list[str]:
        """Answers whom it asked."""
        self.clock += after
        asks = self.looks.asks([*self.done], self.clock, focus, every=every)
        names = [ask.what.removeprefix("queue ") for ask in asks]
        self.deep = []
        for name, ask in zip(names, asks, strict=True):
            wire: Any = ask.wire
            if wire.args[1] != GLANCE.looks:
                self.deep.append(name)
            if name not in self.broken:
                ask.take(wire.decode(self._answer(name)))
        self.missing = {}
        self.looks.keep(self.missing)
        return names

    def _answer(self, name: str) -> list[Any]:
        done = self.done[name]
        counts = [done, done, 0, 1, 1, 1, 0, 0, 0, 0, b""]
        meta = [b"done", b"%d" % done, *((b"transport", b"stream") if name in self.stream else ())]
        return [round(self.clock * 1000), counts, meta, [], [], [b""] * 5]

    @property
    def told(self) -> dict[str, int]:
        return {info.name: info.counters["done"] for info in self.looks.infos}

    def ages(self) -> set[float]:
        """Of the figures, in seconds."""
        return {self.clock - info.now / 1000 for info in self.looks.infos}


def test_up_to_some_queues_each_look_asks_all() -> None:
    broker = Broker(MANY)
    assert [broker.look() for _ in range(3)] == [[*broker.done]] * 3


def test_of_more_each_look_asks_half_and_each_queue_is_asked_at_every_other() -> None:
    for count in (MANY + 1, 60, 61):
        broker = Broker(count)
        assert broker.look() == [*broker.done], "all at first"
        before: list[str] = broker.look()
        for _ in range(7):
            asked = broker.look()
            assert len(asked) <= (count + 1) // 2
            assert {*before, *asked} == broker.done.keys()
            assert broker.ages() == {0.0, STEP_S}
            before = asked


def test_what_is_over_is_known_exactly_two_looks_later() -> None:
    broker = Broker(60)
    for turn in range(5):
        broker.done = dict.fromkeys(broker.done, turn)
        broker.look()
    broker.done = {name: number for number, name in enumerate(broker.done)}
    broker.look()
    assert broker.told != broker.done
    broker.look()
    assert broker.told == broker.done


def test_who_is_in_focus_is_asked_by_each_look_and_nobody_waits_longer_for_it() -> None:
    broker = Broker(60)
    broker.look()
    before: list[str] = broker.look(["q007"])
    for turn in range(12):
        # what is in focus moves; a queue that is not there is nobody
        focus = ["q007", f"q{turn * 5:03}", "gone", ""]
        asked = broker.look(focus)
        assert {"q007", f"q{turn * 5:03}"} <= set(asked)
        assert {*before, *asked} == broker.done.keys()
        assert len(asked) <= 30 + 2
        before = asked


def test_all_are_asked_on_demand_and_by_who_looks_seldom() -> None:
    broker = Broker(60)
    broker.look()
    assert len(broker.look(every=True)) == 60
    assert len(broker.look()) == 30
    assert len(broker.look(after=SELDOM_S)) == 60
    assert len(broker.look(after=-5.0)) == 60, "a clock that cannot be right"
    whole = QueueLooks("shop", whole=True)
    assert [len(whole.asks([*broker.done], now)) for now in (1.0, 1.1)] == [60, 60]


def test_a_new_queue_is_asked_by_the_next_look_and_again_when_its_answer_says_what_it_is() -> None:
    broker = Broker(60)
    broker.look()
    broker.look()
    broker.done |= {"new": 1, "log": 2}
    broker.stream = {"log"}
    assert {"new", "log"} <= set(broker.look())
    asked = broker.look()
    assert ("log" in asked, "new" in asked) == (True, False)
    assert broker.told["new"] == 1


def test_what_is_gone_is_forgotten() -> None:
    broker = Broker(60)
    broker.look()
    del broker.done["q003"]
    broker.look()
    assert broker.told == broker.done
    broker.done["q003"] = 9
    assert "q003" in broker.look(), "as if it were new"


def test_a_queue_that_cannot_be_read_is_named_until_it_can() -> None:
    broker = Broker(60)
    broker.look()
    broker.broken = {"q003"}
    for _ in range(2):
        broker.look()
    for _ in range(3):
        broker.look()
        assert list(broker.missing) == [queue_part("q003")]
        assert "q003" not in broker.told
    broker.broken = set()
    for _ in range(2):
        broker.look()
    assert not broker.missing
    assert broker.told == broker.done


def test_what_is_running_is_looked_into_by_turns_of_those_that_are_asked() -> None:
    broker = Broker(60)
    broker.look()
    assert len(broker.deep) == FIRST
    broker.look(every=True)
    assert len(broker.deep) == 60 - FIRST + DEEP
    turns = []
    for _ in range(30):
        asked = broker.look()
        assert len(broker.deep) == DEEP
        assert set(broker.deep) <= set(asked)
        turns += broker.deep
    assert sorted(turns) == [*broker.done], "each once"


def test_a_name_that_is_none_of_a_queue_is_passed_over() -> None:
    broker = Broker(2)
    broker.done["no name }"] = 1
    assert broker.look() == ["q000", "q001"]
    assert not broker.missing
