"""How often the cyclic collector looks in a child: seldom, unless the app has said something else."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from taskq import TaskQ
from taskq_workers.surroundings import COLLECT_AFTER, collect_seldom
from tests.runtime.world import ROOT
from tests.servers import RealServer

_APP = """
import gc

from taskq import TaskQ

{first}
app = TaskQ({namespace!r}, url={url!r})


@app.task(name="ask", result_ttl=60)
def ask():
    return [list(gc.get_threshold()), gc.isenabled()]
"""


@pytest.mark.parametrize(
    ("first", "after"),
    [("", COLLECT_AFTER), ("gc.set_threshold(300)", 300), ("gc.set_threshold(50_000)", 50_000)],
    ids=["as it is", "more often", "less often"],
)
def test_a_task_sees_what_the_app_has_set_or_else_ours(
    server: RealServer, namespace: str, tmp_path: Path, first: str, after: int
) -> None:
    (tmp_path / "collecting.py").write_text(_APP.format(first=first, namespace=namespace, url=server.url), "utf-8")
    app = TaskQ(namespace, url=server.url)
    handle = app.remote("ask", result_ttl=60).enqueue()
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "taskq_workers", "worker", "collecting:app", "--burst", "-p", "1"]
    ended = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert handle.result(timeout=10) == [[after, *gc.get_threshold()[1:]], True]
    app.close()


@pytest.mark.parametrize("kept", [0, 5, 701, COLLECT_AFTER + 1])
def test_what_somebody_has_said_before_is_left_as_it_is(kept: int) -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(kept)
        collect_seldom()
        assert gc.get_threshold()[0] == kept
    finally:
        gc.set_threshold(*before)


@pytest.mark.parametrize("pythons", [700, 2_000])
def test_what_python_has_by_itself_is_changed(pythons: int) -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(pythons)
        collect_seldom()
        assert gc.get_threshold() == (COLLECT_AFTER, *before[1:])
    finally:
        gc.set_threshold(*before)
