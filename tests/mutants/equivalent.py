"""Mutants that no test can tell from the script itself, each with its reason."""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, str], str] = {}
