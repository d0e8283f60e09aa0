"""The proxy itself: it changes nothing unless told to, does what it is told, and tells when it could not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.faults.proxy import Proxy
from tests.faults.resp import Frames, arguments, script_names
from tests.servers import RealServer


@pytest.fixture
def proxy(server: RealServer) -> Iterator[Proxy]:
    one = Proxy(server)
    yield one
    one.close()


def client(proxy: Proxy, *, tcp: bool = False) -> redis.Redis:
    """A client that sends each command once and waits half a second for its reply."""
    options: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "socket_timeout": 0.5, "protocol": 2}
    if tcp:
        return redis.Redis(host="127.0.0.1", port=proxy.port, **options)
    return redis.Redis(unix_socket_path=proxy.url.removeprefix("unix://"), **options)


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_frames_are_whole_however_the_stream_is_cut(step: int) -> None:
    values = [b"+OK\r\n", b"-ERR no\r\n", b":-5\r\n", b"$-1\r\n", b"$4\r\n\r\n\r\n\r\n", b"*-1\r\n", b"*0\r\n"]
    values.append(b"*3\r\n:1\r\n*2\r\n$1\r\na\r\n$0\r\n\r\n+x\r\n")
    stream, frames = b"".join(values), Frames()
    cut = [frame for at in range(0, len(stream), step) for frame in frames.feed(stream[at : at + step])]
    assert cut == values
    assert frames.rest == b""


def test_a_command_is_read_as_its_words() -> None:
    assert arguments(b"*2\r\n$4\r\nECHO\r\n$3\r\n\r\n:\r\n") == [b"ECHO", b"\r\n:"]
    assert {"enqueue", "lease", "ack"} <= set(script_names().values())


def test_without_orders_everything_passes_and_is_written_down(proxy: Proxy) -> None:
    with client(proxy) as one, client(proxy, tcp=True) as two:
        assert one.set("a", b"\r\n$") is True
        assert two.get("a") == b"\r\n$"
        with one.pipeline(transaction=False) as pipe:
            pipe.incr("n")
            pipe.incr("n")
            pipe.get("n")
            assert pipe.execute() == [1, 2, b"2"]
        assert two.execute_command("BLPOP", "none", 0.01) is None
    assert [call.fate for call in proxy.calls] == ["executed"] * len(proxy.calls)
    assert len(proxy.executed("INCRBY")) == 2
    proxy.must_have_fired()


def test_a_lost_request_was_not_executed_and_a_lost_reply_was(proxy: Proxy) -> None:
    proxy.on("INCRBY", 2).lose_request()
    proxy.on("INCRBY", 3).lose_reply()
    proxy.on("INCRBY", 4).mute_reply()
    with client(proxy) as one:
        assert one.incr("n") == 1
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                one.incr("n")
        with pytest.raises(redis.TimeoutError):
            one.incr("n")
        assert one.incr("n") == 4
    assert len(proxy.executed("INCRBY")) == 4
    proxy.must_have_fired()


def test_a_held_request_arrives_although_its_sender_has_gone(proxy: Proxy, server: RealServer) -> None:
    held = proxy.on("INCRBY").hold_request()
    with client(proxy) as one:
        with pytest.raises(redis.TimeoutError):
            one.incr("n")
        assert one.get("n") is None
    held.end()
    seen = proxy.on("GET").before(lambda _: None)
    with server.client() as direct:
        while not proxy.executed("INCRBY"):
            direct.ping()
        assert direct.get("n") == b"1"
    assert seen.fired == 0
    with pytest.raises(AssertionError, match="did not fire"):
        proxy.must_have_fired()


def test_an_error_of_our_own_keeps_its_place_among_the_replies(proxy: Proxy) -> None:
    proxy.on("INCRBY", 2).answer("MISCONF no space left")
    with client(proxy) as one, one.pipeline(transaction=False) as pipe:
        for _ in range(3):
            pipe.incr("n")
        replies = pipe.execute(raise_on_error=False)
    assert [str(reply) for reply in replies] == ["1", "MISCONF no space left", "2"]


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("at", [0, 1, 5])
def test_a_reply_is_cut_where_it_was_said(proxy: Proxy, tcp: bool, at: int) -> None:
    proxy.on("GET").cut_reply(at)
    with client(proxy, tcp=tcp) as one:
        one.set("a", "value")
        with pytest.raises(redis.ConnectionError):
            one.get("a")
        assert one.get("a") == b"value"
    proxy.must_have_fired()


def test_a_black_hole_keeps_what_was_sent_and_delivers_it(proxy: Proxy) -> None:
    with client(proxy) as one, client(proxy) as two:
        one.ping()
        two.ping()
        hole = proxy.black_hole("up")
        with pytest.raises(redis.TimeoutError):
            one.incr("n")
        assert not proxy.executed("INCRBY")
        hole.end()
        assert two.get("n") in (None, b"1")
        while not proxy.executed("INCRBY"):
            two.ping()
    proxy.must_have_fired()


def test_slices_refusals_silence_and_half_open_connections(proxy: Proxy) -> None:
    pieces = proxy.slicer(1)
    with client(proxy) as one:
        assert one.set("a", "x" * 300)
        assert one.get("a") == b"x" * 300
    pieces.end()
    for trouble, error in ((proxy.refuse(), redis.ConnectionError), (proxy.silence(), redis.TimeoutError)):
        with client(proxy) as one, pytest.raises(error):
            one.ping()
        trouble.end()
    with client(proxy) as one:
        one.ping()
        proxy.drop_ends()
        number = one.client_id()
        with client(proxy) as two:
            assert two.client_kill_filter(_id=str(number)) == 1
        with pytest.raises(redis.TimeoutError):
            one.ping()
    proxy.must_have_fired()
