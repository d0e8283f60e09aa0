"""The scripts of topics as values: what each is called with, and what its reply means."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from taskq.errors import DecodeError, OutOfOrder, PublisherFenced, TaskqError, VersionConflict
from taskq.events.outgoing import Batch
from taskq.events.properties import TopicProperties
from taskq.store.scripts import Call, load_joined
from taskq.store.topic_keys import PartitionKeys

LANE_TTL: Final = 3_600_000  # ms
WINDOW: Final = 8  # how many calls of one lane may be under way; as many answers are remembered
_OTHER = ("events/parts/lane",)


class Gap(TaskqError):
    """The server does not know the number before: it has lost the lane, or the call before was refused."""


class Seat(NamedTuple):
    """Where calls of a publisher are counted: the key of its lane, and the epoch if it has a name."""

    key: str
    epoch: str = ""
    name: str = ""


def publish(
    keys: PartitionKeys, seat: Seat, number: int, batch: Batch, properties: TopicProperties, now: str = ""
) -> Call[str]:
    """Append a batch; the answer is the id of its first entry, with given ids those of all (see publish_once.lua).

    Raises Gap, OutOfOrder, PublisherFenced, VersionConflict.
    """
    names = [seat.key, keys.log, keys.meta, keys.seen, keys.due, keys.versions]
    lists = _indexed(keys, batch, names) if batch.keys else b""
    head: list[Any] = [now, number, "" if seat.epoch else LANE_TTL, seat.epoch]
    shapes = bytes(batch.shapes)
    if batch.given:
        dedup = properties.dedup
        args = [*head, round(float(dedup.age) * 1000), dedup.count, lists, shapes, *batch.args]  # type: ignore[arg-type]
        return Call(load_joined("events/publish_once", (*_OTHER, "events/publish_once")), names, args, _reader(seat))
    key, expected = batch.version or (b"", None)
    if shapes.count(shapes[:1]) == len(shapes):
        shapes = shapes[:1]
    args = [*head, key, "" if expected is None else expected, lists, shapes, *batch.args]
    return Call(load_joined("events/publish", (*_OTHER, "events/publish")), names, args, _reader(seat))


def key_digest(key: bytes) -> str:
    """How a key of records is spelled in the name of its index."""
    return blake2b(key, digest_size=16).hexdigest()


def _indexed(keys: PartitionKeys, batch: Batch, names: list[str]) -> bytes:
    """Add the lists of the keys of a batch to the names; per record, the place of its list among them."""
    places: dict[bytes, int] = {b"": 0}
    found = bytearray()
    for key in batch.keys:
        if key not in places:
            places[key] = len(places)
            names.append(keys.of_key(key_digest(key)))
        found.append(places[key])
    return bytes(found)


def _reader(seat: Seat) -> Callable[[Any], str]:
    return (lambda reply: read_answer(reply, seat)) if seat.name else _read


def _read(reply: Any) -> str:
    return read_answer(reply, None)


def read_answer(reply: Any, seat: Seat | None) -> str:
    """What a publishing script has answered; raises its refusals."""
    code, answer = reply
    if code == 0:
        return str(answer, "ascii")
    if code == 1:
        raise Gap("the number is not the next one of its lane")
    if code == 2:
        raise OutOfOrder("the number is older than the last eight of its publisher: what it was for is long over")
    if code == 3:
        raise VersionConflict(f"the key has version {int(answer)}", int(answer))
    if code == 4 and seat is not None:
        raise PublisherFenced(
            f"publisher {seat.name!r} has begun anew elsewhere (epoch {int(answer or 0)}, this one is {seat.epoch}):"
            " this one publishes nothing any more; make a new one if it is the right one"
        )
    raise DecodeError(f"a publishing script answered {code!r}")
