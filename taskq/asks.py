"""What a look is made of: commands and scripts that go in one round trip, each with what takes its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taskq.store.scripts import Call


@dataclass
class Ask:
    """A command or a script of a look; `take` gets the answer, `what` is what is missing if it is refused."""

    what: str
    wire: Call[Any] | tuple[Any, ...]
    take: Callable[[Any], None]


class Names:
    """A set or hash of names that is read a page a round; it is known once a scan has come to its end."""

    def __init__(self, command: str, key: str, most: int) -> None:
        self._command, self._key, self._most = command, key, most
        self._cursor: bytes = b"0"
        self._page: dict[str, str] = {}
        self.known: dict[str, str] = {}
        self.cut = False

    def wire(self) -> tuple[Any, ...]:
        """What to send."""
        return self._command, self._key, self._cursor, "COUNT", self._most

    def take(self, reply: Any) -> None:
        """The answer to it."""
        self._cursor, flat = reply
        texts = [str(text, "utf-8", "replace") for text in flat]
        pairs = zip(texts, texts, strict=True) if self._command == "SSCAN" else zip(*[iter(texts)] * 2, strict=True)
        self._page |= dict(pairs)
        whole = self._cursor == b"0"
        if whole or not self.known or len(self._page) > self._most:
            self.cut = not whole or len(self._page) > self._most
            self.known = dict(sorted(self._page.items())[: self._most])
        if whole or len(self._page) > self._most:
            self._cursor, self._page = b"0", {}
