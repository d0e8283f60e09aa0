"""`taskq worker` and `taskq dev` as programs: what they refuse, what they say, and that all ends together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from taskq import TaskQ
from taskq.store import embedded, keys
from taskq_workers import exits
from tests.runtime.supervising import PATIENCE_S, ROOT, wait_for_end
from tests.servers import RealServer, need_server

THEN = 1_700_000_000  # versions are of one size, and of one second: Python alone would not see that one has changed

APP = """
from taskq import TaskQ
app = TaskQ({namespace!r})
@app.task
def version() -> int:
    return {version}
"""


class Project:
    """A folder with an app in it, and the commands that run there."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self.folder = folder
        self.namespace = namespace
        self.log = folder / "said.txt"
        self.write(1)
        (folder / "pyproject.toml").write_text('[tool.taskq]\napp = "shop:app"\n')

    def write(self, version: int) -> None:
        shop = self.folder / "shop.py"
        shop.write_text(APP.format(namespace=self.namespace, version=version))
        os.utime(shop, (THEN, THEN))

    def start(self, *line: str) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(str(ROOT / part) for part in (".", "workers"))
        env = {name: value for name, value in os.environ.items() if not name.startswith(("TASKQ_", "PYTHONDONT"))}
        with self.log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "taskq_workers", *line],
                cwd=self.folder,
                env=env | {"PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stderr=output,
            )

    def run(self, *line: str) -> int:
        return self.start(*line).wait(PATIENCE_S)

    def said(self) -> str:
        return self.log.read_text()


@pytest.fixture
def project(tmp_path: Path, namespace: str) -> Project:
    folder = tmp_path / "a project"
    folder.mkdir()
    return Project(folder, namespace)


def test_a_worker_says_what_it_chose_and_from_where(server: RealServer, project: Project) -> None:
    assert project.run("worker", "--burst", "--url", server.url, "-q", "default:3,low") == exits.OK
    said = project.said()
    for part in ("shop:app, namespace", server.url, "from --url", "shop.version", "default:3, low", "8 in one child"):
        assert part in said


def test_a_queue_that_nobody_uses_is_hinted_at(server: RealServer, project: Project) -> None:
    app = TaskQ(project.namespace, url=server.url)
    app.remote("shop.version", queue="mail").enqueue()
    app.close()
    assert project.run("worker", "--burst", "--url", server.url, "-q", "defalt,maill,mail,default,images") == exits.OK
    hints = [line for line in project.said().splitlines() if "no task of this app uses queue" in line]
    assert len(hints) == 3
    assert "'defalt', and nothing is in it (did you mean 'default'?); it is served" in hints[0]
    assert "'maill', and nothing is in it (did you mean 'mail'?)" in hints[1]
    assert "'images', and nothing is in it; it is served" in hints[2]


def test_a_password_is_never_said(start_server: Callable[..., RealServer], project: Project) -> None:
    server = start_server(requirepass="hunter2secret")
    assert project.run("worker", "--burst", "-vv", "--url", server.url) == exits.OK
    said = project.said()
    assert project.run("worker", "--burst", "--url", server.url.replace("secret", "wrong")) == exits.UNREACHABLE
    assert "hunter2" not in said + project.said()


def test_a_server_that_evicts_is_refused_unless_that_is_allowed(
    start_server: Callable[..., RealServer], project: Project
) -> None:
    server = start_server(config={"maxmemory-policy": "allkeys-lru"})
    assert project.run("worker", "--burst", "--url", server.url) == exits.UNREACHABLE
    assert "allkeys-lru" in project.said()
    assert "--allow-eviction" in project.said()
    assert project.run("dev", "--no-reload", "--url", server.url) == exits.UNREACHABLE
    said = project.said()
    assert ("set it to noeviction, or leave --url out" in said, "--allow-eviction" in said) == (True, False)
    assert project.run("worker", "--burst", "--url", server.url, "--allow-eviction") == exits.OK


