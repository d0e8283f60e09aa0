"""A shell in a project's folder, where commands are typed; tests import its fixture."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.runtime.folder import typed

ROOT = Path(__file__).parents[2]
ROOTS = os.pathsep.join(str(ROOT / name) for name in (".", "workers", "dashboard"))


@dataclass
class Shell:
    """Types commands in one folder."""

    folder: Path
    env: dict[str, str]

    def __call__(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "taskq_workers", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.folder,
            env=self.env | env,
            check=False,
        )

    def typed(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """The same in this process, which is quicker."""
        return typed(arguments, self.folder, self.env | env)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    folder = tmp_path / "my shop"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("[project]\nname = 'shop'\n")
    runtime = Path(tempfile.mkdtemp(prefix="tqr-"))
    env = {name: value for name, value in os.environ.items() if not name.startswith("TASKQ_")}
    made = Shell(folder, env | {"PYTHONPATH": ROOTS, "XDG_RUNTIME_DIR": str(runtime)})
    yield made
    made.typed("server", "stop")
    shutil.rmtree(runtime)


def one_error(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of error that the command ended with."""
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]
