"""The outbox: follow-ups and records that the settling script stored, on their way to their own queues and topics.

The script that acknowledges a message writes its follow-up beside it, in the same slot. Whoever relays it enqueues it
under an id made from the parent's, then strikes it off: however often that is repeated, one message comes of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import orjson

from taskq.errors import BrokerFull, BrokerUnavailable, TaskqError
from taskq.message import id_text
from taskq.tasks.lists import ListBroker
from taskq.tasks.outgoing import follow_outgoing

log = logging.getLogger("taskq")

_COMPLAIN_EVERY_S = 60.0
_complained: dict[str, float] = {}
_cursors: dict[str, bytes] = {}  # by key of the outbox: where the next call goes on


def pack_follow(wire: dict[str, Any], parent: bytes) -> bytes:
    """What an acknowledgement carries: the id of the follow-up, then its wire form."""
    digest = bytearray(blake2b(parent, digest_size=16, person=b"taskq-then").digest())
    digest[6] = 0x80 | digest[6] & 0x0F  # a UUID of version 8: made by a rule of our own (RFC 9562)
    digest[8] = 0x80 | digest[8] & 0x3F
    return bytes(digest) + orjson.dumps(wire)


def pack_record(record: dict[str, Any], then: dict[str, Any] | None, parent: bytes) -> bytes:
    """The same for a record that the outcome publishes, with the follow-up if there is one too.

    A release that does not know records finds no follow-up in it, and leaves it where it is.
    """
    return pack_follow({"record": record} if then is None else {"record": record, "then": then}, parent)


Publish = Callable[[Any], None]
"""What publishes a record in the form of `Publishes.wire`, and does not publish it again when that is repeated."""


def relay(broker: ListBroker, queue: str, limit: int = 250, publish: Publish | None = None) -> int:
    """Send on what waits in a queue's outbox: messages to their queues, records by `publish`; answers how many entries.

    An entry that cannot be read here, or that its queue refuses, stays where it is and is told of in the log; others go
    on. No more than some `limit` entries are tried, and the next call goes on from there: heartbeats and outcomes
    wait behind this. A full server is not asked again. Raises BrokerUnavailable.
    """
    key = broker.keys(queue).outbox
    sent, tried, cursor = 0, 0, _cursors.pop(key, b"0")
    while True:
        cursor, flat = broker.link.execute("HSCAN", key, cursor, "COUNT", limit)
        for follow, wire in zip(flat[::2], flat[1::2], strict=True):
            tried += 1
            try:
                _send(broker, follow, orjson.loads(wire), publish)
            except BrokerUnavailable:
                raise
            except (TaskqError, ValueError) as error:
                _complain(queue, follow, error)
                if isinstance(error, BrokerFull) and broker.link.url.kind != "cluster":
                    return sent
                continue
            # Only now: struck off before, it would be lost if this process died in between.
            broker.link.execute("HDEL", key, follow)
            sent += 1
        if int(cursor) == 0:
            return sent
        if tried >= limit:
            _cursors[key] = cursor
            return sent


def _send(broker: ListBroker, follow: bytes, wire: Any, publish: Publish | None) -> None:
    if isinstance(wire, dict) and "record" in wire:
        if publish is None:
            raise TaskqError("it is a record, and nothing here publishes records")
        publish(wire["record"])
        wire = wire.get("then")
        if wire is None:
            return
    target, message = follow_outgoing(wire, follow)
    # Explicit: a worker and a supervisor may relay the same entry, one of them when it has already run.
    # What was accepted before its queue was known to be a stream queue is not refused for its priority.
    priority = message.priority if broker.features_of(target).priorities else 0
    broker.enqueue(target, [message._replace(explicit=True, priority=priority)])


def _complain(queue: str, follow: bytes, error: Exception) -> None:
    now = time.monotonic()
    if now - _complained.get(queue, -_COMPLAIN_EVERY_S) >= _COMPLAIN_EVERY_S:
        _complained[queue] = now
        log.error("follow-up %s waits in the outbox of %s: %s", id_text(follow), queue, error)
