"""The bytes of a message: read again, and copied."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import codec as codecs
from taskq.codec import JSON, Compressed
from taskq.errors import DecodeError, NewerLayout
from taskq.message import copied, decode, encode

ID = bytes(16)


class Reversed:
    """JSON backwards: nobody who does not know this codec can read it."""

    name = "reversed"

    def dumps(self, value: Any, /) -> bytes:
        return JSON.dumps(value)[::-1]

    def loads(self, data: bytes, /) -> Any:
        return JSON.loads(data[::-1])


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_CODECS", dict(codecs._CODECS))
    codecs.register(Compressed(JSON))
    codecs.register(Reversed())


@pytest.mark.parametrize("size", [1, 10_000])
def test_a_codec_may_write_bytes_that_end_like_json(registry: None, size: int) -> None:
    body = encode("shop.send", ["x" * size], {}, 5, codec="json+zlib")
    assert decode(ID, body).args == ["x" * size]


@pytest.mark.parametrize("codec", ["json", "json+zlib", "reversed"])
@pytest.mark.parametrize("headers", [None, {"trace": "é", "b": "old"}])
def test_a_copy_is_the_same_call_at_another_time_with_more_headers(
    registry: None, codec: str, headers: dict[str, Any] | None
) -> None:
    args, kwargs = [1, 2.5, 2**63, "\x00]"], {"b": [None, True], "a": {"z": 1, "y": ""}}
    body = encode("shop.send", args, kwargs, 5, {"t": 3.0, "then": {"task": "x"}}, headers, codec)
    again = decode(ID, copied(body, 7, {"b": "new"}))
    assert (again.task, again.args, again.kwargs, again.created) == ("shop.send", args, kwargs, 7)
    assert list(again.kwargs) == ["b", "a"]
    assert again.options == {"t": 3.0, "then": {"task": "x"}}
    assert again.headers == {**(headers or {}), "b": "new"}


def test_the_bytes_of_a_codec_that_is_not_known_here_are_copied_as_they_are(registry: None) -> None:
    body = encode("shop.send", [1], {}, 5, codec="reversed")
    del codecs._CODECS["reversed"]
    copy = copied(body, 7, {})
    codecs.register(Reversed())
    assert decode(ID, copy).args == [1]


@pytest.mark.parametrize("body", [b"", b"no message", b"\x01abc", encode("t", [], {}, 5)[:-1], b"\x01" + bytes(4)])
def test_what_is_no_message_has_no_copy(body: bytes) -> None:
    with pytest.raises(DecodeError):
        copied(body, 7, {})
    with pytest.raises(NewerLayout):
        copied(b"\x02" + encode("t", [], {}, 5)[1:], 7, {})
