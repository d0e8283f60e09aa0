"""The lines of the benchmarks beside the drains: what is run, how figures become rows; nothing is measured here."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import app as bench_app
from benchmarks import cells, features, figures, machine, peer_drains, peer_tuning, peers, pickup, plot
from benchmarks.bench import Bench
from benchmarks.cells import Drain, Plan
from benchmarks.featured import VARIABLE
from benchmarks.figures import Report, Row
from benchmarks.gathering import Gathering
from benchmarks.growth import growing_plan
from benchmarks.ledger import Ledger
from benchmarks.peer_tuning import BULLMQ_BEST, OTHERS, TEN_SLOTS
from benchmarks.peers import Peer
from benchmarks.processes import ROOT

SERVER: Any = type("Server", (), {"url": "redis://127.0.0.1:1/0"})()
ABOUT: dict[str, Any] = {
    "at": "2026-11-27T22:00:00+00:00",
    "taskq": "1.0",
    "commit": "abc1234",
    "server": "redis 7.0",
    "quick": False,
    "rounds": 3,
    "machine": {"python": "3.11", "cores": 2, "cpu": "some", "packages": {}, "others": 0.0, "steal": 0.0},
}


def _drain(rate: float, worker_us: float = 10.0) -> Drain:
    return Drain("one", 1_000, rate, worker_us, 5.0, 9.0, 3.0, 0, 0.0, 0.0)


def test_every_line_of_the_budgets_has_a_name() -> None:
    names = {*command.TOGETHER, *command.ALONE}
    assert {f"P{number}" for number in range(1, 14)} <= names
    assert {"peers", "features", "sizes", "queues", "processes", "lengths", "aof"} <= names
    told = command.main.help or ""
    assert not [name for name in names if not name.startswith("P") and name not in told]


# -- peers


@pytest.mark.parametrize("tuning", [*OTHERS, TEN_SLOTS], ids=lambda tuning: str(tuning.name))
def test_each_python_peer_has_an_adapter_an_environment_and_a_program_of_its_own(tuning: peer_tuning.Tuning) -> None:
    assert peers._REQUIREMENTS[tuning.peer]
    assert Path(ROOT, "benchmarks", f"peer_{tuning.peer}.py").exists()
    commands = tuning.commands(Peer(Path("/env/bin/python"), "1"), SERVER.url)
    assert len(commands) == tuning.copies
    assert commands[0][0].startswith("/env/bin/")
    assert set(tuning.options) <= set(commands[0])


def test_bullmq_runs_on_node_and_finds_its_modules_by_a_setting() -> None:
    peer = Peer(Path("/usr/bin/node"), "bullmq 6", folder=Path("/cache/bullmq"))
    (node,) = BULLMQ_BEST.commands(peer, SERVER.url)
    assert (node[0], Path(node[1]).exists(), node[2:]) == ("/usr/bin/node", True, ["work", "100"])
    assert peer_tuning.settings(BULLMQ_BEST, peer) == {"BENCH_MODULES": str(peer.folder)}


def test_where_there_is_no_node_the_peer_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peers, "CACHE", tmp_path / "cache")
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert (peers.peer("bullmq").python, peers.peer("bullmq").why) == (None, "there is no node, or no npm")


def test_a_peer_that_fails_is_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = {name: Peer(Path("/env/bin/python"), f"{name} 1") for name in ("taskiq", "huey", "celery", "rq")}
    bench = Bench(True, 1, tmp_path, _peers={**known, "arq": Peer(None, "", "no route")})

    def drained(_: Bench, plan: Plan) -> Drain:
        if plan.name.startswith("huey"):
            raise RuntimeError("it ended with code 1")
        return _drain(20_000 if plan.name.startswith("taskq") else 2_000)

    monkeypatch.setattr(peer_drains, "drain", drained)
    rows = {row.what.strip(): row for row in peer_drains.measure(bench).rows}
    assert rows["huey, ten slots"].beside == "it ended with code 1"
    assert rows["arq, as it is fastest"].beside == "no route"
    assert rows["celery, ten slots"].beside.startswith("taskq 10.0 x;")
    assert "--max-async-tasks 100" in rows["taskiq, as it is fastest"].beside


def test_a_bounded_drain_ends_with_what_has_started(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "ledger", 5)
    for slot in (1, 3):
        ledger.mark(slot)
    idle: Any = type("Idle", (), {"check_failed": lambda _: None, "take": lambda _: None})()
    plan = Plan("peer", 5, lambda _: None, lambda _: [], lambda _: True, most_s=0.0)
    cells._watch(ledger, plan, idle, idle)
    assert ledger.started(range(5)) == 2
    assert ledger.span(5) == (ledger.starts([1])[0][0], ledger.starts([3])[0][0])


# -- features


def test_each_feature_is_a_drain_of_its_own_and_beside_the_right_one() -> None:
    plans = features.plans(10)
    assert len({plan.name for plan in plans.values()}) == len(plans) >= 9
    assert plans["one middleware"].more == {VARIABLE: "middleware"}
    assert "benchmarks.featured:app" in plans["one middleware"].commands(SERVER)[0]
    assert "--metrics-port" in plans["metrics, read once a second"].commands(SERVER)[0]
    assert "benchmarks.app:app" in plans[features.PLAIN].commands(SERVER)[0]


def test_the_cost_of_a_feature_is_told_as_a_share_and_as_a_difference() -> None:
    found = {
        features.PLAIN: [_drain(20_000)],
        "unique keys": [_drain(10_000, 14.0)],
        features.LARGE: [_drain(16_000)],
        "  the same, compressed": [_drain(8_000, 30.0)],
    }
    rows = features.rows(found)
    assert [row.value for row in rows] == ["20,000", "10,000 = 0.50 x plain", "16,000 = 0.80 x plain", "8,000 = 0.50"]
    assert rows[0].beside.startswith("worker 10.0 us, Redis")
    assert rows[1].beside.startswith("worker 14.0 us (+4.0)")


def test_a_codec_and_an_unset_feature_leave_the_app_as_it_is() -> None:
    assert bench_app.app.tasks[bench_app.squeezed.name]._stamp.target.codec.name == "bench+zlib"
    assert bench_app.app.middlewares.wrap("execute", len) is len


def test_of_a_long_queue_only_the_first_part_is_looked_at() -> None:
    assert growing_plan(30, 10).settled(SERVER)
    assert growing_plan(30, 10).count == 10


def test_requests_on_the_way_to_a_server_are_counted_and_go_on_whole() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Gathering(server.getsockname()[1]) as way:
        host, port = way.url.removeprefix("redis://").removesuffix("/0").split(":")
        with socket.create_connection((host, int(port))) as client:
            far, _ = server.accept()
            with far:
                for trips in (1, 2):
                    client.sendall(b"ping" * 5)
                    far.settimeout(10)
                    assert far.recv(100) == b"ping" * 5
                    far.sendall(b"pong")
                    assert client.recv(100) == b"pong"
                    assert way.trips == trips


# -- what is written


def test_latency_without_a_peer_is_judged_by_the_rest() -> None:
    waits = {"raw": [[0.5, 0.6]], "taskq": [[0.9, 6.0]], "huey": [[0.8, 0.9]]}
    peers_found = {"dramatiq": Peer(None, "", "no route"), "huey": Peer(Path("/env/bin/python"), "huey 3")}
    report = pickup._report(waits, peers_found)
    assert [row.reached for row in report.rows] == [None, True, False, None, False]
    assert [row.beside for row in report.rows[3:]] == ["dramatiq not available: no route", "huey 3: p99 0.9 ms"]


def test_bars_are_named_for_people_and_hold_medians() -> None:
    runs = [{"rate": 3.0}, {"rate": 1.0}, {"rate": 2.0}]
    reports = {
        "P1": Report(data={"taskq-default": runs, "raw-p1": runs, "bullmq-c10": runs}),
        "P8": Report(data={"x": 1}),
    }
    assert plot.bars(reports) == [
        ("taskq, as shipped", 2.0, plot.OURS),
        ("raw loop, 1 process", 2.0, plot.RAW),
        ("bullmq (Node), 10 at a time", 2.0, plot.PEERS),
    ]
    assert "2026-11-27, taskq 1.0 at abc1234" in plot.caption(ABOUT)


def test_without_matplotlib_there_is_no_picture_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("benchmarks.plot.importlib.import_module", missing)
    report = Report([Row("P1", "a|b", "1", beside="x")], {"raw-p1": [{"rate": 3.0}]})
    command.write(tmp_path / "new" / "one.json", {"P1": report}, ABOUT)
    assert "no picture: matplotlib is not here" in capsys.readouterr().out
    page = (tmp_path / "new" / "one.md").read_text("utf-8")
    assert page.splitlines()[2] == "| P1 | a\\|b | 1 |  |  | x |"
    assert "(abc1234)" in page
    assert not (tmp_path / "new" / "one.png").exists()


def test_a_table_for_a_page_has_as_many_columns_in_each_line() -> None:
    lines = figures.markdown([Row("P4", "  indented", "1", ">= 1", True)]).splitlines()
    assert {line.count("|") for line in lines} == {7}
    assert lines[2] == "| P4 | indented | 1 | >= 1 | yes |  |"


def test_a_folder_that_is_no_checkout_has_no_commit(tmp_path: Path) -> None:
    assert machine.commit(tmp_path) == ""