def test_a_worker_refuses_data_of_a_release_that_it_cannot_read(server: RealServer, project: Project) -> None:
    assert project.run("worker", "--burst", "--url", server.url) == exits.OK
    with server.client() as client:
        client.set(keys.layout(project.namespace), 99)
    assert project.run("worker", "--burst", "--url", server.url) == exits.USAGE
    assert "stores layout 99" in project.said()


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("worker", exits.USAGE, "no broker is set"),
        ("worker --url redis://127.0.0.1:1", exits.UNREACHABLE, "cannot reach the broker"),
        ("worker shp:app --url redis://127.0.0.1:1", exits.NO_APP, "did you mean 'shop'"),
        ("worker shop:ap --url redis://127.0.0.1:1", exits.NO_APP, "did you mean 'app'"),
    ],
)
def test_a_worker_that_cannot_start_says_why_in_one_line(project: Project, line: str, code: int, words: str) -> None:
    assert project.run(*line.split()) == code
    errors = [line for line in project.said().splitlines() if "error:" in line.lower()]
    assert len(errors) == 1, project.said()
    assert words in errors[0]


def test_dev_runs_a_server_and_a_worker_takes_changes_and_ends_both(project: Project) -> None:
    need_server()
    pytest.importorskip("watchfiles")
    running = project.start("dev")
    try:
        app = _app(project, running)
        assert app.enqueue("shop.version").result(timeout=PATIENCE_S) == 1
        server_pid = embedded.status(project.folder).pid
        assert server_pid is not None
        project.write(2)
        deadline = time.monotonic() + PATIENCE_S
        while app.enqueue("shop.version").result(timeout=PATIENCE_S) != 2:
            assert running.poll() is None
            assert time.monotonic() < deadline, project.said()
        app.close()
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE_S) == exits.OK
        wait_for_end(server_pid)
        assert embedded.attach(project.folder) is None
    finally:
        running.kill()
        running.wait()


def until_said(project: Project, running: subprocess.Popen[bytes], words: str, times: int = 1) -> None:
    """Wait until the command has said these words."""
    deadline = time.monotonic() + PATIENCE_S
    while project.said().count(words) < times:
        assert running.poll() is None, project.said()
        assert time.monotonic() < deadline, project.said()
        time.sleep(0.02)  # a file that another process writes gives no event to wait for


@pytest.mark.crash
def test_dev_starts_a_server_that_died_again_and_ends_when_it_dies_at_once_once_more(project: Project) -> None:
    need_server()
    running = project.start("dev", "--no-reload")
    try:
        app = _app(project, running)
        assert app.enqueue("shop.version").result(timeout=PATIENCE_S) == 1
        first = embedded.status(project.folder).pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until_said(project, running, "the server is back")
        assert project.said().count("the server died: signal 9 (SIGKILL)") == 1
        assert app.enqueue("shop.version").result(timeout=PATIENCE_S) == 1
        app.close()
        second = embedded.status(project.folder).pid
        assert second not in (None, first)
        os.kill(second or 0, signal.SIGKILL)
        assert running.wait(PATIENCE_S) == exits.UNREACHABLE
        assert "died again (signal 9 (SIGKILL))" in project.said().splitlines()[-1]
    finally:
        running.kill()
        running.wait()


def test_dev_ends_when_its_server_is_stopped(project: Project) -> None:
    need_server()
    running = project.start("dev", "--no-reload")
    try:
        app = _app(project, running)
        assert app.enqueue("shop.version").result(timeout=PATIENCE_S) == 1
        app.close()
        assert embedded.stop(project.folder)
        assert running.wait(PATIENCE_S) == exits.UNREACHABLE
        assert "was stopped" in project.said().splitlines()[-1]
    finally:
        running.kill()
        running.wait()


BROKEN = ("import nothing_of_that_name", "raise SystemExit(3)", "app.task(retry='often')(print)")
HOOK = "@app.on_startup\ndef start() -> None:\n    raise RuntimeError('no start')"


