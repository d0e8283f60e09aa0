"""A folder with an app in it, `taskq` run there, and what it is to say when it refuses."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from taskq_workers import cli
from tests.runtime.world import PATIENCE_S, ROOT
from tests.servers import RealServer

APP = """
import os
from taskq import TaskQ
app = TaskQ({namespace!r})

@app.task(retry=False)
def good(number: int = 0) -> int:
    return number

@app.task(retry=False)
def odd():
    return object()

@app.task(retry=False)
def large():
    return "x" * 70_000

@app.task(retry=False)
def nan() -> float:
    return float("nan")

@app.task(retry=False)
def looped():
    value = []
    value.append(value)
    return value

@app.task(retry=False)
async def waits():
    return good.enqueue().result(timeout=1)

@app.task(retry=False)
def leaves():
    raise SystemExit(3)
"""


def typed(line: Sequence[str], folder: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, as if it had been started in a folder and with this environment."""
    out, err, path, modules = io.StringIO(), io.StringIO(), [*sys.path], {*sys.modules}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in os.environ.keys() - env.keys():
            patch.delenv(name)
        for name, value in env.items():
            patch.setenv(name, value)
        with redirect_stdout(out), redirect_stderr(err):
            code = cli.run(line)
    sys.path[:] = path
    for name in {*sys.modules} - modules:
        if str(folder) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]  # the next folder has an app of the same name
    return subprocess.CompletedProcess(line, code, out.getvalue(), err.getvalue())


class Folder:
    """A folder with an app in it, and `taskq` run there."""

    def __init__(self, path: Path, namespace: str) -> None:
        self.path = path
        self.write("shop.py", APP.format(namespace=namespace))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TASKQ_")}
        self.env = kept | {"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "workers"))}

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

    def taskq(self, *line: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "taskq_workers", *line]
        return subprocess.run(
            command,
            cwd=self.path,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def told(self, *line: str, **env: str) -> subprocess.CompletedProcess[str]:
        """The same in this process, which is quicker, for what is refused before a worker starts."""
        return typed(line, self.path, self.env | env)

    def start(self, *line: str, out: Any = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "taskq_workers", *line]
        return subprocess.Popen(
            command, cwd=self.path, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )


def one_error(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one error of a command that ended with this code, and without a traceback or a line of log."""
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    errors = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert len(errors) == 1, done.stderr
    return errors[0]


def stored(server: RealServer) -> set[bytes]:
    with server.client() as client:
        keys: Any = client.keys("*")
        return set(keys)
