"""One message as people see it: all that its record, its body and its history say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from taskq.errors import DecodeError, InvalidOption
from taskq.message import Message, decode, id_text
from taskq.names import shown
from taskq.options import TaskOptions
from taskq.tasks import failure
from taskq.tasks.broker import Flags
from taskq.tasks.operator_calls import Examined, created_ms
from taskq.tasks.outcomes import Status, counts_of, status_of

_KINDS = {"d": "done", "x": "dead", "c": "cancelled", "e": "expired"}


@dataclass(frozen=True, slots=True)
class Contents:
    """What a message and its result carry: other people's data, so it is given only when it is asked for."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    result: Any = None
    raw: bytes = b""  # of a body that cannot be read: its first bytes


@dataclass(frozen=True, slots=True)
class MessageInfo:
    """All that is known of one message at one moment. Times are milliseconds of the epoch, None where there is none.

    `created` is the producer's clock, the others the server's: `due` of a delayed one, `expires` after which it is not
    started, `buried` since when it is dead or quarantined, `deadline` of its lease, `result_until` the end of its
    result. `attempts`, `crashes` and `deliveries` are None once it is over, and no dead letter: they are not kept.
    `options` are those that its call changed. `problem` says why its body cannot be read. `history` is oldest first.
    """

    id: str
    queue: str
    status: Status
    task: str
    priority: int | None
    attempts: int | None
    crashes: int | None
    deliveries: int | None
    created: int | None
    due: float | None
    expires: float | None
    buried: float | None
    deadline: float | None
    cancel_requested: bool
    unique: bool
    explicit: bool
    once: bool
    bytes: int
    options: Mapping[str, Any]
    then: str | None
    history: tuple[dict[str, Any], ...]
    result: str | None
    result_bytes: int
    result_until: float | None
    progress: Mapping[str, Any] | None
    problem: str
    contents: Contents | None = None


def message_info(seen: Examined, id: bytes, queue: str, contents: bool) -> MessageInfo:
    """What one look tells; arguments, headers and result only with `contents`."""
    found = seen.found
    message, problem = _read(id, seen.body)
    history = tuple(failure.parse(found.lines)) if found.lines else ()
    named = [str(entry["task"]) for entry in history if entry.get("task")]
    options, then = _options(message)
    attempts, crashes, deliveries = counts_of(found, history)
    return MessageInfo(
        id=id_text(id),
        queue=queue,
        status=status_of(found),
        task=message.task if message else (named[-1] if named else ""),
        priority=found.priority,
        attempts=attempts,
        crashes=crashes,
        deliveries=deliveries,
        created=message.created if message else created_ms(id),
        due=seen.due,
        expires=seen.expires,
        buried=seen.buried,
        deadline=seen.deadline,
        cancel_requested=bool(found.flags & Flags.CANCEL),
        unique=bool(found.flags & Flags.UNIQUE),
        explicit=bool(found.flags & Flags.EXPLICIT),
        once=bool(found.flags & Flags.ONCE),
        bytes=len(seen.body),
        options=options,
        then=then,
        history=history,
        result=_KINDS.get(chr(found.result[0]), "unknown") if found.result else None,
        result_bytes=max(len(found.result) - 1, 0),
        result_until=seen.kept,
        progress=_object(seen.progress),
        problem=problem,
        contents=_contents(message, seen) if contents else None,
    )


def _read(id: bytes, body: bytes) -> tuple[Message | None, str]:
    if not body:
        return None, ""
    try:
        return decode(id, body), ""
    except DecodeError as error:
        return None, str(error)


def _options(message: Message | None) -> tuple[dict[str, Any], str | None]:
    """The options of a call by name, and its follow-up as `task in queue`."""
    wire = message.options if message is not None else None
    if not isinstance(wire, dict):
        return {}, None
    follow = wire.get("then")
    then = f"{follow.get('task')} in {follow.get('queue')}" if isinstance(follow, dict) else None
    try:
        options = TaskOptions().from_wire({key: value for key, value in wire.items() if key != "then"})
    except InvalidOption as error:
        return {"problem": str(error)}, then
    return {name: _plain(getattr(options, name)) for name in sorted(options.overridden)}, then


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return {name: getattr(value, name) for name in ("max_attempts", "base", "cap")}  # a RetryPolicy


def _contents(message: Message | None, seen: Examined) -> Contents:
    stored = seen.found.result
    result: Any = None
    if stored[:1] in (b"d", b"x") and len(stored) > 1:
        try:
            result = orjson.loads(stored[1:])
        except ValueError as error:
            result = f"unreadable: {shown(error)}"
    if message is None:
        return Contents(result=result, raw=seen.body[:256])
    return Contents(tuple(message.args), message.kwargs, message.headers or {}, result)


def _object(text: bytes) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        value = orjson.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
