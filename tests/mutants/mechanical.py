"""Mutants that need no thought: each guard, each half of a condition, each write and each type check left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from tests.mutants.mutant import Mutant, source

_GUARD = re.compile(r"\bif (.+?) then return\b")
_CONDITION = re.compile(r"\b(?:if|elseif|while) (.+?) (?:then|do)\b")
_STATEMENT = re.compile(r"(?:^\s*|\bthen |\bdo |\belse |\) )(?=call\('([A-Z]+)')")
_TYPE_CHECK = re.compile(r"if found ~= ")

ENDLESS = ("n < count", "not dry")  # terms without which a loop never ends, and its server never answers again

Change = tuple[str, str, str]  # rule, name, the line as it is then


def mechanical(script: str) -> Iterator[Mutant]:
    names: Counter[str] = Counter()
    lines = source(script).split("\n")
    for at, line in enumerate(lines):
        if line.startswith("--"):
            continue
        whole = not lines[at - 1].endswith((" and", " or"))
        statements = _statements(line) if whole else ()
        for rule, name, new in (*_guards(line), *_halves(line), *statements, *_types(line, lines)):
            names[name] += 1
            again = f" ({names[name]})" if names[name] > 1 else ""
            yield Mutant(script, rule, name + again, "\n".join([*lines[:at], new, *lines[at + 1 :]]))


def _guards(line: str) -> Iterator[Change]:
    """`if this then return` never returns."""
    for found in _GUARD.finditer(line):
        if not found[1].startswith("found ~="):
            yield "guard", f"never returns for `{found[1]}`", line[: found.start(1)] + "false" + line[found.end(1) :]


def _halves(line: str) -> Iterator[Change]:
    """Each term of a condition is left out once."""
    for found in _CONDITION.finditer(line):
        terms = _terms(found[1])
        for start, end in terms if len(terms) > 1 and not found[1].startswith("found ~=") else ():
            term = found[1][start:end]
            if start:
                start = max(found[1].rfind(word, 0, start) for word in (" and ", " or "))
            else:
                end = min(at + len(word) for word in (" and ", " or ") if (at := found[1].find(word, end)) >= 0)
            rest = found[1][:start] + found[1][end:]
            if found[0].startswith("while") and term in ENDLESS:
                continue
            yield (
                "condition",
                f"leaves out `{term}` in `{found[1]}`",
                line[: found.start(1)] + rest + line[found.end(1) :],
            )


def _terms(condition: str) -> list[tuple[int, int]]:
    """Where the terms between `and` and `or` stand that are in no bracket."""
    terms, start, depth = [], 0, 0
    for at, sign in enumerate(condition):
        depth += (sign == "(") - (sign == ")")
        for word in (" and ", " or "):
            if not depth and condition.startswith(word, at):
                terms.append((start, at))
                start = at + len(word)
    return [*terms, (start, len(condition))]


def _statements(line: str) -> Iterator[Change]:
    """A command whose answer nobody looks at: a write, or a look at the type of a key."""
    for found in _STATEMENT.finditer(line):
        end = _closing(line, line.index("(", found.end()))
        if re.match(r"$| end| else| call", line[end:]):
            command = line[found.end() : end]
            rule = "types" if found[1] in ("LLEN", "HLEN", "ZCARD") else "write"
            yield rule, f"does not `{command}`", line[: found.end()] + line[end:]


def _closing(line: str, at: int) -> int:
    """Just behind the bracket that closes the one at this place."""
    depth = 0
    for end in range(at, len(line)):
        depth += (line[end] == "(") - (line[end] == ")")
        if not depth:
            return end + 1
    raise ValueError(line)


def _types(line: str, lines: list[str]) -> Iterator[Change]:
    """The type of one key is not checked, of each key once."""
    found = _TYPE_CHECK.search(line)
    for number, name in _keys(lines) if found else ():
        if name != "none":
            changed = line.replace("if found ~=", f"if i ~= {number} and found ~=", 1)
            yield "types", f"does not check the type of {name} (key {number})", changed


def _keys(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Numbers and names of the keys, as the head of the script lists them."""
    start = next(at for at, line in enumerate(lines) if line.startswith("-- KEYS"))
    stop = next(at for at, line in enumerate(lines) if line.startswith("-- ARGV") or not line.startswith("--"))
    text = "  ".join(line.removeprefix("--").replace("KEYS", "", 1).strip() for line in lines[start:stop])
    for entry in re.split(r"  +", text):
        found = re.match(r"(\d+)(?:-(\d+))?(?:\.\.)? (.+)", entry)
        if found:
            for number in range(int(found[1]), int(found[2] or found[1]) + 1):
                yield number, found[3].split(",")[0]
