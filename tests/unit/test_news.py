"""Who is told of a death: no more at a time than fits beside orders, another child if one ends, and not for ever."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

from taskq.message import new_ids
from taskq.tasks.failure import Failure
from taskq_workers.deaths import Loss
from taskq_workers.news import News


class FakeChild:
    def __init__(self, index: int, *, hooks: bool = True, alone: bool = False) -> None:
        self.index = index
        self.hello = SimpleNamespace(hooks=hooks)
        self.verdict = None
        self.retiring: str | None = None
        self.alone = alone
        self.lines: list[bytes] = []
        self.full = False

    def tell(self, line: bytes) -> bool:
        if not self.full:
            self.lines.append(line)
        return not self.full

    @property
    def numbers(self) -> list[int]:
        return [json.loads(line)["number"] for line in self.lines]


def losses(count: int) -> list[Loss]:
    return [Loss("work", one, Failure("crash", "WorkerDied", "\u2028" * 5000)) for one in new_ids(count)]


def news(count: int) -> News:
    one = News()
    one.wanted = True
    one.add(losses(count))
    return one


def hand(one: News, *children: Any, last: bool = False) -> None:
    one.hand(cast("Any", children), last=last)


def test_nothing_is_kept_for_an_app_without_hooks() -> None:
    one, child = News(), FakeChild(1, hooks=False)
    one.add(losses(3))
    hand(one, child)
    assert not one.pending
    assert not child.lines


def test_children_share_and_none_has_more_than_its_pipe_takes() -> None:
    one, first, second = news(20), FakeChild(1), FakeChild(2)
    hand(one, first, second)
    assert len(first.lines) == len(second.lines) == 8
    assert max(map(len, first.lines)) < 4096
    one.heard(first.numbers[0])
    hand(one, first, second)
    assert len(first.lines) == 9
    assert sorted(first.numbers + second.numbers) == list(range(1, 18))


def test_what_an_ended_child_did_not_tell_goes_to_another_three_times_in_all() -> None:
    one, children = news(2), [FakeChild(n) for n in range(4)]
    hand(one, children[0])
    one.heard(1)
    for before, after in pairwise(children):
        one.ended(cast("Any", before))
        hand(one, after)
    assert [child.numbers for child in children] == [[1, 2], [2], [2], []]
    assert not one.pending


def test_who_is_about_to_go_is_told_only_at_the_end() -> None:
    one, retiring, alone, full = news(1), FakeChild(1), FakeChild(2, alone=True), FakeChild(3)
    retiring.retiring, full.full = "reload", True
    hand(one, retiring, alone)
    hand(one, full)
    assert one.pending
    assert not retiring.lines + alone.lines
    hand(one, retiring, last=True)
    assert retiring.numbers == [1]
