"""The fixture of `taskq.testing` for pytest. Opt in with `pytest_plugins = ["taskq.pytest_plugin"]`.

def test_order(taskq_memory):
    q = taskq_memory(app)
    place_order.enqueue(42)
    q.run_until_idle()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from taskq.tasks.app import TaskQ
from taskq.testing import Memory, memory


@pytest.fixture
def taskq_memory() -> Iterator[Callable[[TaskQ], Memory]]:
    """A function that puts memory in the place of an app's broker until the test has ended."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(memory(app))
