"""Input that a server or a worker has to refuse: one clear error, the documented exit code, and nothing stored."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq import BrokerUnavailable, EnqueueUnconfirmed, TaskQ
from taskq.errors import BrokerRefused
from taskq.store.keys import kind_of, queue_keys
from taskq_workers import exits
from tests.runtime.folder import Folder, one_error, stored
from tests.runtime.world import PATIENCE_S
from tests.servers import RealServer, free_port

pytestmark = pytest.mark.filterwarnings("ignore:enqueue.* blocks the event loop")  # both faces in one test


@pytest.fixture
def folder(tmp_path: Path, namespace: str) -> Folder:
    path = tmp_path / "a shop"
    path.mkdir()
    return Folder(path, namespace)


# -- a server that will not do -----------------------------------------------------------------------------------------


class OldServer:
    """Answers as Redis 6.0 does, to the few commands that come before it is refused; notes all of them."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while head := lines.readline():
                words = [lines.read(int(lines.readline()[1:]) + 2)[:-2] for _ in range(int(head[1:]))]
                self.seen.add(words[0].upper())
                connection.sendall(self._answer(words))

    def _answer(self, words: list[bytes]) -> bytes:
        name = words[0].upper()
        if name == b"INFO":
            text = b"# Server\r\nredis_version:6.0.16\r\nredis_mode:standalone\r\n"
            return b"$%d\r\n%b\r\n" % (len(text), text)
        if name in (b"PING", b"SELECT", b"CLIENT"):
            return b"+OK\r\n"
        return b"-ERR unknown command `%b`, with args beginning with: \r\n" % words[0]


@pytest.fixture
def old_server() -> Iterator[OldServer]:
    one = OldServer()
    yield one
    one.close()


def test_a_server_that_is_too_old_is_refused_before_anything_is_leased(folder: Folder, old_server: OldServer) -> None:
    done = folder.taskq("worker", "shop:app", "--url", old_server.url)
    said = one_error(done, exits.UNREACHABLE)
    assert "is redis 6.0.16; taskq needs at least Redis 6.2 or Valkey 7.2" in said
    assert not old_server.seen & {b"EVAL", b"EVALSHA", b"SADD", b"SET"}


def test_a_server_that_is_too_old_takes_no_enqueue(old_server: OldServer) -> None:
    app = TaskQ("old", url=old_server.url)
    with pytest.raises(BrokerRefused, match=r"Redis 6\.2 or Valkey 7\.2 is the oldest that will do"):
        app.enqueue("far.away")
    app.close()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda server: server.tcp_url.replace("redis://", "redis://:hunter2@"), "it has no password set"),
        (lambda server: server.tcp_url.replace("redis://", "redis://bob:hunter2@"), "does not accept the user name"),
        (lambda server: server.tcp_url + "/99", "it has no database of that number"),
        (lambda server: server.tcp_url.replace("redis://", "redis+sentinel://") + "/main", "it is no Sentinel"),
    ],
    ids=["password", "user", "database", "sentinel"],
)
async def test_an_address_that_the_server_refuses(
    server: RealServer, namespace: str, folder: Folder, change: Callable[[RealServer], str], text: str
) -> None:
    url = change(server)
    app = TaskQ(namespace, url=url)
    with pytest.raises(BrokerRefused, match=text) as caught:
        app.enqueue("far.away")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(BrokerRefused, match=text):
        await app.aenqueue("far.away")
    await app.aclose()
    assert text in one_error(folder.taskq("worker", "shop:app", "--url", url), exits.UNREACHABLE)
    assert not stored(server)


async def test_an_address_where_nobody_is_leaves_no_doubt(namespace: str) -> None:
    app = TaskQ(namespace, url=f"redis://:hunter2@127.0.0.1:{free_port()}", enqueue_timeout=0.1)
    for caught in [pytest.raises(BrokerUnavailable, match="nothing was enqueued") for _ in range(2)]:
        with caught as told:
            app.enqueue("far.away")
        assert not isinstance(told.value, EnqueueUnconfirmed)
        assert "hunter2" not in str(told.value)
    with pytest.raises(BrokerUnavailable, match="nothing was enqueued"):
        await app.aenqueue("far.away")
    await app.aclose()


# -- a key of another type ---------------------------------------------------------------------------------------------


def contents(server: RealServer) -> dict[bytes, Any]:
    """All that is stored, but for the names of queues: those are announced first."""
    with server.client() as client:
        return {key: client.dump(key) for key in stored(server) if not key.endswith(b":queues")}


