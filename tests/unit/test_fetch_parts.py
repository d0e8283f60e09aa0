"""A long fetch goes in parts, of which the next two are under way while one is dealt with."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest

from taskq.errors import BrokerError, BrokerUnavailable
from taskq.tasks.broker import Leased
from taskq_workers.leasing import AHEAD, PART, LeaseCalls


class Line:
    """Lease calls that are noted, not sent."""

    def __init__(self) -> None:
        self.sent: list[Sequence[Any]] = []
        self.changed = threading.Condition()
        self.stopped = threading.Event()
        self.dry_from = 1_000  # the first call that finds nothing
        self.refused = False  # or is refused
        self.calls = LeaseCalls(cast("Any", None), self.stopped.is_set, alone=False)
        self.calls.send = self._send  # type: ignore[method-assign]

    def _send(self, queue: str, tickets: list[Any], parked: str | None, *, patient: bool = False) -> Sequence[Any]:
        assert not patient
        with self.changed:
            self.sent.append([number for number, _ in tickets])
            self.changed.notify_all()
        return [self._answer(queue, number) for number, _ in tickets]

    def _answer(self, queue: str, number: int) -> Any:
        if number >= self.dry_from:
            return BrokerError("no right") if self.refused else Leased([], number, None)
        return BrokerUnavailable(str(number)) if number == 5 else Leased([cast("Any", f"{queue} {number}")], 0, None)

    def fetch(self, count: int, stop_at: int = -1) -> list[tuple[int, Any]]:
        """The answers. No part is dealt with before the two behind it have been sent. Stopped at that answer."""
        found: list[tuple[int, Any]] = []
        tickets: Any = [(number, 250) for number in range(count)]
        for at, (ticket, answer) in enumerate(self.calls.answers("mail", tickets, None)):
            most = at // PART + 1 + AHEAD
            least = min(most, -(-count // PART))
            with self.changed:
                if not self.stopped.is_set() and at < self.dry_from // PART * PART:
                    assert self.changed.wait_for(lambda least=least: len(self.sent) >= least, 30)  # type: ignore[misc]
                assert len(self.sent) <= most, "more is under way than anybody has looked at"
            if at == stop_at:
                self.stopped.set()
            found.append((cast("int", ticket[0]), answer))
        return found


@pytest.mark.parametrize("count", [1, PART, PART + 1, 2 * PART, 2 * PART + 3, 6 * PART])
def test_all_are_sent_once_in_order_and_each_has_its_answer(count: int) -> None:
    line = Line()
    found = line.fetch(count)
    assert [number for number, _ in found] == list(range(count))
    assert [number for part in line.sent for number in part] == list(range(count))
    assert max(map(len, line.sent)) <= PART
    for number, answer in found:
        assert str(answer) == "5" if number == 5 else answer.deliveries == [f"mail {number}"]


def test_when_it_is_stopped_nothing_more_is_sent_and_all_that_was_is_answered() -> None:
    line = Line()
    found = line.fetch(6 * PART, stop_at=PART)
    assert len(line.sent) == 2 + AHEAD, "the two that were looked at, and those that were under way"
    assert [number for number, _ in found] == list(range(6 * PART)), "each call is told of, for it was announced"
    for number, answer in found[: (2 + AHEAD) * PART]:
        assert str(answer) == "5" if number == 5 else answer.deliveries == [f"mail {number}"]
    assert {answer for _, answer in found[(2 + AHEAD) * PART :]} == {None}


@pytest.mark.parametrize("refused", [False, True])
def test_when_a_call_finds_nothing_or_is_refused_no_more_is_sent_than_is_under_way(refused: bool) -> None:
    line = Line()
    line.dry_from, line.refused = PART + 2, refused
    found = line.fetch(6 * PART)
    assert [number for number, _ in found] == list(range(6 * PART))
    assert len(line.sent) == 1 + AHEAD
    under_way = [answer for _, answer in found[PART + 2 : (1 + AHEAD) * PART]]
    assert all(isinstance(answer, BrokerError if refused else Leased) for answer in under_way)
    assert {answer for _, answer in found[(1 + AHEAD) * PART :]} == {None}, "nobody has asked"
