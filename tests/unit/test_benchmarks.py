"""The parts of the benchmarks that decide what a figure means; nothing is measured here."""

from __future__ import annotations

import doctest
import os
import random
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import drains, figures, load, machine, server, slowlog
from benchmarks.bench import Bench, wait_for
from benchmarks.cells import Drain
from benchmarks.figures import Report, Row
from benchmarks.ledger import Ledger
from benchmarks.machine import Stat, Ticks
from benchmarks.peer_tuning import BEST, BULLMQ_BEST, BULLMQ_TEN, TEN_SLOTS
from benchmarks.peers import Peer
from benchmarks.processes import MeasurementFailed, environment, worker_command


@pytest.mark.parametrize("module", [figures, machine, server, slowlog], ids=lambda module: str(module.__name__))
def test_examples_in_the_docstrings_hold(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


# -- figures


def test_a_spread_shows_the_median_between_lowest_and_highest() -> None:
    assert figures.spread([12_300, 11_900, 13_000.4]).show() == "12,300 (11,900-13,000)"
    assert figures.spread([7.84]).show() == "7.84"


def test_nothing_measured_is_an_error_not_a_zero() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        figures.spread([])


def test_ratios_are_taken_round_by_round() -> None:
    # A round in which the machine was twice as fast for both says nothing about either.
    assert figures.ratios([10, 40], [5, 20]).values == (2.0, 2.0)
    with pytest.raises(ValueError, match="zip"):
        figures.ratios([1, 2], [1])


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentiles_of_a_hundred_readings(share: float, expected: float) -> None:
    assert figures.percentile(range(100, 0, -1), share) == expected


def test_the_table_says_no_only_where_a_budget_was_missed() -> None:
    rows = [
        Row("P1", "drain", "50,000"),
        Row("P2", "CPU", "16.1", "<= 15", False, "raw loop: 6"),
        Row("P3", "Redis", "8", "<= 14", True),
    ]
    lines = figures.table(rows).splitlines()
    assert lines[0].split() == ["line", "what", "value", "budget", "reached", "beside"]
    assert [line.split()[-1] for line in lines[2:]] == ["50,000", "6", "yes"]
    assert " NO " in lines[3]
    assert len({line.index(word) for line, word in zip(lines[2:], ("drain", "CPU", "Redis"), strict=True)}) == 1


def test_the_json_holds_rows_and_raw_readings() -> None:
    report = Report([Row("P8", "memory", "320", "<= 350", True)], {"20000": 320.0})
    written = figures.as_json({"P8": report}, {"at": "today"})
    assert written["at"] == "today"
    assert written["rows"][0]["reached"] is True
    assert written["lines"] == {"P8": {"20000": 320.0}}


def _drain(name: str, rate: float, worker_us: float = 10.0) -> Drain:
    return Drain(name, 1_000, rate, worker_us, 5.0, 9.0, 3.0, 0, 0.0, 0.0)


def test_drain_rows_judge_by_the_ratios_of_the_same_run(tmp_path: Path) -> None:
    bench = Bench(True, 2, tmp_path, _peers={"dramatiq": Peer(tmp_path, "dramatiq 9"), "bullmq": Peer(tmp_path, "")})
    cells = {
        drains.ONE: [_drain("a", 50_000), _drain("a", 25_000)],
        drains.RAW_ONE: [_drain("b", 60_000), _drain("b", 30_000)],
        TEN_SLOTS.name: [_drain("c", 2_500), _drain("c", 1_250)],
        drains.TWO: [_drain("d", 40_000), _drain("d", 40_000)],
        drains.RAW_TWO: [_drain("e", 80_000), _drain("e", 80_000)],
        BEST.name: [_drain("f", 5_000), _drain("f", 5_000)],
        BULLMQ_TEN.name: [_drain("g", 4_000), _drain("g", 4_000)],
        BULLMQ_BEST.name: [_drain("h", 10_000), _drain("h", 8_000)],
    }
    rows = drains.drain_rows(bench, cells)
    assert [(row.value.split()[0], row.reached) for row in rows if row.budget] == [
        ("20.00", True),
        ("0.83", True),
        ("8.00", False),
        ("0.50", False),
        ("4.50", False),
    ]


def test_without_peers_the_rows_say_so_and_are_not_judged(tmp_path: Path) -> None:
    nowhere = Peer(None, "", "no route")
    bench = Bench(True, 1, tmp_path, _peers={"dramatiq": nowhere, "bullmq": nowhere})
    names = (drains.ONE, drains.TWO, drains.RAW_ONE, drains.RAW_TWO)
    rows = drains.drain_rows(bench, {name: [_drain(name, 1_000)] for name in names})
    missing = [row for row in rows if "not available" in row.beside]
    assert len(missing) == 3
    assert all(row.reached is None for row in missing)


# -- the ledger


def test_the_ledger_counts_what_ran_what_is_missing_and_what_ran_again(tmp_path: Path) -> None:
    looking_on = Ledger.create(tmp_path / "ledger", 4)
    worker = Ledger(tmp_path / "ledger")
    for slot in (0, 1, 1, 3):
        worker.mark(slot)
    assert not looking_on.full(4)
    assert looking_on.seen == 2
    assert (looking_on.missing(4), looking_on.again(4), looking_on.started(range(4))) == (1, 1, 3)
    worker.mark(2)
    assert looking_on.full(4)
    first, last = looking_on.first_and_last(4)
    assert first == looking_on.starts([0])[0][0]
    assert last == looking_on.last(4) == looking_on.starts([2])[0][0] == looking_on.first_after(4, last)


def test_a_cleared_ledger_has_forgotten_and_its_gate_is_shut(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "ledger", 3)
    ledger.mark(2)
    ledger.gate = 7
    assert Ledger(tmp_path / "ledger").gate == 7
    ledger.clear(3)
    assert (ledger.gate, ledger.missing(3), ledger.seen) == (0, 3, 0)
    with pytest.raises(ValueError, match="3 slots"):
        ledger.clear(4)


# -- the machine and the server


def test_a_process_name_with_spaces_and_parentheses_is_read_past() -> None:
    fields = " ".join(str(number) for number in range(9, 60))
    assert machine.parse_stat(f"12 (a (b) c) S 7 2 3 4 5 6 7 8 {fields}") == Stat(
        7, "S", sum([11, 12, 13, 14]) / machine.TICKS
    )


def test_idle_time_includes_waiting_for_disks_and_steal_is_told_apart() -> None:
    hz = machine.TICKS
    text = f"cpu {1 * hz} 0 {2 * hz} {3 * hz} {4 * hz} 0 0 {5 * hz} 0 0\ncpu0 1\n"
    assert machine.parse_ticks(text) == Ticks(15.0, 7.0, 5.0)


def test_readings_before_the_first_and_after_the_last_are_those_at_the_ends() -> None:
    readings = [(1.0, 10.0), (2.0, 20.0), (4.0, 20.0)]
    assert [machine.interpolate(readings, at) for at in (0.0, 1.5, 3.0, 9.0)] == [10.0, 15.0, 20.0, 20.0]


def test_command_statistics_are_read_as_numbers() -> None:
    info = server.parse_info("# Commandstats\r\ncmdstat_evalsha:calls=3,usec=40,usec_per_call=13.33\r\n")
    assert server.parse_pairs(info["cmdstat_evalsha"]) == {"calls": "3", "usec": "40", "usec_per_call": "13.33"}


def test_a_measured_worker_sees_nothing_of_the_callers_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TASKQ_URL", "redis://production")
    monkeypatch.setenv("TASKQ_WORKER_CONCURRENCY", "1")
    seen = environment("redis://127.0.0.1:1/0", tmp_path, {"BENCH_LEASE": "2"})
    assert not [name for name in seen if name.startswith("TASKQ_")]
    assert (seen["BENCH_URL"], seen["BENCH_LEASE"]) == ("redis://127.0.0.1:1/0", "2")
    assert worker_command("redis://x", "drain", 2)[3:] == (
        ["worker", "benchmarks.app:app", "--url", "redis://x", "-q", "drain", "-p", "2", "-c", "10"]
    )


def test_waiting_for_what_never_comes_is_a_failed_measurement() -> None:
    with pytest.raises(MeasurementFailed, match="the moon"):
        wait_for("the moon", lambda: False, 0.0)


# -- stalls


def test_stalls_are_told_by_script_and_the_longest_counts() -> None:
    entries = [
        [1, 0, 12_000, [b"EVALSHA", b"aa", b"3"], b"", b""],
        [2, 0, 4_000, [b"EVALSHA", b"aa", b"3"], b"", b""],
        [3, 0, 2_000, [b"evalsha", b"zz", b"3"], b"", b""],
        [4, 0, 1_500, [b"TIME"], b"", b""],
    ]
    found = slowlog.by_name(entries, {"aa": "lease"})
    assert found == {"lease": [12.0, 4.0], "?": [2.0], "TIME": [1.5]}
    assert slowlog.longest(found) == {"lease": 12.0, "?": 2.0, "TIME": 1.5}


def test_a_stall_counts_if_the_same_script_has_it_in_two_of_three_runs() -> None:
    once = slowlog.recurring([{"lease": 25.0}, {"ack": 25.0}, {"sweep": 25.0}])
    assert max(once.values()) == 0.0
    twice = slowlog.recurring([{"lease": 25.0}, {"lease": 11.0}, {}])
    assert twice == {"lease": 11.0}


def test_every_script_of_the_transport_is_among_those_measured() -> None:
    names = slowlog.script_names()
    assert {"enqueue", "lease", "ack", "sweep", "reclaim"} <= set(names)
    assert not [name for name in names if name.endswith(".lua")]


def test_bodies_go_from_a_hundred_bytes_to_a_mebibyte_and_fit_into_two_gibibytes() -> None:
    sizes = Counter(load.body_sizes(100_000))
    assert {size for size, _ in load.SIZES} == set(sizes)
    assert min(sizes) == 100
    assert max(sizes) == 1_048_576
    assert sum(size * count for size, count in sizes.items()) * 10 < 1_500_000_000
    assert sum(share for _, share in load.SIZES) == pytest.approx(1.0)


def test_the_heavy_queue_has_messages_of_every_kind() -> None:
    messages = list(load.messages(20_000, random.Random(1)))
    assert len({message.id for message in messages}) == 20_000
    share = {
        "delayed": sum(message.due < 0 for message in messages) / 20_000,
        "unique": sum(bool(message.unique) for message in messages) / 20_000,
        "explicit": sum(message.explicit for message in messages) / 20_000,
        "expiring": sum(message.expires < 0 for message in messages) / 20_000,
        "urgent": sum(message.priority != 0 for message in messages) / 20_000,
    }
    wanted = {"delayed": 0.15, "unique": 0.01, "explicit": 0.02, "expiring": 0.01, "urgent": 0.05}
    assert share == pytest.approx(wanted, abs=0.01)


# -- the command


def test_a_line_that_cannot_be_measured_is_told_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(_: Bench) -> Report:
        raise MeasurementFailed("the server ended")

    monkeypatch.setattr(command, "ALONE", {"P5": fail, "P8": lambda _: Report([Row("P8", "memory", "320")])})
    reports, failed = command.run(Bench(True, 1, tmp_path), ["P5", "P8"])
    assert failed
    assert reports["P5"].rows[0].beside == "the server ended"
    assert reports["P8"].rows[0].value == "320"


def test_a_missed_budget_is_no_failure_and_a_caller_s_broker_is_never_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[bool] = []

    def miss(_: Bench) -> Report:
        seen.append("TASKQ_URL" in os.environ)
        return Report([Row("P8", "memory", "999", "<= 350", False)])

    monkeypatch.setenv("TASKQ_URL", "redis://production")
    monkeypatch.setattr(command, "ALONE", {"P8": miss})
    result = CliRunner().invoke(command.main, ["P8", "--quick", "--json", str(tmp_path / "new" / "out.json")])
    assert result.exit_code == 0, result.output
    assert seen == [False]
    assert " NO" in result.output
    assert "QUICK run" in result.output
    assert (tmp_path / "new" / "out.json").read_text().startswith("{")


def test_an_unknown_line_is_a_usage_error() -> None:
    result = CliRunner().invoke(command.main, ["P99"])
    assert result.exit_code == 2
    assert "P99" in result.output
