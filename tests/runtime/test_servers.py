"""The test servers themselves: a suite that runs on broken servers proves nothing."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from taskq.errors import BrokerUnavailable
from taskq.store.connection import SyncLink
from tests.servers import RealSentinel, RealServer

pytestmark = pytest.mark.each_server

ROOT = Path(__file__).parents[2]


def test_a_server_answers_on_its_socket_and_on_its_port(server: RealServer) -> None:
    for url in (server.url, server.tcp_url):
        link = SyncLink(url)
        assert link.execute("PING") == b"PONG"
        link.close()


def test_a_killed_server_comes_back_with_its_data(start_server: Callable[..., RealServer]) -> None:
    server = start_server(aof=True)
    link = server.link()
    link.execute("SET", "kept", "yes")
    link.execute("CONFIG", "SET", "appendfsync", "always")
    link.execute("SET", "synced", "yes")
    server.kill9()
    with pytest.raises(BrokerUnavailable, match="cannot reach the broker"):
        link.execute("PING")
    server.restart()
    assert link.execute("GET", "synced") == b"yes"
    link.close()


def test_one_node_with_all_slots_is_a_cluster(start_server: Callable[..., RealServer]) -> None:
    link = start_server(cluster=True).link()
    assert link.execute("SET", "{q}a", "1") == b"OK"
    assert link.pipeline([("GET", "{q}a"), ("GET", "b")]) == [b"1", None]
    link.close()


def test_tls_is_verified_against_the_given_authority(start_server: Callable[..., RealServer]) -> None:
    server = start_server_with_tls(start_server)
    link = SyncLink(server.tls_url)
    assert link.execute("PING") == b"PONG"
    link.close()
    stranger = SyncLink(server.tls_url.partition("?")[0])
    with pytest.raises(BrokerUnavailable, match="ssl_ca_certs"):
        stranger.execute("PING")


def start_server_with_tls(start_server: Callable[..., RealServer]) -> RealServer:
    try:
        return start_server(tls=True, requirepass="hush")
    except BrokerUnavailable as error:
        pytest.skip(f"this server was built without TLS: {error}")


def test_a_sentinel_leads_to_the_server(start_server: Callable[..., RealServer]) -> None:
    server = start_server(requirepass="hush")
    sentinel = RealSentinel(server).start()
    try:
        link = SyncLink(sentinel.url)
        assert link.execute("SET", "a", "1") == b"OK"
        link.close()
    finally:
        sentinel.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_server_dies_with_the_process_that_started_it(server: RealServer) -> None:
    script = (
        "import sys; from tests.servers import RealServer, need_server\n"
        "server = RealServer(need_server()).start()\n"
        "print(server.pid, server.dir, flush=True); sys.stdin.read()\n"
    )
    pipe = subprocess.PIPE
    owner = subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
    assert owner.stdout is not None
    pid, directory = owner.stdout.readline().split()
    handle = os.pidfd_open(int(pid))
    owner.kill()
    owner.wait(30)
    assert select.select([handle], [], [], 30)[0], "the server outlived its owner"
    os.close(handle)
    shutil.rmtree(directory)
