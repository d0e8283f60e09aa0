"""Reload: no change of a file is missed, whenever it comes, and what cannot be watched is said."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq.errors import ConfigError
from taskq_workers.reload import Watcher

watchfiles = pytest.importorskip("watchfiles")

PATIENCE_S = 30.0


def answer(folder: Path) -> str:
    """What a new process finds in the module."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", "import shop; print(shop.answer)"]
    ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True, timeout=60)
    return ended.stdout.strip()


@contextlib.contextmanager
def change_of(folder: Path) -> Generator[None]:
    """What is done inside is seen, however soon."""
    changed = threading.Event()
    watcher = Watcher(folder, changed.set)
    watcher.start()
    yield
    assert changed.wait(PATIENCE_S)
    watcher.stop()


def test_what_changes_as_soon_as_it_has_started_is_seen(tmp_path: Path) -> None:
    with change_of(tmp_path):
        (tmp_path / "shop.py").write_text("answer = 1\n")


def test_a_change_of_the_same_size_in_the_same_second_is_what_children_find(tmp_path: Path) -> None:
    shop = tmp_path / "shop.py"
    shop.write_text("answer = 1\n")
    os.utime(shop, (1_700_000_000, 1_700_000_000))
    assert answer(tmp_path) == "1"
    assert Path(importlib.util.cache_from_source(shop)).exists()
    with change_of(tmp_path):
        shop.write_text("answer = 2\n")
        os.utime(shop, (1_700_000_000, 1_700_000_000))
    assert answer(tmp_path) == "2"


def test_only_the_bytecode_of_what_has_changed_is_forgotten(tmp_path: Path) -> None:
    for name in ("shop", "other"):
        (tmp_path / f"{name}.py").write_text("answer = 1\n")
    (tmp_path / "shop.py").write_text("import other\nanswer = 1\n")
    assert answer(tmp_path) == "1"
    with change_of(tmp_path):
        (tmp_path / "shop.py").write_text("answer = 3\n")
    kept = [Path(importlib.util.cache_from_source(tmp_path / f"{name}.py")).exists() for name in ("shop", "other")]
    assert kept == [False, True]


def test_a_file_that_has_gone_and_one_that_python_has_never_read_are_changes_too(tmp_path: Path) -> None:
    (tmp_path / "gone.py").touch()
    seen = threading.Semaphore(0)
    watcher = Watcher(tmp_path, seen.release)
    watcher.start()
    (tmp_path / "gone.py").unlink()
    assert seen.acquire(timeout=PATIENCE_S)
    (tmp_path / "fresh.py").touch()
    assert seen.acquire(timeout=PATIENCE_S)
    watcher.stop()


def test_a_folder_that_cannot_be_watched_is_one_clear_error(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path / "nowhere", lambda: None)
    with pytest.raises(
        ConfigError, match=r"cannot watch .*nowhere for changes: .*WATCHFILES_FORCE_POLLING=1.*without reload"
    ):
        watcher.start()
    watcher.stop()


def test_a_watch_that_ends_later_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()

    def watch(*_: Any, stop_event: threading.Event, **__: Any) -> Iterator[set[Any]]:
        assert not stop_event.is_set()
        assert go_on.wait(PATIENCE_S)
        yield set()
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(watchfiles, "watch", watch)
    changed = threading.Event()
    watcher = Watcher(tmp_path, changed.set)
    with caplog.at_level(logging.INFO, "taskq.worker"):
        watcher.start()
        go_on.set()
        assert changed.wait(PATIENCE_S)
        watcher.stop()
    told = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert told == [f"changes of {tmp_path} are not seen any more: OS file watch limit reached"]
