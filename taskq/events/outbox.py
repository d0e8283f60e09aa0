"""The outbox: what exactly-once handlers publish and enqueue, carried to other slots by the owner of the partition.

Every entry has a number of its own for its target. The group publishes there as a named publisher with these numbers,
so what is carried twice is appended once, and in order.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from taskq.errors import BrokerUnavailable, OutOfOrder, TaskqError
from taskq.events.calls import Gap, Seat, publish
from taskq.events.holding import Holding
from taskq.events.log import Log
from taskq.events.named import enlist
from taskq.events.outgoing import HEADERS, KEY, TIME, VALUE, Batch
from taskq.store.scripts import Call

PAGE: Final = 200  # entries of the outbox that are carried at once, at most
PAGE_BYTES: Final = 4 * 1_048_576  # the same in bytes, by the size of those before
Carrying: TypeAlias = Generator[Any, Any, None]


class Task(NamedTuple):
    """A task to be enqueued: a word that is the same whenever this one is carried, and what was stored of the call."""

    word: str
    head: str
    body: bytes


Carry: TypeAlias = Callable[[Sequence[Task]], None]


class Carried(NamedTuple):
    """Let tasks be enqueued; answered when they are."""

    carry: Carry
    tasks: Sequence[Task]


@dataclass(frozen=True, slots=True)
class Routes:
    """How targets are found: topics by name, and what enqueues tasks."""

    topic: Callable[[str], Log]
    carry: Carry | None = None


def relay(holding: Holding, group: str, source: str, routes: Routes) -> Carrying:
    """Carry one page of the outbox, in order; then it is taken away. Raises BrokerUnavailable to be tried again."""
    out = holding.keys.group(group, "out")
    entries = yield ("XRANGE", out, "-", "+", "COUNT", holding.outbox_page)
    if not entries:
        holding.outbox = False
        return
    size = sum(len(fields[5]) for _, fields in entries)
    holding.outbox_page = max(1, min(PAGE, PAGE_BYTES * len(entries) // max(size, 1)))
    name = f"group:{group}:{source}:{holding.number}"
    tasks: list[Task] = []
    calls: list[Call[str]] = []
    places: list[tuple[str, int]] = []
    for _, fields in entries:
        number, (target, _, head), body = int(fields[1]), fields[3].decode().partition(" "), fields[5]
        if target == "task":
            tasks.append(Task(f"{name}:{number}", head, body))
            continue
        topic, _, partition = target.rpartition("/")
        log = routes.topic(topic)
        seat = Seat(log.keys.partition(int(partition)).producer(name), "", name)
        epoch = holding.targets.get(target)
        if epoch is None:
            epoch, _ = yield enlist(
                log.keys.partition(int(partition)), name, f"{holding.owner[0]}:{holding.owner[1]}".encode()
            )
            holding.targets[target] = epoch
        properties = log.properties()
        batch = _batch(int(partition), orjson.loads(head), body, index=properties.index)
        seat = seat._replace(epoch=epoch)
        calls.append(publish(log.keys.partition(int(partition)), seat, number, batch, properties))
        places.append((seat.key, number))
    if calls:
        yield from _publish(calls, places)
    if tasks:
        yield Carried(_carry(routes), tasks)
    ms, _, seq = entries[-1][0].partition(b"-")
    yield ("XTRIM", out, "MINID", f"{int(ms)}-{int(seq) + 1}")


def _publish(calls: list[Call[str]], places: list[tuple[str, int]]) -> Carrying:
    answers: list[str | TaskqError] = yield calls
    for place, answer in enumerate(answers):
        if isinstance(answer, (str, OutOfOrder)):  # appended now, or long ago
            continue
        if isinstance(answer, Gap):  # the target has lost its last records, and this number with them: they are gone
            key, number = places[place]
            yield ("HSET", key, "n", number - 1)
            raise BrokerUnavailable("a target of the outbox has lost what it had; carrying goes on from here")
        raise answer


def _carry(routes: Routes) -> Carry:
    if routes.carry is None:
        raise TaskqError("the outbox holds tasks, and this consumer has no app that could enqueue them")
    return routes.carry


def _batch(partition: int, head: dict[str, Any], body: bytes, *, index: bool) -> Batch:
    args: list[Any] = []
    shape = 0
    if not head["tombstone"]:
        args.append(body)
        shape += VALUE
    if head["key"] is not None:
        args.append(head["key"].encode())
        shape += KEY
    if head["headers"]:
        args.append(orjson.dumps(head["headers"]))
        shape += HEADERS
    if head["time"] is not None:
        args.append(head["time"])
        shape += TIME
    keys = [(head["key"] or "").encode()] if index else []
    return Batch(partition, args, bytearray([shape]), [0], keys, size=len(body))
