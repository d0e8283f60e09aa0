from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskq.backoff import delay
from taskq.options import RetryPolicy


def test_the_delay_doubles_up_to_the_cap() -> None:
    policy = RetryPolicy(base=10, cap=100)
    assert [delay(attempt, policy, 1.0) for attempt in range(1, 7)] == [10, 20, 40, 80, 100, 100]


def test_the_jitter_takes_up_to_half() -> None:
    policy = RetryPolicy(base=10)
    assert delay(1, policy, 0.0) == 5
    assert delay(1, policy, 0.5) == 7.5
    assert delay(1, policy, 1.0) == 10


def test_a_base_of_zero_retries_at_once() -> None:
    assert delay(10**6, RetryPolicy(base=0), 1.0) == 0


@given(
    st.integers(1, 10**30),
    st.floats(0, 1),
    st.floats(0, 10**8),
    st.floats(0, 10**8),
)
def test_the_delay_is_between_half_and_whole_for_any_attempt(
    attempt: int, random01: float, base: float, cap: float
) -> None:
    policy = RetryPolicy(base=base, cap=cap)
    whole = delay(attempt, policy, 1.0)
    assert 0 <= whole <= cap
    assert whole / 2 <= delay(attempt, policy, random01) <= whole
    assert delay(attempt + 1, policy, 1.0) >= whole