NAMES = ["meta", "body", "ready:0", "wake", "delayed", "state"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_key_of_another_type_is_named_and_nothing_is_stored(
    server: RealServer, namespace: str, name: str
) -> None:
    key = queue_keys(namespace, "default").base + name
    app = TaskQ(namespace, url=server.url)
    late = app.remote("far.away", delay=60)
    told = f"use another namespace or remove that key .*: {re.escape(key)} is a string, not a "
    with server.client() as client:
        client.set(key, "mine")
        before = contents(server)
        with pytest.raises(BrokerRefused, match=told):
            late.enqueue()
        with pytest.raises(BrokerRefused, match=told):
            await late.aenqueue()
        with pytest.raises(BrokerRefused, match=told):
            late.enqueue_many([()] * 300)
        after = contents(server)
    assert after == before
    await app.aclose()


def test_a_key_of_another_type_is_named_by_worker_and_commands(
    server: RealServer, folder: Folder, namespace: str
) -> None:
    key = queue_keys(namespace, "default").ready_for(0)
    with server.client() as client:
        client.sadd(f"taskq:{{{namespace}}}:queues", "default")
        client.set(key, "mine")
    assert f"{key} is a string, not a list" in one_error(
        folder.taskq("queue", "ls", "--namespace", namespace, "--url", server.url), exits.UNREACHABLE
    )
    done = folder.taskq("worker", "shop:app", "--burst", "--url", server.url)
    assert f"{key} is a string, not a list" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_type_of_every_key_of_a_queue_is_known(namespace: str) -> None:
    keys = queue_keys(namespace, "mail")
    words = set(type(keys).__slots__) - {"base", "behind", "channel", "landing", "name", "none", "ready", "streamed"}
    assert {kind_of(getattr(keys, word)) for word in words} == {"hash", "list", "stream", "zset"}
    assert {kind_of(keys.lane(b"x")), kind_of(keys.progress(b"x"))} == {"string"}
    assert [kind_of(keys.worker(b"x")), kind_of(keys.parked_task("a.b"))] == ["hash", "list"]


# -- what only a run can show ------------------------------------------------------------------------------------------

RESULTS = {
    "odd": "SerializationError: result is an object",
    "large": "the result takes 70,002 bytes, the limit is 65,536",
    "nan": "result is nan, which JSON does not have",
    "looped": "contains itself",
    "waits": "EventLoopRunning: result() would stop the event loop",
    "leaves": "SystemExit: 3",
}


def test_results_that_cannot_be_kept_are_dead_letters_that_say_why(
    server: RealServer, folder: Folder, namespace: str
) -> None:
    app = TaskQ(namespace, url=server.url)
    handles = {name: app.enqueue(f"shop.{name}") for name in RESULTS}
    done = folder.taskq("worker", "shop:app", "--burst", "--url", server.url)
    assert (done.returncode, "Traceback" in done.stderr) == (exits.OK, False)
    for name, text in RESULTS.items():
        assert handles[name].status() == "dead"
        with pytest.raises(Exception, match=text.replace("(", r"\(").replace(")", r"\)")):
            handles[name].result(timeout=PATIENCE_S)
        assert f"dead shop.{name} " in done.stderr
    app.close()


def test_a_task_that_no_worker_knows_is_parked_and_told(server: RealServer, folder: Folder, namespace: str) -> None:
    app = TaskQ(namespace, url=server.url)
    handle = app.enqueue("shop.god", 1)
    done = folder.taskq("worker", "shop:app", "--burst", "--url", server.url)
    assert done.returncode == exits.OK
    assert "parked messages of task 'shop.god' in queue default: no worker here knows this task" in done.stderr
    assert handle.status() == "parked"
    app.close()


def test_ids_and_unique_keys_that_are_taken_give_the_message_that_was_there(server: RealServer, namespace: str) -> None:
    app = TaskQ(namespace, url=server.url)
    for sender in (app.remote("far.away", id="order-1"), app.remote("far.away", unique="order-2")):
        first, second = sender.enqueue(1), sender.enqueue(2)
        assert (first.created, second.created, second.id) == (True, False, first.id)
        assert "not created" in repr(second)
    handle = app.handle("nowhere")
    assert (handle.status(), handle.cancel(), handle.info().attempts) == ("unknown", "too_late", None)
    with pytest.raises(LookupError, match="it was never accepted here"):
        handle.result(timeout=0)
    app.close()
