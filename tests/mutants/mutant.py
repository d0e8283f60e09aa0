"""A mutant: one script of the server with one thing broken, as the text that is loaded instead of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LUA = Path(__file__).parents[2] / "taskq" / "store" / "lua"
FOLDERS = ("schedules", "tasks")  # no two of their scripts have one name
BROKEN = Path(__file__).parent / "broken"


@dataclass(frozen=True, slots=True)
class Mutant:
    """`rule` is what it breaks, `name` how; together with the script the name is unique.

    Scripts of stream queues, and the parts that they are joined of, have their folder before their name, since that is
    often the name of a verb: `streams/watch`, `streams/parts/lease`.
    """

    script: str
    rule: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.script}.lua: {self.name}"


def scripts() -> list[str]:
    """All scripts and parts that there are: a new one is found by itself."""
    plain = [path.stem for folder in FOLDERS for path in (LUA / folder).glob("*.lua")]
    of_streams = LUA.glob("streams/**/*.lua")
    return sorted(plain + [path.relative_to(LUA).with_suffix("").as_posix() for path in of_streams])


@cache
def file_of(script: str) -> str:
    """Where it lies below the folder of all scripts."""
    names = [f"{script}.lua"] if streamed(script) else [f"{folder}/{script}.lua" for folder in FOLDERS]
    (found,) = [name for name in names if (LUA / name).exists()]
    return found


def streamed(script: str) -> bool:
    """Whether it belongs to stream queues: other tests run it."""
    return script.startswith("streams/")


@cache
def source(script: str) -> str:
    return (LUA / file_of(script)).read_text("utf-8")


def thought_of(script: str) -> Iterator[Mutant]:
    """Those in `broken/<script>.txt`, parted by empty lines: `rule: name`, then old lines (-) and new ones (+).

    An old text is any part of the script that is there just once. Several pairs are changed one after the other.
    """
    path = BROKEN / f"{script}.txt"
    for block in path.read_text("utf-8").strip("\n").split("\n\n") if path.exists() else ():
        head, *lines = block.split("\n")
        rule, name = head.split(": ", 1)
        text = source(script)
        for old, new in _edits(lines):
            count = text.count(old)
            if count != 1:
                raise ValueError(f"{path.name}: {name}: {old!r} is there {count} times")
            text = text.replace(old, new)
        if text == source(script):
            raise ValueError(f"{path.name}: {name}: nothing is changed")
        yield Mutant(script, rule, name, text)


def _edits(lines: list[str]) -> Iterator[tuple[str, str]]:
    old: list[str] = []
    new: list[str] = []
    for line in [*lines, "- "]:
        if line.startswith("-") and new:
            yield "\n".join(old), "\n".join(new)
            old, new = [], []
        (old if line.startswith("-") else new).append(line[2:])
