"""Changing schedules: each change as steps, which either client walks through; every step may be repeated.

A step is a script call, a plain command, or a list of these for one round trip; what is sent back in is its answer. An
entry is changed only if it is as it was read, so whoever comes second reads again. An entry that goes to another queue
is closed where it is, made anew there, and only then removed: anybody who meets it halfway finishes that first.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

from taskq.errors import BrokerRefused, BrokerUnavailable, ConfigError, DecodeError, TaskqError
from taskq.store import keys as store_keys
from taskq.store.connection import AsyncLink, SyncLink
from taskq.store.keys import queue_keys
from taskq.store.scripts import Call, run, run_async
from taskq.tasks import schedule_calls as calls
from taskq.tasks.schedule import JUMP_MS, ORPHAN_MS, RETIRE_MS, Definition, Entry

T = TypeVar("T")
Steps: TypeAlias = Generator[Any, Any, T]

_TRIES = 20
"""How often a change is begun again because somebody else changed the entry meanwhile."""


def drive(link: SyncLink, steps: Steps[T], pauses: Iterator[float] | None = None) -> T:
    """Walk through the steps; a step that found no broker is repeated after each of the pauses."""
    reply: Any = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as done:
            result: T = done.value
            return result
        while True:
            try:
                reply = _do(link, step)
                break
            except BrokerUnavailable:
                pause = None if pauses is None else next(pauses, None)
                if pause is None:
                    raise
                time.sleep(pause)


async def adrive(link: AsyncLink, steps: Steps[T]) -> T:
    """`drive` in an event loop; a step that found no broker is repeated once, for the connection may be an old one."""
    reply: Any = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as done:
            result: T = done.value
            return result
        try:
            reply = await _ado(link, step)
        except BrokerUnavailable:
            reply = await _ado(link, step)


def _do(link: SyncLink, step: Any) -> Any:
    if isinstance(step, Call):
        return run(link, step)
    return _unrefused(step, link.pipeline(step)) if isinstance(step, list) else link.execute(*step)


async def _ado(link: AsyncLink, step: Any) -> Any:
    if isinstance(step, Call):
        return await run_async(link, step)
    return _unrefused(step, await link.pipeline(step)) if isinstance(step, list) else await link.execute(*step)


class _Each(list[tuple[Any, ...]]):
    """Commands of one round trip that may be refused each by itself; the refusal is its answer then."""


def _unrefused(step: Any, replies: Sequence[Any]) -> Sequence[Any]:
    for reply in replies:
        if isinstance(reply, TaskqError) and not (isinstance(step, _Each) and isinstance(reply, BrokerRefused)):
            raise reply
    return replies


# -- reading -----------------------------------------------------------------------------------------------------------


def clock() -> Steps[int]:
    """The server's time in milliseconds."""
    seconds, micros = yield ("TIME",)
    return int(seconds) * 1000 + int(micros) // 1000


def find(namespace: str, name: str) -> Steps[Entry | None]:
    """The entry of that name, wherever it is; one that is on its way is first brought to its queue."""
    queue = yield ("HGET", store_keys.schedules(namespace), name)
    for _ in range(_TRIES):
        if queue is None:
            return None
        there = str(queue, "utf-8") if isinstance(queue, bytes) else queue
        entry = Entry.read((yield calls.read(queue_keys(namespace, there), name)))
        if entry is None or not entry.moved:
            return entry
        yield from _finish(namespace, entry, there)
        queue = entry.moved
    raise ConfigError(f"schedule {name!r} goes from queue to queue without end; please report this")


def every(namespace: str, unreadable: list[tuple[str, str]]) -> Steps[list[Entry]]:
    """All entries of a namespace, by name; those that cannot be read are added to `unreadable`, with their queues."""
    flat = yield ("HGETALL", store_keys.schedules(namespace))
    places = sorted(zip(calls.names_of(flat[::2]), calls.names_of(flat[1::2]), strict=True))
    found: list[Entry] = []
    for start in range(0, len(places), 100):
        some = places[start : start + 100]
        replies = yield _Each(calls.read(queue_keys(namespace, queue), name) for name, queue in some)
        for (name, queue), reply in zip(some, replies, strict=True):
            try:
                if isinstance(reply, BrokerRefused):
                    raise DecodeError(str(reply))
                entry = Entry.read(reply)
            except DecodeError:
                unreadable.append((name, queue))
                continue
            if entry is not None and entry.moved:
                entry = yield from find(namespace, name)
            if entry is not None:
                found.append(entry)
    return found


# -- changing ----------------------------------------------------------------------------------------------------------


def create(namespace: str, definition: Definition, *, by: str, in_code: bool) -> Steps[bool]:
    """Make the entry; False if there is one of that name."""
    now = yield from clock()
    yield from _announce(namespace, definition.name, definition.queue)
    fields = _said(definition, by) | {"created": now, "origin": "code" if in_code else "call"}
    if in_code:
        fields[f"d:{definition.digest}"] = now
    slot = definition.following(now)
    answer = yield calls.put(queue_keys(namespace, definition.queue), definition.name, "", fields, slot=slot)
    return bool(answer.code == calls.ENQUEUED)


