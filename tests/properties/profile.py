"""How much Hypothesis does here: the same in each run, unless the environment asks for another seed or for more.

TASKQ_SEED=7 TASKQ_EXAMPLES=500 python -m pytest tests/properties
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, seed, settings

T = TypeVar("T", bound=Callable[..., Any])

SEED = os.environ.get("TASKQ_SEED", "")
EXAMPLES = int(os.environ.get("TASKQ_EXAMPLES", "0"))


def few(examples: int, **more: Any) -> settings:
    """Settings for a number of examples, which the environment may replace."""
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not SEED,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),  # to explain a failure it would trace every line
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        **more,
    )


def seeded(test: T) -> T:
    """The seed of the environment, if it names one."""
    return seed(int(SEED))(test) if SEED else test
