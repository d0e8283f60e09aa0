"""What a worker puts into one ack: bounded, whatever the tasks that come to an end at once."""

from __future__ import annotations

from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest

from taskq.message import new_ids
from taskq.tasks.broker import LEASE_BYTES, LEASE_MESSAGES, Delivery, Finished, Retried
from taskq.tasks.packing import FAILURES, PURGE_BYTES
from taskq_workers.executor import Executor
from taskq_workers.settle import cut

TOKEN = b"t" * 20
LARGE = PURGE_BYTES // 4


def outcome(kind: str, size: int, result: bytes = b"") -> Delivery | Finished:
    (one,) = new_ids(1)
    if kind == "delivery":
        return Delivery("q", one, b"x" * size, TOKEN, 1)
    return Finished(one, TOKEN, kind, result, 1000, freed=size)


def sizes(items: list[Any]) -> list[int]:
    parts = list(cut(items))
    assert list(chain(*parts)) == items, "all of them, in their order"
    return [len(part) for part in parts]


@pytest.mark.parametrize("kind", ["delivery", "d", "c"])
def test_one_ack_frees_no_more_than_four_mib_of_bodies(kind: str) -> None:
    assert sizes([outcome(kind, LARGE) for _ in range(10)]) == [4, 4, 2]
    assert sizes([outcome(kind, PURGE_BYTES + 1000), outcome(kind, 100)]) == [1, 1], "one goes alone, however large"


def test_small_bodies_go_by_count_and_results_by_size() -> None:
    assert sizes([outcome("delivery", 1000) for _ in range(600)]) == [LEASE_MESSAGES, LEASE_MESSAGES, 100]
    results = [outcome("d", 100, b"r" * (LEASE_BYTES // 3)) for _ in range(5)]
    assert sizes(results) == [2, 2, 1]
    assert sizes([outcome("delivery", LARGE), outcome("d", LARGE), outcome("c", 3 * LARGE)]) == [2, 1]


def test_what_is_retried_at_once_weighs_its_body_since_a_stream_copies_it() -> None:
    def again(size: int, delay: int = 0) -> Retried:
        return Retried(new_ids(1)[0], TOKEN, delay, size=size)

    assert sizes([again(LEASE_BYTES // 3) for _ in range(5)]) == [2, 2, 1]
    assert sizes([again(4 * LEASE_BYTES), again(4 * LEASE_BYTES), again(10)]) == [1, 1, 1], "one goes alone"
    assert sizes([again(4 * LEASE_BYTES, delay=1) for _ in range(FAILURES + 1)]) == [FAILURES, 1], (
        "later: not copied now"
    )


def test_what_a_task_leaves_behind_tells_how_much_its_body_was() -> None:
    put: list[tuple[str, Any]] = []
    nothing: Any = SimpleNamespace(done=lambda _: None, gone=lambda *_: None)
    executor = Executor(nothing, nothing, put.append, nothing, lambda *_: None, {}, lambda _: 0.0)
    kept: dict[str, Any] = {"ttl_ms": 1000, "max_result": 100, "encode_result": lambda value: value, "publishes": None}
    plan = SimpleNamespace(name="t", counts={}, **kept)
    message = SimpleNamespace(options=None, created=0)
    attempt: Any = SimpleNamespace(plan=plan, delivery=outcome("delivery", 700), message=message, started=0.0)
    executor.succeed(attempt, 1)
    executor.settle_gone(attempt, "c")
    executor.settle_gone(attempt, "e")
    assert [(item.kind, item.freed) for _, item in put] == [("d", 700), ("c", 700), ("e", 700)]
