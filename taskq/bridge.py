"""From records to tasks and from tasks to records, each once.

A transaction of an ordered group enqueues calls through its outbox. A bridge enqueues a call for each record, under an
id that follows from the record's place. What a task returned is published under an id that follows from its message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import orjson

from taskq.carried import carry_on
from taskq.errors import DecodeError
from taskq.events.outbox import Carry, Task
from taskq.events.outgoing import partition_of
from taskq.events.record import Record
from taskq.events.topic import Topic
from taskq.events.tracing import Tracer
from taskq.tasks.broker import Outgoing
from taskq.tasks.brokers import Ends
from taskq.tasks.outgoing import Call, follow_outgoing, follow_wire

CallOf = Callable[[Record], "Call[Any] | None"]
BATCH = 200


def handler(group: str, call: CallOf, carry: Carry) -> Callable[[list[Record]], None]:
    """What handles the records of a bridge: a batch may be handled again, and enqueues nothing twice."""

    def bridge(records: list[Record]) -> None:
        tasks: list[Task] = []
        for record in records:
            made = call(record)
            if made is not None:
                wire = carry_on(follow_wire(made, "call"), record.headers)
                tasks.append(Task(f"bridge:{group}:{record.id}", "", orjson.dumps(wire)))
        if tasks:
            carry(tasks)

    return bridge


def publisher(topic: Callable[[str], Topic]) -> Callable[[Any], None]:
    """What publishes the records in outboxes of queues; `topic` finds a topic, or raises UnknownTopic."""

    def publish(told: Any) -> None:
        try:
            name, value, key, headers, word = (told[part] for part in ("topic", "value", "key", "headers", "id"))
        except (LookupError, TypeError) as error:
            raise DecodeError(f"a record in an outbox cannot be read: {type(error).__name__}: {error}") from error
        to = topic(name)
        # Ids are remembered by partition: a record without a key has to go to the same one when this is repeated.
        partition = partition_of(word, to.properties().partitions) if key is None else None
        to.publish(value, key, headers, id=word, partition=partition)

    return publish


def entry_of(call: Call[Any], tracer: Tracer | None = None) -> tuple[str, bytes]:
    """A call as an entry of an outbox keeps it. Raises InvalidOption, InvalidArguments, SerializationError."""
    return "", orjson.dumps(carry_on(follow_wire(call, "call"), {} if tracer is None else tracer.headers()))


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
