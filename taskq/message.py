"""The envelope of one request to run a task, and its bytes in Redis.

Stored form, opaque to every script: layout byte, CRC-32 of the rest (4 bytes, little-endian), then one JSON array
`[task, args, kwargs, created_ms, options, headers, codec]`. With a codec other than JSON, args and kwargs are null
there and a NUL byte and the codec's bytes follow; JSON text holds no NUL.

Rule for changing it: raise `LAYOUT`, keep reading the one before for a release, and say so in `docs/protocol.md`.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any
from zlib import crc32

import orjson

from taskq import codec as codecs
from taskq.errors import ConfigError, DecodeError, NewerLayout, SerializationError
from taskq.quick import maker

LAYOUT = 1
"""The newest layout that this release writes and reads."""

PLAIN_BYTES = 1000
"""A body above this is marked big, so that a lease can count its bytes before it takes it."""

_head = Struct("<BI")
_COUNTER_MASK = (1 << 61) - 1  # one bit of its 62 stays clear, so that counting up never overflows


@dataclass(frozen=True, slots=True)
class Message:
    """One request to run a task, as a worker reads it.

    `created` is the producer's wall clock in milliseconds; `options` holds what the call changed about its task.
    """

    id: bytes
    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    created: int
    options: dict[str, Any] | None = None
    headers: dict[str, Any] | None = None


_made = maker(Message)


def new_ids(count: int) -> list[bytes]:
    """Fresh message ids: UUIDs of version 7 (RFC 9562), 16 bytes each, in order.

    Those of one call share their millisecond and 73 random bits to count up from, as section 6.2 of the RFC allows.
    """
    noise = int.from_bytes(os.urandom(10), "big")
    first = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | (noise >> 62 & 0xFFF) << 64 | 0b10 << 62
    first |= noise & _COUNTER_MASK
    return [number.to_bytes(16, "big") for number in range(first, first + count)]


def id_text(raw: bytes) -> str:
    """The 36 characters that people see for 16 bytes.

    >>> id_text(bytes(16))
    '00000000-0000-0000-0000-000000000000'
    """
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def id_bytes(given: str) -> bytes:
    """The 16 bytes of an id that a person gave: a UUID as it is, any other text by its SHA-1 name (RFC 9562, version
    5).

    >>> id_text(id_bytes("order-42")) == id_text(id_bytes("order-42"))
    True
    """
    try:
        return uuid.UUID(given).bytes
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_URL, "taskq:" + given).bytes


def layout_name(layout: int) -> str:
    """The name under which messages of a layout wait that no worker here reads; like a task name, but none can be."""
    return f"layout {layout}"


def encode(
    task: str,
    args: list[Any] | tuple[Any, ...],
    kwargs: dict[str, Any],
    created: int,
    options: dict[str, Any] | None = None,
    headers: dict[str, Any] | None = None,
    codec: str = "json",
) -> bytes:
    """The stored bytes of a message; the arguments have passed `taskq.codec` already.

    Raises SerializationError if something in it is not JSON after all.
    """
    try:
        if codec == "json":
            payload = orjson.dumps((task, args, kwargs, created, options, headers))
        else:
            return encode_with(task, codecs.get(codec).dumps([args, kwargs]), created, options, headers, codec)
    except TypeError as error:
        raise SerializationError(f"cannot store a call of {task}: {error}") from error
    return _head.pack(LAYOUT, crc32(payload)) + payload


def encode_with(
    task: str, data: bytes, created: int, options: dict[str, Any] | None, headers: dict[str, Any] | None, codec: str
) -> bytes:
    """The same for arguments that a codec other than JSON has written already; it need not be known here."""
    payload = orjson.dumps((task, None, None, created, options, headers, codec)) + b"\0" + data
    return _head.pack(LAYOUT, crc32(payload)) + payload


def decode(id: bytes, body: bytes) -> Message:
    """The message in stored bytes.

    Raises NewerLayout for a message of a newer release, DecodeError for anything that taskq did not write.
    """
    payload = _payload(body)
    try:
        # JSON text holds no NUL; what another codec wrote may well end like JSON
        fields = _with_codec(payload) if b"\0" in payload else orjson.loads(payload)
        task, args, kwargs, created, options, headers = fields[:6]
    except (ValueError, TypeError, RecursionError, LookupError, ConfigError) as error:
        raise DecodeError(f"cannot be decoded: {type(error).__name__}: {error}") from error
    if type(task) is not str or type(args) is not list or type(kwargs) is not dict:
        raise DecodeError("the fields of the envelope have the wrong types")
    return _made(id, task, args, kwargs, created, options, headers)


def copied(body: bytes, created: int, headers: Mapping[str, str]) -> bytes:
    """The stored bytes of the same call made anew: created at another time, with these headers more.

    Task, arguments and options stay as they are; what a codec of its own wrote is not decoded. Raises as `decode`.
    """
    envelope, mark, rest = _payload(body).partition(b"\0")
    try:
        task, args, kwargs, _, options, old, *codec = orjson.loads(envelope)
    except (ValueError, TypeError) as error:
        raise DecodeError(f"cannot be decoded: {type(error).__name__}: {error}") from error
    if type(task) is not str:
        raise DecodeError("the fields of the envelope have the wrong types")
    kept = old if isinstance(old, dict) else {}
    payload = orjson.dumps((task, args, kwargs, created, options, {**kept, **headers}, *codec)) + mark + rest
    return _head.pack(LAYOUT, crc32(payload)) + payload


def task_in(body: bytes | None) -> str:
    """The name of the task in stored bytes, or '' if there is none to be read. No argument is decoded."""
    try:
        fields = orjson.loads(
            (body or b"")[5:].partition(b"\0")[0]
        )  # JSON has no such byte, what other codecs write may
    except ValueError:
        return ""
    return fields[0] if isinstance(fields, list) and fields and isinstance(fields[0], str) else ""


def _payload(body: bytes) -> bytes:
    """The stored bytes after their head, which is checked."""
    if body[:1] != b"\x01":
        if body and body[0] > LAYOUT and body[0] < 32:
            raise NewerLayout(f"layout {body[0]} is newer than {LAYOUT}, which this release reads")
        raise DecodeError("not a message: unknown layout byte")
    payload = body[5:]
    if crc32(payload) != int.from_bytes(body[1:5], "little"):
        raise DecodeError("the checksum does not match: the stored bytes were changed")
    return payload


def _with_codec(payload: bytes) -> list[Any]:
    """The fields of a message whose arguments were written by a codec of its own."""
    envelope, _, rest = payload.partition(b"\0")
    fields: list[Any] = orjson.loads(envelope)
    fields[1:3] = codecs.decode_arguments(rest, codecs.get(fields[6]))
    return fields