@pytest.mark.parametrize("broken", [*BROKEN, HOOK])
def test_with_reload_an_app_that_cannot_start_is_told_and_waits_for_a_change(
    server: RealServer, project: Project, broken: str
) -> None:
    pytest.importorskip("watchfiles")
    app = TaskQ(project.namespace, url=server.url)
    with (project.folder / "shop.py").open("a") as shop:
        shop.write(broken + "\n")
    running = project.start("worker", "--reload", "--url", server.url)
    try:
        until_said(project, running, "waiting for a change")
        project.write(2)
        assert app.enqueue("shop.version").result(timeout=PATIENCE_S) == 2
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE_S) == exits.OK
    finally:
        running.kill()
        running.wait()
        app.close()


@pytest.mark.parametrize(
    ("hook", "why"),
    [
        (HOOK, "RuntimeError: no start"),
        (HOOK.replace("def", "async def"), "RuntimeError: no start"),
        (HOOK.replace("RuntimeError('no start')", "SystemExit(3)"), "SystemExit: 3"),
    ],
)
def test_a_start_up_hook_that_raises_ends_the_worker_and_is_named(
    server: RealServer, project: Project, hook: str, why: str
) -> None:
    with (project.folder / "shop.py").open("a") as shop:
        shop.write(hook + "\n")
    assert project.run("worker", "-p", "2", "--url", server.url) == exits.FAILED
    said = project.said()
    assert said.splitlines()[-1] == f"error: the start-up hook shop.start raised {why}"
    assert said.count("Traceback") == 1
    assert 'shop.py", line' in said
    assert "hooking.py" not in said


@pytest.mark.parametrize("line", ["worker --reload --url", "dev --url"])
def test_with_reload_a_broker_that_no_change_can_mend_ends_the_worker(project: Project, line: str) -> None:
    pytest.importorskip("watchfiles")
    for url, code in (("http://nobody", exits.USAGE), ("memory://", exits.USAGE), ("redis://127.0.0.1:1", 3)):
        assert project.run(*line.split(), url) == code
        assert len([line for line in project.said().splitlines() if "error:" in line]) == 1


def _app(project: Project, running: subprocess.Popen[bytes]) -> TaskQ:
    """The project's app, once its server answers."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        url = embedded.attach(project.folder)
        if url is not None:
            return TaskQ(project.namespace, url=url)
        assert running.poll() is None, project.said()
        assert time.monotonic() < deadline, project.said()


def test_a_reload_does_not_wait_for_an_import_that_hangs(server: RealServer, project: Project) -> None:
    pytest.importorskip("watchfiles")
    shop = project.folder / "shop.py"
    shop.write_text("import pathlib, time\npathlib.Path('hangs').touch()\ntime.sleep(1000)\n")
    running = project.start("worker", "--reload", "--url", server.url)
    try:
        _until(lambda: (project.folder / "hangs").exists(), project)
        project.write(1)
        app = TaskQ(project.namespace, url=server.url)
        assert app.enqueue("shop.version").result(timeout=PATIENCE_S) == 1
        app.close()
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE_S) == exits.OK
    finally:
        running.kill()
        running.wait()
    told = [line for line in project.said().splitlines() if "before it had started: reload" in line]
    assert len(told) == 1
    assert " INFO " in told[0]
    assert " ERROR " not in project.said()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("import time\ntime.sleep(1000)\n", "s: it is still importing shop:app"),
        (
            "import time\n@app.on_startup\ndef s() -> None:\n    time.sleep(1000)\n",
            "s: the start-up hooks of shop:app have not returned",
        ),
    ],
)
def test_a_child_that_does_not_come_up_is_told_once(
    server: RealServer, project: Project, more: str, words: str
) -> None:
    shop = project.folder / "shop.py"
    shop.write_text(shop.read_text() + more)
    running = project.start("worker", "--url", server.url)
    try:
        _until(lambda: words in project.said(), project)
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE_S) == exits.OK
    finally:
        running.kill()
        running.wait()
    assert project.said().count("is not there yet") == 1


def _until(condition: Callable[[], bool], project: Project) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, project.said()
        time.sleep(0.02)  # nothing that another process writes gives an event to wait for
