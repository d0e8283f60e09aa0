"""Calls that are awaited side by side: one round trip for many, and each has its own answer."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import pytest

from taskq.errors import BrokerError, BrokerRefused, BrokerUnavailable, NoScript, TaskqError
from taskq.store.company import MOST_BYTES, MOST_CALLS, Company
from taskq.store.scripts import Call, Script

SCRIPT = Script("name", "return ARGV[1]", "0" * 40)


def call(number: int) -> Call[int]:
    return Call(SCRIPT, ["{q}key"], [number], int)


class Line:
    """A link that answers each call with its number, once it is let; notes what was sent together."""

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.met: dict[int, Exception] = {}
        self.broken: Exception | None = None

    async def execute(self, *args: Any) -> Any:
        (reply,) = await self.pipeline([args])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        numbers = [int(command[-1]) for command in commands]
        self.sent.append(numbers)
        await asyncio.sleep(0)
        await self.open.wait()
        if self.broken is not None:
            raise self.broken
        return [self.met.pop(number, number) for number in numbers]


async def all_of(company: Company[int], numbers: Sequence[int], size: int = 10) -> list[Any]:
    return await asyncio.gather(*(company.run(call(number), size) for number in numbers))


async def test_one_alone_goes_at_once_and_those_beside_it_go_together() -> None:
    line = Line()
    company = Company[int](line)
    assert await all_of(company, range(10)) == list(range(10))
    assert line.sent == [[0], list(range(1, 10))]
    assert await company.run(call(10), 10) == 10
    assert line.sent[2:] == [[10]]


async def test_what_is_called_while_others_are_under_way_does_not_wait_for_their_answers() -> None:
    line = Line()
    company = Company[int](line)
    line.open.clear()
    tasks = [asyncio.ensure_future(company.run(call(number), 10)) for number in range(3)]
    while len(line.sent) < 2:
        await asyncio.sleep(0)
    tasks.append(asyncio.ensure_future(company.run(call(3), 10)))
    while len(line.sent) < 3:
        await asyncio.sleep(0)
    assert line.sent == [[0], [1, 2], [3]]
    line.open.set()
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3]


async def test_a_round_trip_is_bounded_by_calls_and_by_bytes() -> None:
    line = Line()
    company = Company[int](line)
    await all_of(company, range(2 * MOST_CALLS + 2))
    assert [len(part) for part in line.sent] == [1, MOST_CALLS, MOST_CALLS, 1]
    line.sent.clear()
    await all_of(company, range(6), size=MOST_BYTES // 2)
    assert [len(part) for part in line.sent] == [1, 2, 2, 1]
    line.sent.clear()
    await all_of(company, range(3), size=MOST_BYTES + 1)
    assert line.sent == [[0], [1], [2]]


async def test_each_has_its_own_answer_and_its_own_error() -> None:
    line = Line()
    line.met = {0: BrokerError("zero"), 2: BrokerError("two"), 3: NoScript("three")}
    answers = await all_of(Company[int](line), range(5))
    assert [str(answer) for answer in answers] == ["zero", "1", "two", "3", "4"]
    assert [isinstance(answer, TaskqError) for answer in answers] == [True, False, True, False, False]


async def test_a_lost_connection_is_told_to_all() -> None:
    line = Line()
    line.met = {number: BrokerUnavailable("gone") for number in range(4)}
    answers = await all_of(Company[int](line), range(4))
    assert all(isinstance(answer, BrokerUnavailable) for answer in answers)


async def test_an_error_that_is_that_of_many_is_one_for_each() -> None:
    line = Line()
    lost = BrokerRefused("no")
    lost.code = "CODE"
    line.met = dict.fromkeys(range(1, 4), lost)
    answers = (await all_of(Company[int](line), range(4)))[1:]
    assert [(str(one), one.code) for one in answers] == [("no", "CODE")] * 3
    assert len({id(one) for one in answers}) == 3


async def test_calls_that_are_to_be_apart_go_apart() -> None:
    line = Line()
    company = Company[int](line)
    await asyncio.gather(*(company.run(call(number), 10, "ab"[number % 2]) for number in range(7)))
    assert line.sent == [[0], [1, 3, 5], [2, 4, 6]]


async def test_whoever_cancels_all_tasks_but_his_own_leaves_nobody_waiting() -> None:
    line = Line()
    company = Company[int](line)
    line.open.clear()
    first = asyncio.ensure_future(company.run(call(0), 10))
    others = [asyncio.ensure_future(company.run(call(number), 10)) for number in (1, 2)]
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task(), first, *others}:
        task.cancel()
    while not all(one.done() for one in others):
        for task in asyncio.all_tasks() - {asyncio.current_task(), first, *others}:
            task.cancel()
        await asyncio.sleep(0)
    assert all(isinstance(one.result(), BrokerUnavailable) for one in others)
    line.open.set()
    assert await first == 0


async def test_an_error_of_its_own_reaches_who_waits() -> None:
    line = Line()
    company = Company[int](line)
    line.open.clear()
    first = asyncio.ensure_future(company.run(call(0), 10))
    others = [asyncio.ensure_future(company.run(call(number), 10)) for number in (1, 2)]
    while len(line.sent) < 2:
        await asyncio.sleep(0)
    line.broken = RuntimeError("broken")
    line.open.set()
    found = await asyncio.gather(first, *others, return_exceptions=True)
    assert [repr(one) for one in found] == ["RuntimeError('broken')"] * 3
    line.broken = None
    assert await company.run(call(7), 10) == 7


async def test_who_gives_up_takes_nobody_along() -> None:
    line = Line()
    company = Company[int](line)
    line.open.clear()
    tasks = [asyncio.ensure_future(company.run(call(number), 10)) for number in range(4)]
    while len(line.sent) < 2:
        await asyncio.sleep(0)
    tasks[0].cancel()  # the one that went alone
    tasks[2].cancel()  # one of those that went together
    late = asyncio.ensure_future(company.run(call(9), 10))
    await asyncio.sleep(0)
    late.cancel()  # it has not gone yet, and does not go
    line.open.set()
    found = await asyncio.gather(*tasks, late, return_exceptions=True)
    assert [one if isinstance(one, int) else type(one) for one in found] == [
        asyncio.CancelledError,
        1,
        asyncio.CancelledError,
        3,
        asyncio.CancelledError,
    ]
    assert [9] not in line.sent
    assert await company.run(call(5), 10) == 5


def test_each_loop_has_its_own_company() -> None:
    line = Line()
    company = Company[int](line)

    async def some(begin: int) -> list[Any]:
        line.open = asyncio.Event()
        line.open.set()
        return await all_of(company, range(begin, begin + 3))

    assert asyncio.run(some(0)) == [0, 1, 2]
    assert asyncio.run(some(3)) == [3, 4, 5]
    gc.collect()
    assert len(company._loops) == 0


def test_a_loop_that_ends_leaves_nobody_waiting() -> None:
    line = Line()
    company = Company[int](line)
    cancelled: list[int] = []

    async def one(number: int) -> None:
        try:
            await company.run(call(number), 10)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    async def begin() -> None:
        line.open = asyncio.Event()
        for number in range(3):
            asyncio.ensure_future(one(number))  # noqa: RUF006 - the loop ends first
        while len(line.sent) < 2:
            await asyncio.sleep(0)

    asyncio.run(begin())
    assert sorted(cancelled) == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 2, 120])
async def test_order_is_kept(count: int) -> None:
    line = Line()
    await all_of(Company[int](line), range(count))
    assert [number for part in line.sent for number in part] == list(range(count))
