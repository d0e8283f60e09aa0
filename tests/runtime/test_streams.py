"""A worker whose output nobody reads, or that was started without any."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from taskq_workers import exits, streams
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
    here.until(lambda: "nobody reads" in worker.text(), "it to be said")
    assert worker.terminate() == exits.OK
    assert worker.text().count("nobody reads the standard output") == 1
    assert "Error" not in worker.text()


def test_what_a_task_prints_is_there_before_it_ends(here: World) -> None:
    """And so it is not lost with the child, were that killed now."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    here.worker(stdout=theirs)
    os.close(theirs)
    here.enqueue("prints_and_waits", "p", here.gate("g"))
    here.hear("printed", "p")
    assert os.read(ours, 100) == b"p\n"
    os.close(ours)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_worker_without_standard_streams_runs_tasks_that_print(here: World, closed: str) -> None:
    messages = [here.enqueue("prints", f"p{number}") for number in range(3)]
    line = shlex.join([sys.executable, "-m", "taskq_workers", "worker", "tests.runtime.guarded:app", "--burst"])
    subprocess.run(["sh", "-c", f"exec {line} {closed}"], env=here.env, cwd=ROOT, timeout=PATIENCE_S, check=True)
    assert [here.found(message).result[:1] for message in messages] == [b"d"] * 3


def test_who_finds_that_nobody_reads_says_it_later(caplog: pytest.LogCaptureFixture) -> None:
    """The one who writes holds the lock of the stream; a handler that writes there holds its own and waits for that."""
    ours, theirs = os.pipe()
    os.close(ours)
    raw = streams._Raw(theirs, "stdout")
    assert raw.write(b"lost") == 4
    assert not caplog.records
    streams.tell()
    streams.tell()
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "nobody reads the standard output of this process any more"
    ]
    os.close(theirs)


def test_a_full_pipe_that_does_not_block_is_told_as_without_us() -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    raw = streams._Raw(theirs, "stdout")
    while raw.write(b"x" * 65_536) is not None:
        pass
    with pytest.raises(BlockingIOError):
        io.BufferedWriter(raw, 16).write(b"y" * 100)
    os.close(ours)
    os.close(theirs)
