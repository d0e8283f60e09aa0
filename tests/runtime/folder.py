"""A folder with an app in it, `taskq` run there, and what it is to say when it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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
