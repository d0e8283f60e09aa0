"""The calls of one bulk, all encoded before the first is sent: what goes to which queue, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from taskq.errors import BrokerError, ConfigError, InvalidArguments, InvalidOption, SerializationError
from taskq.message import id_text, new_ids
from taskq.names import shown
from taskq.tasks.broker import Accepted, Outgoing
from taskq.tasks.outgoing import Call, Stamp, now_ms
from taskq.tasks.queues import Queues

SLICE = 1_000
"""How many messages one round trip carries; each round trip has the enqueue timeout to itself."""

Item: TypeAlias = tuple[Any, ...] | Call[Any]


class Bulk:
    """Messages with their stamps, and the answers as they come in."""

    __slots__ = ("_accepted", "_messages", "_uniform", "stamps")

    def __init__(self, messages: list[Outgoing], stamps: Sequence[Stamp], *, uniform: bool = False) -> None:
        self._uniform = uniform
        self._messages = messages
        self._accepted: list[Accepted | None] = [None] * len(messages)
        self.stamps = stamps

    @classmethod
    def of_rows(cls, stamp: Stamp, rows: Sequence[tuple[Any, ...]]) -> Bulk:
        """Calls of one stamp, by position."""
        return cls(stamp.outgoing_many(new_ids(len(rows)), rows, now_ms()), [stamp] * len(rows), uniform=True)

    @classmethod
    def of_calls(cls, calls: Sequence[Call[Any]]) -> Bulk:
        """Calls of any stamps."""
        created, messages = now_ms(), list[Outgoing]()
        for place, (call, raw) in enumerate(zip(calls, new_ids(len(calls)), strict=True)):
            try:
                messages.append(call.outgoing(raw, created))
            except (SerializationError, InvalidArguments) as error:
                error.args = (f"call {place}: {error}",)
                raise
        _apart(calls, messages)
        return cls(messages, [call.stamp for call in calls])

    def check(self, queues: Queues) -> None:
        """Raise InvalidOption for what a queue is known to be unable to do, before any of them has got its part."""
        for queue, places in self._queues().items():
            if queues.streamed(queue):
                queues.check(queue, [self._messages[place] for place in places])

    def parts(self) -> Iterator[tuple[str, Sequence[int], list[Outgoing]]]:
        """What to send: a queue, places in the bulk, and the messages there."""
        for queue, places in self._queues().items():
            for start in range(0, len(places), SLICE):
                part = places[start : start + SLICE]
                yield queue, part, [self._messages[place] for place in part]

    def _queues(self) -> dict[str, Sequence[int]]:
        if self._uniform:
            return {self.stamps[0].options.queue: range(len(self._messages))} if self.stamps else {}
        queues: dict[str, list[int]] = {}
        for place, stamp in enumerate(self.stamps):
            queues.setdefault(stamp.options.queue, []).append(place)
        return dict(queues)

    def note(self, places: Sequence[int], answers: Sequence[Accepted]) -> None:
        """What became of the messages at these places."""
        for place, answer in zip(places, answers, strict=True):
            self._accepted[place] = answer

    def told(self, error: BrokerError) -> BrokerError:
        """The error of one part, with the ids of everything in the bulk that was accepted."""
        before = tuple(id_text(item.id) for item in self._accepted if item is not None)
        error.accepted = before + tuple(error.accepted)
        return error

    def accepted(self) -> list[Accepted]:
        """What became of every message, once all of them are noted."""
        return [item for item in self._accepted if item is not None]


def items_of(items: Iterable[Any]) -> list[Any]:
    """What was given to a bulk, as a list."""
    if not isinstance(items, Iterable):
        raise InvalidArguments(f"enqueue_many takes many calls, not {shown(items)}: give a list of them")
    return list(items)


def rows_of(items: Iterable[Any]) -> list[tuple[Any, ...]] | None:
    """The items if all of them are tuples of arguments, which is the fast case."""
    rows = items if isinstance(items, list) else list(items)
    return rows if all(type(item) is tuple for item in rows) else None


def calls_of(stamp: Stamp | None, items: Iterable[Any]) -> list[Call[Any]]:
    """The items as calls. A tuple is a call of `stamp`; so is a call of its task that has no options of its own."""
    return [_call(stamp, item, place) for place, item in enumerate(items)]


def _call(stamp: Stamp | None, item: object, place: int) -> Call[Any]:
    if isinstance(item, Call):
        call: Call[Any] = item
        if stamp is None:
            return call
        if call.stamp.target is not stamp.target:
            raise InvalidArguments(
                f"call {place} is one of {call.task}, not of {stamp.target.name}: app.enqueue_many does"
            )
        return call if call.stamp.options.overridden else Call(stamp, call.args, call.kwargs)
    if stamp is None:
        raise InvalidArguments(f"call {place} is {shown(item)}: give calls, like task.call(1)")
    if not isinstance(item, tuple):
        raise InvalidArguments(
            f"call {place} of {stamp.target.name} is {shown(item)}: give tuples of arguments like (1,), or task.call(1)"
        )
    return Call(stamp, item)


def _apart(calls: Sequence[Call[Any]], messages: Sequence[Outgoing]) -> None:
    """Check that no `id=` names two different calls: the broker would take the second for the first, and never run it.
    The same call twice is what an id is for.
    """
    places: dict[tuple[str, bytes], int] = {}
    for place, (call, message) in enumerate(zip(calls, messages, strict=True)):
        first = places.setdefault((call.queue, message.id), place) if message.explicit else place
        if first != place and not _same(calls[first], call):
            raise InvalidOption(
                f"id={call.stamp.options.id!r} names one message in queue {call.queue!r}, and calls {first} and {place}"
                " both have it: give each an id of its own"
            )


def _same(one: Call[Any], other: Call[Any]) -> bool:
    try:
        return one.task == other.task and bool(one.args == other.args and (one.kwargs or {}) == (other.kwargs or {}))
    except (TypeError, ValueError):  # arrays, say, are not equal or unequal as a whole
        return False


def one_more(taken: Sequence[Any], place: int) -> None:
    """Check that the middlewares let call `place` through, once."""
    if len(taken) != place + 1:
        raise ConfigError("an enqueue middleware held back or doubled a call of a bulk: raise to refuse all of it")
