"""What a worker is told to do: from where each setting comes, and which are refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from taskq.errors import ConfigError
from taskq.settings import Settings
from taskq_workers import exits
from taskq_workers.cli import run
from taskq_workers.commands import worker as command
from taskq_workers.config import ChildSettings, WorkerConfig, parse_queues


def test_settings_of_a_child_survive_the_way_through_the_environment() -> None:
    settings = ChildSettings(
        app="shop:app",
        worker="host-1",
        index=2,
        parent=77,
        table_fd=5,
        up_fd=6,
        down_fd=7,
        url="redis://:p%40ss@host/1",
        queues=(("high", 3), ("default", 1)),
        strict_order=True,
        alone=True,
        lease=2.5,
        max_memory_mb=512,
        log_format="json",
        verbosity=1,
    )
    assert ChildSettings.from_json(settings.to_json()) == settings


def test_a_child_for_suspects_has_one_slot_and_ends_by_itself() -> None:
    child = WorkerConfig(app="shop:app", concurrency=8).child("w", 3, alone=True)
    assert (child.concurrency, child.alone, child.burst) == (1, True, True)


@pytest.mark.parametrize(
    ("given", "queues"),
    [
        ("default", (("default", 1),)),
        ("high:3,default", (("high", 3), ("default", 1))),
        (" high:10 , low ", (("high", 10), ("low", 1))),
        (["a:2", "b"], (("a", 2), ("b", 1))),
    ],
)
def test_queues_are_names_with_weights(given: str | list[str], queues: tuple[tuple[str, int], ...]) -> None:
    assert parse_queues(given) == queues


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "queue name '' is not valid"),
        ("a,,b", "queue name '' is not valid"),
        ("a{b}", "is not valid"),
        ("größe", "is not valid"),
        ("a\nb", "is not valid"),
        ("a,a", "'a' is named twice"),
        ("a:1,a:2", "'a' is named twice"),
        ("a:0", "the weight of 'a'"),
        ("a:-1", "the weight of 'a'"),
        ("a:x", "the weight of 'a'"),
        ("a:", "the weight of 'a'"),
        ("a:1.5", "the weight of 'a'"),
        ("a:1001", "the weight of 'a'"),
        ("a:²", "the weight of 'a'"),
    ],
)
def test_odd_queues_are_refused(given: str, why: str) -> None:
    with pytest.raises(ConfigError, match="queues=") as caught:
        parse_queues(given)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("processes", 0),
        ("processes", 1000),
        ("concurrency", 0),
        ("concurrency", -1),
        ("concurrency", 1_000_000),
        ("concurrency", True),
        ("max_tasks_per_child", -1),
        ("max_memory_mb", -1),
        ("metrics_port", -1),
        ("health_port", 65_536),
        ("health_port", True),
        ("drain_timeout", -0.1),
        ("drain_timeout", math.nan),
        ("drain_timeout", math.inf),
        ("kill_grace", -1),
    ],
)
def test_values_that_cannot_be_meant_are_refused_by_name(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{setting.replace('_', '-').removesuffix('-mb')}="):
        WorkerConfig(app="shop:app", **{setting: value})


def test_a_worker_needs_an_app_and_a_burst_does_not_reload() -> None:
    with pytest.raises(ConfigError, match="no app is named"):
        WorkerConfig(app="")
    with pytest.raises(ConfigError, match="choose one"):
        WorkerConfig(app="shop:app", burst=True, reload=True)


# -- from the command line, the environment and the project


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[WorkerConfig]:
    """The settings with which workers would have run, in a project of its own."""
    configs: list[WorkerConfig] = []

    def note(config: WorkerConfig, folder: Path, source: str = "") -> int:
        configs.append(config)
        return exits.OK

    monkeypatch.setattr(command, "run_worker", note)
    monkeypatch.chdir(tmp_path)
    for name in ("TASKQ_APP", "TASKQ_URL"):
        monkeypatch.delenv(name, raising=False)
    return configs


def test_without_settings_a_worker_is_modest(told: list[WorkerConfig]) -> None:
    assert run(["worker", "shop:app"]) == exits.OK
    assert told == [WorkerConfig(app="shop:app")]
    assert (told[0].processes, told[0].concurrency, told[0].drain_timeout) == (1, 8, 25.0)


def test_every_option_reaches_the_worker(told: list[WorkerConfig]) -> None:
    line = "worker shop:app --url redis://h -p 2 -c 3 -q high:3,low --strict-order --burst --drain-timeout 1.5"
    line += " --metrics-port 9464 --health-port 0 --http-host 0.0.0.0"
    line += " --kill-grace 2 --max-tasks-per-child 10 --max-memory 64 --log-format json -vv --allow-eviction"
    assert run(line.split()) == exits.OK
    assert told == [
        WorkerConfig(
            app="shop:app",
            url="redis://h",
            processes=2,
            concurrency=3,
            queues=(("high", 3), ("low", 1)),
            strict_order=True,
            burst=True,
            allow_eviction=True,
            drain_timeout=1.5,
            kill_grace=2.0,
            max_tasks_per_child=10,
            max_memory_mb=64,
            log_format="json",
            verbosity=2,
            metrics_port=9464,
            health_port=0,
            http_host="0.0.0.0",
        )
    ]


def test_a_variable_that_kubernetes_sets_for_a_service_is_no_port(
    told: list[WorkerConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TASKQ_WORKER_METRICS_PORT", "tcp://10.0.0.1:9464")
    assert run(["worker", "shop:app"]) == exits.OK
    assert told[0].metrics_port is None
    monkeypatch.setenv("TASKQ_WORKER_METRICS_PORT", "9464")
    assert run(["worker", "shop:app"]) == exits.OK
    assert told[1].metrics_port == 9464
    monkeypatch.setenv("TASKQ_WORKER_METRICS_PORT", "many")
    assert run(["worker", "shop:app"]) == exits.USAGE
    assert "TASKQ_WORKER_METRICS_PORT: 'many' is not a port" in capsys.readouterr().err


def test_the_command_line_wins_over_the_environment_and_that_over_the_project(
    told: list[WorkerConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.taskq]\napp = "project:app"\n'
        '[tool.taskq.worker]\nprocesses = 2\nconcurrency = 2\nqueues = ["high:3", "low"]\ndrain-timeout = 2\n'
    )
    monkeypatch.setenv("TASKQ_WORKER_CONCURRENCY", "3")
    monkeypatch.setenv("TASKQ_WORKER_DRAIN_TIMEOUT", "3")
    assert run(["worker", "--drain-timeout", "4"]) == exits.OK
    config = told[0]
    assert (config.app, config.processes, config.concurrency, config.drain_timeout) == ("project:app", 2, 3, 4.0)
    assert config.queues == (("high", 3), ("low", 1))
    monkeypatch.setenv("TASKQ_APP", "environment:app")
    assert run(["worker"]) == exits.OK
    assert run(["worker", "given:app"]) == exits.OK
    assert [config.app for config in told[1:]] == ["environment:app", "given:app"]


def test_queues_that_are_named_one_by_one_are_all_served(
    told: list[WorkerConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["worker", "shop:app", "-q", "high:3", "-q", "low,mail", "--queues", "late"]) == exits.OK
    monkeypatch.setenv("TASKQ_WORKER_QUEUES", "high:3, low")
    assert run(["worker", "shop:app"]) == exits.OK
    monkeypatch.delenv("TASKQ_WORKER_QUEUES")
    (tmp_path / "pyproject.toml").write_text('[tool.taskq.worker]\nqueues = "low, high:3"\n')
    assert run(["worker", "shop:app"]) == exits.OK
    (tmp_path / "pyproject.toml").write_text('[tool.taskq.worker]\nqueues = ["low"]\n')
    assert run(["worker", "shop:app", "-q", ""]) == exits.OK
    assert [config.queues for config in told] == [
        (("high", 3), ("low", 1), ("mail", 1), ("late", 1)),
        (("high", 3), ("low", 1)),
        (("low", 1), ("high", 3)),
        (),
    ]
    (tmp_path / "pyproject.toml").write_text('[tool.taskq.worker]\nqueues = [""]\n')
    assert run(["worker", "shop:app"]) == exits.USAGE


@pytest.mark.parametrize("text", ["[tool.taskq.worker.queues]\nhigh = 3\n", "[tool.taskq.worker]\nqueues = 5\n"])
def test_queues_of_a_project_that_are_no_names_are_refused(
    told: list[WorkerConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert run(["worker", "shop:app"]) == exits.USAGE
    assert "give names with weights, as in 'high:3,default'" in capsys.readouterr().err
    assert not told


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("worker", "no app is named"),
        ("worker shop:app -q a -q a", "named twice"),
        ("worker shop:app -c 0", "concurrency=0"),
        ("worker shop:app -p -3", "processes=-3"),
        ("worker shop:app -q a,a", "named twice"),
        ("worker shop:app --drain-timeout nan", "drain-timeout=nan"),
        ("worker shop:app --concurrency many", "'many' is not a valid integer"),
        ("worker shop:app --metrics-port 65536", "'65536' is not a port"),
        ("worker shop:app --health-port -1", "'-1' is not a port"),
        ("worker shop:app --health-port tcp://10.0.0.1:1", "is not a port"),
        ("worker shop:app --log-format xml", "'xml' is not one of"),
    ],
)
def test_an_odd_line_is_one_clear_error(
    told: list[WorkerConfig], line: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == exits.USAGE
    said = capsys.readouterr().err
    assert why in said
    assert "Traceback" not in said
    assert told == []


def test_an_unknown_setting_of_the_project_is_named(told: list[WorkerConfig], tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.taskq.worker]\nconcurency = 2\n")
    settings = Settings(tmp_path, tmp_path / "pyproject.toml", values={"worker": {"concurency": 2}})
    with pytest.raises(ConfigError, match="did you mean 'concurrency'"):
        command.worker_config(settings, "shop:app", {"concurrency": 8}, "worker")
    assert run(["worker", "shop:app"]) == exits.USAGE
