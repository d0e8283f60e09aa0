"""A time limit for each attempt at a test, and one more for each teardown.

pytest-timeout arms its timer once for a test and takes it away at the first failure. What comes behind that, its
teardown and with `--reruns` the next attempt, would run without any: one test that hangs there hangs the suite.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_timeout import Settings

_LIMIT = pytest.StashKey[Settings]()


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Settings) -> None:
    """Note the limit; the plugin's own implementation then sets the timer."""
    item.stash[_LIMIT] = settings


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """The first attempt has its timer already."""
    if getattr(item, "execution_count", 1) > 1:
        _arm(item)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    _arm(item)
    return (yield)


def _arm(item: pytest.Item) -> None:
    limit = item.stash.get(_LIMIT, None)
    if limit is not None:
        item.config.hook.pytest_timeout_cancel_timer(item=item)
        item.config.hook.pytest_timeout_set_timer(item=item, settings=limit)
