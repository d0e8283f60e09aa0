"""From a call to what the broker stores: options worked out once per stamp, arguments once per call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from time import time_ns
from typing import Any, Generic, TypeVar
from zlib import crc32

import orjson

from taskq import codec as codecs
from taskq.codec import JSON, MAX_ARGUMENTS, Codec, encode_arguments
from taskq.errors import DecodeError, InvalidArguments, InvalidOption, SerializationError, TaskqError
from taskq.message import LAYOUT, encode, id_bytes
from taskq.names import shown
from taskq.options import TaskOptions
from taskq.signature import Signature
from taskq.tasks.broker import Outgoing

UNIQUE_BYTES = 16

T_co = TypeVar("T_co", covariant=True)
E = TypeVar("E", bound=TaskqError)
_head = Struct("<BI")
_ATOMS = frozenset({str, int, bool, type(None)})


@dataclass(frozen=True, slots=True)
class Target:
    """The task that a call is for, as far as its producer knows it; without a signature any plain JSON is taken."""

    name: str
    signature: Signature | None = None
    codec: Codec = JSON
    limit: int = MAX_ARGUMENTS


@dataclass(frozen=True, slots=True)
class Stamp:
    """What all calls of one task with the same options have in common.

    `head` and `tail` are the JSON before the arguments and after the creation time (see `taskq.message`). `due` and
    `expires` are milliseconds as in `Outgoing`: relative ones are negative, so that the server's clock decides.
    """

    target: Target
    options: TaskOptions
    wire: Mapping[str, Any]
    head: bytes
    tail: bytes
    due: float
    expires: float
    unique: bytes
    explicit: bytes
    plain: bool

    @classmethod
    def of(cls, target: Target, options: TaskOptions, then: Mapping[str, Any] | None = None) -> Stamp:
        """Work the options of a call out; `then` is the wire of its follow-up."""
        wire = options.wire()
        if then is not None:
            wire["then"] = then
        tail = b",%b,%b]" % (orjson.dumps(wire or None), orjson.dumps(dict(options.headers) or None))
        due, expires = _due(options), _expires(options)
        unique = b"" if options.unique is None else unique_digest(target.name, options.unique)
        explicit = b"" if options.id is None else id_bytes(options.id)
        plain = not (options.priority or due or expires or unique or explicit)
        head = b"[%b," % orjson.dumps(target.name)
        return cls(target, options, wire, head, tail, due, expires, unique, explicit, plain)

    @property
    def queue(self) -> str:
        return self.options.queue

    def with_options(self, options: TaskOptions) -> Stamp:
        """The same with other options; the follow-up stays."""
        if options is self.options:
            return self
        return Stamp.of(self.target, options, self.wire.get("then"))

    def outgoing(self, id: bytes, args: Sequence[Any], kwargs: Mapping[str, Any], created: int) -> Outgoing:
        """One call as the broker takes it. `id` is the one to use if the options name none.

        Raises InvalidArguments, SerializationError, PayloadTooLarge, and InvalidOption for what could never start.
        """
        body = self._body(args, kwargs, created)
        if self.plain:
            return Outgoing(id, body)
        if self.due * self.expires < 0:  # one is a moment, the other counts from now: only now they can be compared
            self._can_start(created)
        explicit, priority = self.explicit, self.options.priority
        return Outgoing(explicit or id, body, priority, self.due, self.expires, self.unique, bool(explicit))

    def _can_start(self, now: int) -> None:
        due = self.due if self.due > 0 else now - self.due
        expires = self.expires if self.expires > 0 else now - self.expires
        if due > expires:
            name = "at" if self.due > 0 else "delay"
            late = (due - expires) / 1_000
            raise InvalidOption(f"{name}= is {late:g} s after expires=: the message could never start")

    def outgoing_many(self, ids: Iterable[bytes], rows: Sequence[tuple[Any, ...]], created: int) -> list[Outgoing]:
        """Many calls by position; all are encoded before the first can be sent, so a bad one leaves nothing stored."""
        if self.explicit and len(rows) > 1:
            raise InvalidOption(f"id={self.options.id!r} names one message, and these are {len(rows)}")
        target = self.target
        if target.codec is not JSON or not self.plain:
            return self._each(ids, rows, created)
        fit = None if target.signature is None else target.signature.encode
        head, tail = self.head, b",{},%d%b" % (created, self.tail)
        seal, limit = _head.pack, target.limit
        none: dict[str, Any] = {}
        messages: list[Outgoing] = []
        try:
            for raw, args in zip(ids, rows, strict=True):
                row = args if fit is None else fit(args, none)[0]
                payload = head + _row(row, limit) + tail
                messages.append(Outgoing(raw, seal(LAYOUT, crc32(payload)) + payload))
        except InvalidArguments as error:  # it names the task already
            raise _of_call(error, f"call {len(messages)}") from None
        except SerializationError as error:
            raise _of_call(error, f"call {len(messages)}: {target.name}") from None
        return messages

    def _each(self, ids: Iterable[bytes], rows: Sequence[tuple[Any, ...]], created: int) -> list[Outgoing]:
        messages: list[Outgoing] = []
        for raw, args in zip(ids, rows, strict=True):
            try:
                messages.append(self.outgoing(raw, args, {}, created))
            except (InvalidArguments, SerializationError) as error:
                raise _of_call(error, f"call {len(messages)}") from None
        return messages

    def _body(self, args: Sequence[Any], kwargs: Mapping[str, Any], created: int) -> bytes:
        target = self.target
        try:
            if target.signature is not None:
                args, kwargs = target.signature.encode(args, kwargs)
            data = encode_arguments(args, kwargs, target.codec, target.limit)
        except SerializationError as error:
            raise _of_call(error, target.name) from None
        if target.codec is not JSON:
            headers = dict(self.options.headers) or None
            wire = dict(self.wire) or None
            return encode(target.name, list(args), dict(kwargs), created, wire, headers, target.codec.name)
        payload = b"%b%b,%d%b" % (self.head, data[1:-1], created, self.tail)
        return _head.pack(LAYOUT, crc32(payload)) + payload


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """A call that was not made: a task, its arguments and options as one value, for `then=` and `enqueue_many`."""

    stamp: Stamp
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None

    @property
    def task(self) -> str:
        """The name of the task."""
        return self.stamp.target.name

    @property
    def queue(self) -> str:
        return self.stamp.queue

    def outgoing(self, id: bytes, created: int) -> Outgoing:
        return self.stamp.outgoing(id, self.args, self.kwargs or {}, created)

    def __repr__(self) -> str:
        parts = [shown(value) for value in self.args]
        parts += [f"{name}={shown(value)}" for name, value in (self.kwargs or {}).items()]
        return f"Call({self.task}({', '.join(parts)}) in {self.queue!r})"


def unique_digest(task: str, key: str) -> bytes:
    """What a `unique=` key is to the broker: the key is held per queue and task."""
    return blake2b(f"{task}\0{key}".encode(), digest_size=UNIQUE_BYTES).digest()


def now_ms() -> int:
    """The producer's wall clock, which a message carries as its time of creation."""
    return time_ns() // 1_000_000


