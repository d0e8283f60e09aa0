"""`taskq demo`: the account, and the whole of it as a program without a terminal."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from taskq_workers.demo import corpus, ledger
from taskq_workers.demo.ledger import Line, Reader
from taskq_workers.demo.run import DemoReport, Kill
from taskq_workers.demo.summary import last_line
from taskq_workers.demo.tasks import index
from tests.examples.conftest import Bench

LAST = re.compile(r"demo: done=(\d+) dead=(\d+) lost=(\d+) duplicated=(\d+) seconds=[\d.]+ rate=\d+")


def line(event: str, id: str, *, attempt: int = 1, pid: int = 7, at: float = 0.0) -> Line:
    return Line(event, id, attempt, pid, fence=1, at=at)  # type: ignore[arg-type]


def test_the_demo_kills_a_child_and_loses_nothing(bench: Bench) -> None:
    folder = bench.tmp / "a folder"
    folder.mkdir()
    lines = bench.python("-m", "taskq_workers", "demo", "--files", "150", cwd=folder).splitlines()
    found = LAST.fullmatch(lines[-1])
    assert found, lines[-1]
    done, dead, lost, _ = map(int, found.groups())
    assert (done + dead, lost) == (150, 0)
    assert any("kill -9" in text for text in lines), lines
    assert list(folder.iterdir()) == []


def test_the_demo_keeps_its_folder_when_asked(bench: Bench) -> None:
    lines = bench.python("-m", "taskq_workers", "demo", "--files", "3", "--children", "1", "--keep").splitlines()
    kept = next(text for text in lines if text.startswith("kept")).removeprefix("kept").partition(":")[0].strip()
    names = {path.name for path in Path(kept).iterdir()}
    assert {"ledger", "worker.log", ".taskq"} <= names
    # More lines than messages are possible: what the killed child had not stored yet runs again.
    assert len({entry.id for entry in Reader(Path(kept) / "ledger").new() if entry.event == "done"}) == 3
    shutil.rmtree(kept)


def test_the_account_counts_against_the_ledger() -> None:
    lines = [
        line("start", "a"),
        line("done", "a"),
        line("start", "b"),
        line("done", "b"),
        line("start", "b"),
        line("done", "b"),
        line("start", "c"),
        line("failed", "c"),
        line("start", "c", attempt=2),
        line("failed", "c", attempt=2),
        line("start", "d"),
    ]
    account = ledger.settle_account(["a", "b", "c", "d", "e"], ["c"], lines)
    assert (account.done, account.dead, account.lost, account.duplicated, account.retries) == (2, 1, 2, 1, 1)


def test_what_a_killed_process_ran_and_when_it_ran_again() -> None:
    lines = [
        line("start", "a", at=1.0),
        line("done", "a", at=2.0),
        line("start", "b", at=3.0),
        line("start", "c", pid=8, at=3.0),
        line("start", "b", pid=8, at=5.5),
    ]
    assert list(ledger.running(lines, 7)) == ["b"]
    assert ledger.started_again(lines, ["b"], since=5.0) == {"b": 0.5}


def test_the_ledger_gives_each_whole_line_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    reader = Reader(path)
    assert reader.new() == []
    path.write_text("start a 1 7 5 1000000000\ndone a 1 7")
    assert reader.new() == [Line("start", "a", 1, 7, 5, 1.0)]
    with path.open("a") as file:
        file.write(" 5 2000000000\n")
    assert reader.new() == [Line("done", "a", 1, 7, 5, 2.0)]
    path.write_text(path.read_text() + "nonsense a 1 7 5 1\n")
    with pytest.raises(ValueError, match="no task wrote"):
        reader.new()


def test_a_source_is_counted_and_one_that_is_not_python_fails() -> None:
    found = index(b"class A:\n    async def f(self): ...\ndef g(): ...\n", "x.py")
    assert found.definitions == 3
    assert found.tokens > 20
    with pytest.raises(SyntaxError, match=r"x\.py"):
        index(b"print 'x'", "x.py")


def test_the_standard_library_without_what_was_installed() -> None:
    root, files = corpus.standard_library()
    assert root / "ast.py" in files
    assert not [path for path in files if "site-packages" in path.parts]
    _, few = corpus.standard_library(10)
    assert len(few) == 10
    assert len({os.path.relpath(path, root)[0] for path in few}) > 2, "they are spread over the library"


def test_a_python_without_its_tests_gets_one_file_that_fails(tmp_path: Path) -> None:
    (tmp_path / "with/test/tokenizedata").mkdir(parents=True)
    assert corpus.broken_file(tmp_path / "with", tmp_path) is None
    broken = corpus.broken_file(tmp_path / "without", tmp_path)
    assert broken is not None
    with pytest.raises(SyntaxError):
        index(broken.read_bytes(), broken.name)


def test_the_last_line_is_for_machines() -> None:
    account = ledger.Account(done=10, dead=2, lost=1, duplicated=0, retries=4)
    report = DemoReport(account, 2.5, (), (), Kill(1, 0.0), complete=True)
    assert last_line(report) == "demo: done=10 dead=2 lost=1 duplicated=0 seconds=2.5 rate=4"
