"""Events on their way into a packed topic: gathered by partition, one entry for up to a thousand of them. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from taskq.checks import when
from taskq.codec import JSON, Codec, Unstorable
from taskq.errors import InvalidOption
from taskq.events.log import check_partition
from taskq.events.outgoing import (
    BATCH_BYTES,
    MAX_RECORD,
    PACKED,
    Batch,
    header_bytes,
    key_bytes,
    partition_of,
    refusal,
    too_large,
)
from taskq.events.packing import MAX_RECORDS, Columns, pack
from taskq.events.properties import TopicProperties
from taskq.events.record import Event


class _Open:
    """What is gathered for one partition."""

    __slots__ = ("headers", "keys", "partition", "places", "times", "values")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.places: list[int] = []
        self.keys: list[bytes | None] = []
        self.headers: list[bytes | None] = []
        self.times: list[int | None] = []
        self.values: list[Any] = []


def packed_batches(
    topic: str, properties: TopicProperties, codec: Codec, items: Iterable[Any], spread: Callable[[], int]
) -> list[Batch]:
    """`outgoing.batches` for a packed topic; raises the same."""
    partitions, items = properties.partitions, list(items)
    if not {Event, type(None)}.intersection(map(type, items)):
        plain = _of_values(items, (lambda: spread() % partitions) if partitions > 1 else lambda: 0)
        return [batch for block in plain for batch in _packed(block, codec, 0, len(block.places))]
    whole: list[_Open] = []
    gathered: dict[int, _Open] = {}
    for place, item in enumerate(items):
        if type(item) is Event:
            value, key, headers, moment, given, partition = item
        else:
            value, key, headers, moment, given, partition = item, None, None, None, None, None
        if given is not None:
            raise InvalidOption(f"id={given!r}: topic {topic!r} is packed, and packed records have no ids of their own")
        if key is None and value is None:
            raise InvalidOption(f"event {place} has neither a value nor a key: a tombstone needs the key it is for")
        name = None if key is None else key_bytes(key)
        if partition is not None:
            check_partition(topic, partition, partitions)
        elif key is not None:
            partition = partition_of(key, partitions)
        else:
            partition = -1 if partitions > 1 else 0
        block = gathered.get(partition)
        if block is None or len(block.places) >= MAX_RECORDS:
            block = gathered[partition] = _Open(partition if partition >= 0 else spread() % partitions)
            whole.append(block)
        block.places.append(place)
        block.keys.append(name)
        block.headers.append(header_bytes(headers) if headers else None)
        block.times.append(None if moment is None else when(moment, "time"))
        block.values.append(value)
    return [batch for block in whole for batch in _packed(block, codec, 0, len(block.places))]


def _of_values(values: list[Any], place: Callable[[], int]) -> list[_Open]:
    """What bare values are gathered to: nothing is to be decided for each."""
    whole: list[_Open] = []
    for begin in range(0, len(values), MAX_RECORDS):
        block = _Open(place())
        block.values = values[begin : begin + MAX_RECORDS]
        count = len(block.values)
        block.places = list(range(begin, begin + count))
        block.keys, block.headers, block.times = [None] * count, [None] * count, [None] * count
        whole.append(block)
    return whole


def _packed(block: _Open, codec: Codec, begin: int, end: int) -> list[Batch]:
    """The batches of a part of what was gathered: one, or those of both halves if it is too large."""
    places, keys, headers = block.places[begin:end], block.keys[begin:end], block.headers[begin:end]
    values = _values(block.values[begin:end], places, codec)
    size = (len(values) - 2 if isinstance(values, bytes) else sum(map(len, filter(None, values)))) + sum(
        len(one) for column in (keys, headers) for one in column if one
    )
    if size > BATCH_BYTES and end - begin > 1:
        middle = (begin + end) // 2
        return _packed(block, codec, begin, middle) + _packed(block, codec, middle, end)
    if size > MAX_RECORD:
        raise too_large(places[0], size)
    data = pack(Columns(keys, headers, block.times[begin:end], values))
    count = end - begin
    return [Batch(block.partition, [count, data], bytearray((PACKED,)), places, counts=(count,), size=len(data))]


def _values(values: list[Any], places: list[int], codec: Codec) -> bytes | list[bytes | None]:
    if codec is JSON:  # one list is written and read three times as fast as a thousand values
        try:
            return codec.dumps(values)
        except Unstorable as error:
            at = int(error.steps[0]) if error.steps else 0
            raise refusal(Unstorable(error.steps[1:], error.why), codec, places[at]) from None
    found: list[bytes | None] = []
    for value, place in zip(values, places, strict=True):
        try:
            found.append(None if value is None else codec.dumps(value))
        except Exception as error:
            raise refusal(error, codec, place) from error
    return found