def declare(namespace: str, definition: Definition, by: str) -> Steps[str]:
    """Say that a live worker has this definition in its code; answers the digest of the one in use.

    A definition that the entry has never seen is newer than all that it has, and is in use from now on. An older one
    comes into use again when nobody has declared a newer one for a while, as after a deploy that was taken back. Slots
    go on from the last that was decided. Raises ConfigError for a name that was given at run time.
    """
    for _ in range(_TRIES):
        entry = yield from find(namespace, definition.name)
        if entry is None:
            if (yield from create(namespace, definition, by=by, in_code=True)):
                return definition.digest
            continue
        if not entry.in_code:
            raise ConfigError(
                f"schedule {definition.name!r} was added at run time; remove it there, or give the one in code a name="
            )
        now, current = (yield from clock()), entry.definition.digest
        if definition.digest in entry.known:
            yield calls.seen(queue_keys(namespace, entry.definition.queue), {entry.name: definition.digest})
            if current == definition.digest or now - entry.known.get(current, 0) <= ORPHAN_MS:
                return current
        known = [digest for digest, seen in entry.known.items() if now - seen > RETIRE_MS]
        fields = dict.fromkeys((f"d:{digest}" for digest in known), "") | {f"d:{definition.digest}": now}
        if (yield from replace(namespace, entry, definition, by, fields)):
            return definition.digest
    raise ConfigError(f"schedule {definition.name!r} is changed by others all the time; please report this")


def replace(namespace: str, entry: Entry, definition: Definition, by: str, more: dict[str, Any]) -> Steps[bool]:
    """Give an entry another definition, and another queue if that is part of it; False if it was changed meanwhile."""
    old, new = entry.definition.queue, definition.queue
    fields = _said(definition, by) | more
    keys = queue_keys(namespace, old)
    if new == old:
        slot, turned = _onward(entry, definition, (yield from clock()))
        answer = yield calls.put(keys, entry.name, entry.rev, fields | turned, slot=slot, held=entry.paused)
        return bool(answer.code == calls.ENQUEUED)
    answer = yield calls.put(keys, entry.name, entry.rev, fields | {"moved": new}, held=True)
    if answer.code == calls.ENQUEUED:
        yield from find(namespace, entry.name)
    return bool(answer.code == calls.ENQUEUED)


def hold(namespace: str, entry: Entry, paused: bool) -> Steps[bool]:
    """Pause an entry, or let it go on with its next slot from now; False if it was changed meanwhile."""
    keys = queue_keys(namespace, entry.definition.queue)
    if paused:
        answer = yield calls.put(keys, entry.name, entry.rev, {"paused": "1"}, held=True)
    else:
        now = yield from clock()
        _, turned = _onward(entry, entry.definition, now)
        slot = entry.definition.following(now)
        answer = yield calls.put(keys, entry.name, entry.rev, {"paused": ""} | turned, slot=slot)
    return bool(answer.code == calls.ENQUEUED)


def remove(namespace: str, entry: Entry) -> Steps[bool]:
    """Remove an entry; False if it was changed meanwhile."""
    code = yield calls.drop(queue_keys(namespace, entry.definition.queue), entry.name, entry.rev)
    if code != 2:
        yield ("HDEL", store_keys.schedules(namespace), entry.name)
    return bool(code != 2)


def scrap(namespace: str, name: str) -> Steps[bool]:
    """Remove an entry that cannot be read; False if it was changed meanwhile."""
    index = store_keys.schedules(namespace)
    keys = queue_keys(namespace, str((yield ("HGET", index, name)) or b"", "utf-8"))
    code = yield calls.drop(keys, name, (yield ("HGET", keys.schedule(name), "rev")) or "")
    if code != 2:
        yield ("HDEL", index, name)
    return bool(code != 2)


def _said(definition: Definition, by: str) -> dict[str, Any]:
    return {"def": definition.wire, "digest": definition.digest, "by": by}


def _announce(namespace: str, name: str, queue: str) -> Steps[None]:
    """Who looks for the schedule finds it there, and who looks for queues finds its queue."""
    yield ("SADD", store_keys.queues(namespace), queue)
    yield ("HSET", store_keys.schedules(namespace), name, queue)


def _onward(entry: Entry, definition: Definition, now: int) -> tuple[int | None, dict[str, Any]]:
    """The next slot of an entry by a definition, and what else changes in it.

    It counts from the last that was decided, or from the beginning. One that lies ahead tells of a clock that has gone
    back: what changes the entry hides that from whoever fires (`at`), so the entry is begun again here. For the
    same reason what was missed is cut to its cap here.
    """
    counted = entry.created if entry.last is None else entry.last
    if counted > now + JUMP_MS:
        return definition.following(now), {"turn": entry.turn + 1}
    slot = definition.following(counted)
    if slot is not None and slot <= now and definition.missed == "all":
        slot = definition.last(slot, now, definition.cap)[0]
    return slot, {}


def _finish(namespace: str, entry: Entry, old: str) -> Steps[None]:
    """Bring an entry that is closed at its old queue to the one that it is meant for."""
    new = queue_keys(namespace, entry.moved)
    fields: dict[str, Any] = _said(entry.definition, entry.by) | {f"d:{one}": at for one, at in entry.known.items()}
    fields |= {"created": entry.created, "origin": "code" if entry.in_code else "call", "turn": entry.turn}
    fields |= {"runs": entry.runs, "skips": entry.skips}
    if entry.last is not None:
        fields["last"] = entry.last
    if entry.paused:
        fields["paused"] = "1"
    slot, turned = _onward(entry, entry.definition, (yield from clock()))
    fields |= turned
    # Code 2: it is there already, somebody else came first.
    yield calls.put(new, entry.name, "", fields, slot=slot, held=entry.paused)
    yield from _announce(namespace, entry.name, entry.moved)
    yield calls.drop(queue_keys(namespace, old), entry.name, entry.rev)
