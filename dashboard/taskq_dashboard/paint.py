"""What a screen is made of: lines of pieces with a word for their look, and what these words are on this terminal.

Colours have meanings, and each meaning has a sign as well, so that nothing is lost without colour. Drawing (`view.py`)
knows words only; here they become the styles of rich.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from rich.color import ColorSystem
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from taskq_dashboard.cells import fit, width_of

Piece: TypeAlias = tuple[str, str]
"""Text, and the word for its look; several words with spaces between."""

Line: TypeAlias = tuple[Piece, ...]

LOOKS: dict[str, str] = {
    "": "",
    "dim": "dim",
    "bold": "bold",
    "title": "bold cyan",
    "rule": "bright_black",
    "key": "bold cyan",
    "done": "green",
    "run": "cyan",
    "retry": "yellow",
    "dead": "red",
    "warn": "bold yellow",
    "alarm": "bold red",
    "pause": "bold magenta",
    "here": "reverse",
}


@dataclass(frozen=True, slots=True)
class Signs:
    """The signs of a drawing; there is a second set for terminals that show ASCII only."""

    spark: str = "▁▂▃▄▅▆▇█"
    full: str = "█"
    empty: str = "░"
    rule: str = "─"
    bar: str = "│"
    arrow: str = "▸"
    back: str = "◂"
    up: str = "▴"
    down: str = "▾"
    corner_down: str = "╮"
    corner_up: str = "╯"
    turn_up: str = "╰"
    turn_down: str = "╭"
    tee: str = "┤"
    live: str = "●"
    lost: str = "✖"
    pause: str = "⏸"
    here: str = "▸"
    mark: str = "✓"
    more: str = "…"
    dot: str = "·"


ASCII = Signs(
    spark="_.:-=+*#",
    full="#",
    empty=".",
    rule="-",
    bar="|",
    arrow=">",
    back="<",
    up="^",
    down="v",
    corner_down="+",
    corner_up="+",
    turn_up="+",
    turn_down="+",
    tee="+",
    live="*",
    lost="X",
    pause="||",
    here=">",
    mark="*",
    more="~",
    dot="-",
)
FULL = Signs()


@dataclass(frozen=True, slots=True)
class Paint:
    """How this terminal shows things: its signs, and its colours (None for none)."""

    signs: Signs = FULL
    colours: ColorSystem | None = None

    @property
    def ascii(self) -> bool:
        """Whether only ASCII may be shown."""
        return self.signs is ASCII

    def text(self, text: str) -> str:
        """The text as this terminal can show it."""
        return text if not self.ascii or text.isascii() else text.encode("ascii", "backslashreplace").decode("ascii")

    def fit(self, text: str, width: int, *, right: bool = False) -> str:
        """The text in exactly so many cells."""
        return fit(self.text(text), width, right=right, more=self.signs.more)

    def ansi(self, line: Line) -> str:
        """One line as it is written to the terminal."""
        if self.colours is None:  # bold, grey and reverse are no colours
            return "".join(bare(look).render(text, color_system=ColorSystem.STANDARD) for text, look in line)
        return "".join(style(look).render(text, color_system=self.colours) for text, look in line)


@lru_cache(256)
def style(look: str) -> Style:
    """The style of some words."""
    return Style.combine([Style.parse(LOOKS[word]) for word in look.split()]) if look else Style.null()


@lru_cache(256)
def bare(look: str) -> Style:
    """The same without its colours."""
    return style(look).without_color


@dataclass(frozen=True, slots=True)
class Frame:
    """A screen of exactly `width` times `height` cells; rich can print it."""

    lines: tuple[Line, ...]
    width: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            for text, look in line:
                yield Segment(text, style(look))
            yield Segment.line()

    def text(self) -> str:
        """What is seen, without looks."""
        return "\n".join(plain_text(line).rstrip() for line in self.lines)


def plain_text(line: Line) -> str:
    """The text of a line."""
    return "".join(text for text, _ in line)


def wide(line: Iterable[Piece]) -> int:
    """The cells of a line."""
    return sum(width_of(text) for text, _ in line)


def trim(line: Sequence[Piece], width: int, more: str) -> Line:
    """The line in exactly so many cells."""
    kept: list[Piece] = []
    left = width
    for text, look in line:
        cells = width_of(text)
        if cells > left:
            if left > 0:
                kept.append((fit(text, left, more=more), look))
            return tuple(kept)
        kept.append((text, look))
        left -= cells
    if left:
        kept.append((" " * left, ""))
    return tuple(kept)


def faded(line: Line) -> Line:
    """The line in grey: what it says is of some time ago."""
    return tuple((text, "dim here" if "here" in look else "dim") for text, look in line)


def highlighted(line: Line) -> Line:
    """The line as the selected one."""
    return tuple((text, f"{look} here" if look else "here") for text, look in line)
