"""Blocks: many records in one entry of a packed topic, column by column, compressed where zstandard is installed.

A block is a byte 1 (its layout), a byte of flags, and a body, which may be compressed as one zstd frame. The body has
the number of records (u32), then for keys and headers, if some record has them, a length for each record (u32, all ones
for none), for times a value for each (i64, the least for none), for values, unless they are one list, a length for each
(all ones for a tombstone); then the bytes of keys, headers and values. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final, NamedTuple

from taskq.codec import Codec
from taskq.errors import DecodeError, TaskqError

LAYOUT: Final = 1
ZSTD, KEYS, HEADERS, TIMES, LISTED = 1, 2, 4, 8, 16  # flags; listed: the values are one list, written by the codec
COMPRESS_FROM: Final = 512  # bytes: what is smaller gains nothing
MAX_BLOCK: Final = 16 * 1_048_576  # bytes, uncompressed, so that a few bytes never fill the memory
MAX_RECORDS: Final = 1_000
NONE: Final = 0xFFFFFFFF
NO_TIME: Final = -(2**63)


class Columns(NamedTuple):
    """The records of one block, by column. `values` is one list of the codec, or the bytes of each value."""

    keys: Sequence[bytes | None]
    headers: Sequence[bytes | None]
    times: Sequence[int | None]
    values: bytes | Sequence[bytes | None]


def zstandard() -> ModuleType | None:
    """The module, if it is installed (extra `zstd`)."""
    try:
        import zstandard as found
    except ImportError:
        return None
    return found


def pack(columns: Columns) -> bytes:
    """The block of some records, at least one."""
    count, flags = len(columns.keys), 0
    head: list[bytes] = [struct.pack("<I", count)]
    data: list[bytes] = []
    for flag, column in ((KEYS, columns.keys), (HEADERS, columns.headers)):
        if any(column):
            flags |= flag
            head.append(_lengths(column))
            data += [one for one in column if one]
    if any(time is not None for time in columns.times):
        flags |= TIMES
        head.append(struct.pack(f"<{count}q", *(NO_TIME if time is None else time for time in columns.times)))
    if isinstance(columns.values, bytes):
        flags |= LISTED
        data.append(columns.values)
    else:
        head.append(_lengths(columns.values))
        data += [one for one in columns.values if one]
    body = b"".join(head + data)
    module = zstandard() if len(body) >= COMPRESS_FROM else None
    if module is not None:
        small = module.ZstdCompressor(level=1).compress(body)
        if len(small) < len(body):
            flags, body = flags | ZSTD, small
    return bytes((LAYOUT, flags)) + body


def _lengths(column: Sequence[bytes | None]) -> bytes:
    return struct.pack(f"<{len(column)}I", *(NONE if one is None else len(one) for one in column))


def unpack(block: bytes, codec: Codec) -> tuple[Sequence[Any], ...]:
    """Keys and headers as bytes, times, and values of the records of a block. Raises DecodeError."""
    try:
        return _unpack(block, codec)
    except TaskqError:
        raise
    except Exception as error:
        raise DecodeError(f"a block of records cannot be read: {type(error).__name__}: {error}") from error


def _unpack(block: bytes, codec: Codec) -> tuple[Sequence[Any], ...]:
    if block[0] != LAYOUT:
        raise DecodeError(f"a block of records has layout {block[0]}, this release reads {LAYOUT}: use a newer one")
    flags, body = block[1], _plain(block[2:]) if block[1] & ZSTD else block[2:]
    count: int = struct.unpack_from("<I", body)[0]
    if not 0 < count <= MAX_RECORDS:
        raise DecodeError(f"a block of records says that it has {count:,}")
    at = 4
    sizes: dict[int, Sequence[int]] = {}
    times: Sequence[int | None] = (None,) * count
    for flag in (KEYS, HEADERS, TIMES, 0 if flags & LISTED else -1):
        if flag == TIMES and flags & TIMES:
            times = [None if one == NO_TIME else one for one in struct.unpack_from(f"<{count}q", body, at)]
            at += 8 * count
        elif flag == -1 or (flag != TIMES and flags & flag):
            sizes[flag] = struct.unpack_from(f"<{count}I", body, at)
            at += 4 * count
    nothing: Sequence[bytes | None] = (None,) * count
    keys, at = _cut(body, at, sizes[KEYS]) if KEYS in sizes else (nothing, at)
    headers, at = _cut(body, at, sizes[HEADERS]) if HEADERS in sizes else (nothing, at)
    if flags & LISTED:
        values = codec.loads(body[at:])
        if not isinstance(values, list) or len(values) != count:
            raise DecodeError(f"a block of {count} records does not have as many values")
        return keys, headers, times, values
    found, _ = _cut(body, at, sizes[-1])
    return keys, headers, times, [None if one is None else codec.loads(one) for one in found]


def _cut(body: bytes, at: int, sizes: Sequence[int]) -> tuple[list[bytes | None], int]:
    found: list[bytes | None] = []
    for size in sizes:
        if size == NONE:
            found.append(None)
        else:
            found.append(body[at : at + size])
            at += size
    if at > len(body):
        raise DecodeError("a block of records is cut short")
    return found, at


def _plain(data: bytes) -> bytes:
    module = zstandard()
    if module is None:
        raise DecodeError(
            "a block of records is compressed, which needs the package zstandard: install taskq-redis[zstd]"
        )
    size: int = module.frame_content_size(data)
    if not 0 <= size <= MAX_BLOCK:
        raise DecodeError(f"a compressed block of records says that it has {size:,} bytes")
    plain: bytes = module.ZstdDecompressor().decompress(data, max_output_size=MAX_BLOCK)
    return plain
