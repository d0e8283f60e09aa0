"""A test that hangs has an end, wherever it hangs: `tests/limits.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAD = "import threading\nimport pytest\nattempts = []\n"
HANGS = {
    "in its first attempt": "def test_it():\n    threading.Event().wait()\n",
    "in its second attempt": """
def test_it():
    attempts.append(1)
    assert len(attempts) > 1
    threading.Event().wait()
""",
    "in both": """
def test_it():
    attempts.append(1)
    threading.Event().wait()
""",
    "in the set-up of its second attempt": """
@pytest.fixture
def broken():
    attempts.append(1)
    assert len(attempts) > 1
    threading.Event().wait()
def test_it(broken):
    pass
""",
    "in the teardown of a failure": """
@pytest.fixture
def broken():
    yield
    threading.Event().wait()
def test_it(broken):
    assert False
""",
}


@pytest.mark.parametrize("where", HANGS)
def test_what_hangs_ends_and_the_next_test_runs(where: str, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntimeout = 0.5\n")
    (tmp_path / "test_hangs.py").write_text(HEAD + HANGS[where] + "\ndef test_next():\n    pass\n")
    options = ("-p", "tests.limits", "-p", "no:cacheprovider", "-p", "no:xdist", "--reruns", "1")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={tmp_path}", str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    assert "1 passed" in run.stdout
    assert " rerun" in run.stdout
    assert "Timeout (>0.5s)" in run.stdout
