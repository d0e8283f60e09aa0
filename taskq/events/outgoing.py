"""Events on their way in: encoded, placed in partitions, and cut into batches of what one script may carry. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import orjson

from taskq.checks import is_text, unique_key, when
from taskq.codec import JSON, MAX_ARGUMENTS, Codec, Unstorable, dumps_of, path
from taskq.errors import InvalidOption, PayloadTooLarge, SerializationError
from taskq.events.log import check_partition
from taskq.events.properties import TopicProperties
from taskq.events.record import Event
from taskq.names import shown

BATCH_RECORDS: Final = 250
BATCH_BYTES: Final = 262_144
MAX_RECORD: Final = MAX_ARGUMENTS
MAX_KEY: Final = 1_024
VALUE, KEY, HEADERS, TIME, GIVEN, PACKED = 1, 2, 4, 8, 16, 64  # the shape of a record: what stands in its arguments


@dataclass(slots=True)
class Batch:
    """What one script appends to one partition. `places` says where each record was in what the caller gave."""

    partition: int
    args: list[Any] = field(default_factory=list)
    shapes: bytearray = field(default_factory=bytearray)
    places: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)  # of each record, in topics with an index
    counts: tuple[int, ...] = ()  # packed: how many records each entry has
    size: int = 0
    given: bool = False  # whether some record has an id
    version: tuple[bytes, int | None] | None = None  # the key whose version is raised, and the one it must have


@lru_cache(maxsize=16_384)
def partition_of(key: str, partitions: int) -> int:
    """The partition of a key, for ever: a 64-bit hash of its UTF-8 bytes, modulo the number of partitions.

    >>> [partition_of(f"customer-{number}", 8) for number in range(6)]
    [0, 5, 3, 5, 4, 2]
    """
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") % partitions


def batches(
    topic: str, properties: TopicProperties, codec: Codec, items: Iterable[Any], spread: Callable[[], int]
) -> list[Batch]:
    """Batches of events or bare values, the batches of one partition in order; `spread` places what has no key.

    Raises SerializationError, PayloadTooLarge and InvalidOption before anything is sent.
    """
    partitions, index, items = properties.partitions, properties.index, list(items)
    if not index and not {Event, type(None)}.intersection(map(type, items)):
        return _of_values(codec, items, (lambda: spread() % partitions) if partitions > 1 else lambda: 0)
    # Copied below: orjson writes into room for 1 KiB and gives back the rest: each of many results that are kept
    # would hold a page or more of fresh memory, which took a third of the time of a publish.
    dumps = dumps_of(codec, [item.value if type(item) is Event else item for item in items])
    whole: list[Batch] = []
    open_ones: dict[int, Batch] = {}
    for place, item in enumerate(items):
        value, key, headers, moment, given, partition = item if type(item) is Event else Event(item)
        args: list[Any] = []
        shape = size = 0
        if given is not None:
            args.append(unique_key(given, "id"))
            shape = GIVEN
        if value is not None:
            try:
                data = b"%b" % dumps(value)
            except Exception as error:
                raise refusal(error, codec, place, value) from error
            size = len(data)
            args.append(data)
            shape += VALUE
        if key is not None:
            args.append(name := key_bytes(key))
            size += len(name)
            shape += KEY
        elif value is None:
            raise InvalidOption(f"event {place} has neither a value nor a key: a tombstone needs the key it is for")
        if headers or moment is not None:
            extra, more = _extras(args, headers, moment)
            shape, size = shape + extra, size + more
        if partition is not None:
            check_partition(topic, partition, partitions)
        elif key is not None:
            partition = partition_of(key, partitions)
        else:
            partition = -1 if partitions > 1 else 0  # wherever the batch of those without a key goes
        if size > MAX_RECORD:
            raise too_large(place, size)
        batch = open_ones.get(partition)
        if batch is None or len(batch.places) >= BATCH_RECORDS or batch.size + size > BATCH_BYTES:
            batch = open_ones[partition] = Batch(partition if partition >= 0 else spread() % partitions)
            whole.append(batch)
        batch.args += args
        batch.shapes.append(shape)
        batch.places.append(place)
        batch.size += size
        if given is not None:
            batch.given = True
        if index:
            batch.keys.append(b"" if key is None else args[-1 - bool(headers) - (moment is not None)])
    return whole


def _of_values(codec: Codec, values: list[Any], place: Callable[[], int]) -> list[Batch]:
    """`batches` of bare values in topics without an index: nothing is to be decided for each."""
    data: list[bytes] = []
    dumps = dumps_of(codec, values)
    try:
        for value in values:
            data.append(b"%b" % dumps(value))  # noqa: PERF401 - what raises StopIteration must not end it silently
    except Exception as error:
        raise refusal(error, codec, len(data), values[len(data)]) from error
    sizes = list(map(len, data))
    if sizes and max(sizes) > MAX_RECORD:
        at = next(at for at, size in enumerate(sizes) if size > MAX_RECORD)
        raise too_large(at, sizes[at])
    whole: list[Batch] = []
    begin = 0
    while begin < len(data):
        end = min(begin + BATCH_RECORDS, len(data))
        while (size := sum(sizes[begin:end])) > BATCH_BYTES and end - begin > 1:
            end = begin + max((end - begin) * BATCH_BYTES // size, 1)
        shapes, places = bytearray((VALUE,)) * (end - begin), list(range(begin, end))
        whole.append(Batch(place(), data[begin:end], shapes, places, size=size))
        begin = end
    return whole


def _extras(args: list[Any], headers: object, moment: object) -> tuple[int, int]:
    """Add headers and time to the arguments of a record; their shape and size."""
    shape = size = 0
    if headers:
        args.append(data := header_bytes(headers))
        shape, size = HEADERS, len(data)
    if moment is not None:
        args.append(when(moment, "time"))
        shape += TIME
    return shape, size


def key_bytes(key: object) -> bytes:
    """A key as UTF-8. Raises InvalidOption."""
    try:
        if type(key) is str and 0 < len(data := key.encode()) <= MAX_KEY:
            return data
    except UnicodeEncodeError:
        pass
    raise InvalidOption(f"key={shown(key)}: a key is a text of 1 to {MAX_KEY:,} bytes of UTF-8")


def header_bytes(headers: object) -> bytes:
    """Headers as JSON. Raises InvalidOption."""
    if isinstance(headers, Mapping):
        known: dict[Any, Any] = dict(headers)
        if all(is_text(name) and isinstance(value, str) for name, value in known.items()):
            try:
                return orjson.dumps(known, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
            except TypeError:
                pass
    raise InvalidOption(f"headers={shown(headers)}: give a dict of texts")


def refusal(error: Exception, codec: Codec, place: int, value: Any = None) -> SerializationError:
    """What to raise for a value that the codec does not take."""
    if codec is JSON and type(error) is TypeError:  # the quick way says less
        try:
            codec.dumps(value)
        except Unstorable as better:
            error = better
    if isinstance(error, Unstorable):
        return SerializationError(f"event {place}: {path('value', error.steps)} {error.why}")
    if isinstance(error, SerializationError):
        return error
    return SerializationError(f"event {place}: codec {codec.name!r} cannot store its value: {error}")


def too_large(place: int, size: int) -> PayloadTooLarge:
    """What to raise for a record beyond the limit."""
    return PayloadTooLarge(
        f"event {place} takes {size:,} bytes, the limit is {MAX_RECORD:,}: store the data elsewhere and publish where"
        " it is"
    )
