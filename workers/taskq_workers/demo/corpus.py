"""What the demo works on: the standard library of the Python that runs it, which every machine has."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from taskq.errors import ConfigError

_BROKEN_ONES = ("test/tokenizedata", "lib2to3/tests/data")
_NOT_STANDARD = frozenset({"site-packages", "dist-packages"})


def standard_library(limit: int | None = None) -> tuple[Path, list[Path]]:
    """The root of the standard library and its source files below it, by name; at most `limit` of them."""
    root = Path(sysconfig.get_path("stdlib"))
    files = sorted(
        path for path in root.rglob("*.py") if path.is_file() and not _NOT_STANDARD & set(path.relative_to(root).parts)
    )
    if not files:
        raise ConfigError(f"the standard library of this Python has no source files in {root}")
    return root, _spread(files, limit)


def broken_file(root: Path, folder: Path) -> Path | None:
    """A file that is not Python, written to `folder`, where the standard library has none of its own.

    Its tests come with such files, but some systems package Python without them.
    """
    if any((root / place).is_dir() for place in _BROKEN_ONES):
        return None
    path = folder / "not_python.py"
    path.write_text("def unfinished(:\n")
    return path


def _spread(files: list[Path], limit: int | None) -> list[Path]:
    """`limit` of the files, evenly spaced, so that a small demo sees all kinds of them too."""
    if limit is None or limit >= len(files):
        return files
    return [files[number * len(files) // limit] for number in range(limit)]
