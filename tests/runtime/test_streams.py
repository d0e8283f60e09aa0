"""A worker whose output nobody reads, or that was started without any."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from taskq_workers import exits
from tests.runtime.world import PATIENCE_S, ROOT, World, world
from tests.servers import RealServer


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace) as one:
        yield one


def test_a_task_that_prints_does_not_fail_because_nobody_reads(here: World) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    worker = here.worker("-c", "2", stdout=theirs)
    os.close(theirs)
    for number in range(3):
        assert here.until_state(here.enqueue("prints", f"p{number}"), "o").result[:1] == b"d"
    assert worker.terminate() == exits.OK
    assert worker.text().count("nobody reads the standard output") == 1
    assert "Error" not in worker.text()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_worker_without_standard_streams_runs_tasks_that_print(here: World, closed: str) -> None:
    messages = [here.enqueue("prints", f"p{number}") for number in range(3)]
    line = shlex.join([sys.executable, "-m", "taskq_workers", "worker", "tests.runtime.guarded:app", "--burst"])
    subprocess.run(["sh", "-c", f"exec {line} {closed}"], env=here.env, cwd=ROOT, timeout=PATIENCE_S, check=True)
    assert [here.found(message).result[:1] for message in messages] == [b"d"] * 3
