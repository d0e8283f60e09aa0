"""What several of the tests here stand on."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def without_collector() -> Iterator[None]:
    """No collector runs in a slot: an interruption that arrives in a finalizer, or a callback of gc, is lost there."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
