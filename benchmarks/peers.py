"""Where the peers are: from the package indexes, each in an environment of its own that git ignores, in `.bench/`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import ROOT

CACHE = ROOT / ".bench"
NODE_PEERS = ("bullmq",)
_INSTALL_S = 180.0
_REQUIREMENTS = {
    "dramatiq": ("dramatiq[redis]>=2.2,<3", "hiredis>=3.2"),
    "faststream": ("faststream[redis]>=0.7,<0.8", "hiredis>=3.2", "orjson>=3.10"),
    "taskiq": ("taskiq>=0.12,<1", "taskiq-redis>=1.2,<2", "hiredis>=3.2", "orjson>=3.10", "uvloop>=0.21"),
    "huey": ("huey>=3.5,<4", "redis>=6", "hiredis>=3.2"),
    "celery": ("celery[redis]>=5.6,<6", "hiredis>=3.2"),
    "rq": ("rq>=2.6,<4", "hiredis>=3.2"),
    "arq": ("arq>=0.28,<1", "hiredis>=3.2", "uvloop>=0.21"),
    "bullmq": ("bullmq@6", "ioredis"),
}


@dataclass(frozen=True, slots=True)
class Peer:
    """An environment that has a peer; or why there is none. `python` is what runs it: of bullmq, node."""

    python: Path | None
    version: str
    why: str = ""
    folder: Path | None = None

    @property
    def command(self) -> str:
        return self.program("dramatiq")

    def program(self, name: str) -> str:
        """A program of its environment."""
        return str(self.python.parent / name) if self.python else ""


def peer(name: str) -> Peer:
    """Made once and kept; where the index cannot be reached, the benchmark goes on without."""
    try:
        CACHE.mkdir(exist_ok=True)
        (CACHE / ".gitignore").write_text("*\n", "ascii")
        return _node_peer(name) if name in NODE_PEERS else _python_peer(name)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        return Peer(None, "", said.strip().splitlines()[-1] if said.strip() else type(error).__name__)


def _python_peer(name: str) -> Peer:
    folder = CACHE / f"{name}-py{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not _ready(folder, name):
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_REQUIREMENTS[name])
        _say_ready(folder, name)
    return Peer(python, _versions(python, name), folder=folder)


def _node_peer(name: str) -> Peer:
    node, npm, folder = shutil.which("node"), shutil.which("npm"), CACHE / name
    if node is None or npm is None:
        return Peer(None, "", "there is no node, or no npm")
    if not _ready(folder, name):
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n', "ascii")
        quiet = ("--no-audit", "--no-fund", "--loglevel", "error")
        _run(npm, "install", "--prefix", str(folder), *quiet, *_REQUIREMENTS[name])
        _say_ready(folder, name)
    told = json.loads((folder / "node_modules" / name / "package.json").read_text("utf-8"))
    return Peer(Path(node), f"{name} {told['version']} (node {_run(node, '--version').strip()})", folder=folder)


def _ready(folder: Path, name: str) -> bool:
    """Whether an environment is whole, and made of what is asked for now."""
    mark = folder / "ready"
    return mark.exists() and mark.read_text("utf-8") == " ".join(_REQUIREMENTS[name])


def _say_ready(folder: Path, name: str) -> None:
    (folder / "ready").write_text(" ".join(_REQUIREMENTS[name]), "utf-8")


def _run(*command: str) -> str:
    # What the caller's Python can import is not in the environment of a peer, and pip would think it were.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=_INSTALL_S, check=True).stdout


def _versions(python: Path, name: str) -> str:
    ask = f"import json; from importlib.metadata import version as v; print(json.dumps([v('{name}'), v('redis')]))"
    own, client = json.loads(_run(str(python), "-c", ask))
    return f"{name} {own} (redis-py {client})"
