"""The outbox: follow-ups that the settling script stored, on their way to their own queues.

The script that acknowledges a message writes its follow-up beside it, in the same slot. Whoever relays it enqueues it
under an id made from the parent's, then strikes it off: however often that is repeated, one message comes of it.
"""

from __future__ import annotations

import logging
from hashlib import blake2b
from typing import Any

import orjson

from taskq.errors import DecodeError
from taskq.message import id_text
from taskq.tasks.lists import ListBroker
from taskq.tasks.outgoing import follow_outgoing

log = logging.getLogger("taskq")


def pack_follow(wire: dict[str, Any], parent: bytes) -> bytes:
    """What an acknowledgement carries: the id of the follow-up, then its wire form."""
    digest = bytearray(blake2b(parent, digest_size=16, person=b"taskq-then").digest())
    digest[6] = 0x80 | digest[6] & 0x0F  # a UUID of version 8: made by a rule of our own (RFC 9562)
    digest[8] = 0x80 | digest[8] & 0x3F
    return bytes(digest) + orjson.dumps(wire)


def relay(broker: ListBroker, queue: str, limit: int = 250) -> int:
    """Enqueue what waits in a queue's outbox; answers how many messages were sent on.

    An entry that cannot be read stays where it is, and is told of in the log; the others go on.
    """
    key = broker.keys(queue).outbox
    _, flat = broker.link.execute("HSCAN", key, 0, "COUNT", limit)
    sent = 0
    for follow, wire in zip(flat[::2], flat[1::2], strict=True):
        try:
            target, message = follow_outgoing(orjson.loads(wire), follow)
        except (DecodeError, ValueError) as error:
            log.error("follow-up %s in the outbox of %s cannot be read: %s", id_text(follow), queue, error)
            continue
        # Explicit: a worker and a supervisor may relay the same entry, the second when the message has already run.
        broker.enqueue(target, [message._replace(explicit=True)])
        # Only now: struck off before, it would be lost if this process died in between.
        broker.link.execute("HDEL", key, follow)
        sent += 1
    return sent
