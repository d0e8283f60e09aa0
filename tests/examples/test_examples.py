"""Every example does what it says, with a real worker on a real server."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.examples.conftest import EXAMPLES, Bench

Run = Callable[[str], str]


def test_every_example_has_a_test_and_says_how_it_is_run() -> None:
    here = Path(__file__).read_text("utf-8")
    examples = [path for path in EXAMPLES.iterdir() if re.match(r"\d\d_", path.name)]
    assert len(examples) == 14
    for path in examples:
        assert f'"{path.stem}' in here, f"{path.name} has no test"
        sources = [path] if path.is_file() else sorted(path.glob("test_*.py"))
        assert re.search(r"python (-m \w+ )?[\w:.]+", sources[0].read_text("utf-8").split('"""')[1]), path.name


def test_hello(run_example: Run) -> None:
    assert run_example("01_hello") == "Hello, nobody!\nHello, world!\n"


def test_async(run_example: Run) -> None:
    assert run_example("02_async") == "16 pages, 118 characters in their names\n"


def test_retries_and_dead_letters(bench: Bench) -> None:
    name = "03_retries_and_dead_letters"
    with bench.worker(f"{name}:app") as log:
        lines = bench.python(f"{name}.py").splitlines()
    assert lines == [
        "Oslo: sunny, after 3 attempts",
        "Bergen: windy, on attempt 1",
        f"{name}.hopeless: dead after 3 attempts: ConnectionError: no road to Atlantis",
        f"{name}.forbidden: dead after 1 attempts: PermissionError: Atlantis is not yours to ask for",
        f"{name}.wrong: dead after 1 attempts: taskq.errors.Reject: there is no city 'Atlantis'",
    ]
    told = log.read_text("utf-8")
    assert f"on_dead: {name}.hopeless ('Atlantis',): no road to Atlantis" in told
    assert "Bergen" not in told, "a retry that was asked for is no failure that ends somewhere"


def test_results(run_example: Run) -> None:
    assert run_example("04_results").splitlines() == [
        "Invoice(number=7, day=datetime.date(2026, 11, 5), total=Decimal('3.30'))",
        "ZeroDivisionError: division by zero",
        "raised there by: return one / other",
        "not yet: delayed",
        "cancelled",
        "nothing was kept",
    ]


def test_bulk_with_progress(run_example: Run) -> None:
    lines = run_example("05_bulk_with_progress").splitlines()
    assert lines[-2:] == ["2000 done, 209 primes among them", "10 pages"]


def test_delayed(run_example: Run) -> None:
    assert run_example("06_delayed").splitlines() == [
        "the party: delayed, then cancelled, then cancelled",
        "the train: True",
        "the tea: True",
        "the offer: expired",
    ]


def test_periodic(run_example: Run) -> None:
    assert run_example("12_periodic").splitlines() == [
        "remind-7: Monday 09:00 in America/New_York",
        "now and then: reminded customer 7",
        "paused: None",
        "polled twice by itself",
        "12_periodic.nightly, 12_periodic.tidy, poll-eu",
    ]


def test_events(bench: Bench) -> None:
    assert bench.python("13_events.py").splitlines() == [
        "one key, one partition: True, in order: True",
        "the same id again: new False, at the old offset True",
        "customer 7 has 102 orders, the last is 997",
        "read again from an offset: order 2",
        "somebody was quicker: the account has version 2",
        "the account has 75 at version 3",
    ]


def test_events_in_a_worker(run_example: Run) -> None:
    assert run_example("14_events_in_a_worker").splitlines() == ["billed in order: 1 3 5 7 9", "receipts: 5"]


def test_unique_payment_with_fence(run_example: Run) -> None:
    assert run_example("07_unique_payment_with_fence").splitlines() == [
        "two clicks, one message: True; the second created it: False",
        "charged: True",
        "afterwards the key is free: True, and its run has a larger fence: True",
        "a stale worker with fence 0 is refused by the row: True",
    ]


def test_stream_queue(run_example: Run) -> None:
    assert run_example("11_stream_queue").splitlines() == [
        "order 0: 10.00",
        "order 1: 10.01",
        "order 2: 10.02",
        "20 entries: 0 unread, 0 in progress, the rest is history",
    ]


def test_testing_with_pytest(bench: Bench) -> None:
    folder = EXAMPLES / "08_testing_with_pytest"
    del bench.env["TASKQ_URL"]  # it needs no server
    assert "5 passed" in bench.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py", cwd=folder)


@pytest.fixture
def fastapi_example(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("fastapi")
    monkeypatch.setenv("TASKQ_URL", bench.env["TASKQ_URL"])
    name = "09_fastapi"
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_fastapi(fastapi_example: ModuleType, bench: Bench) -> None:
    testclient: Any = pytest.importorskip("fastapi.testclient")
    with bench.worker("09_fastapi:tasks"), testclient.TestClient(fastapi_example.web) as client:
        assert client.post("/words", params={"text": "to be or not to be"}).json() == {"words": 6}
        later = client.post("/later", params={"text": "that is the question"})
        assert later.status_code == 202
        url = f"/later/{later.json()['id']}"
        # Its result is waited for elsewhere, so that there is no need to ask again and again.
        fastapi_example.tasks.handle(later.json()["id"]).result(timeout=30)
        answer = client.get(url).json()
        assert answer == {"status": "done", "words": 4}
        assert client.get("/later/01890000-0000-7000-8000-000000000000").status_code == 404


def test_django(bench: Bench) -> None:
    pytest.importorskip("django")
    with bench.worker("10_django:app"):
        lines = bench.python("10_django.py").splitlines()
    assert lines == [
        "{'order': 1}",
        "rolled back: 500",
        "one copy of Dune",
        "1 order, receipt: 'one copy of Dune'",
    ]
