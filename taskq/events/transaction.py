"""What an exactly-once handler does beside looking at its record: it takes effect with the commit, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from taskq.checks import is_text, when
from taskq.codec import JSON
from taskq.errors import InvalidOption, PayloadTooLarge
from taskq.events.group_calls import MAX_STEP_BYTES, MAX_STEPS, Step, step_bytes
from taskq.events.log import Log, check_partition
from taskq.events.outgoing import MAX_RECORD, header_bytes, key_bytes, partition_of, refusal
from taskq.events.tracing import with_headers
from taskq.loops import warn_of_blocking
from taskq.names import shown
from taskq.store.links import Links

FULL: Final = MAX_STEPS - 50  # a commit is due when so many steps are kept; one record may cause so many
MAX_BYTES: Final = MAX_RECORD + 65_536  # of all that one record, or one batch, causes: one record with its head fits
CACHED: Final = 10_000  # values of one partition that are remembered between commits
_GONE: Final = object()
Enqueue = Callable[[Any], tuple[str, bytes]]


class _Hand:
    """How much the record in hand, or the batch, has caused so far."""

    __slots__ = ("size", "things")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.things = self.size = 0

    def take(self, things: int, size: int) -> None:
        """Let it cause so much more. Raises PayloadTooLarge, and then it has caused none of it."""
        if self.things + things > FULL:
            raise PayloadTooLarge(
                f"one transaction has at most {FULL} records, tasks and changes of state: do it by several records, or"
                " by smaller batches"
            )
        if self.size + size > MAX_BYTES:
            raise PayloadTooLarge(
                f"one transaction would take {self.size + size:,} bytes, the limit is {MAX_BYTES:,} for all its"
                " records, tasks and changes of state: do it by several records or smaller batches,"
                " or keep the data elsewhere"
            )
        self.things += things
        self.size += size


class State:
    """The values that a group keeps beside its position in one partition; only its owner changes them, by commits.

    Keys are texts, values what JSON has. What is set or deleted is seen at once by later records of this partition
    here, and by others after the commit.
    """

    def __init__(self, key: str, links: Links) -> None:
        self._key = key
        self._links = links
        self._known: dict[str, Any] = {}  # committed, or on its way with the next commit
        self._before: dict[str, Any] = {}  # of the record in hand: what it has changed was like this
        self.steps: dict[str, Step] = {}
        self.size = 0  # bytes of these
        self.hand = _Hand()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key; `aget` in an event loop, unless it was read before."""
        if key not in self._known:
            warn_of_blocking("state.get", "state.aget")
            self._learn(key, self._links.sync.execute("HGET", self._key, _text(key)))
        return self._found(key, default)

    async def aget(self, key: str, default: Any = None) -> Any:
        """`get`, awaited."""
        if key not in self._known:
            self._learn(key, await self._links.asynchronous.execute("HGET", self._key, _text(key)))
        return self._found(key, default)

    def __getitem__(self, key: str) -> Any:
        found = self.get(key, _GONE)
        if found is _GONE:
            raise KeyError(key)
        return found

    def __contains__(self, key: str) -> bool:
        return self.get(key, _GONE) is not _GONE

    def __setitem__(self, key: str, value: Any) -> None:
        data = JSON.dumps(value)
        self._change(_text(key), JSON.loads(data), ("s", key, data))

    def __delitem__(self, key: str) -> None:
        self._change(_text(key), _GONE, ("x", key, ""))

    def _change(self, key: str, value: Any, step: Step) -> None:
        known, before, size = key in self._before, self.steps.get(key), step_bytes(step)
        less = 0 if before is None else step_bytes(before)
        self.hand.take(0 if known else 1, size - less if known else size)
        self._before.setdefault(key, (self._known.get(key, _GONE), key in self._known, before))
        self._known[key] = value
        self.steps[key] = step
        self.size += size - less

    def _learn(self, key: str, data: bytes | None) -> None:
        if len(self._known) >= CACHED and not self.steps:
            self._known.clear()
        self._known[key] = _GONE if data is None else JSON.loads(data)

    def _found(self, key: str, default: Any) -> Any:
        value = self._known[key]
        if value is _GONE:
            return default
        return JSON.loads(orjson.dumps(value)) if isinstance(value, (list, dict)) else value  # theirs to change

    def keep(self) -> None:
        """The record in hand is done."""
        self._before.clear()
        self.hand.clear()

    def drop(self) -> None:
        """The record in hand failed: what it changed is undone."""
        for key, (value, known, step) in self._before.items():
            if known:
                self._known[key] = value
            else:
                self._known.pop(key, None)
            self.size -= step_bytes(self.steps.pop(key))
            if step is not None:
                self.steps[key] = step
                self.size += step_bytes(step)
        self._before.clear()
        self.hand.clear()

    def taken(self) -> list[Step]:
        """All changes that are not on their way yet; they are now."""
        steps, self.steps, self.size = [*self.steps.values()], {}, 0
        return steps


