"""Entries of a partition's stream, as the server gives them, to records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import orjson

from taskq.codec import Codec
from taskq.errors import DecodeError
from taskq.events.packing import unpack
from taskq.events.record import Offset, Record, Undecodable, made

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


def records(topic: str, partition: int, codec: Codec, entries: Iterable[Any]) -> list[Record]:
    """The records of entries (XRANGE, XREAD: id and flat fields), in order.

    What cannot be read becomes a record with an `Undecodable` value, so that nothing of a partition is lost for one bad
    record; a packed entry is read as a whole or not at all. Entries that taskq did not write are left out.
    """
    found: list[Record] = []
    loads, new = codec.loads, tuple.__new__
    last, ms = b"", 0
    for entry, fields in entries:
        if not fields or fields[0] != b"n":
            continue
        head, _, seq = entry.partition(b"-")
        if head != last:  # many entries have one millisecond
            last, ms = head, int(head)
        offset = new(Offset, (ms, int(seq), 0))
        number = int(fields[1].partition(b",")[0])
        if len(fields) == 6 and fields[2] == b"c":
            found += _unpacked(topic, partition, codec, offset, number, fields)
            continue
        key = data = value = None
        headers, time = NO_HEADERS, ms
        try:
            for at in range(2, len(fields), 2):
                name, content = fields[at], fields[at + 1]
                if name == b"v":
                    data = content
                    value = loads(content)
                elif name == b"k":
                    key = content.decode()
                elif name == b"h":
                    headers = orjson.loads(content)
                elif name == b"t":
                    time = int(content)
        except Exception as error:  # noqa: BLE001 -- a codec may raise anything; the record says what it was
            value = Undecodable(data or b"", f"{type(error).__name__}: {error}")
        found.append(made(topic, partition, offset, number, key, value, headers, time))
    return found


def _unpacked(
    topic: str, partition: int, codec: Codec, offset: Offset, number: int, fields: Sequence[bytes]
) -> Iterable[Record]:
    count, block = int(fields[3]), fields[5]
    ms, seq, _ = offset
    before, new = number - count, tuple.__new__
    try:
        keys, headers, times, values = unpack(block, codec)
        if len(values) != count:
            raise DecodeError(f"an entry of {count} records has {len(values)}")
        return [
            made(
                topic,
                partition,
                new(Offset, (ms, seq, item)),
                before + item + 1,
                None if key is None else key.decode(),
                value,
                NO_HEADERS if head is None else orjson.loads(head),
                ms if time is None else time,
            )
            for item, (key, head, time, value) in enumerate(zip(keys, headers, times, values, strict=True))
        ]
    except (DecodeError, ValueError) as error:
        bad = Undecodable(block, str(error))
        return [
            Record(topic, partition, Offset(ms, seq, item), before + item + 1, None, bad, NO_HEADERS, ms)
            for item in range(count)
        ]
