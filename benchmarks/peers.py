"""Where the peers are: from the package index, each in an environment of its own that git ignores, in `.bench/`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import ROOT

CACHE = ROOT / ".bench"
_INSTALL_S = 180.0
_REQUIREMENTS = {
    "dramatiq": ("dramatiq[redis]>=2.2,<3", "hiredis>=3.2"),
    "faststream": ("faststream[redis]>=0.7,<0.8", "hiredis>=3.2", "orjson>=3.10"),
}


@dataclass(frozen=True, slots=True)
class Peer:
    """An environment that has a peer; or why there is none."""

    python: Path | None
    version: str
    why: str = ""

    @property
    def command(self) -> str:
        return str(self.python.parent / "dramatiq") if self.python else ""


def peer(name: str) -> Peer:
    """Made once and kept; where the index cannot be reached, the benchmark goes on without."""
    folder = CACHE / f"{name}-py{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    try:
        CACHE.mkdir(exist_ok=True)
        (CACHE / ".gitignore").write_text("*\n", "ascii")
        if not (folder / "ready").exists():
            _run(sys.executable, "-m", "venv", "--clear", str(folder))
            _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_REQUIREMENTS[name])
            (folder / "ready").touch()
        return Peer(python, _versions(python, name))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        return Peer(None, "", said.strip().splitlines()[-1] if said.strip() else type(error).__name__)


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=True).stdout


def _versions(python: Path, name: str) -> str:
    ask = f"import json; from importlib.metadata import version as v; print(json.dumps([v('{name}'), v('redis')]))"
    own, client = json.loads(_run(str(python), "-c", ask))
    return f"{name} {own} (redis-py {client})"
