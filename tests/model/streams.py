"""The stored stream of a stream queue: as the model sees it, and what must hold of it after every script.

To the model a stream queue is a list queue of one priority. What waits is what was given back (the ready list), then
what nobody has read (the stream behind the last entry that was read), in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from taskq.tasks.broker import TOKEN_BYTES
from tests.model.store import Record

Entry = tuple[int, int]
Held = tuple[bytes, Any]  # a message and the token under which it is held
WIDE = 26  # bytes of an entry in its table
STREAM_VALUES = 6  # entries, tally, fresh, steps, passed, and the stream itself


class Block(NamedTuple):
    """A run of messages whose last entry this is."""

    end: Entry
    messages: int
    size: int


@dataclass(frozen=True)
class Stream:
    """`named` are entries by message, None where a message is held without one; `entries` are id and body by entry;
    `read` is the last one that the group has read.
    """

    named: dict[bytes, Entry | None]
    tally: dict[bytes, bytes]
    entries: dict[Entry, tuple[bytes, bytes]]
    pending: set[Entry]
    consumers: set[bytes]
    read: Entry
    steps: list[Block]
    passed: list[Block]

    @classmethod
    def of(cls, values: Sequence[Any], held: dict[bytes, tuple[int, tuple[bytes, ...]]], leased: set[Held]) -> Stream:
        """From what the dump says of its keys; `leased` are the messages that are held, each with its token."""
        named, tally, fresh, steps, passed, stream = values
        assert not fresh, "fresh is empty once a script has ended"
        entries, groups, pending = stream or ([], [], [])
        found = {}
        for entry, fields in entries:
            assert (fields[::2], len(fields[1])) == ([b"id", b"body"], 16), f"an entry {fields}"
            found[entry_of(entry)] = (fields[1], fields[3])
        assert len(groups) <= 1, "one group is enough"
        group = _pairs(groups[0]) if groups else {}
        assert group.get(b"name", b"taskq") == b"taskq"
        return cls(
            _named(_pairs(named), held, leased),
            _pairs(tally),
            found,
            {entry_of(one[0]) for one in pending},
            {one[1] for one in pending},
            entry_of(group.get(b"last-delivered-id", b"0-0")),
            [_block(text) for text in steps],
            [_block(text) for text in passed],
        )

    @property
    def unread(self) -> dict[Entry, tuple[bytes, bytes]]:
        return {entry: told for entry, told in self.entries.items() if entry > self.read}

    def count(self, name: bytes) -> int:
        return int(self.tally.get(name, b"0"))


def merge(fields: dict[str, Any], values: Sequence[Any]) -> None:
    """Put what is unread where the model has it, having checked all that must hold."""
    leased = {(mid, record.token) for mid, record in fields["state"].items() if record.kind == "l"}
    stream = Stream.of(values, fields["held"], leased)
    back = fields["lists"].get("0", ())
    _check_entries(stream, fields["state"], [*back, *fields["lists"].get("alone", ())], back)
    _check_unread(stream, fields["body"])
    _check_history(stream)
    waiting = (*back, *(mid for mid, _ in stream.unread.values()))
    assert set(fields["lists"]) & {"2", "1", "-1", "-2"} == set(), "a stream queue has no priorities"
    if waiting:
        fields["lists"]["0"] = waiting


def _named(
    found: dict[bytes, bytes], held: dict[bytes, tuple[int, tuple[bytes, ...]]], leased: set[Held]
) -> dict[bytes, Entry | None]:
    """Entries by message: of a batch by its token, in the order of its ids; of what was given back by its id."""
    tokens = {field for field in found if len(field) == TOKEN_BYTES}
    assert tokens == held.keys(), "the entries of a batch go with its token"
    named = {field: _wide(text) for field, text in found.items() if field not in tokens}
    for token in tokens:
        ids = held[token][1]
        assert len(found[token]) == WIDE * len(ids), "an entry for each message of the batch"
        for place, mid in enumerate(ids):
            if (mid, token) in leased:
                assert mid not in named, "a message that is held was given back"
                named[mid] = _wide(found[token][WIDE * place : WIDE * (place + 1)])
    return named


def _wide(text: bytes) -> Entry | None:
    assert len(text) == WIDE
    return None if text == b"-" * WIDE else entry_of(text)


def _check_entries(stream: Stream, state: dict[bytes, Record], waiting: Sequence[bytes], back: Sequence[bytes]) -> None:
    """Every message that is leased or was given back has one field; its entry, if any, is pending, and no other is."""
    leased = {mid for mid, record in state.items() if record.kind == "l"}
    assert leased <= stream.named.keys(), "a leased message that entries does not name"
    assert set(back) <= stream.named.keys(), "a message was given back, and entries does not name it"
    assert stream.named.keys() <= leased | set(waiting), "entries names a message that is neither held nor given back"
    held = [entry for entry in stream.named.values() if entry]
    assert len(held) == len(set(held)), "two messages with one entry"
    assert set(held) == stream.pending, "what is held is pending, and nothing else"
    assert stream.consumers <= {b"taskq"}
    for mid, entry in stream.named.items():
        assert entry is None or stream.entries[entry][0] == mid, "an entry of another message"


def _check_unread(stream: Stream, bodies: dict[bytes, bytes]) -> None:
    """The tally tells how much is unread and from where on; bodies in the stream are those of the table."""
    assert stream.count(b"appended") - stream.count(b"read") == len(stream.unread), "appended - read is what is unread"
    assert entry_of(stream.tally.get(b"last", b"0-0")) == stream.read, "the tally and the group have read as far"
    assert not stream.pending or max(stream.pending) <= stream.read
    for mid, body in stream.unread.values():
        assert bodies.get(mid, body) == body
        assert len(body) <= stream.count(b"big"), "a body is larger than the largest"
    for name in (b"repair", b"restore", b"doubt", b"lost", b"foreign", b"repaired"):
        assert name not in stream.tally, f"{name!r} and no entry was taken away"


def _check_history(stream: Stream) -> None:
    """The blocks add up to the stream; what is history is over, and what is not over is not trimmed."""
    assert stream.count(b"n") < 100, "a block of 100 messages was not noted"
    assert stream.count(b"b") < 65536, "a block of 64 KiB was not noted"
    blocks, sizes = [*stream.passed, *stream.steps], [len(body) for _, body in stream.entries.values()]
    assert stream.count(b"n") + sum(block.messages for block in blocks) == len(sizes), "the blocks do not add up"
    assert stream.count(b"b") + sum(block.size for block in blocks) == sum(sizes), "the blocks do not add up"
    assert stream.count(b"passed") == sum(block.messages for block in stream.passed)
    assert stream.count(b"bytes") == sum(block.size for block in stream.passed)
    assert stream.pending <= stream.entries.keys(), "a pending entry was trimmed"
    for block in stream.passed:
        assert block.end <= stream.read, "a block is history, and something of it is unread"
        assert all(block.end < entry for entry in stream.pending), "a block is history, and something of it is pending"
    assert [block.end for block in blocks] == sorted(block.end for block in blocks)


def entry_of(text: bytes) -> Entry:
    ms, _, number = text.partition(b"-")
    return int(ms), int(number)


def _block(text: bytes) -> Block:
    entry, count, size, *_ = text.split(b" ")
    return Block(entry_of(entry), int(count), int(size))


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
