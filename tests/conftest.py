"""What every test shares. The servers that tests run on, and their fixtures, live in `tests/servers.py`,
what the quick suite leaves out is in `tests/thinning.py`, and time limits in `tests/limits.py`.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

pytest_plugins = [name for name in ("tests.limits", "tests.servers", "tests.thinning") if find_spec(name)]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """What `-n auto` means: one more than there are cores, since many tests wait for processes, leases and clocks."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests are left to `-m slow`, `make full` and `make chaos`, unless one is named by its id."""
    if config.option.markexpr or any("::" in str(argument) for argument in config.args):
        return
    later = [item for item in items if item.get_closest_marker("slow")]
    if later:
        config.hook.pytest_deselected(items=later)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
