"""Statistics of one queue as they are stored, read into the values of `taskq.snapshot`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

import orjson

from taskq.buckets import Histogram
from taskq.message import id_text
from taskq.snapshot import FailureInfo, Fate, Sample, TaskStats
from taskq.tasks.statistics import FATES, LETTERS, RUN, SLOT_MS, SLOTS, WAIT

_HEAD: Final = 30  # of a recent failure: fate, id, time
_ESCAPE: Final = 6  # no character of JSON is longer, and none of UTF-8


def task_stats(queue: str, flat: Sequence[bytes]) -> tuple[TaskStats, ...]:
    """The tasks of a queue, by name, from the fields and values of its `stats`; other fields are passed over."""
    counts: dict[str, dict[str, int]] = {}
    buckets: dict[str, dict[str, dict[int, int]]] = {}
    for name, task, value in _fields(flat):
        if name in LETTERS:
            counts.setdefault(task, {})[LETTERS[name]] = value
        elif name[:1] in (RUN, WAIT) and name[1:].isdigit():
            buckets.setdefault(task, {}).setdefault(name[0], {})[int(name[1:])] = value
    found = []
    for task in sorted(counts.keys() | buckets.keys()):
        of = buckets.get(task, {})
        run, wait = Histogram(of.get(RUN, {})), Histogram(of.get(WAIT, {}))
        found.append(TaskStats(queue, task, **counts.get(task, {}), run=run, wait=wait))
    return tuple(found)


def _fields(flat: Sequence[bytes]) -> Iterator[tuple[str, str, int]]:
    for field, value in zip(flat[::2], flat[1::2], strict=True):
        name, _, task = str(field, "utf-8", "replace").partition(" ")
        if task and value.isdigit():
            yield name, task, int(value)


def samples(flat: Sequence[bytes], now: int, swept: float) -> tuple[Sample, ...]:
    """The last ten minutes of a queue, oldest first, from the fields and values of its `samples`.

    While nothing changes nothing is stored: those slots have the values before them, until the last sweep (ms).
    """
    found: dict[int, Sample] = {}
    for text in flat[1::2]:
        one = _sample(text)
        if one is not None and one.at < now + SLOT_MS:
            found[one.at // SLOT_MS] = one
    first = now // SLOT_MS - SLOTS + 1
    last = max([int(swept) // SLOT_MS, *found]) if found else 0
    known = [slot for slot in found if slot < first]
    before = found[max(known)] if known else None
    filled = []
    for slot in range(first, min(last, now // SLOT_MS) + 1):
        here = found.get(slot)
        if here is None and before is not None:
            here = replace(before, at=slot * SLOT_MS)
        if here is not None:
            filled.append(here)
            before = here
    return tuple(filled)


def _sample(text: bytes) -> Sample | None:
    numbers = text.split(b" ")
    if len(numbers) != 7 or not all(number.isdigit() for number in numbers):
        return None
    return Sample(*(int(number) for number in numbers))


def failures(queue: str, entries: Sequence[bytes]) -> list[FailureInfo]:
    """The last failures of a queue, newest first; what is no such entry is passed over."""
    found = []
    for entry in entries:
        fate, at = FATES.get(chr(entry[0]) if entry else ""), entry[17:_HEAD]
        if fate is None or not at.isdigit():
            continue
        said = beginning(entry[_HEAD:])
        attempt = said.get("attempt")
        found.append(
            FailureInfo(
                queue,
                id_text(entry[1:17]),
                str(said.get("task", "")),
                int(at),
                cast("Fate", fate),
                str(said.get("type", "")),
                str(said.get("message", "")),
                attempt if type(attempt) is int else 0,
                str(said.get("worker", "")),
            )
        )
    return found


def beginning(line: bytes) -> Mapping[str, Any]:
    """What can be read of an error line that was cut somewhere.

    >>> beginning(b'{"type":"E","message":"no te'), beginning(b'{"type":"E","mess'), beginning(b"{")
    ({'type': 'E', 'message': 'no te'}, {'type': 'E'}, {})
    """
    tries = [line, *(line[: len(line) - back] + b'"}' for back in range(min(_ESCAPE, len(line))))]
    for text in (*tries, line[: max(line.rfind(b',"'), 0)] + b"}"):
        try:
            said = orjson.loads(text)
        except ValueError:
            continue
        if isinstance(said, dict):
            return said
    return {}
