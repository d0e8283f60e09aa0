"""What every test shares. The servers that tests run on, and their fixtures, live in `tests/servers.py`."""

from __future__ import annotations

from importlib.util import find_spec

pytest_plugins = [name for name in ("tests.servers",) if find_spec(name)]
