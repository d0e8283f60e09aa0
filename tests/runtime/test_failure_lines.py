"""What a worker logs of a failure: one line, and with -v the traceback as well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from taskq import TaskQ
from tests.runtime.world import ROOT
from tests.servers import RealServer

_APP = """
from taskq import TaskQ

app = TaskQ({namespace!r}, url={url!r})


@app.task(name="fail", retry=False)
def fail():
    raise ValueError("no such order")
"""


def said(server: RealServer, namespace: str, folder: Path, *options: str) -> list[str]:
    (folder / "failing.py").write_text(_APP.format(namespace=namespace, url=server.url), "utf-8")
    with TaskQ(namespace, url=server.url) as app:
        app.remote("fail", retry=False).enqueue()
    command = [sys.executable, "-m", "taskq", "worker", "failing:app", "--burst", *options]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=True)
    return ended.stderr.splitlines()


@pytest.mark.parametrize(("options", "traces"), [((), 0), (("-v",), 1)])
def test_a_traceback_is_logged_with_v_alone(
    server: RealServer, namespace: str, tmp_path: Path, options: tuple[str, ...], traces: int
) -> None:
    lines = said(server, namespace, tmp_path, *options)
    failures = [at for at, line in enumerate(lines) if "ValueError: no such order" in line and "child-1" in line]
    assert len(failures) == 1, lines
    assert sum("Traceback (most recent call last)" in line for line in lines) == traces
    for at in failures[:traces]:
        assert lines[at + 1].strip() == "Traceback (most recent call last):"
        assert lines[at + 1].startswith(" "), "a line that is not indented could be taken for one of the log"
        assert any('failing.py", line' in line for line in lines[at + 2 : at + 6])


def test_lines_of_json_have_it_as_a_field(server: RealServer, namespace: str, tmp_path: Path) -> None:
    lines = said(server, namespace, tmp_path, "-v", "--log-format", "json")
    told = [json.loads(line) for line in lines if line.startswith("{")]
    traces = [one["traceback"] for one in told if "traceback" in one]
    assert len(traces) == 1
    assert all(trace.endswith("ValueError: no such order") for trace in traces)
