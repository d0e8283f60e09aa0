"""What a task says of the records that its results become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from taskq.errors import InvalidOption
from taskq.message import id_text
from taskq.names import shown


@dataclass(frozen=True, slots=True)
class Publishes:
    """Each result of a task becomes a record of a topic, with the key that `key` makes of the result."""

    topic: str
    key: Callable[[Any], str | None] | None = None

    def wire(self, task: str, message: bytes, value: Any, encoded: bytes) -> dict[str, Any]:
        """The record as an outbox keeps it; `encoded` is the value as JSON. Raises InvalidOption, what `key` does."""
        key = None if self.key is None else self.key(value)
        if key is not None and not (isinstance(key, str) and key):
            raise InvalidOption(f"key={shown(key)} of a record of topic {self.topic!r}: give a text or None")
        word = id_text(message)
        headers = {"taskq-task": task, "taskq-message": word}
        value_json = orjson.Fragment(encoded)
        return {"topic": self.topic, "key": key, "id": f"task:{word}", "headers": headers, "value": value_json}
