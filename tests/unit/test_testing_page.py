"""docs/testing.md is true: its app and its tests run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/testing.md").read_text("utf-8"), re.DOTALL)


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    shop, *tests, events, test_of_events = BLOCKS
    tests.append(test_of_events)
    text = "\n\n".join(tests)
    (tmp_path / "shop.py").write_text(shop)
    (tmp_path / "events.py").write_text(events)
    (tmp_path / "test_shop.py").write_text(text)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["taskq.pytest_plugin"]\n')
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "test_shop.py"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    ran = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert f"{text.count('def test_')} passed" in ran.stdout, ran.stdout
