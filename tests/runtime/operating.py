"""Somebody at a shell who types the operator's commands."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from taskq_workers import cli
from tests.runtime.shop import Shop, shop
from tests.servers import RealServer

ROOT = Path(__file__).parents[2]
ROOTS = os.pathsep.join(str(ROOT / name) for name in (".", "workers", "dashboard"))

APP = """
from taskq import TaskQ
app = TaskQ({namespace!r}, url={url!r})

@app.task(queue="mail")
def send(order: int, size: int = 1) -> str:
    return f"sent {{order}}"

@app.task(queue="mail")
def text(word: str) -> str:
    return word
"""


@dataclass
class Operator:
    """Somebody at a shell, in a project with an app."""

    folder: Path
    env: dict[str, str]
    shop: Shop

    def __call__(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in this process, which is quicker; what a process does is tested with `command`."""
        out, err, path = io.StringIO(), io.StringIO(), list(sys.path)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name, value in env.items():
                patch.setenv(name, value)
            with redirect_stdout(out), redirect_stderr(err):
                code = cli.run(arguments)
        sys.path[:] = path
        sys.modules.pop("store", None)  # the next command may find another one
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "taskq_workers", *arguments]

    def ok(self, *arguments: str) -> str:
        done = self(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def objects(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ok(*arguments, "--json").splitlines()]


@contextmanager
def operating(server: RealServer, namespace: str, folder: Path) -> Generator[Operator]:
    """A project in a folder with a space in its name, whose app lives in `store.py`."""
    project = folder / "my shop"
    project.mkdir()
    (project / "pyproject.toml").write_text('[tool.taskq]\napp = "store:app"\n')
    (project / "store.py").write_text(APP.format(namespace=namespace, url=server.url))
    with pytest.MonkeyPatch.context() as patch, shop(server.url, namespace) as one:
        for name in [name for name in os.environ if name.startswith("TASKQ_")]:
            patch.delenv(name)
        yield Operator(project, os.environ | {"PYTHONPATH": ROOTS}, one)


def error_of(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr
