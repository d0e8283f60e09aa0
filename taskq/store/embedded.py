"""The embedded server: a real Redis or Valkey for one project, on a private unix socket, with its data in `.taskq/`.

Shared: `start` launches it, it outlives every command, `stop` ends it, and all commands of the project attach to it.
Owned: `own` launches one that ends with the process that asked for it (`taskq demo`, `taskq dev`, tests).

Only one server ever runs on one data directory: the server process itself holds the lock file, which it inherits
locked, so the lock ends with it and no stale file can lie about it. The socket's name is a hash of the project's
path, because a socket path ends at 104 to 108 bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import quote

from taskq.errors import BrokerUnavailable, ConfigError
from taskq.store import process
from taskq.store.binaries import ServerBinary, find_server
from taskq.store.spawn import START_TIMEOUT_S, STOP_TIMEOUT_S, probe, spawn, wait_until_ready

DATA_DIR = ".taskq"
LONGEST_SOCKET_PATH = 100
_LOCK_PAUSE_S = 0.02
_UNREADABLE = ("handle RDB format version", "Bad file format", "Wrong signature", "Unknown RDB")
# Shared servers that this process started: kept, so that they are reaped if they end before us.
_started: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What is known about the embedded server of a project; `pid` is None if it does not run."""

    running: bool
    url: str
    pid: int | None
    socket: str
    data: str
    log: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the server of one project lives: its socket, and its data directory with lock, log and pid."""

    socket: Path
    data: Path

    @property
    def lock(self) -> Path:
        return self.data / "server.lock"

    @property
    def log(self) -> Path:
        return self.data / "server.log"

    @property
    def program(self) -> Path:
        """Which program has served these data."""
        return self.data / "server.program"

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket))}"

    def status(self) -> ServerStatus:
        pid = process.listening_pid(self.socket)
        running = pid is not None
        return ServerStatus(running, self.url, pid, str(self.socket), str(self.data), str(self.log))


def attach(project_root: Path) -> str | None:
    """Return the URL of the project's running server, or None. Never starts one."""
    place = _place_of(project_root)
    return place.url if probe(place.socket) != "silent" else None


def status(project_root: Path) -> ServerStatus:
    return _place_of(project_root).status()


def start(project_root: Path) -> ServerStatus:
    """Start the project's server unless it runs; of two commands at once, one starts it and both get it.

    Its data of the last time are loaded again. Raises `ConfigError` without a server program.
    """
    place = _place_of(project_root)
    with _locked(place) as lock:
        if lock is not None:
            _started.append(_launch(place, lock, dies_with_us=False))
    return place.status()


def stop(project_root: Path) -> bool:
    """Stop the project's server, its data saved, and return whether one was running."""
    place = _place_of(project_root)
    pid = process.listening_pid(place.socket)
    if pid is None:
        return False
    if not process.end(pid, STOP_TIMEOUT_S):
        raise BrokerUnavailable(f"the server with process id {pid} did not end within {STOP_TIMEOUT_S:g} s")
    place.socket.unlink(missing_ok=True)
    return True


