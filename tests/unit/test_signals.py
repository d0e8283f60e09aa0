"""`Retry`: what cannot be meant is refused where it is raised, and is a failure like others."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from taskq import Retry, RetryPolicy, TaskQ
from taskq.events import failing, trouble
from taskq.tasks.policy import decide
from taskq.testing import Memory, memory

app = TaskQ("signals")


@pytest.fixture
def q() -> Iterator[Memory]:
    with memory(app) as q:
        yield q


@pytest.mark.parametrize(
    ("after", "text"),
    [
        ("3", "Retry: after='3': a duration is seconds (int or float) or a timedelta"),
        (-1, "Retry: after=-1: a duration is not negative"),
        (True, "Retry: after=True: a duration is seconds"),
        (float("nan"), "Retry: after=nan is not a number of seconds"),
        (timedelta(days=9_000), "a duration is at most ten years"),
    ],
)
def test_a_retry_that_cannot_be_meant_is_a_failure_like_others(after: Any, text: str, q: Memory) -> None:
    @app.task(name="hasty", retry=RetryPolicy(max_attempts=2, base=1))
    def hasty() -> None:
        raise Retry(after)

    handle = hasty.enqueue()
    q.run_until_idle(raise_errors=False)
    history = handle.info().history
    assert [(attempt["kind"], attempt["attempt"]) for attempt in history] == [("error", 1), ("error", 2)]
    assert all(text in attempt["message"] for attempt in history)


def test_a_retry_with_a_bad_delay_put_there_afterwards_follows_the_policy() -> None:
    signal = Retry(after=timedelta(minutes=1))
    assert decide(signal, 0, RetryPolicy(), False, 0.5).delay == 60_000
    signal.after = -1
    decision = decide(signal, 0, RetryPolicy(base=1), False, 1.0)
    assert (decision.verb, decision.delay) == ("retry", 1_000)
    assert failing.decide(signal, 0, RetryPolicy(base=1), 1.0) == failing.Decision("retry", 1_000)
    assert trouble.decide(signal, 0, RetryPolicy(base=1), 1.0).delay == 1.0


def test_a_retry_can_be_copied() -> None:
    twin = copy.copy(Retry(3, count_attempt=False, reason="busy"))
    assert (str(twin), twin.after, twin.count_attempt, twin.reason) == ("busy", 3, False, "busy")
