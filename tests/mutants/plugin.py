"""A pytest session that is not run once but once per mutant: the tests are collected once, and its servers stay up.

The text that `taskq.store.scripts.load` reads is exchanged here, from outside; nothing in the product knows of mutants.
Each text begins with a line for the server's log: what that log does not show has not been run.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import pytest

from taskq.store import scripts
from tests.mutants.catalogue import all_mutants
from tests.mutants.mutant import Mutant, file_of, source, streamed
from tests.mutants.mutant import scripts as all_scripts
from tests.servers import RealServer, server_binaries

STAGES = ("tests/lua/", "tests/model/test_conformance.py", "tests/runtime/", "tests/contract/")
BASELINE = "baseline"
FIRST = 25  # tests that are tried before all others

Verdict = str  # killed, survived, unrun: the script was never run; unclear: a test failed, but not each time


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one mutant, and by which test. A baseline has no name: there every test has to pass."""

    script: str
    name: str
    verdict: Verdict
    test: str = ""
    seconds: float = 0.0


class Overlay:
    """Stands for the folder of the scripts; some files have another text there."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        pytest.MonkeyPatch().setattr(scripts, "files", self.files)

    def put(self, texts: dict[str, str]) -> None:
        self.texts = {
            file_of(name): f"redis.log(redis.LOG_WARNING, 'runs {name}.')\n{text}" for name, text in texts.items()
        }
        scripts.load.cache_clear()
        scripts.load_joined.cache_clear()

    def files(self, package: str) -> Any:
        return _Folder(files(package), self.texts)


@dataclass(frozen=True, slots=True)
class _Folder:
    folder: Any
    texts: dict[str, str]

    def joinpath(self, *parts: str) -> Any:
        text = self.texts.get("/".join(parts[1:]))
        return self.folder.joinpath(*parts) if text is None else _File(text)


@dataclass(frozen=True, slots=True)
class _File:
    text: str

    def read_text(self, encoding: str) -> str:
        return self.text


class Logs:
    """What the servers of this session wrote since it was last asked."""

    def __init__(self) -> None:
        self.paths: dict[Path, int] = {}
        start = RealServer.start

        def noted(server: RealServer) -> RealServer:
            self.paths[server.log] = 0
            return start(server)

        pytest.MonkeyPatch().setattr(RealServer, "start", noted)

    def ran(self) -> set[str]:
        """Names of the scripts that were run."""
        found = set[str]()
        for path, at in self.paths.items():
            if path.exists():
                with path.open("rb") as log:
                    log.seek(at)
                    text = log.read()
                self.paths[path] = at + len(text)
                found |= {name for name in all_scripts() if f"runs {name}.".encode() in text}
        return found


class Plugin:
    """Runs the tests for each mutant that it is given, up to the first that fails, and tells the parent."""

    def __init__(self, wanted: Sequence[tuple[str, str]], out: int) -> None:
        every = {(mutant.script, mutant.name): mutant for mutant in all_mutants()}
        self.mutants = [every[key] for key in wanted]
        self.streamed = streamed(self.mutants[0].script)  # all are alike in this
        self.scripts = {script for script in all_scripts() if streamed(script) == self.streamed}
        self.out = os.fdopen(out, "w", buffering=1)
        self.overlay, self.logs = Overlay(), Logs()
        self.failed = False
        self.killers: dict[str, list[pytest.Item]] = {}
        self.runs: dict[pytest.Item, set[str]] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        first = next(iter(server_binaries()), "")
        transport = f"{'stream-' if self.streamed else ''}list-{first}"
        items[:] = sorted((item for item in items if _on(item, (first, transport), self.streamed)), key=_stage)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed = self.failed or report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Interrupted("the tests could not be collected")
        if self.baseline(session):
            for mutant in self.mutants:
                self.tell(self.judge(session, mutant))
        session.testsfailed = 0
        return True

    def baseline(self, session: pytest.Session) -> bool:
        """Every test passes with the true scripts, and every script is run by one."""
        started = time.monotonic()
        self.overlay.put({script: source(script) for script in self.scripts})
        failed = None
        for item in session.items:
            if not self.passes(session, item):
                failed = item
                break
            self.runs[item] = self.logs.ran()
        missing = self.scripts.difference(*self.runs.values()) if failed is None else set[str]()
        verdict = "killed" if failed else "unrun" if missing else "survived"
        self.tell(
            Result(BASELINE, "", verdict, failed.nodeid if failed else " ".join(missing), time.monotonic() - started)
        )
        return verdict == "survived"

    def judge(self, session: pytest.Session, mutant: Mutant) -> Result:
        started = time.monotonic()
        verdict, test = "survived", ""
        self.overlay.put({mutant.script: mutant.text})
        for item in self.ordered(session, mutant):
            if not self.passes(session, item):
                verdict, test = "unclear", item.nodeid
                if self.again(session, mutant, item):
                    verdict = "killed"
                    break
        if mutant.script not in self.logs.ran():
            verdict = "unrun"
        self.overlay.put({})
        return Result(mutant.script, mutant.name, verdict, test, time.monotonic() - started)

    def again(self, session: pytest.Session, mutant: Mutant, item: pytest.Item) -> bool:
        """A test that failed counts if it passes with the true script, and then fails with the mutant once more."""
        self.overlay.put({})
        sound = self.passes(session, item)
        self.overlay.put({mutant.script: mutant.text})
        if not sound or self.passes(session, item):
            return False
        seen = self.killers.setdefault(mutant.script, [])
        seen[:] = [item, *(other for other in seen if other is not item)]
        return True

    def ordered(self, session: pytest.Session, mutant: Mutant) -> Iterator[pytest.Item]:
        """First what found other mutants of this script. Then cheap stages first, and in each what names the script.

        A test that does not run the script is left out; and only the first stage has keys of a wrong type at all.
        """
        seen = self.killers.get(mutant.script, [])[:FIRST]
        yield from seen
        verb = mutant.script.rpartition("/")[2]
        for item in sorted(session.items, key=lambda item: (_stage(item), verb not in item.nodeid)):
            runs = mutant.script in self.runs[item] or not self.runs[item]
            if runs and item not in seen and not (mutant.rule == "types" and _stage(item)):
                yield item

    def passes(self, session: pytest.Session, item: pytest.Item) -> bool:
        """Run one test. Next comes the session, as far as pytest is told: so only what belongs to it stays set up."""
        self.failed = False
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=cast("pytest.Item", session))
        return not self.failed

    def tell(self, result: Result) -> None:
        self.out.write(json.dumps(asdict(result)) + "\n")


def _on(item: pytest.Item, places: Sequence[str], streams: bool) -> bool:
    """Mutants are looked for on one server, through the transport that runs them, and on no cluster."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    found = [params[name] for name in ("server_binary", "transport", "lists") if name in params]
    if getattr(params.get("keys"), "streamed", streams) != streams or item.get_closest_marker("cluster"):
        return False
    return all(one in places for one in found)


def _stage(item: pytest.Item) -> int:
    return next(at for at, stage in enumerate(STAGES) if item.nodeid.startswith(stage))


def pytest_configure(config: pytest.Config) -> None:
    task = json.loads(os.environ["TASKQ_MUTANTS"])
    config.pluginmanager.register(Plugin([tuple(key) for key in task["mutants"]], task["out"]), "mutants")
