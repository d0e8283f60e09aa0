"""Groups as a whole: made known before their first member joins, described, and put somewhere else."""

from __future__ import annotations

import time
import uuid
from datetime import datetime
from typing import Any, Literal

import orjson

from taskq.checks import when
from taskq.errors import ConfigError, NoOffset
from taskq.events.group_calls import place
from taskq.events.log import Log
from taskq.events.properties import TopicProperties
from taskq.events.record import Offset
from taskq.events.subscription import Subscription
from taskq.store.links import Steps


def declare(topic: Log, properties: TopicProperties, options: Subscription) -> Steps[None]:
    """Put the positions of a group that is new, then make it known. Raises ConfigError, NoOffset.

    The positions come first: who dies between the two leaves a group that is not known, and it begins again.
    """
    stored: bytes | None = yield ("HGET", topic.keys.groups, options.group)
    if stored is not None:
        _compare(topic.name, options, orjson.loads(stored))
        return
    if options.reset == "error":
        raise NoOffset(
            f'group {options.group!r} is new to topic {topic.name!r}, and reset="error" says to stop: begin it with'
            ' reset="earliest" or "latest"'
        )
    where = "end" if options.reset == "latest" else "start"
    for number in range(properties.partitions):
        yield place(topic.keys.partition(number), options.group, "begin", where, uuid.uuid4().hex)
    known: dict[str, Any] = {"kind": "ordered", "single": options.alone, "reset": options.reset}
    known |= {"partitions": properties.partitions, "created": int(time.time() * 1000)}
    yield ("HSETNX", topic.keys.groups, options.group, orjson.dumps(known))


def target(where: Offset | datetime | float | Literal["earliest", "latest"]) -> str | Offset:
    """What `place` takes for an offset, a moment, or a word. Raises InvalidOption."""
    if isinstance(where, Offset):
        return where
    if isinstance(where, str):
        return {"earliest": "start", "latest": "end"}.get(where) or Offset.parse(where)
    return Offset(when(where, "where"))


def _compare(topic: str, options: Subscription, known: dict[str, Any]) -> None:
    if known.get("kind") != "ordered":
        raise ConfigError(
            f"group {options.group!r} of topic {topic!r} is a {known.get('kind')} group, and is subscribed to here as"
            " an ordered one: take another name for the group"
        )
    if known.get("single") != options.alone:
        one, other = ("global", "another mode") if options.alone else (options.mode, "mode 'global'")
        raise ConfigError(
            f"group {options.group!r} of topic {topic!r} is subscribed to here with mode {one!r}, but was made with"
            f" {other}: say the same, or take another name for the group"
        )