class OwnedServer:
    """A server of this process: it ends with `close()`, and on Linux also when this process is killed.

    Without a project its data are thrown away at the end. With one it uses the project's socket and data, so that
    other terminals can attach; if the project's shared server already runs, that one is used and left running.
    """

    def __init__(self, place: _Place, server: subprocess.Popen[bytes] | None, *, temporary: bool) -> None:
        self._place = place
        self._server = server
        self._temporary = temporary

    @property
    def url(self) -> str:
        return self._place.url

    @property
    def pid(self) -> int | None:
        return self._place.status().pid

    @property
    def shared(self) -> bool:
        """Whether somebody else's server is used."""
        return self._server is None

    def ended(self) -> int | None:
        """The exit code of a server of ours that has ended by itself; None while it runs, or if it is not ours."""
        return None if self._server is None else self._server.poll()

    def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.terminate()
            try:
                server.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(STOP_TIMEOUT_S)
            self._place.socket.unlink(missing_ok=True)
        if self._temporary:
            shutil.rmtree(self._place.data, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def own(project_root: Path | None = None) -> OwnedServer:
    """Start a server that ends with this process; call it from the main thread (see `spawn`)."""
    if project_root is not None:
        place = _place_of(project_root)
    else:
        folder = Path(tempfile.mkdtemp(prefix="taskq-"))
        place = _Place(_socket_path(folder), folder)
    server = None
    try:
        with _locked(place) as lock:
            if lock is not None:
                server = _launch(place, lock, dies_with_us=True)
    except BaseException:
        if project_root is None:
            shutil.rmtree(place.data, ignore_errors=True)
        raise
    return OwnedServer(place, server, temporary=project_root is None)


@contextlib.contextmanager
def _locked(place: _Place) -> Generator[IO[bytes] | None]:
    """Give the locked lock file to whoever may start the server; None once somebody else's server answers."""
    _make_data_dir(place.data)
    with place.lock.open("ab") as lock:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _try_lock(lock):
            if probe(place.socket) == "ready":
                yield None
                return
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"{place.lock} is held by a process whose server does not answer on {place.socket}; "
                    f"see {place.log}, and whether a server runs on these data from another machine or container"
                )
            time.sleep(_LOCK_PAUSE_S)  # the lock cannot be waited for with a time limit
        yield lock


def _try_lock(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _launch(place: _Place, lock: IO[bytes], *, dies_with_us: bool) -> subprocess.Popen[bytes]:
    binary = find_server(_served_by(place))
    place.socket.unlink(missing_ok=True)  # we hold the lock, so whoever bound it is gone
    settings = {
        "port": "0",
        "unixsocket": str(place.socket),
        "unixsocketperm": "700",
        "dir": str(place.data),
        "daemonize": "no",
        "pidfile": str(place.data / "server.pid"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    program = [str(binary.path)]
    server = spawn(program, settings, log=place.log, dies_with_us=dies_with_us, keep_open=(lock.fileno(),))
    try:
        wait_until_ready(server, place.socket, place.log)
    except BrokerUnavailable as error:
        if not any(words in str(error) for words in _UNREADABLE):
            raise
        raise BrokerUnavailable(
            f"{binary} ({binary.path}) cannot read the data in {place.data}: another or a newer server has written "
            f"them, or they are damaged (see {place.log}). Name the one that wrote them in TASKQ_SERVER_BINARY, or "
            "move the folder away to begin anew"
        ) from error
    place.program.write_text(f"{binary.kind} {'.'.join(map(str, binary.version))} {binary.path}\n", "utf-8")
    return server


def _served_by(place: _Place) -> ServerBinary | None:
    """The program that has written the data, if that was noted."""
    try:
        kind, version, path = place.program.read_text("utf-8").rstrip("\n").split(" ", 2)
        numbers = tuple(map(int, version.split(".")))
    except (OSError, ValueError):
        return None
    return ServerBinary(Path(path), "valkey" if kind == "valkey" else "redis", numbers, "path")


def _make_data_dir(data: Path) -> None:
    try:
        data.mkdir(mode=0o700, exist_ok=True)
        ignore = data / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise ConfigError(f"the embedded server cannot keep its data in {data}: {error.strerror}") from error


def _place_of(project_root: Path) -> _Place:
    root = project_root.resolve()
    return _Place(_socket_path(root), root / DATA_DIR)


def _socket_path(identity: Path) -> Path:
    name = hashlib.sha256(os.fsencode(identity)).hexdigest()[:16] + ".sock"
    mine = f"taskq-{os.getuid()}"
    folders = [Path(tempfile.gettempdir()) / mine, Path("/tmp") / mine]  # noqa: S108 - made private below
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session and Path(session).is_dir():
        folders.insert(0, Path(session) / "taskq")
    for folder in folders:
        if len(os.fsencode(folder / name)) <= LONGEST_SOCKET_PATH:
            return _private(folder) / name
    raise ConfigError(f"no directory is short enough for a unix socket: {', '.join(map(str, folders))}")


def _private(folder: Path) -> Path:
    """Make the directory; refuse one that another user could have prepared (/tmp belongs to everybody)."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(f"{folder} is not a private directory of this user; remove it, or set XDG_RUNTIME_DIR")
    return folder
