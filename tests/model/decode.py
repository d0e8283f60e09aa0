"""A real queue read back into the values of the model: every key of it, and none beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha1
from struct import Struct
from typing import Any

from taskq.store.keys import QueueKeys
from tests.model.store import EXPIRES, MARK, PRIORITIES, UNIQUE, Record
from tests.model.streams import STREAM_VALUES, merge

# The fixed keys stand in the script: naming them again with each call would take longer than reading them.
_DUMP = """
local call, reply, size, there, forever = redis.call, {}, 0, 0, 0
local function stream(key)
  if call('EXISTS', key) == 0 then return {} end
  local groups = call('XINFO', 'GROUPS', key)
  return { call('XRANGE', key, '-', '+'), groups, #groups > 0 and call('XPENDING', key, 'taskq', '-', '+', 1000) or {} }
end
local function read(key, kind)
  local value = kind == 'h' and call('HGETALL', key) or kind == 'l' and call('LRANGE', key, 0, -1)
    or kind == 'z' and call('ZRANGE', key, 0, -1, 'WITHSCORES') or kind == 'x' and stream(key) or call('GET', key) or ''
  size = size + 1
  reply[size] = value
  if #value > 0 then there = there + 1 end
  return #value > 0
end
for kind, keys in string.gmatch(FIXED, '(%l)=(%S+)') do
  for key in string.gmatch(keys, '[^,]+') do read(key, kind) end
end
for i, key in ipairs(KEYS) do
  if read(key, i > tonumber(ARGV[1]) and 'h' or 's') and call('PTTL', key) < 0 then forever = forever + 1 end
end
reply[size + 1], reply[size + 2], reply[size + 3] = there, call('DBSIZE'), forever
return reply
"""
DECLARED = (b"transport", b"retain")  # what `declare` has said of the queue; no other script of a trace changes it
HASHES = ["body", "state", "held", "left", "unique", "cancels", "errors", "results", "outbox", "meta", "stats"]
ZSETS = ["delayed", "leases", "parked", "dead", "quarantine", "results_due", "tombs"]
_head = Struct(">BBBHBH")
_double = Struct(">d")
_OPS = ((b"ack", b"acked"), (b"nack", b"nacked"), (b"bury", b"buried"))


@cache
def dump_script(keys: QueueKeys, tasks: tuple[str, ...]) -> str:
    """The script that reads everything; it must be loaded before a reader's command is sent."""
    lists = [*keys.ready, keys.alone, *(keys.parked_task(task) for task in tasks), keys.wake, keys.recent]
    fixed = {
        "h": [getattr(keys, name) for name in HASHES],
        "z": [getattr(keys, name) for name in ZSETS],
        "l": lists,
    }
    text = " ".join(f"{kind}={','.join(names)}" for kind, names in fixed.items())
    if keys.streamed:
        stream, entries, fresh, tally, steps, passed = keys.behind[:6]
        text += f" h={entries},{tally} l={fresh},{steps},{passed} x={stream}"
    return _DUMP.replace("FIXED", f"'{text}'")


class Reader:
    """The keys of one trace: the fixed ones, its tasks' parked lists, its lanes and its workers."""

    def __init__(
        self, keys: QueueKeys, tasks: tuple[str, ...], lanes: Sequence[bytes], workers: Sequence[bytes]
    ) -> None:
        self._tasks, self._lanes, self._workers, self._streamed = tasks, lanes, workers, keys.streamed
        names = [*(keys.lane(lane) for lane in lanes), *(keys.worker(nonce) for nonce in workers)]
        sha = sha1(dump_script(keys, tasks).encode()).hexdigest()
        self.command = ("EVALSHA", sha, len(names), *names, len(lanes))

    def strays(self, reply: list[Any]) -> tuple[int, int]:
        """How many keys the protocol does not know, and how many lanes and workers never expire."""
        there, size, forever = reply[-3:]
        return size - there, forever

    def fields(self, reply: list[Any]) -> dict[str, Any]:
        """As `Store.fields`."""
        values = reply[:-3]
        found = dict(zip((*HASHES, *ZSETS), values, strict=False))
        if self._streamed:
            meta = _pairs(found["meta"])
            found["meta"] = [part for pair in meta.items() if pair[0] not in DECLARED for part in pair]
        fields = {name: _OF[name](flat) for name, flat in found.items()}
        fields["dues"] = fields.pop("results_due")
        rest = values[len(found) :]
        names = (*PRIORITIES, "alone", *(f"parked:{task}" for task in self._tasks))
        fields["lists"] = {name: tuple(ids) for name, ids in zip(names, rest, strict=False) if ids}
        rest = rest[len(names) :]
        assert len(rest[0]) <= 1, "one bell is enough"
        fields["wake"] = bool(rest[0])
        fields["recent"] = [_recent(one) for one in rest[1]]
        rest = rest[2:]
        if self._streamed:
            merge(fields, rest[:STREAM_VALUES])
            rest = rest[STREAM_VALUES:]
        lanes = rest[: len(self._lanes)]
        fields["lanes"] = {name: _lane(text) for name, text in zip(self._lanes, lanes, strict=True) if text}
        fields["workers"] = {}
        for nonce, flat in zip(self._workers, rest[len(self._lanes) :], strict=True):
            fields["workers"] |= _worker(nonce, _pairs(flat))
        return fields


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _recent(entry: bytes) -> tuple[str, bytes, float, bytes]:
    return chr(entry[0]), entry[1:17], float(entry[17:30]), entry[30:]


def _record(raw: bytes) -> Record:
    if raw == b"c":
        return MARK
    kind, prio, flags, deliveries, crashes, attempts = _head.unpack_from(raw)
    at, token, digest, expires = 8, None, None, 0.0
    if kind == 108:
        token, at = raw[8:28], 28
    if flags & UNIQUE:
        digest, at = raw[at : at + 16], at + 16
    if kind == 112:
        at += 8  # when it was parked: of use to nothing in this model
    if flags & EXPIRES:
        expires, at = _double.unpack_from(raw, at)[0], at + 8
    assert at == len(raw), f"a record of {len(raw)} bytes: {raw!r}"
    return Record(chr(kind), prio, flags, deliveries, crashes, attempts, token, digest, expires)


def ids_of(blob: bytes, size: int = 16) -> tuple[bytes, ...]:
    return tuple(blob[at : at + size] for at in range(0, len(blob), size))


def _lane(text: bytes) -> tuple[int, Any]:
    number, _, answer = text.partition(b":")
    return int(number), tuple((chr(one[0]), one[1:]) for one in ids_of(answer, 17))


def _worker(nonce: bytes, found: dict[bytes, bytes]) -> dict[tuple[bytes, str], Any]:
    fields: dict[tuple[bytes, str], Any] = {}
    if b"lease" in found:
        fields[nonce, "lease"] = int(found.pop(b"lease"))
    for verb, answer in _OPS:
        if verb in found:
            fields[nonce, verb.decode()] = int(found.pop(verb))
            fields[nonce, verb.decode() + "'s answer"] = ids_of(found.pop(answer))
    assert not found, f"unknown fields of a worker: {found}"
    return fields


def _hash(value: Callable[[bytes], Any]) -> Callable[[list[bytes]], dict[Any, Any]]:
    return lambda flat: {name: value(text) for name, text in zip(flat[::2], flat[1::2], strict=True)}


def _scores(flat: list[bytes]) -> dict[Any, float]:
    return {name: float(score) for name, score in zip(flat[::2], flat[1::2], strict=True)}


def _text(fields: dict[bytes, Any]) -> dict[str, Any]:
    return {name.decode(): value for name, value in fields.items()}


_OF: dict[str, Callable[[list[bytes]], Any]] = dict.fromkeys(ZSETS, _scores) | {
    "body": _pairs,
    "state": _hash(_record),
    "held": _hash(lambda text: (int(text[:16]), ids_of(text[16:]))),
    "left": _hash(int),
    "unique": _pairs,
    "cancels": _hash(lambda text: (text[:20], len(text) > 20)),
    "errors": _pairs,
    "results": _pairs,
    "outbox": _pairs,
    "meta": lambda flat: _text(_hash(float)(flat)),
    "stats": lambda flat: _text(_hash(float)(flat)),
    "parked": lambda flat: _text(_scores(flat)),
}