# -- follow-ups --------------------------------------------------------------------------------------------------------
# Keys and meanings are part of the data layout: `task`, `queue`, `args`, `kwargs`, and what is not the default of
# `priority`, `due`, `expires` (milliseconds, negative from when it is sent), `unique` (hex), `id`, `codec`, `options`
# and `headers`.


def follow_wire(call: Call[Any], what: str = "then") -> dict[str, Any]:
    """A call as the JSON that travels inside another message, checked and encoded now; `what` is said in front."""
    if not isinstance(call, Call):
        raise InvalidOption(f"{what}={shown(call)}: give a call, like {'then=' if what == 'then' else ''}task.call(1)")
    stamp, target = call.stamp, call.stamp.target
    args: Sequence[Any] = call.args
    kwargs: Mapping[str, Any] = call.kwargs or {}
    try:
        if target.signature is not None:
            args, kwargs = target.signature.encode(args, kwargs)
        encode_arguments(args, kwargs, JSON, target.limit)  # inside the other message it is JSON, whatever its codec
    except InvalidArguments as error:  # it names the task already
        raise _of_call(error, what) from None
    except SerializationError as error:
        raise _of_call(error, f"{what}: {target.name}") from None
    wire: dict[str, Any] = {"task": target.name, "queue": stamp.queue, "args": list(args), "kwargs": dict(kwargs)}
    more = {
        "priority": stamp.options.priority,
        "due": stamp.due,
        "expires": stamp.expires,
        "unique": stamp.unique.hex(),
        "id": stamp.options.id,
        "codec": "" if target.codec is JSON else target.codec.name,
        "options": stamp.wire,
        "headers": dict(stamp.options.headers),
    }
    return wire | {key: value for key, value in more.items() if value}


def follow_outgoing(wire: Mapping[str, Any], id: bytes) -> tuple[str, Outgoing]:
    """The queue and the message of a follow-up; `id` is the one to use if its call named none.

    Raises DecodeError for what `follow_wire` never makes.
    """
    try:
        args, kwargs, codec = wire["args"], wire["kwargs"], wire.get("codec", JSON.name)
        codecs.get(codec)
        body = encode(wire["task"], args, kwargs, now_ms(), wire.get("options"), wire.get("headers"), codec)
        explicit = wire.get("id")
        message = Outgoing(
            id_bytes(explicit) if explicit else id,
            body,
            int(wire.get("priority", 0)),
            float(wire.get("due", 0)),
            float(wire.get("expires", 0)),
            bytes.fromhex(wire.get("unique", "")),
            bool(explicit),
        )
        return str(wire["queue"]), message
    except (LookupError, TypeError, ValueError) as error:
        raise DecodeError(f"a follow-up cannot be read: {type(error).__name__}: {error}") from error


def _row(row: Sequence[Any], limit: int) -> bytes:
    """The arguments of a call by position as JSON: most are single plain values, so those go the short way."""
    if _ATOMS.issuperset(map(type, row)):
        try:
            data = orjson.dumps(row)
        except TypeError:  # an int or a text that JSON does not take: told below
            pass
        else:
            if len(data) + 5 <= limit:  # `[...],{}` is what is measured everywhere else
                return data
    return encode_arguments(row, {}, JSON, limit)[1:-4]


def _due(options: TaskOptions) -> float:
    if options.delay is not None:
        return -round(options.delay * 1_000)
    return options.at or 0


def _expires(options: TaskOptions) -> float:
    if options.expires is None:
        return 0
    # 0 would mean "never" to the broker; the beginning of 1970 has passed one millisecond later as well
    return -max(1, round(options.expires * 1_000)) if isinstance(options.expires, float) else max(1, options.expires)


def _of_call(error: E, what: str) -> E:
    """The same error, of the same class, with the call named in front."""
    error.args = (f"{what}: {error}",)
    return error
