"""What is typed wrong, set wrong, or printed where nobody reads: one clear error and the documented exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from taskq import TaskQ
from taskq_workers import exits
from tests.runtime.folder import APP, Folder, one_error, stored
from tests.runtime.world import PATIENCE_S
from tests.servers import RealServer


@pytest.fixture
def folder(tmp_path: Path, namespace: str) -> Folder:
    path = tmp_path / "a shop"
    path.mkdir()
    return Folder(path, namespace)


# -- worker and commands: what they are told ---------------------------------------------------------------------------

LINES = {
    "no app": ("worker", exits.USAGE, "no app is named: write taskq worker module:app"),
    "no processes": ("worker shop:app -p 0", exits.USAGE, "processes=0: give a whole number from 1 to 256"),
    "negative processes": ("worker shop:app -p -1", exits.USAGE, "processes=-1"),
    "no slots": ("worker shop:app -c 0", exits.USAGE, "concurrency=0: give a whole number from 1 to 4096"),
    "negative slots": ("worker shop:app -c -3", exits.USAGE, "concurrency=-3"),
    "a word": ("worker shop:app -c many", exits.USAGE, "'many' is not a valid integer"),
    "memory": ("worker shop:app --max-memory -1", exits.USAGE, "max-memory=-1: give a whole number from 0"),
    "nan": ("worker shop:app --drain-timeout nan", exits.USAGE, "drain-timeout=nan is not a number of seconds"),
    "queue": ("worker shop:app -q a{b}", exits.USAGE, "queue name 'a{b}' is not valid"),
    "weight": ("worker shop:app -q a:0", exits.USAGE, "the weight of 'a' is a whole number from 1 to 1000"),
    "twice": ("worker shop:app -q a,a", exits.USAGE, "'a' is named twice"),
    "option": ("worker shop:app --concurency 3", exits.USAGE, "Did you mean '--concurrency'?"),
    "command": ("wroker shop:app", exits.USAGE, "did you mean 'worker'?"),
    "file": ("worker shop.py", exits.NO_APP, "'shop.py' is a file; name the module and the app in it, like shop:app"),
    "no module": ("worker shp:app", exits.NO_APP, "there is no module 'shp'"),
    "no attribute": ("worker shop:ap", exits.NO_APP, "shop has no 'ap'; did you mean 'app'?"),
    "no app there": ("worker shop:good", exits.NO_APP, "is of type SyncTask, not a TaskQ app; it holds shop:app"),
    "raises": ("worker raises:app", exits.NO_APP, "the module raises was found, but raised ZeroDivisionError"),
    "exits": ("worker leaves:app", exits.NO_APP, "raised SystemExit: 3"),
    "syntax": ("worker syntax:app", exits.NO_APP, "SyntaxError"),
    "twice registered": ("worker twice:app", exits.USAGE, "task 'twice.good' is registered twice"),
    "message": ("message show nowhere --app shop:app", exits.FAILED, "there is no trace of message nowhere"),
    "cancel": ("message cancel nowhere --app shop:app", exits.FAILED, "there is no trace of message nowhere"),
    "pause": ("queue pause nowhere --app shop:app", exits.USAGE, "there is no queue 'nowhere' in namespace"),
    "run": ("run shop.god --app shop:app", exits.USAGE, "(did you mean 'shop.good'?)"),
    "run with": ("run shop.good x --app shop:app", exits.USAGE, "number: 'x' (str) does not fit int"),
    "commands' app": ("queue ls --app nowhere:app", exits.NO_APP, "there is no module 'nowhere'"),
    "namespace": ("queue ls --namespace a{b}", exits.USAGE, "namespace name 'a{b}' is not valid"),
    "no namespace": ("queue ls", exits.USAGE, "no namespace is set"),
}


@pytest.mark.parametrize(("line", "code", "text"), LINES.values(), ids=LINES)
def test_what_the_commands_are_told_wrong(server: RealServer, folder: Folder, line: str, code: int, text: str) -> None:
    folder.write("raises.py", "1 / 0\n")
    folder.write("leaves.py", "raise SystemExit(3)\n")
    folder.write("syntax.py", "def (\n")
    folder.write("twice.py", APP.format(namespace="twice") + "\n@app.task\ndef good(): ...\n")
    imports = line.startswith("worker") and (code == exits.NO_APP or "twice" in line)  # in a child
    done = (folder.taskq if imports else folder.told)(*line.split(), TASKQ_URL=server.url)
    assert text in one_error(done, code)
    assert not stored(server)


SETTINGS = {
    "typo": ('[tool.taskq]\nap = "shop:app"', "unknown setting 'ap' in [tool.taskq]; did you mean 'app'?"),
    "type": ("[tool.taskq]\napp = 5", "[tool.taskq] app must be a text that is not empty, not 5"),
    "empty": ('[tool.taskq]\nurl = ""', "[tool.taskq] url must be a text that is not empty, not ''"),
    "address": ('[tool.taskq]\nurl = "redsi://h"', "unknown scheme 'redsi'; did you mean redis://?"),
    "no table": ("[tool.taskq]\nworker = 5", "[tool.taskq] worker is a table: write [tool.taskq.worker]"),
    "option": ("[tool.taskq.worker]\nconcurency = 5", "unknown setting 'concurency' in [tool.taskq.worker]"),
    "value": ("[tool.taskq.worker]\nconcurrency = 0", "concurrency=0: give a whole number from 1"),
    "TOML": ("[tool.taskq", "pyproject.toml cannot be read"),
}


@pytest.mark.parametrize(("text", "said"), SETTINGS.values(), ids=SETTINGS)
def test_settings_that_cannot_be_meant(folder: Folder, text: str, said: str) -> None:
    folder.write("pyproject.toml", text + "\n")
    assert said in one_error(folder.told("worker", "shop:app", "--burst"), exits.USAGE)


ADDRESSES = {
    "none": ({}, exits.USAGE, "no broker is set for the project in"),
    "typo of the variable": ({"TASKQ_ULR": "redis://h"}, exits.USAGE, "(TASKQ_ULR is set; did you mean TASKQ_URL?)"),
    "scheme": ({"TASKQ_URL": "redsi://:hunter2@h"}, exits.USAGE, "did you mean redis://?"),
    "memory": ({"TASKQ_URL": "memory://"}, exits.USAGE, "memory:// lives in one process"),
    "nobody": (
        {"TASKQ_URL": "redis://:hunter2@127.0.0.1:1"},
        exits.UNREACHABLE,
        "cannot reach the broker at redis://:***@",
    ),
}


@pytest.mark.parametrize(("env", "code", "text"), ADDRESSES.values(), ids=ADDRESSES)
def test_a_worker_without_a_broker_says_one_thing(folder: Folder, env: dict[str, str], code: int, text: str) -> None:
    done = folder.taskq("worker", "shop:app", **env)
    assert text in one_error(done, code)
    assert "hunter2" not in done.stderr
    assert "is back" not in done.stderr


# -- output that goes nowhere ------------------------------------------------------------------------------------------


@pytest.fixture
def busy(server: RealServer, namespace: str) -> TaskQ:
    app = TaskQ(namespace, url=server.url)
    app.enqueue("shop.good", 1)
    return app


def test_a_reader_that_has_gone_and_a_full_disk_end_a_command_without_a_traceback(
    server: RealServer, folder: Folder, namespace: str, busy: TaskQ
) -> None:
    line = ["stats", "--namespace", namespace, "--url", server.url]
    reader, writer = os.pipe()
    os.close(reader)
    for target in (writer, os.open("/dev/full", os.O_WRONLY) if Path("/dev/full").exists() else writer):
        done = subprocess.run(
            [sys.executable, "-m", "taskq_workers", *line],
            cwd=folder.path,
            env=folder.env,
            stdout=target,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (exits.FAILED, False), done.stderr
    busy.close()


def test_a_narrow_terminal_and_no_colour_change_nothing_of_the_words(
    server: RealServer, folder: Folder, namespace: str, busy: TaskQ
) -> None:
    line = ["queue", "ls", "--namespace", namespace, "--url", server.url]
    done = folder.taskq(*line, COLUMNS="20", NO_COLOR="1")
    assert done.returncode == exits.OK
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[0].split()[:3] == ["QUEUE", "READY", "LEASED"]
    assert done.stdout.splitlines()[1].split()[:2] == ["default", "1"]
    busy.close()


@pytest.mark.crash
def test_a_worker_that_is_interrupted_at_birth_ends_in_order(
    server: RealServer, folder: Folder, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with log.open("wb") as out:
        running = folder.start("worker", "shop:app", "--url", server.url, out=out)
    try:
        while b"slots" not in log.read_bytes():
            assert running.poll() is None, log.read_text()
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE_S) == exits.OK
    finally:
        running.kill()
        running.wait()
    assert "Traceback" not in log.read_text()


@pytest.mark.crash
def test_a_server_that_goes_away_under_a_worker_is_told_once(
    start_server: Callable[..., RealServer], folder: Folder, tmp_path: Path
) -> None:
    server = start_server()
    log = tmp_path / "log"
    with log.open("wb") as out:
        running = folder.start("worker", "shop:app", "--url", server.url, out=out)
    try:
        while b"slots" not in log.read_bytes():
            assert running.poll() is None, log.read_text()
        server.kill9()
        while b"broker unreachable" not in log.read_bytes():
            assert running.poll() is None, log.read_text()
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE_S) == exits.OK
    finally:
        running.kill()
        running.wait()
    text = log.read_text()
    assert ("Traceback" in text, "is back" in text) == (False, False), text
