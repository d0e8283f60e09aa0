"""From records to tasks: a transaction of an ordered group enqueues calls through its outbox, each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import orjson

from taskq.events.outbox import Carry, Task
from taskq.tasks.broker import Outgoing
from taskq.tasks.brokers import Ends
from taskq.tasks.outgoing import Call, follow_outgoing, follow_wire


def entry_of(call: Call[Any]) -> tuple[str, bytes]:
    """A call as an entry of an outbox keeps it. Raises InvalidOption, InvalidArguments, SerializationError."""
    return "", orjson.dumps(follow_wire(call))


def carrier(ends: Callable[[], Ends]) -> Carry:
    """What enqueues the tasks of an outbox. Their ids follow from their place in it, so none is accepted twice."""

    def carry(tasks: Sequence[Task]) -> None:
        by_queue: dict[str, list[Outgoing]] = {}
        for task in tasks:
            word = blake2b(task.word.encode(), digest_size=16).digest()
            queue, message = follow_outgoing(orjson.loads(task.body), word)
            by_queue.setdefault(queue, []).append(message._replace(explicit=True))
        for queue, messages in by_queue.items():
            ends().broker.enqueue(queue, messages)

    return carry
