"""All mutants: those that somebody thought of, and those that are made by rule."""

from __future__ import annotations

from functools import cache

from tests.mutants.mechanical import mechanical
from tests.mutants.mutant import Mutant, scripts, thought_of


@cache
def all_mutants() -> tuple[Mutant, ...]:
    """In the order of the scripts; what has the same text as one before is left out."""
    found: dict[tuple[str, str], Mutant] = {}
    for script in scripts():
        for mutant in (*thought_of(script), *mechanical(script)):
            found.setdefault((script, mutant.text), mutant)
    return tuple(found.values())
