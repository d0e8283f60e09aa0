"""Patterns of topic names: levels are what stands between dots."""

from __future__ import annotations

import re
from dataclasses import dataclass

from taskq.errors import InvalidName
from taskq.names import RULE, check_name, shown

_SIGNS = frozenset("*>#")


def is_pattern(text: object) -> bool:
    """Whether this is meant as a pattern, and not as the name of one topic."""
    return isinstance(text, str) and not _SIGNS.isdisjoint(text)


@dataclass(frozen=True, slots=True)
class Pattern:
    """`*` stands for exactly one level; `>` (or `#`), at the end only, for one level or more. Case counts.

    >>> orders = Pattern.of("orders.*.eu")
    >>> orders.matches("orders.new.eu"), orders.matches("orders.eu"), Pattern.of("orders.>").matches("orders.a.b")
    (True, False, True)
    """

    text: str
    regex: re.Pattern[str]

    @classmethod
    def of(cls, text: str) -> Pattern:
        """The pattern that a text is; raises InvalidName."""
        levels = text.split(".")
        for place, level in enumerate(levels):
            last = place == len(levels) - 1
            if not level or (not _SIGNS.isdisjoint(level) and (level not in _SIGNS or (level != "*" and not last))):
                raise InvalidName(
                    f"topic pattern {shown(text)} is not valid: between dots stands a name or *, at the end also > (or"
                    f" #), and a name is {RULE}"
                )
        check_name(re.sub(r"[*>#]", "x", text), "topic pattern")
        parts = ["[^.]+" if level == "*" else ".+" if level in _SIGNS else re.escape(level) for level in levels]
        return cls(text, re.compile(r"\.".join(parts)))

    def matches(self, name: str) -> bool:
        """Whether a topic of this name is meant."""
        return self.regex.fullmatch(name) is not None

    @property
    def glob(self) -> str:
        """The same for PSUBSCRIBE, where `*` also stands for dots: it lets through more, never less."""
        return re.sub(r"[>#]", "*", self.text)
