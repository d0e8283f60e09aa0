"""The README is true: its code runs, its tables are complete, and it names no distribution that is not ours."""

from __future__ import annotations

import re

import click
import pytest

from taskq_workers import exits
from taskq_workers.commands.worker import worker
from tests.examples.conftest import ROOT, Bench

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_its_code_runs(bench: Bench) -> None:
    shop, more, test = BLOCKS
    for name, text in (("shop.py", shop), ("more.py", more), ("test_shop.py", test)):
        (bench.tmp / name).write_text(text)
    with bench.worker("shop:app", cwd=bench.tmp):
        said = bench.python("shop.py", cwd=bench.tmp).splitlines()
        assert re.fullmatch(r"[0-9a-f-]{36} (ready|running|done)", said[0])
        assert said[1:] == ["receipt 42"]
        assert bench.python("more.py", cwd=bench.tmp).splitlines() == [
            "sending the receipt of order 1",
            "receipt 1",
            "cancelled",
            "receipt 3",
            "receipt 5",
            "{'done': 50}",
            "receipt 6",
        ]
    assert "1 passed" in bench.python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "test_shop.py", cwd=bench.tmp
    )


def test_the_first_app_is_short() -> None:
    assert len(BLOCKS[0].splitlines()) <= 15


def test_every_option_of_the_worker_is_in_its_table() -> None:
    options = {option for item in worker.params if isinstance(item, click.Option) for option in item.opts}
    documented = set(re.findall(r"`(-{1,2}[a-z-]+)`", README.partition("## Options of the worker")[2]))
    assert options - {"--help", "-h"} <= documented
    assert documented <= options | {"-vv"}


def test_every_exit_code_is_in_its_table() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    table = README.partition("## Exit codes")[2].partition("##")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes


@pytest.mark.parametrize("page", ["README.md", "docs/guarantees.md", "docs/internals.md"])
def test_no_page_installs_the_strangers_distribution_or_points_nowhere(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert not re.search(r"pip install [^\n]*\btaskq(?!-redis)\b", text)
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (folder / target).exists(), target


def test_the_page_on_the_inside_names_files_that_exist() -> None:
    text = (ROOT / "docs/internals.md").read_text("utf-8")
    folders = ("workers/taskq_workers", "dashboard/taskq_dashboard", "taskq/tasks", "taskq/events", "taskq", ".")
    places = [ROOT / folder for folder in folders]
    for name in sorted(set(re.findall(r"`([\w/]+\.py)`", text))):
        assert any((place / name).is_file() for place in places), name