class Transaction:
    """The second argument of an exactly-once handler: what it does here takes effect with the commit, or not at all.

    `state` are values that belong to the partition. One record, or one batch, causes at most 200 records, tasks and
    changes of state, of 1 MiB together: what goes beyond raises PayloadTooLarge and is not done.
    """

    def __init__(self, state: State, number: int, enqueue: Enqueue | None = None) -> None:
        self.state = state
        self._number = number  # of the partition
        self._enqueue = enqueue
        self._kept: list[Step] = []
        self._new: list[Step] = []
        self._size = 0

    def publish(
        self,
        topic: Any,
        value: Any,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        time: datetime | float | None = None,
        partition: int | None = None,
    ) -> None:
        """Publish to a topic, through the outbox of this partition: once, and in order for each partition there."""
        log = getattr(topic, "log", None)
        if not isinstance(log, Log):
            raise InvalidOption(f"topic={shown(topic)}: give a topic, like app.topic('orders')")
        properties = log.properties()
        headers, data = with_headers(log.tracer(), headers), b""
        if value is not None:
            codec = log.codec(properties)
            try:
                data = codec.dumps(value)
            except Exception as error:
                raise refusal(error, codec, 0) from error
        elif key is None:
            raise InvalidOption("a record without a value is a tombstone, which needs the key it is for")
        if len(data) > MAX_RECORD:
            raise PayloadTooLarge(f"the record takes {len(data):,} bytes, the limit is {MAX_RECORD:,}")
        if partition is not None:
            check_partition(log.name, partition, properties.partitions)
        elif key is not None:
            partition = partition_of(key, properties.partitions)
        else:
            partition = self._number % properties.partitions  # those of one partition here stay in order there
        head = {
            "key": None if key is None else key_bytes(key).decode(),
            "headers": orjson.loads(header_bytes(headers)) if headers else None,
            "time": None if time is None else when(time, "time"),
            "tombstone": value is None,
        }
        self._add(("o", f"{log.name}/{partition} ".encode() + orjson.dumps(head), data))

    def enqueue(self, call: Any) -> None:
        """Enqueue a call of a task, like `send.call(42)`, through the outbox of this partition, once."""
        if self._enqueue is None:
            raise InvalidOption("this consumer has no app that could enqueue tasks")
        head, body = self._enqueue(call)
        self._add(("o", "task " + head, body))

    def _add(self, step: Step) -> None:
        self.state.hand.take(1, step_bytes(step))
        self._new.append(step)

    # -- the turn's side --------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether a commit is due before the next record."""
        return len(self._kept) + len(self.state.steps) >= FULL or self._size + self.state.size >= MAX_STEP_BYTES

    def keep(self) -> None:
        """The record in hand, or the batch, is done."""
        self._kept += self._new
        self._size += sum(map(step_bytes, self._new))
        self._new = []
        self.state.keep()

    def drop(self) -> None:
        """It failed, so it has done nothing."""
        self._new = []
        self.state.drop()

    def steps(self) -> list[Step]:
        """What goes with the commit, once: all that was kept."""
        steps = [*self._kept, *self.state.taken()]
        self._kept, self._size = [], 0
        return steps


def _text(key: object) -> str:
    if not is_text(key):
        raise InvalidOption(f"state[{shown(key)}]: a key is a text that is not empty")
    return str(key)
