"""The small HTTP server beside a worker: it answers probes whatever other clients do."""

from __future__ import annotations

import http.client
import socket
import struct
from collections.abc import Iterator

import pytest

from taskq.errors import ConfigError
from taskq_workers.listener import MOST, Answer, Listener
from taskq_workers.probes import SILENT_S, STUCK_S, Standing, stuck, unready

PATIENCE_S = 30.0
LARGE = b"x" * 5_000_000


def broken(accept: str) -> Answer:
    raise RuntimeError("no")


@pytest.fixture
def listener() -> Iterator[Listener]:
    routes = {
        "/livez": lambda accept: Answer(200, b"ok\n"),
        "/accept": lambda accept: Answer(503, accept.encode(), "text/odd"),
        "/broken": broken,
        "/large": lambda accept: Answer(200, LARGE),
    }
    one = Listener("127.0.0.1", 0, routes)
    one.start()
    yield one
    one.close()


def ask(listener: Listener, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(listener.address, timeout=PATIENCE_S)
    connection.request(method, path, headers=headers)
    return connection.getresponse()


def client(listener: Listener, sent: bytes = b"") -> socket.socket:
    host, _, port = listener.address.rpartition(":")
    one = socket.create_connection((host, int(port)), PATIENCE_S)
    one.sendall(sent)
    return one


def alive(listener: Listener) -> bool:
    return ask(listener, "/livez").read() == b"ok\n"


def test_paths_are_answered_with_status_body_and_type(listener: Listener) -> None:
    answer = ask(listener, "/accept?x=1", Accept="text/plain")
    assert (answer.status, answer.read(), answer.headers["Content-Type"]) == (503, b"text/plain", "text/odd")
    assert ask(listener, "/").status == 404
    assert ask(listener, "/livez/../livez").status == 404
    assert ask(listener, "/livez", "POST").status == 501
    head = ask(listener, "/livez", "HEAD")
    assert (head.status, head.headers["Content-Length"], head.read()) == (200, "3", b"")


def test_a_page_that_fails_is_an_error_of_its_own(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(listener, "/broken").status == 500
    assert "/broken could not be answered" in caplog.text
    assert alive(listener)


def test_silent_clients_keep_no_probe_out(listener: Listener) -> None:
    silent = [client(listener, b"GET /livez HTTP/1.1\r\nX: ") for _ in range(3 * MOST)]
    assert alive(listener)
    assert silent[0].recv(1) == b"", "the oldest was closed for those that came later"
    for one in silent:
        one.close()


def test_clients_that_never_read_keep_nobody_waiting(listener: Listener) -> None:
    deaf = [client(listener, b"GET /large HTTP/1.0\r\n\r\n") for _ in range(MOST // 2)]
    assert alive(listener)
    assert len(ask(listener, "/large").read()) == len(LARGE)
    for one in deaf:
        one.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a client that speaks TLS
        b"GET /" + b"x" * 100_000,
        b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /livez HTTP/9.9.9\r\n\r\n",
        b"\r\n\r\n",
        b"\xff\xfe\x00 \x00 \x00\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_is_no_request_ends_only_its_own_connection(listener: Listener, sent: bytes) -> None:
    with client(listener) as one:
        try:
            one.sendall(sent)
            one.shutdown(socket.SHUT_WR)
            while one.recv(65_536):
                pass
        except OSError:
            pass  # it was closed while we were still sending
    assert alive(listener)


def test_a_client_that_resets_does_no_harm(listener: Listener) -> None:
    for _ in range(MOST):
        one = client(listener, b"GET /large HTTP/1.0\r\n\r\n")
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
    assert alive(listener)


def test_a_port_that_cannot_be_had_is_one_clear_error(listener: Listener) -> None:
    host, _, port = listener.address.rpartition(":")
    with pytest.raises(ConfigError, match=f"cannot listen on {host} port {port}"):
        Listener(host, int(port), {})
    with pytest.raises(ConfigError, match="cannot listen on no such host"):
        Listener("no such host", 0, {})
    with pytest.raises(ConfigError, match=r"write 0\.0\.0\.0"):
        Listener("", 0, {})


def test_an_address_of_version_six_stands_in_brackets() -> None:
    try:
        one = Listener("::1", 0, {})
    except ConfigError:
        pytest.skip("there is no ::1 here")
    assert one.address.startswith("[::1]:")
    one.close()


# -- what the probes say

WELL = Standing("running", 0.2, serving=True, recorded=0.5)


@pytest.mark.parametrize(
    ("standing", "why"),
    [
        (WELL, None),
        (Standing("starting", 0.2), "starting"),
        (Standing("quiet", 0.2, serving=True, recorded=0.5), "quiet"),
        (Standing("draining", 0.2, serving=True, recorded=0.5), "draining"),
        (Standing("running", 0.2, serving=True, recorded=0.5, outage=True), "the broker does not answer"),
        (Standing("running", 0.2, serving=True, recorded=SILENT_S), "not registered"),
        (Standing("running", 0.2, serving=True), "not registered"),
        (Standing("running", 0.2, recorded=0.5), "no child is running"),
        (Standing("running", STUCK_S, serving=True, recorded=0.5), "has not turned"),
    ],
)
def test_a_worker_is_ready_if_it_is_at_work_and_known(standing: Standing, why: str | None) -> None:
    said = unready(standing)
    assert said is None if why is None else why in (said or "")


def test_a_worker_is_alive_as_long_as_its_loop_turns_whatever_else_is_wrong() -> None:
    assert stuck(Standing("draining", STUCK_S - 1, outage=True)) is None
    assert stuck(Standing("running", STUCK_S, serving=True, recorded=0.0)) == "the main loop has not turned for 30 s"
